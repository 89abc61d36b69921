"""Keeping the best checkpoint by what hooks measure while a network trains.

A config asks for it by ``default_hooks.checkpoint = dict(save_best='knn/top1', rule='greater')``.
mmengine judges ``save_best`` only after validation, which pre-training does not have.
"""

import math
from contextlib import nullcontext, suppress
from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from torch.distributed.fsdp import FSDPModule

from mmentropy.distributed import unwrapped
from mmentropy.engine.hooks.safe_checkpoint import SafeCheckpointHook
from mmentropy.weights.reader import read_checkpoint


def check_save_best(runner: Runner) -> None:
    """Check that something measures what ``save_best`` of the CheckpointHook names.

    A hook names what it hands to :func:`save_best` by a method ``scalar_names(runner)``.

    Raises:
        ValueError: The network is sharded, no hook names a key, or one does although mmengine
            would look for it among the metrics of validation.
    """
    hook = _checkpoint_hook(runner)
    if hook is None:
        return
    if isinstance(unwrapped(runner.model), FSDPModule):
        raise ValueError(
            'save_best is judged by the first rank alone, and a ShardedRunner saves by all: leave '
            'save_best out, and measure the checkpoints of the run afterwards'
        )
    loop = runner.val_loop
    # The metrics of any other validation are known to mmengine alone.
    of_loop = hasattr(loop, 'scalar_names')
    measuring = [loop] if of_loop else [h for h in runner.hooks if hasattr(h, 'scalar_names')]
    offered = [name for other in measuring for name in other.scalar_names(runner)]
    advice = "add custom_hooks=[dict(type='EntropyMonitorHook')]"
    if loop is not None and not of_loop:
        advice = 'set val_cfg, val_dataloader and val_evaluator to None'
    elif offered:
        advice = f'choose from {", ".join(offered)}'
    for key in hook.key_indicators:
        if (key in offered) != (loop is None or of_loop):
            measured = 'measured by no hook' if loop is None else 'not measured by validation'
            raise ValueError(f'save_best={key!r} is {measured}: {advice}')


@master_only
def save_best(runner: Runner, metrics: dict[str, float], by_epoch: bool = False) -> None:
    """Save the network if it is the best so far by a ``save_best`` key.

    It is saved as mmengine does after validation: ``best_{key}_iter_{n}.pth`` without the state of
    the optimiser, a line in the log, ``best_score`` and ``best_ckpt`` in the message hub; then the
    previous one is removed. A hook calls this before the CheckpointHook runs, whose checkpoint then
    knows of it. Ranks other than the first need not call it.

    Args:
        runner: The run.
        metrics: What was measured. A key that is missing or not finite is not judged, with a
            warning if there are metrics with the same first part of the name.
        by_epoch: Whether this is called after an epoch, and not after an iteration.
    """
    hook = _checkpoint_hook(runner)
    if hook is None:
        return
    unit, step = ('epoch', runner.epoch + 1) if by_epoch else ('iter', runner.iter + 1)
    measured = {name.split('/')[0] for name in metrics}
    for key, rule in zip(hook.key_indicators, hook.rules):
        score = metrics.get(key, math.nan)
        if not math.isfinite(score):
            if key.split('/')[0] in measured:
                runner.logger.warning(
                    f'save_best: {key} at {step} {unit} is not finite or was not measured'
                )
            continue
        previous, best = _best(runner, hook, key, rule)
        if not hook.is_better_than[key](score, best):
            continue
        name = f'{_stem(key)}_{unit}_{step}.pth'
        path = hook.file_backend.join_path(hook.out_dir, name)
        safe = isinstance(hook, SafeCheckpointHook)
        with hook.or_go_on(runner, name, alone=True) if safe else nullcontext():
            _remember(runner, hook, key, path, score)
            runner.save_checkpoint(
                hook.out_dir,
                name,
                save_optimizer=False,
                save_param_scheduler=False,
                by_epoch=by_epoch,
                backend_args=hook.backend_args,
            )
            runner.logger.info(
                f'The best checkpoint with {score:0.4f} {key} at {step} {unit} is saved to {name}.'
            )
            # A run that was resumed from another folder leaves the best one there.
            here = hook.file_backend.join_path(hook.out_dir, Path(previous or path).name)
            if previous not in (None, path) and previous == here:
                hook.file_backend.remove(previous)


def _checkpoint_hook(runner: Runner) -> CheckpointHook | None:
    """Return the hook that has a ``save_best``."""
    hooks = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook) and hook.save_best)
    return next(hooks, None)


def _stem(key: str) -> str:
    return f'best_{key}'.replace('/', '_')


def _info_keys(hook: CheckpointHook, key: str) -> tuple[str, str]:
    """Return mmengine's keys in the message hub of the path and the score."""
    of = '' if len(hook.key_indicators) == 1 else f'_{key}'
    return f'best_ckpt{of}', f'best_score{of}'


def _best(runner: Runner, hook: CheckpointHook, key: str, rule: str) -> tuple[str | None, float]:
    """Return path and score of the best checkpoint that is still there.

    It may be newer than the one that a run was resumed from, and then is found in the folder.
    """
    path_key, score_key = _info_keys(hook, key)
    info = runner.message_hub.runtime_info
    path = info.get(path_key)
    if path is not None and hook.file_backend.isfile(path):
        return path, info[score_key]
    path, best = None, hook.init_value_map[rule]
    # A run that begins anew does not look at what another one left.
    files = Path(hook.out_dir).glob(f'{_stem(key)}_*.pth') if runner._resume else ()
    for file in files:
        with suppress(ValueError, KeyError):
            score = read_checkpoint(file)['message_hub']['runtime_info'][score_key]
            if hook.is_better_than[key](score, best):
                path, best = str(file), score
    if path is not None:
        _remember(runner, hook, key, path, best)
    return path, best


def _remember(runner: Runner, hook: CheckpointHook, key: str, path: str, score: float) -> None:
    """Note path and score where mmengine looks for them to resume and to publish."""
    path_key, score_key = _info_keys(hook, key)
    runner.message_hub.update_info(path_key, path)
    runner.message_hub.update_info(score_key, score)
    if len(hook.key_indicators) == 1:
        hook.best_ckpt_path = path
    else:
        hook.best_ckpt_path_dict[key] = path
