"""Loader processes that end when the process that they load for does."""

import ctypes
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

# By this number of linux/prctl.h a process asks for a signal when its parent ends.
PR_SET_PDEATHSIG = 1


def end_with_parent(worker: int = 0) -> None:
    """Let Linux end this loader process when its parent ends, by whatever signal.

    torch's loader processes look for their parent, too, but one that still has batches to hand over
    waits for a reader first, and so for ever.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def list_loader(
    dataset: Dataset, batch_size: int, num_workers: int = 0, **kwargs: Any
) -> DataLoader:
    """Return a loader of lists of items, which draws nothing from the global generator."""
    kwargs.setdefault('generator', torch.Generator())
    settings: Any = dict(num_workers=num_workers, collate_fn=list, worker_init_fn=end_with_parent)
    return DataLoader(dataset, batch_size, **settings, **kwargs)


def guard_loader(loader: Any) -> None:
    """Let processes that a loader starts from now on be ended by their parent, and by no other."""
    loader.worker_init_fn = partial(leave_with_parent, loader.worker_init_fn)


def leave_with_parent(init: Callable[[int], None] | None, worker: int) -> None:
    """Begin a loader process that no signal but its parent ends, then call ``init(worker)``.

    torchrun and terminals send a signal to the whole process group, SLURM may send it to all.
    """
    end_with_parent()
    os.setpgid(0, 0)
    # torch has a handler of its own for SIGTERM, by which the parent ends a loader process.
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    if init:
        init(worker)
