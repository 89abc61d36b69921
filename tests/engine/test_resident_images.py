"""Images that stay on the device give the same training."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS
from small import small_config

from mmentropy.engine.hooks.resident_images import (
    ResidentLoader,
    check_memory,
    decoded,
)

RESIDENT = dict(type='ResidentImagesHook')


@DATASETS.register_module()
class ColourImages(BaseDataset):
    """24 images of noise, the last of the height asked for."""

    def __init__(self, last=10, **kwargs):
        self.last = last
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self):
        rng = np.random.default_rng(0)
        heights = [10] * 23 + [self.last]
        return [dict(img=rng.integers(0, 256, (h, 12, 3), dtype=np.uint8)) for h in heights]


def config(folder, *hooks, **dataset):
    """Three iterations an epoch."""
    cfg = small_config(
        folder, dict(type='ColourImages', pipeline=[dict(type='PackImage')], **dataset)
    )
    cfg.train_dataloader.collate_fn.type = 'collate_images'
    views = dict(
        type='MultiView',
        num_views=2,
        transforms=[
            [
                dict(type='RandomResizedCrop', scale=8, backend='pillow'),
                dict(type='RandomFlip', prob=0.5),
            ]
        ],
    )
    cfg.data_preprocessor = dict(
        type='BatchViews', pipeline=[views], mean=[100.0] * 3, std=[50.0] * 3, to_rgb=True
    )
    cfg.custom_hooks = [dict(type='EntropyMonitorHook', interval=3, images=16), *hooks]
    return cfg


def train(cfg):
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def same(ours, theirs):
    expected = theirs.model.state_dict()
    for key, value in ours.model.state_dict().items():
        assert torch.equal(value, expected[key]), key


@pytest.mark.slow
def test_training_is_the_same(tmp_path):
    plain = train(config(tmp_path / 'plain'))
    resident = train(config(tmp_path / 'resident', RESIDENT))
    loader = resident.train_dataloader
    assert isinstance(loader, ResidentLoader)
    assert loader.images.shape == (24, 3, 10, 12)
    assert len(loader) == len(plain.train_dataloader) == 3
    same(resident, plain)
    # Not because nothing was learnt.
    with pytest.raises(AssertionError):
        same(train(config(tmp_path / 'other', indices=16)), plain)


@pytest.mark.slow
def test_resumed_within_an_epoch(tmp_path):
    """From iteration 4 of 6, with the hook or from a run without it."""
    draws = dict(type='ExactResumeHook')
    whole = train(config(tmp_path / 'whole', draws))
    for name, hooks in (('with', [draws, RESIDENT]), ('without', [draws])):
        cfg = config(tmp_path / name, *hooks)
        cfg.default_hooks = dict(
            checkpoint=dict(type='SafeCheckpointHook', interval=2, by_epoch=False)
        )
        train(cfg)
        cfg = config(tmp_path / f'{name}_resumed', draws, RESIDENT)
        cfg.update(resume=True, load_from=f'{tmp_path}/{name}/iter_4.pth')
        same(train(cfg), whole)


@pytest.mark.slow
def test_where_training_counts_iterations(tmp_path):
    runs = []
    for name, hooks in (('plain', []), ('resident', [RESIDENT])):
        cfg = config(tmp_path / name, *hooks)
        cfg.train_cfg = dict(by_epoch=False, max_iters=4)
        cfg.train_dataloader.sampler.type = 'InfiniteSampler'
        runs.append(train(cfg))
    same(*runs)
    iterator = runs[1].train_loop.dataloader_iterator
    assert isinstance(iterator._dataloader, ResidentLoader)


def test_pixels_are_in_place():
    dataset = ColourImages(pipeline=[dict(type='PackImage')])
    images = decoded(dataset, torch.device('cpu'))
    assert torch.equal(
        images[5].permute(1, 2, 0), torch.from_numpy(dataset.get_data_info(5)['img'])
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    'change, words',
    [
        (dict(last=9), r'image 23 is \(9, 12, 3\), image 0 \(10, 12, 3\): resize'),
        (
            dict(
                pipeline=[
                    dict(type='MultiView', num_views=2, transforms=[[]]),
                    dict(type='PackInputs'),
                ]
            ),
            'PackImage',
        ),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    init_default_scope('mmpretrain')
    dataset = ColourImages(**dict(dict(pipeline=[dict(type='PackImage')]), **change))
    with pytest.raises(ValueError, match=words):
        decoded(dataset, torch.device('cpu'))


def test_pixels_of_another_type_are_refused():
    with pytest.raises(ValueError, match='one uint8 image each'):
        decoded([dict(inputs=torch.zeros(4, 4, 3))], torch.device('cpu'))


def test_more_than_the_gpu_holds(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (2**20, 0))
    with pytest.raises(ValueError, match='2000 images .* more than half'):
        check_memory(2000, (16, 32, 3), torch.device('cuda'))
