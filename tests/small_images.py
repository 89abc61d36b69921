"""Small images, a tiny ResNet for them, and its features by hand."""

import numpy as np
import torch
from mmengine.config import Config
from mmpretrain.models import (
    ResNet_CIFAR,
)
from mmpretrain.structures import DataSample

PACK = [dict(type='PackInputs')]


NORM = dict(mean=[100.0], std=[50.0])


class Images(torch.utils.data.Dataset):
    """Random (1, 16, 16) images; row i has label i."""

    def __init__(self, size, unlabelled=(), shape=lambda i: (1, 16, 16)):
        rng = np.random.default_rng(0)
        self.images = [
            torch.from_numpy(rng.integers(0, 256, shape(i), dtype=np.uint8)) for i in range(size)
        ]
        self.unlabelled = unlabelled

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        sample = DataSample()
        if i not in self.unlabelled:
            sample.set_gt_label(i)
        return dict(inputs=self.images[i], data_samples=sample)


def tiny_resnet(seed=0):
    torch.manual_seed(seed)
    return ResNet_CIFAR(depth=18, base_channels=8, stem_channels=8, in_channels=1)


def by_hand(backbone, images, mean=100.0, std=50.0):
    x = (torch.stack(images.images).float() - mean) / std
    # mmpretrain's train() returns nothing, so no chain.
    backbone.eval()
    with torch.no_grad():
        return backbone(x)[-1].mean((2, 3))


MODEL = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet_CIFAR',
        depth=18,
        base_channels=8,
        stem_channels=8,
        in_channels=1,
        init_cfg=dict(type='Pretrained', checkpoint='/nowhere.pth'),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
)


def digits_config(**kwargs):
    train, test = [
        dict(type='Digits', split=split, indices=200, pipeline=PACK) for split in ('train', 'test')
    ]
    return Config(
        dict(
            model=MODEL,
            data_preprocessor=NORM,
            **kwargs or dict(eval_datasets=dict(train=train, test=test)),
        )
    )
