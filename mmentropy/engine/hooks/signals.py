"""Saving and leaving when a signal says so."""

import os
import signal
import threading
from types import FrameType
from typing import Any

import torch
from mmengine.dist import all_reduce, barrier, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from mmentropy.checks.arguments import COUNT, require
from mmentropy.datasets.loader_processes import guard_loader
from mmentropy.engine.hooks.safe_checkpoint import SafeCheckpointHook
from mmentropy.engine.train_loop import TrainLoop, has_stepped

# EX_TEMPFAIL of sysexits.h asks to try again.
INTERRUPTED_STATUS = 75
# SLURM sends the signal that --signal names ahead of the time limit; SIGUSR1 in our script.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@HOOKS.register_module()
class SignalHook(Hook):
    """Save and leave with status 75 on SIGTERM, SIGINT or SIGUSR1.

    If any rank was told, all of them leave together, after an iteration that ends with a step of
    the optimiser. A second SIGINT interrupts at once. The ``SafeCheckpointHook`` is needed.

    Args:
        interval: The number of iterations between two questions to the other ranks, which cost a
            collective and a wait for the device. One process looks after every iteration. Told
            after the last question, ranks end their training, which saves as well.
    """

    priority = 'LOWEST'

    def __init__(self, interval: int = 5) -> None:
        require(COUNT, interval=interval)
        self.interval = interval
        self.received = 0
        self.agreed = False
        self._before: dict[int, Any] = {}

    def before_train(self, runner: Runner) -> None:
        # Python lets only the main thread set handlers.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
            if isinstance(runner.train_loop, TrainLoop):
                runner.train_loop.on_leaving.callback(self.after_train, runner)
        for loop in (runner.train_loop, runner.val_loop):
            if loop is not None:
                guard_loader(loop.dataloader)

    def after_train(self, runner: Runner) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self.agreed = self.agreed or self._told(runner)
        if not self.agreed or not has_stepped(runner.optim_wrapper):
            return
        hooks = [hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook)]
        name = hooks[0].save_now(runner) if hooks else None
        saved = f'{name} is saved, go on with --resume' if name else 'nothing is saved'
        runner.logger.warning(
            f'{signal.Signals(self.received).name} after iteration {runner.iter + 1}: {saved}'
        )
        # A launcher ends the other ranks when the first one leaves.
        barrier()
        self.after_train(runner)
        raise SystemExit(INTERRUPTED_STATUS)

    def _told(self, runner: Runner) -> bool:
        """Return whether this process was told to leave, or another one."""
        if get_world_size() == 1:
            return bool(self.received)
        if (runner.iter + 1) % self.interval:
            return False
        told = torch.tensor(float(self.received), device=next(runner.model.parameters()).device)
        all_reduce(told, 'max')
        # A signal that came meanwhile is for the next question, which all ranks hear.
        if number := int(told):
            self.received = number
        return bool(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
        # The logger may hold its lock at this moment.
        os.write(2, b'\nfinishing this iteration, then saving\n')
