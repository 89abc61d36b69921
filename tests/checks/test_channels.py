"""Channels of backbone, loader and statistics are compared before anything is built."""

import copy
from functools import cache

import pytest
from mmengine.config import Config
from repository import REPOSITORY

import mmentropy  # noqa: F401, registers the types
from mmentropy.checks.channels import check_channels
from mmentropy.checks.config import check_config

CROP = [dict(type='RandomResizedCrop', scale=8), dict(type='RandomFlip', prob=0.5)]
DIGITS, FOLDER = 'mec/r18s_1xb64_50e_digits.py', 'mec/r50_1xb64_100e_folder.py'


@cache
def recipe(name):
    return Config.fromfile(REPOSITORY / 'configs' / name)


def pipeline(*view, **loader):
    load = dict(dict(type='CheckedLoadImageFromFile'), **loader)
    return [
        load,
        dict(type='MultiView', num_views=2, transforms=[list(view)]),
        dict(type='PackInputs'),
    ]


def changed(name=FOLDER, steps=None, **changes):
    cfg = copy.deepcopy(recipe(name))
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    if steps:
        cfg.train_dataloader.dataset.pipeline = steps
    return cfg


def message(cfg):
    with pytest.raises(ValueError) as raised:
        check_config(cfg)
    assert '\n' not in str(raised.value)
    return str(raised.value)


def statistics(count, **kwargs):
    """Statistics of so many channels."""
    cfg = dict(type='PerChannelPreprocessor', mean=[120.0] * count, std=[60.0] * count)
    return dict(_delete_=True, **cfg, **kwargs)


def test_photos_for_a_backbone_of_gray_images():
    assert message(changed(model__backbone__in_channels=1)).startswith(
        'model.backbone.in_channels: 1, but data_preprocessor.mean has 3 and '
        'CheckedLoadImageFromFile of train_dataloader gives 3;'
    )


def test_gray_images_for_a_backbone_of_photos():
    text = message(changed(steps=pipeline(*CROP, color_type='grayscale')))
    assert text.startswith('train_dataloader.dataset.pipeline[0].color_type: 1, but model.backbone')
    assert "in_channels is 3 and data_preprocessor.mean has 3; color_type='color' " in text


def test_statistics_of_other_channels():
    text = message(changed(data_preprocessor=statistics(4)))
    assert text.startswith('data_preprocessor.mean: 4, but model.backbone.in_channels is 3 and ')


@pytest.mark.parametrize('name', ['LoadImageFromFile', 'ReducedLoadImageFromFile'])
def test_every_loader(name):
    load = dict(type=name, color_type='grayscale')
    load.update(dict(size=8) if name[0] == 'R' else {})
    four = dict(model__backbone__in_channels=4, data_preprocessor=statistics(4))
    text = message(changed(steps=pipeline(*CROP, **load), **four))
    assert text.startswith('train_dataloader.dataset.pipeline[0].color_type: 1, but ')
    assert "color_type='unchanged' of the loader gives those of the files" in text


def test_evaluation_of_other_images():
    gray, photos = recipe(DIGITS).eval_datasets.test, dict(type='CIFAR10', data_root='data')
    assert gray.type == 'Digits'
    cfg = changed(DIGITS)
    cfg.eval_datasets.test = dict(photos, split='test', pipeline=[dict(type='PackInputs')])
    assert 'in_channels: 1, but CIFAR10 of eval_datasets.test gives 3' in message(cfg)


def test_many_channels_fit():
    for count, color_type in ((1, 'grayscale'), (4, 'unchanged'), (8, 'unchanged')):
        check_config(
            changed(
                steps=pipeline(*CROP, color_type=color_type),
                model__backbone__in_channels=count,
                data_preprocessor=statistics(count),
            )
        )


@pytest.mark.parametrize('count', [1, 3])
def test_the_default_of_the_backbone_is_said(count):
    class Network:
        def __init__(self, in_channels=count):
            pass

    top = dict(
        model=dict(backbone=dict(type='Network')),
        data_preprocessor=dict(mean=[1.0] * 4, std=[1.0] * 4),
        train_dataloader=dict(dataset=dict(type='ImageFolder')),
    )
    text = f'^model.backbone.in_channels: is missing; it is {count} by default, but data_pre'
    with pytest.raises(ValueError, match=text):
        check_channels(top, None, Network)


def test_what_is_not_known_is_not_compared():
    # It may do anything, such as making one channel of three.
    steps = pipeline(*CROP, dict(type='torchvision/Grayscale'))
    gray = dict(model__backbone__in_channels=1, data_preprocessor=statistics(1))
    check_config(changed(steps=steps, **gray))
    # One mean alone may be that of all channels.
    check_config(changed(data_preprocessor=statistics(1)))


def test_channels_are_those_of_the_backbone_s_signature():
    vit = dict(type='VisionTransformer', arch='small', img_size=224, out_type='cls_token')
    cfg = changed(model__backbone=dict(_delete_=True, **vit), data_preprocessor=statistics(4))
    assert 'model.backbone.in_channels is 3' in message(cfg)


@pytest.mark.parametrize(
    'values, text',
    [
        (
            dict(type='SelfSupDataPreprocessor', mean=[1.0] * 4, std=[1.0] * 4),
            "data_preprocessor.mean: has 4 values, .* type='PerChannelPreprocessor' takes any",
        ),
        (dict(mean=[1.0] * 4, std=[1.0] * 4), 'data_preprocessor.mean: has 4 values'),
        (
            dict(type='BatchViews', pipeline=[], mean=[1.0] * 3, std=[1.0]),
            'data_preprocessor.std: has 1 values, but mean has 3',
        ),
        (
            dict(type='PerChannelPreprocessor', mean=[1.0] * 4, std=[1.0] * 4, to_rgb=True),
            'data_preprocessor.to_rgb: needs 3 channels, but mean has 4',
        ),
    ],
)
def test_statistics_that_do_not_go(values, text):
    with pytest.raises(ValueError, match=text):
        check_config(changed(data_preprocessor=dict(_delete_=True, **values)))


@pytest.mark.parametrize('place', ['data_preprocessor', 'model.data_preprocessor'])
def test_a_deviation_of_zero_is_refused(place):
    cfg = changed()
    cfg.merge_from_dict({f'{place}.mean': [0.0, 0.0, 0.0], f'{place}.std': [1.0, 0.0, 1.0]})
    assert message(cfg) == f'{place}.std: [1.0, 0.0, 1.0] divides images by 0'


@pytest.mark.parametrize('kind', ['ColorJitter', 'RandomGrayscale'])
def test_colours_of_other_channels(kind):
    inner = dict(type='RandomApply', prob=0.5, transforms=[dict(type=kind)])
    four = dict(model__backbone__in_channels=4, data_preprocessor=statistics(4))
    text = message(changed(steps=pipeline(*CROP, inner, color_type='unchanged'), **four))
    assert f'{kind} works on 3 channels, but the images have 4: leave it out' in text
