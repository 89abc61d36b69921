"""Checkpoints, and what is logged about them, that several modules here need."""

import logging

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from small_backbones import SHAPE

import mmentropy  # noqa: F401, registers Digits


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
    """Return (checkpoint, runner) after one epoch of mmpretrain's BYOL."""
    work_dir = tmp_path_factory.mktemp('byol')
    norm = dict(type='BN1d')
    view = [dict(type='RandomCrop', crop_size=8, padding=1)]
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            work_dir=str(work_dir),
            experiment_name='checkpoint_test',
            model=dict(
                type='BYOL',
                backbone=dict(type='ResNet_CIFAR', **SHAPE),
                neck=dict(
                    type='NonLinearNeck',
                    in_channels=64,
                    hid_channels=32,
                    out_channels=16,
                    norm_cfg=norm,
                ),
                head=dict(
                    type='LatentPredictHead',
                    loss=dict(type='CosineSimilarityLoss'),
                    predictor=dict(
                        type='NonLinearNeck',
                        in_channels=16,
                        hid_channels=32,
                        out_channels=16,
                        with_avg_pool=False,
                        norm_cfg=norm,
                    ),
                ),
            ),
            data_preprocessor=dict(mean=[100.0], std=[50.0]),
            train_dataloader=dict(
                batch_size=32,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='default_collate'),
                dataset=dict(
                    type='Digits',
                    indices=64,
                    pipeline=[
                        dict(type='MultiView', num_views=[2], transforms=[view]),
                        dict(type='PackInputs'),
                    ],
                ),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        )
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    return work_dir / 'epoch_1.pth', runner


@pytest.fixture
def records():
    """Return the list that fills with what is logged in a test."""
    found = []
    handler = logging.Handler()
    handler.emit = found.append
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)
