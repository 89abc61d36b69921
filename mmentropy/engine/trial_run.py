"""What a run would do, tried on a few iterations and told in a few lines, for ``--check``."""

import math
import resource
import tempfile
import time
from copy import copy
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn

from mmentropy.distributed import unwrapped
from mmentropy.engine.accumulation import (
    accumulation_line,
    batch_of,
    iterations_per_step,
    parts_line,
)
from mmentropy.engine.checkpoint_room import readable_size, require_room
from mmentropy.engine.hooks.signals import SignalHook
from mmentropy.engine.train_loop import has_stepped

# The number of iterations that are tried at least. The first one is slower and not timed.
TRIES = 3


def try_run(runner: Runner, folder: Path) -> list[str]:
    """Begin to train, stop after a few iterations, and return lines on what training would do.

    Args:
        runner: It has not trained. Its work directory is used for the trial, and its network is
            changed.
        folder: Where training would save its checkpoints.

    Raises:
        Exception: The error with which training would end at once.
        OSError: There is no room for the checkpoints.
    """
    as_configured = [copy(hook) for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    trial = run_trial(runner)
    return [
        *data_lines(runner),
        *time_lines(runner, trial),
        *network_lines(runner),
        *checkpoint_lines(runner, folder, as_configured),
    ]


def run_trial(runner: Runner) -> 'TrialHook':
    """Begin to train, save nothing, stop after a few iterations, and return their times.

    The argument and errors are those of :func:`try_run`.
    """
    trial = TrialHook()
    runner.register_hook(trial)
    runner.register_hook(RestartHook(trial))
    # A trial saves nothing when a signal ends it, and ends at once.
    runner._hooks = [hook for hook in runner.hooks if not isinstance(hook, SignalHook)]
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            hook.interval, hook.save_last = -1, False
    try:
        runner.train()
    except _Enough:
        runner.call_hook('after_train')
    return trial


class _Enough(Exception):
    """The trial has seen enough."""


class TrialHook(Hook):
    """Time a few iterations, and end the training with ``_Enough``.

    An iteration that is left out raises a FloatingPointError.
    """

    priority = 'HIGHEST'

    def __init__(self) -> None:
        self.loading: list[float] = []
        self.steps: list[float] = []

    def before_train(self, runner: Runner) -> None:
        self.start = runner.iter
        # A validation takes longer than a trial.
        runner.train_loop.val_begin = math.inf
        self.moment = time.perf_counter()

    def before_train_iter(self, *args: Any, **kwargs: Any) -> None:
        self.loading.append(self.lap())

    def after_train_iter(self, runner: Runner, *args: Any, outputs: dict, **kwargs: Any) -> None:
        if not outputs:
            raise FloatingPointError('the first iterations are not finite: see the warning above')
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.steps.append(self.lap())
        # The optimiser shall have stepped.
        if len(self.steps) >= TRIES and has_stepped(runner.optim_wrapper):
            raise _Enough

    def after_train_epoch(self, runner: Runner) -> None:
        # Other hooks would evaluate now.
        raise _Enough

    def seconds(self, workers: int) -> tuple[float, float, float]:
        """Return the seconds of loading a batch, of a step, and of an iteration of both.

        Loader processes, ``workers`` of them, work while the network trains.
        """
        # The first iteration starts loader processes and chooses algorithms.
        loading, step = (min(times[1:] or times) for times in (self.loading, self.steps))
        return loading, step, max(step, loading / workers) if workers else step + loading

    def lap(self) -> float:
        """Return the seconds since it was last called."""
        last, self.moment = self.moment, time.perf_counter()
        return self.moment - last


class RestartHook(Hook):
    """Take the time of other hooks after an iteration out of the trial."""

    priority = 'LOWEST'

    def __init__(self, trial: TrialHook) -> None:
        self.trial = trial

    def after_train_iter(self, *args: Any, **kwargs: Any) -> None:
        self.trial.lap()


def data_lines(runner: Runner) -> list[str]:
    """Tell how many images and batches there are, and for which batch the config is meant."""
    loader, ranks = runner.train_dataloader, get_world_size()
    rows = batch_of(runner)
    batch = rows * iterations_per_step(runner)
    lines = [
        f'data: {len(loader.dataset):,} images, {ranks} process{"es" if ranks > 1 else ""} '
        f'x batch {rows // ranks} = {rows}, {len(loader):,} iterations an epoch',
        *filter(None, [accumulation_line(runner), parts_line(runner)]),
    ]
    scale = runner.cfg.get('auto_scale_lr') or {}
    base = scale.get('base_batch_size') or batch
    if base != batch:
        scaled = 'scaled' if scale.get('enable') else 'not scaled: add --auto-scale-lr'
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            rate = 'scaled, but' if scale.get('enable') else 'not scaled, and'
            scaled = f'{rate} iterations are not: keep the batch by train_dataloader.batch_size'
        lines.append(
            f'batch: the config is meant for {base}, this is {batch}; the learning rate is {scaled}'
        )
    return lines


def time_lines(runner: Runner, trial: TrialHook) -> list[str]:
    """Tell how long training takes, as far as a few iterations can tell."""
    loop = runner.train_loop
    epochs = f'{loop.max_epochs} epochs = ' if isinstance(loop, EpochBasedTrainLoop) else ''
    left = loop.max_iters - trial.start
    rest = f', {left:,} of them left' if trial.start else ''
    lines = [f'training: {epochs}{loop.max_iters:,} iterations{rest}']
    if trial.steps:
        workers = runner.train_dataloader.num_workers
        loading, step, each = trial.seconds(workers)
        lines.append(
            f'time: {step:.3g} s a step, {loading:.3g} s waiting for a batch ({workers} loader '
            f'processes): about {timedelta(seconds=round(each * left))} without measuring'
        )
    return lines


def network_lines(runner: Runner) -> list[str]:
    """Tell how large the network is, and how much memory it takes."""
    model = unwrapped(runner.model)
    part = f' of {name_of(model.backbone)}' if hasattr(model, 'backbone') else ''
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if torch.cuda.is_available():
        device = f'GPU {torch.cuda.get_device_name()}'
        used = torch.cuda.max_memory_allocated()
    else:
        device = f'CPU, {torch.get_num_threads()} threads'
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return [
        f'network: {name_of(model)}{part}, {count:,} parameters are trained',
        f'memory: {readable_size(used)} at most on {device}',
    ]


def name_of(network: nn.Module) -> str:
    """Return the name of a network's class, which torch prefixes when it shards the network."""
    return type(network).__name__.removeprefix('FSDP')


def checkpoint_lines(runner: Runner, folder: Path, hooks: list[CheckpointHook]) -> list[str]:
    """Tell what is saved where, and the room it takes, or raise OSError if there is less."""
    if not hooks:
        return ['checkpoints: none, default_hooks.checkpoint is missing']
    hook = hooks[0]
    with tempfile.TemporaryDirectory() as trial:
        runner.save_checkpoint(trial, 'trial.pth')
        # The first rank alone has written it.
        size = sum(file.stat().st_size for file in Path(trial).glob('trial.pth'))
    room = require_room(runner, hook, folder, size)
    unit = 'epochs' if hook.by_epoch else 'iterations'
    best = [f'best: by {", ".join(hook.key_indicators)}'] if hook.save_best else []
    return [
        f'checkpoints: {readable_size(size)} each in {folder.absolute()}, every {hook.interval} '
        f'{unit}, {room.kept} kept',
        f'disk: {room}',
        *best,
    ]
