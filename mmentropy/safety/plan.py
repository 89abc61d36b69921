"""What a run would do, tried on a few iterations and put in words."""

import resource
import shutil
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn

# Iterations that are tried; the first is slower and not timed.
TRIES = 3


def plan(runner: Runner, folder: Path) -> list[str]:
    """Build all that training needs, step a few times, and report.

    Args:
        runner: That has not trained. Its own work directory is taken for
            trials; its network is changed.
        folder: Of the checkpoints of the run that is planned.

    Returns:
        Lines.

    Raises:
        Exception: What training would end with at once.
        OSError: There is no room for the checkpoints.
    """
    loop = runner.train_loop
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(
            runner.param_schedulers)
    # Builds it.
    runner.val_loop  # noqa: B018
    runner.call_hook('before_run')
    runner._init_model_weights()
    runner.load_or_resume()
    start = runner.iter
    runner.optim_wrapper.initialize_count_status(runner.model, start,
                                                 loop.max_iters)
    runner.call_hook('before_train')
    loading, step = tried(runner)
    size = checkpoint_size(runner)
    runner.call_hook('after_train')
    return [
        *data_lines(runner),
        *time_lines(runner, start, loading, step),
        *network_lines(runner),
        *checkpoint_lines(runner, folder, size),
    ]


def tried(runner: Runner) -> tuple[float, float]:
    """Seconds of loading and of the step, of iterations after the first."""
    runner.model.train()
    batches = iter(runner.train_dataloader)
    seconds: list[tuple[float, float]] = []
    for _ in range(TRIES):
        begin = time.perf_counter()
        try:
            batch = next(batches)
        except StopIteration:
            if not seconds:
                raise ValueError(
                    'train_dataloader gives no batch: it has '
                    f'{len(runner.train_dataloader.dataset)} images, and '
                    f'batch_size {runner.train_dataloader.batch_size} may '
                    'leave none with drop_last=True') from None
            break
        loaded = time.perf_counter()
        losses = runner.model.train_step(
            batch, optim_wrapper=runner.optim_wrapper)
        if not losses:
            raise FloatingPointError('the first iterations are not finite: '
                                     'see the warning above')
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append((loaded - begin, time.perf_counter() - loaded))
    # The first starts loader processes and finds algorithms.
    timed = seconds[1:] or seconds
    return min(a for a, _ in timed), min(b for _, b in timed)


def checkpoint_size(runner: Runner) -> int:
    """Bytes of a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        runner.save_checkpoint(folder, 'trial.pth')
        return sum(f.stat().st_size for f in Path(folder).glob('trial.pth'))


def data_lines(runner: Runner) -> list[str]:
    """Images and batches, and the batch that the config is meant for."""
    loader, ranks = runner.train_dataloader, get_world_size()
    batch = (loader.batch_size or 0) * ranks
    lines = [
        f'data: {len(loader.dataset):,} images, {ranks} '
        f'process{"es" if ranks > 1 else ""} x batch {loader.batch_size} = '
        f'{batch}, {len(loader):,} iterations an epoch'
    ]
    scale = runner.cfg.get('auto_scale_lr') or {}
    base = scale.get('base_batch_size')
    if base and base != batch:
        lines.append(
            f'batch: the config is meant for {base}, this is {batch}; the '
            'learning rate is ' + ('scaled' if scale.get('enable') else
                                   'not scaled: add --auto-scale-lr'))
    return lines


def time_lines(runner: Runner, start: int, loading: float,
               step: float) -> list[str]:
    """How long it takes, as far as a few iterations can tell."""
    loop = runner.train_loop
    what = f'{loop.max_iters:,} iterations'
    if isinstance(loop, EpochBasedTrainLoop):
        what = f'{loop.max_epochs} epochs = {what}'
    if start:
        what += f', {loop.max_iters - start:,} of them left'
    # Loader processes work while the network does.
    workers = runner.train_dataloader.num_workers
    each = max(step, loading / max(1, workers)) if workers else step + loading
    left = timedelta(seconds=round(each * (loop.max_iters - start)))
    return [
        f'training: {what}',
        f'time: {step:.3g} s a step, {loading:.3g} s waiting for a batch '
        f'({workers} loader processes): about {left} without measuring'
    ]


def network_lines(runner: Runner) -> list[str]:
    """Size and memory."""
    count = sum(p.numel() for p in runner.model.parameters()
                if p.requires_grad)
    if torch.cuda.is_available():
        device = f'GPU {torch.cuda.get_device_name()}'
        used = torch.cuda.max_memory_allocated()
    else:
        device = f'CPU, {torch.get_num_threads()} threads'
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return [
        f'network: {name_of(runner.model)}, {count:,} parameters are trained',
        f'memory: {gigabytes(used)} at most on {device}'
    ]


def checkpoint_lines(runner: Runner, folder: Path, size: int) -> list[str]:
    """What is saved where, and whether there is room.

    Raises:
        OSError: there is none.
    """
    hook = next((hook for hook in runner.hooks
                 if isinstance(hook, CheckpointHook)), None)
    if hook is None:
        return ['checkpoints: none, default_hooks.checkpoint is missing']
    loop = runner.train_loop
    unit, total = ('epochs', loop.max_epochs) if hook.by_epoch else (
        'iterations', loop.max_iters)
    saves = max(0, total // hook.interval if hook.interval > 0 else 0)
    saves += bool(hook.save_last and (saves == 0 or total % hook.interval))
    # One more while it is written.
    kept = min(saves, hook.max_keep_ckpts) if hook.max_keep_ckpts > 0 \
        else saves
    needed = size * (kept + 1 + len(hook.save_best or []))
    free = shutil.disk_usage(existing(folder)).free
    lines = [
        f'checkpoints: {gigabytes(size)} each in {folder}, every '
        f'{hook.interval} {unit}, {kept} kept',
        f'disk: {gigabytes(needed)} needed, {gigabytes(free)} free'
    ]
    if needed > free:
        raise OSError(
            f'{lines[0]}: {gigabytes(needed)} needed, {gigabytes(free)} free; '
            'make room, or lower default_hooks.checkpoint.max_keep_ckpts')
    if hook.save_best:
        lines.append(f'best: by {", ".join(hook.key_indicators)}')
    return lines


def existing(path: Path) -> Path:
    """The nearest folder above that is there."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def gigabytes(count: float) -> str:
    """A number of bytes, readable."""
    for unit in ('B', 'KiB', 'MiB'):
        if count < 1024:
            return f'{count:.3g} {unit}'
        count /= 1024
    return f'{count:.3g} GiB'


def name_of(model: Any) -> str:
    """The algorithm and its backbone."""
    model = getattr(model, 'module', model)
    backbone: nn.Module | None = getattr(model, 'backbone', None)
    inside = f' of {type(backbone).__name__}' if backbone is not None else ''
    return type(model).__name__ + inside
