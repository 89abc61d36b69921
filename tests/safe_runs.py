"""Short runs with the hooks that keep a run safe, on images of noise."""

import os
import random
import signal
from pathlib import Path

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, HOOKS
from mmpretrain.structures import DataSample
from small import small_config
from torch.utils.data import Dataset

from mmentropy.engine.resume import choose_checkpoint


@DATASETS.register_module()
class DrawnViews(Dataset):
    """Two views of an image under noise, drawn from all three generators."""

    def __init__(self, size=16, spoilt=(), moment=None):
        self.size = size
        self.spoilt = spoilt
        self.calls = 0

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        noise = np.random.rand(2, 1, 1, 1) + random.random()
        views = torch.from_numpy(noise).float() + torch.rand(2, 3, 8, 8)
        # Each image its own slope.
        views = views + index / 16 * torch.linspace(0, 1, 8)
        if index in self.spoilt:
            views[:] = float('nan')
        sample = DataSample()
        sample.set_field(int(index), 'sample_idx', field_type='metainfo')
        return dict(inputs=list(views), data_samples=sample)


@HOOKS.register_module()
class Disturb(Hook):
    """Calls ``ACTIONS[action](runner)`` after an iteration, or after each."""

    def __init__(self, action, at=None):
        self.action = action
        self.at = at

    def after_train_iter(self, runner, *args, **kwargs):
        if self.at in (None, runner.iter + 1):
            ACTIONS[self.action](runner)


# Configs hold nothing but texts and numbers.
ACTIONS = dict(
    terminate=lambda runner: os.kill(os.getpid(), signal.SIGTERM),
    warn=lambda runner: os.kill(os.getpid(), signal.SIGUSR1),
)


def disturb(action, at=None):
    """The hook's config."""
    ACTIONS[action.__name__] = action
    return dict(type='Disturb', action=action.__name__, at=at)


def config(folder, epochs=3, hooks=(), algorithm='MEC', **dataset):
    """Four iterations an epoch, a checkpoint after each epoch."""
    cfg = small_config(
        folder,
        dict(type='DrawnViews', **dataset),
        algorithm,
        norm='GlobalBN',
        epochs=epochs,
        batch_size=4,
    )
    cfg.model.backbone.norm_cfg = dict(type='GlobalBN')
    cfg.default_hooks = dict(
        logger=dict(type='LoggerHook', interval=1),
        checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=1),
        draws=dict(type='ExactResumeHook'),
        numbers=dict(type='NonFiniteHook', patience=3, keep=2),
        ranks=dict(type='RanksHook'),
        signals=dict(type='SignalHook', interval=1),
    )
    cfg.custom_hooks = list(hooks)
    return cfg


def train(cfg):
    choose_checkpoint(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def weights(runner):
    model = getattr(runner.model, 'module', runner.model)
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]), key


def log_of(runner):
    return Path(runner.log_dir, f'{runner.timestamp}.log').read_text()


def accumulating(folder, *hooks, batch=4, **dataset):
    """Every second iteration steps; by default, every epoch ends in one."""
    cfg = config(folder, hooks=hooks, **dataset)
    cfg.optim_wrapper.accumulative_counts = 2
    cfg.train_dataloader.batch_size = batch
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    return cfg


def resumed(cfg, checkpoint):
    cfg.update(resume=True, load_from=str(checkpoint))
    return train(cfg)
