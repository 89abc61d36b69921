"""Ranks that differ or stop are named, before they make the others wait."""

import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from mmengine.dist import (
    all_gather_object,
    barrier,
    get_rank,
    get_world_size,
)
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch.distributed.distributed_c10d import _get_default_store

import mmentropy
from mmentropy.checks.arguments import POSITIVE, require

# Of the beats in the store of the process group.
KEY = 'mmentropy/beat'


@HOOKS.register_module()
class RanksHook(Hook):
    """Compare the ranks before training, and watch them while they train.

    Refused, with the name of the rank and both values: other config entries
    (but for ``work_dir``), number of images or batches, versions of the code,
    of torch or of Python. A rank that gives no sign of life, because its
    process or machine was stopped, ends the others with its name and status
    1; what hangs but lives is left to the timeout of the process group.

    Args:
        patience: Seconds without a sign of life.

    Raises:
        ValueError: Before the first step, on all ranks.
    """

    priority = 'VERY_HIGH'

    def __init__(self, patience: float = 60.0) -> None:
        require(POSITIVE, patience=patience)
        self.patience = patience
        self._watch: Watch | None = None

    def before_train(self, runner: Runner) -> None:
        if get_world_size() == 1:
            return
        ranks = all_gather_object(facts_of(runner))
        for rank, facts in enumerate(ranks):
            differ = [
                key
                for key in sorted(ranks[0].keys() | facts.keys())
                if ranks[0].get(key) != facts.get(key)
            ]
            if differ:
                key = differ[0]
                more = f', and {len(differ) - 1} more' if differ[1:] else ''
                raise ValueError(
                    f'rank {rank} differs from rank 0 in {key}: '
                    f'{facts.get(key)} instead of {ranks[0].get(key)}{more}; '
                    'all need the same code, config and data'
                )
        names = all_gather_object(f'rank {get_rank()} (process {os.getpid()} on {platform.node()})')
        self._watch = Watch(_get_default_store(), names, self.patience)
        self._watch.start()

    def after_train(self, runner: Runner) -> None:
        if self._watch:
            # The first may write for longer than the others wait.
            barrier()
            self._watch.stop()


def facts_of(runner: Runner) -> dict[str, str]:
    """What has to be the same on all ranks, as texts."""
    loader = runner.train_dataloader
    facts = {
        'the number of training images': len(loader.dataset),
        'the number of batches': len(loader),
        'the version of mmentropy': mmentropy.__version__,
        'the version of torch': torch.__version__,
        'the version of Python': platform.python_version(),
    }
    for key, value in leaves(runner.cfg.to_dict()):
        if key != 'work_dir':
            facts[f'the config, {key}'] = value
    return {key: str(value) for key, value in facts.items()}


def leaves(value: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Entries of nested dicts and lists by their paths."""
    children: Iterable[tuple[Any, Any]]
    if isinstance(value, Mapping):
        children = value.items()
    elif isinstance(value, (list, tuple)):
        children = enumerate(value)
    else:
        yield path, value
        return
    for key, child in children:
        yield from leaves(child, f'{path}.{key}' if path else str(key))


class Watch:
    """Gives signs of life of this rank, and misses those of others.

    Args:
        store: of the process group.
        names: of the ranks.
        patience: seconds.
        leave: what to do, on one thread, when a rank was missed.
    """

    def __init__(
        self, store: Any, names: list[str], patience: float, leave: Callable[[int], Any] = os._exit
    ) -> None:
        self.store = store
        self.names = names
        self.patience = patience
        self.leave = leave
        self.seen: dict[int, bytes] = {}
        self.heard = dict.fromkeys(range(len(names)), time.monotonic())
        self.ended = threading.Event()

    def start(self) -> None:
        # Of two threads, because the store may be the one that stopped.
        for task in (self._beat, self._judge):
            threading.Thread(target=task, daemon=True).start()

    def stop(self) -> None:
        self.ended.set()

    def _beat(self) -> None:
        count, own = 0, get_rank()
        while not self.ended.wait(self.patience / 10):
            count += 1
            try:
                self.store.set(f'{KEY}/{own}', str(count))
                for rank in self.heard:
                    key = f'{KEY}/{rank}'
                    if not self.store.check([key]):
                        continue
                    beat = self.store.get(key)
                    if beat != self.seen.get(rank):
                        self.seen[rank] = beat
                        self.heard[rank] = time.monotonic()
            except RuntimeError:
                # The store's process has ended, and torch will say so.
                return

    def _judge(self) -> None:
        before = time.monotonic()
        while not self.ended.wait(self.patience / 10):
            now = time.monotonic()
            if now - before > self.patience / 2:
                # It is this process that was stopped.
                self.heard = dict.fromkeys(self.heard, now)
            before = now
            silent = [rank for rank, last in self.heard.items() if now - last > self.patience]
            if len(silent) == len(self.heard):
                print(
                    f'the store of the process group, of {self.names[0]} or '
                    'of its launcher, does not answer',
                    file=sys.stderr,
                    flush=True,
                )
                self.leave(1)
                return
            if silent:
                print(
                    f'{", ".join(self.names[rank] for rank in silent)}: no '
                    f'sign of life for {self.patience:g} s, training ends; '
                    'go on with --resume',
                    file=sys.stderr,
                    flush=True,
                )
                self.leave(1)
                return
