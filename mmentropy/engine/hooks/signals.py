"""Leaving in good order when told to."""

import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import torch
from mmengine.dist import all_reduce, barrier, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from mmentropy.checks.arguments import COUNT, require
from mmentropy.engine.hooks.safe_checkpoint import SafeCheckpointHook
from mmentropy.engine.optim_wrapper import has_stepped

# sysexits.h's EX_TEMPFAIL: try again.
INTERRUPTED_STATUS = 75
# SLURM sends what --signal names ahead of the time limit.
SIGNALS = ('SIGTERM', 'SIGINT', 'SIGUSR1')


@HOOKS.register_module()
class SignalHook(Hook):
    """Save and leave with status 75 on SIGTERM, SIGINT or SIGUSR1.

    All ranks together, after an iteration that ends with a step of the
    optimiser, if any one of them was told. A second SIGINT interrupts at once.
    Needs the ``SafeCheckpointHook``.

    Args:
        interval: Iterations between two questions to the other ranks, which
            cost a collective and a wait for the device; one process looks
            after every iteration.

    Raises:
        ValueError: Before the first step: ``interval`` below 1.
    """

    priority = 'LOWEST'

    def __init__(self, interval: int = 5) -> None:
        require(COUNT, interval=interval)
        self.interval = interval
        self.received = 0
        self.agreed = False
        self._before: dict[int, Any] = {}

    def before_train(self, runner: Runner) -> None:
        # Python lets no other thread set handlers.
        if threading.current_thread() is threading.main_thread():
            for name in SIGNALS:
                number = getattr(signal, name, None)
                if number is not None:
                    self._before[number] = signal.signal(number, self._note)
        for loop in (runner.train_loop, runner.val_loop):
            if loop is not None:
                loader = loop.dataloader
                loader.worker_init_fn = partial(apart, loader.worker_init_fn)

    def after_train(self, runner: Runner) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        self.agreed = self.agreed or self._told(runner)
        # A checkpoint has no room for gradients that are being accumulated.
        if not self.agreed or not has_stepped(runner.optim_wrapper):
            return
        hooks = [hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook)]
        name = hooks[0].save_now(runner) if hooks else None
        saved = f'{name} is saved, go on with --resume' if name else 'nothing is saved'
        runner.logger.warning(
            f'{signal.Signals(self.received).name} after iteration {runner.iter + 1}: {saved}'
        )
        # A launcher ends the others when the first one leaves.
        barrier()
        self.after_train(runner)
        raise SystemExit(INTERRUPTED_STATUS)

    def _told(self, runner: Runner) -> bool:
        """Whether this process was, or one of the others."""
        if get_world_size() == 1:
            return bool(self.received)
        if (runner.iter + 1) % self.interval and not self.is_last_train_iter(runner):
            return False
        told = torch.tensor(float(self.received), device=next(runner.model.parameters()).device)
        all_reduce(told, 'max')
        self.received = int(told)
        return bool(self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
        # Not by the logger, which may hold its lock just now.
        os.write(2, b'\nfinishing this iteration, then saving\n')


def apart(init: Callable[[int], None] | None, worker: int) -> None:
    """Start of a loader process, which ends with the one it loads for.

    torchrun and terminals tell the whole process group, SLURM may tell all.
    """
    os.setpgid(0, 0)
    # For SIGTERM, by which its parent ends it, torch has a handler of its own.
    for name in ('SIGINT', 'SIGUSR1'):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if init:
        init(worker)
