"""mmengine's reading of checkpoints, without trusting the file.

onedl-mmengine 0.10.12 reads a checkpoint that torch refuses once more with
``weights_only=False``, which runs what is in it; upstream's does not read its
own checkpoints. Importing this module puts readers in place of both that take
weights, numbers and mmengine's own history, and nothing else.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mmengine.runner.checkpoint
import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner.checkpoint import CheckpointLoader

from ..checkpoint import check_file, refused

_ARRAYS = getattr(np, '_core', None) or np.core
# What mmengine writes besides tensors and plain values.
_WRITTEN = [
    HistoryBuffer, getattr, slice, np.ndarray, np.dtype,
    _ARRAYS.multiarray._reconstruct, _ARRAYS.multiarray.scalar,
    # Of numbers and texts, and how one of its schedulers names its method.
    *{type(np.dtype(kind)) for kind in set(np.typecodes['All']) - {*'OV'}},
    OneCycleParamScheduler
]


@contextmanager
def only_weights(path: str | os.PathLike) -> Iterator[None]:
    """Let ``torch.load(weights_only=True)`` read what mmengine writes.

    Raises:
        ValueError: the file holds something else, or is damaged; one line.
    """
    known = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(_WRITTEN)
    try:
        yield
    # A damaged file can fail at any place of the reader.
    except Exception as error:
        raise refused(path, error) from error
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(known)


def load_local(filename: str, map_location: Any = None) -> Any:
    """A checkpoint in a file, checked against its seal if it has one.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: unreadable, damaged,
            or of more than weights; one line.
    """
    filename = os.path.expanduser(filename)
    check_file(filename)
    with only_weights(filename):
        checkpoint = torch.load(
            filename, map_location=map_location, weights_only=True)
    if isinstance(checkpoint, dict) and isinstance(
            checkpoint.get('meta'), dict):
        # Source code that mmengine would run on resume; none is written since
        # mmcv 1.
        checkpoint['meta'].pop('config', None)
    return checkpoint


def load_url(url: str, *args: Any, **kwargs: Any) -> Any:
    """``torch.hub.load_state_dict_from_url`` of weights only."""
    with only_weights(url):
        return torch.hub.load_state_dict_from_url(
            url, *args, **dict(kwargs, weights_only=True))


def install() -> None:
    """Put the readers in mmengine's place."""
    CheckpointLoader.register_scheme('', load_local, force=True)
    mmengine.runner.checkpoint.load_url = load_url
