"""Trainings of a second that the monitor watches."""

import json
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.runner import Runner
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS
from networks import BACKBONE, HEADS, NECK, PREDICTOR

from mmentropy.engine.hooks.entropy_monitor import (
    EntropyMonitorHook,
)

VIEW = [
    dict(type='RandomCrop', crop_size=16, padding=2),
    dict(type='RandomFlip', prob=0.5),
]


TWO_VIEWS = [dict(type='MultiView', num_views=[2], transforms=[VIEW]), dict(type='PackInputs')]


PREDICT = dict(
    type='LatentPredictHead', loss=dict(type='CosineSimilarityLoss'), predictor=PREDICTOR
)


SIMSIAM = dict(type='SimSiam', backbone=BACKBONE, neck=NECK, head=PREDICT)


VIT = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)


RECONSTRUCTION = dict(type='PixelReconstructionLoss', criterion='L2')


MODELS = dict(
    simsiam=SIMSIAM,
    # Random in training mode: it draws from torch's generator.
    simsiam_drop=dict(SIMSIAM, backbone=dict(BACKBONE, drop_path_rate=0.2)),
    byol=dict(SIMSIAM, type='BYOL', base_momentum=0.01),
    simclr=dict(
        SIMSIAM,
        type='SimCLR',
        head=dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=0.1),
    ),
    barlow=dict(
        SIMSIAM,
        type='BarlowTwins',
        head=dict(
            type='LatentCrossCorrelationHead',
            in_channels=16,
            loss=dict(type='CrossCorrelationLoss'),
        ),
    ),
    mocov3=dict(
        SIMSIAM,
        type='MoCoV3',
        head=dict(
            type='MoCoV3Head',
            predictor=PREDICTOR,
            loss=dict(type='CrossEntropyLoss', loss_weight=2.0),
            temperature=1.0,
        ),
    ),
    mae=dict(
        type='MAE',
        backbone=dict(type='MAEViT', arch=VIT, img_size=16, patch_size=4, mask_ratio=0.75),
        neck=dict(
            type='MAEPretrainDecoder',
            num_patches=16,
            patch_size=4,
            embed_dim=16,
            decoder_embed_dim=16,
            decoder_depth=1,
            decoder_num_heads=2,
        ),
        head=dict(type='MAEPretrainHead', norm_pix=True, patch_size=4, loss=RECONSTRUCTION),
    ),
    swav=dict(
        type='SwAV',
        backbone=BACKBONE,
        neck=dict(
            type='SwAVNeck',
            in_channels=NECK['in_channels'],
            hid_channels=16,
            out_channels=16,
            norm_cfg=dict(type='BN1d'),
        ),
        head=dict(
            type='SwAVHead',
            loss=dict(
                type='SwAVLoss',
                feat_dim=16,
                epsilon=0.05,
                temperature=0.1,
                num_crops=[2, 1],
                num_prototypes=8,
            ),
        ),
    ),
    cmc=dict(
        type='CMC',
        backbone=dict(
            type='TwoEncoders',
            encoders=[dict(BACKBONE, in_channels=1), dict(BACKBONE, in_channels=2)],
            split='lab',
            mean=[120.0] * 3,
            std=[60.0] * 3,
        ),
        neck=dict(type='TwoProjectors', projectors=[NECK, NECK]),
        head=dict(type='CMCHead', temperature=0.07),
    ),
    with_mec=dict(SIMSIAM, type='WithMEC', algorithm='SimSiam', mec=dict(type='MECLoss')),
    **{
        name: dict(HEADS[name], backbone=BACKBONE)
        for name in HEADS
        if name not in ('mec_symmetric_shared', 'dino_er')
    },
)


ONE_VIEW = {
    'effective_rank',
    'rankme',
    'alpha_req',
    'feature_std',
    'feature_length',
    'uniformity',
    'coding_length',
    'entropy',
}


PAIR = {'alignment', 'reconstruction', 'er_bound', 'lidar'}


@DATASETS.register_module()
class Stripes(BaseDataset):
    """Noise (16, 16, 3), or the ``same`` noise, drawn by ``first``."""

    def __init__(self, size, first=0, same=False, **kwargs):
        self.size, self.first, self.same = size, first, same
        super().__init__(ann_file='', serialize_data=False, **kwargs)

    def load_data_list(self):
        rng = np.random.default_rng(self.first)
        images = rng.integers(0, 60, (self.size, 16, 16, 3), dtype=np.uint8)
        # The stripes differ in brightness.
        images += rng.integers(60, 190, (self.size, 1, 1, 1), dtype=np.uint8)
        if self.same:
            images[:] = images[0]
        return [dict(img=img) for img in images]


def config(work_dir, name, run, *hooks, **kwargs):
    """Two epochs of two iterations."""
    pipeline = TWO_VIEWS
    if name == 'mae':
        pipeline = [*VIEW, dict(type='PackInputs')]
    if name == 'swav':
        small = [dict(type='RandomCrop', crop_size=8), VIEW[1]]
        pipeline = [
            dict(type='MultiView', num_views=[2, 1], transforms=[VIEW, small]),
            dict(type='PackInputs'),
        ]
    cfg = dict(
        default_scope='mmpretrain',
        work_dir=str(work_dir / run),
        experiment_name=f'{run}_{name}_{work_dir.name}_{get_rank()}',
        randomness=dict(seed=1),
        model=MODELS[name],
        data_preprocessor=dict(type='SelfSupDataPreprocessor', mean=[120.0] * 3, std=[60.0] * 3),
        train_dataloader=dict(
            batch_size=8,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
            dataset=dict(type='Stripes', size=16, pipeline=pipeline),
        ),
        eval_datasets=dict(
            train=dict(type='Stripes', size=4, pipeline=[]),
            test=dict(type='Stripes', size=40, first=100, pipeline=[]),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
        default_hooks=dict(checkpoint=None),
        visualizer=dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')]),
        log_level='WARNING',
        custom_hooks=list(hooks),
    )
    return Config({**cfg, **kwargs})


def train(*args, **kwargs):
    runner = Runner.from_cfg(config(*args, **kwargs))
    runner.train()
    return runner


def hook(**kwargs):
    return dict(type='EntropyMonitorHook', **{**dict(interval=2, images=12), **kwargs})


def the_hook(runner):
    return next(h for h in runner.hooks if isinstance(h, EntropyMonitorHook))


def logged(runner):
    """What the visualizer wrote, by step."""
    file = Path(runner.log_dir, 'vis_data', 'scalars.json')
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return {
        line.pop('step'): line for line in lines if any(key.startswith('monitor') for key in line)
    }
