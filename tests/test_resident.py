"""Images that stay on the device give the same training."""
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from mmentropy.resident import ResidentLoader, decoded, new_images


@DATASETS.register_module()
class ColourImages(BaseDataset):
    """24 images of noise, the last of the height asked for."""

    def __init__(self, last=10, **kwargs):
        self.last = last
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self):
        rng = np.random.default_rng(0)
        heights = [10] * 23 + [self.last]
        return [
            dict(img=rng.integers(0, 256, (h, 12, 3), dtype=np.uint8))
            for h in heights
        ]


def train(folder, *hooks, **dataset):
    views = dict(
        type='MultiView',
        num_views=2,
        transforms=[[
            dict(type='RandomResizedCrop', scale=8, backend='pillow'),
            dict(type='RandomFlip', prob=0.5)
        ]])
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            work_dir=str(folder),
            experiment_name=f'resident_{folder.name}_{len(hooks)}',
            randomness=dict(seed=1),
            model=dict(
                type='MEC',
                backbone=dict(
                    type='ResNet_CIFAR',
                    depth=18,
                    base_channels=8,
                    stem_channels=8),
                neck=dict(
                    type='NonLinearNeck',
                    in_channels=64,
                    hid_channels=16,
                    out_channels=8,
                    norm_cfg=dict(type='BN1d')),
                head=dict(type='MECHead', loss=dict(type='MECLoss'))),
            data_preprocessor=dict(
                type='BatchViews',
                pipeline=[views],
                mean=[100.] * 3,
                std=[50.] * 3,
                to_rgb=True),
            train_dataloader=dict(
                batch_size=8,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='collate_images'),
                dataset=dict(
                    type='ColourImages',
                    pipeline=[dict(type='PackImage')],
                    **dataset)),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=.1)),
            custom_hooks=[
                dict(type='EntropyMonitorHook', interval=3, images=16), *hooks
            ]))
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def test_training_is_the_same(tmp_path):
    plain = train(tmp_path / 'plain')
    resident = train(tmp_path / 'resident', dict(type='ResidentImagesHook'))
    loader = resident.train_dataloader
    assert isinstance(loader, ResidentLoader)
    assert loader.images.shape == (24, 3, 10, 12)
    assert len(loader) == len(plain.train_dataloader) == 3
    expected = plain.model.state_dict()
    for key, value in resident.model.state_dict().items():
        assert torch.equal(value, expected[key]), key
    with pytest.raises(AssertionError):
        # Not because nothing was learnt.
        torch.testing.assert_close(
            expected['backbone.conv1.weight'],
            train(tmp_path / 'other', last=10,
                  indices=16).model.state_dict()['backbone.conv1.weight'])


def test_pixels_are_in_place():
    dataset = ColourImages(pipeline=[dict(type='PackImage')])
    images = decoded(dataset, torch.device('cpu'))
    assert torch.equal(images[5].permute(1, 2, 0),
                       torch.from_numpy(dataset.get_data_info(5)['img']))


@pytest.mark.parametrize('change, words', [
    (dict(last=9), r'image 23 is \(9, 12, 3\), image 0 \(10, 12, 3\): resize'),
    (dict(pipeline=[
        dict(type='MultiView', num_views=2, transforms=[[]]),
        dict(type='PackInputs')
    ]), 'PackImage'),
])
def test_what_does_not_fit_is_refused(change, words):
    init_default_scope('mmpretrain')
    dataset = ColourImages(
        **dict(dict(pipeline=[dict(type='PackImage')]), **change))
    with pytest.raises(ValueError, match=words):
        decoded(dataset, torch.device('cpu'))


def test_pixels_of_another_type_are_refused():
    with pytest.raises(ValueError, match='one uint8 image each'):
        decoded([dict(inputs=torch.zeros(4, 4, 3))], torch.device('cpu'))


def test_more_than_the_gpu_holds(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (2**20, 0))
    with pytest.raises(ValueError, match='2000 images .* more than half'):
        new_images(2000, torch.zeros(16, 32, 3), torch.device('cuda'))
