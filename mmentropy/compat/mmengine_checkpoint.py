"""mmengine's reading of checkpoints, without trusting the file.

onedl-mmengine 0.10.12 reads a checkpoint that torch refuses once more with
``weights_only=False``, which runs what is in it; mmengine 0.10.7 does not
read its own checkpoints with torch 2.6 and newer. Importing this module puts
:mod:`mmentropy.weights.reader` in the place of both.
"""

import io
import os
from typing import Any

import mmengine.runner.checkpoint
import torch
from mmengine.fileio import get_file_backend
from mmengine.runner.checkpoint import CheckpointLoader

from mmentropy.weights import reader


def load_local(filename: str, map_location: Any = None) -> Any:
    """Read a checkpoint in a file by :func:`mmentropy.weights.reader.read_checkpoint`."""
    checkpoint = reader.read_checkpoint(os.path.expanduser(filename), map_location)
    if isinstance(checkpoint.get('meta'), dict):
        # Source code that mmengine would run on resume; none is written since
        # mmcv 1.
        checkpoint['meta'].pop('config', None)
    return checkpoint


def load_url(url: str, *args: Any, **kwargs: Any) -> Any:
    """``torch.hub.load_state_dict_from_url`` of weights only."""
    try:
        with reader.records_allowed():
            content = torch.hub.load_state_dict_from_url(
                url, *args, **dict(kwargs, weights_only=True)
            )
        return reader.restored(content)
    except OSError:
        # No network, or no such page: the error names it.
        raise
    except Exception as error:
        raise reader.refused(url, error) from error


def load_ceph(filename: str, map_location: Any = None, backend: str = 'petrel') -> Any:
    """A checkpoint in an object store that mmengine knows."""
    store = get_file_backend(filename, backend_args=dict(backend=backend))
    with io.BytesIO(store.get(filename)) as buffer:
        return reader.load(buffer, map_location)


def install() -> None:
    """Put the readers in mmengine's place."""
    CheckpointLoader.register_scheme('', load_local, force=True)
    CheckpointLoader.register_scheme(
        [r'(\S+\:)?s3://', r'(\S+\:)?petrel://'], load_ceph, force=True
    )
    mmengine.runner.checkpoint.load_url = load_url
    # The remaining readers of onedl-mmengine call it.
    if hasattr(mmengine.runner.checkpoint, '_safe_torch_load'):
        mmengine.runner.checkpoint._safe_torch_load = reader.load
