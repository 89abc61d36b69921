"""Ranks that differ are named before they train."""

import platform
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

import mmentropy
from mmentropy.checks.arguments import POSITIVE, or_none, require


@HOOKS.register_module()
class RanksHook(Hook):
    """Compare the ranks before they train.

    All ranks raise a ValueError, with the name of a rank and both values, if two have different
    config entries (but for ``work_dir`` and ``experiment_name``), numbers of images or batches, or
    versions of the code, of torch or of Python.

    Args:
        patience: It has no effect, which is logged, and is accepted for configs of version 0.1. A
            rank that stops without ending is left to the timeout of the process group.
    """

    priority = 'VERY_HIGH'

    def __init__(self, patience: float | None = None) -> None:
        require(or_none(POSITIVE), patience=patience)
        self.patience = patience

    def before_train(self, runner: Runner) -> None:
        if self.patience is not None:
            runner.logger.warning(
                f'RanksHook: patience={self.patience} has no effect any more; a rank that '
                'hangs is left to env_cfg.dist_cfg.timeout'
            )
        if get_world_size() == 1:
            return
        first, *others = all_gather_object(facts_of(runner))
        for rank, facts in enumerate(others, start=1):
            keys = sorted(first.keys() | facts.keys())
            differ = [key for key in keys if first.get(key) != facts.get(key)]
            if differ:
                key = differ[0]
                more = f', and {len(differ) - 1} more' if differ[1:] else ''
                raise ValueError(
                    f'rank {rank} differs from rank 0 in {key}: {facts.get(key)} instead of '
                    f'{first.get(key)}{more}; all need the same code, config and data'
                )


def facts_of(runner: Runner) -> dict[str, str]:
    """Return what has to be the same on all ranks, as texts by what they say."""
    loader = runner.train_dataloader
    facts = {
        'the number of training images': len(loader.dataset),
        'the number of batches': len(loader),
        'the version of mmentropy': mmentropy.__version__,
        'the version of torch': torch.__version__,
        'the version of Python': platform.python_version(),
    }
    config = dict(leaves(runner.cfg.to_dict()))
    # A rank that tries a config has a folder of its own.
    for name in ('work_dir', 'experiment_name'):
        config.pop(name, None)
    facts |= {f'the config, {key}': value for key, value in config.items()}
    return {key: str(value) for key, value in facts.items()}


def leaves(value: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Yield the entries of nested dicts and lists, each with its path."""
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        yield path, value
        return
    for key, child in value.items():
        yield from leaves(child, f'{path}.{key}' if path else str(key))
