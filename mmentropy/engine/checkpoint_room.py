"""How much room the checkpoints of a run take, and whether it is there."""

import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from torch import Tensor
from torch.utils._pytree import tree_leaves

# The place of the number in the name of a checkpoint, which may have a format, as {:03d}.
NUMBER = re.compile(r'\{[^}]*\}')


class Room(NamedTuple):
    """The number of checkpoints that are kept, and bytes that are needed and free."""

    kept: int
    needed: int
    free: int

    def __str__(self) -> str:
        return f'{readable_size(self.needed)} needed, {readable_size(self.free)} free'


def require_room(
    runner: Runner, hook: CheckpointHook, folder: str | Path, size: int | None = None
) -> Room:
    """Return how much room the checkpoints that a run will save take beside those that are there.

    Args:
        runner: The run, after a step of the optimiser, which then has all of its state.
        hook: It says how many checkpoints are saved and kept.
        folder: Where they are saved; it need not exist.
        size: The bytes of one; by default those of its tensors.

    Raises:
        OSError: There is not enough room.
    """
    if size is None:
        size = bytes_of([runner.model.state_dict(), runner.optim_wrapper.state_dict()])
    steps = steps_to_save(runner, hook)
    limited = hook.max_keep_ckpts > 0
    kept = min(len(steps), hook.max_keep_ckpts) if limited else len(steps)
    folder = Path(folder).absolute()
    # Without a limit only those go that are written anew.
    names = (
        [NUMBER.sub('*', hook.filename_tmpl)] if limited else map(hook.filename_tmpl.format, steps)
    )
    found = {file for name in names for file in folder.glob(name)}
    there = min(sum(file.stat().st_size for file in found), size * kept)
    # There is one more while it is written.
    needed = size * (kept + 1 + len(hook.save_best or [])) - there if steps else 0
    free = shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free
    room = Room(kept, needed, free)
    if needed > free:
        raise OSError(
            f'{folder} has no room for {kept} checkpoints of {readable_size(size)} each: {room}; '
            'make room, or lower default_hooks.checkpoint.max_keep_ckpts'
        )
    return room


def steps_to_save(runner: Runner, hook: CheckpointHook) -> list[int]:
    """Return the epochs, or iterations, after which a run will save from now on."""
    loop = runner.train_loop
    done, total = (
        (runner.epoch, loop.max_epochs) if hook.by_epoch else (runner.iter, loop.max_iters)
    )
    begin, interval = hook.save_begin, hook.interval
    steps: list[int] = []
    if interval > 0:
        # mmengine counts the interval from ``save_begin``.
        first = begin + interval * max(0, (done - begin) // interval + 1)
        steps = [*range(first, total + 1, interval)]
    if hook.save_last and total not in steps[-1:]:
        steps.append(total)
    return steps


def bytes_of(value: Any) -> int:
    """Return the bytes of all tensors in dicts and lists."""
    return sum(leaf.nbytes for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def readable_size(count: float) -> str:
    """Return a number of bytes for a reader."""
    for unit in ('B', 'KiB', 'MiB'):
        if count < 1024:
            return f'{count:.3g} {unit}'
        count /= 1024
    return f'{count:.3g} GiB'
