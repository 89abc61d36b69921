"""mmengine's reading of checkpoints, without trusting the file and without reading it twice.

Host: onedl-mmengine 0.10.12 and mmengine 0.10.7. The former reads a checkpoint that torch refuses
once more with ``weights_only=False``, which runs what is in the file; the latter does not read its
own checkpoints with torch 2.6 and newer. :mod:`mmentropy.weights.reader` takes the place of both.
It can go when mmengine reads its own checkpoints with ``weights_only=True`` and refuses all others.
"""

import io
import os
import re
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse

import mmengine.runner.checkpoint
import torch
from mmengine.fileio import get_file_backend
from mmengine.runner.checkpoint import CheckpointLoader

from mmentropy.weights import reader

# The content that was handed over last, by name, time and size of its file.
_handed_over: dict[tuple[str, int, int], dict] = {}


def hand_over(path: str | os.PathLike, checkpoint: dict) -> None:
    """Let mmengine have what was read from a file, when it next reads that file.

    It gets the tensors where they are, on the CPU, so nobody else may use ``checkpoint`` any more.
    They are given once, and only while the file stays as it is; what was handed over before is
    dropped.
    """
    _handed_over.clear()
    _handed_over[_identity(path)] = checkpoint


def handed_over(path: str | os.PathLike) -> dict | None:
    """Return the content of a file, as it is now, that waits for mmengine; None if none does.

    It is to be looked at only.
    """
    return _handed_over.get(_identity(path)) if os.path.isfile(path) else None


def _identity(path: str | os.PathLike) -> tuple[str, int, int]:
    state = os.stat(path)
    return os.path.realpath(path), state.st_mtime_ns, state.st_size


def load_local(filename: str, map_location: Any = None) -> Any:
    """Return the checkpoint in a file, by :func:`mmentropy.weights.reader.read_checkpoint`."""
    filename = os.path.expanduser(filename)
    if handed_over(filename) is not None:
        checkpoint = _handed_over.pop(_identity(filename))
    else:
        checkpoint = reader.read_checkpoint(filename, map_location)
    if isinstance(checkpoint.get('meta'), dict):
        # This is source code that mmengine would run on resume. Nothing writes it since mmcv 1.
        checkpoint['meta'].pop('config', None)
    return checkpoint


def load_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
) -> Any:
    """Return a checkpoint that is downloaded to where ``torch.hub`` keeps it, unless it is there.

    Raises:
        OSError: there is no network, or no such page.
        ValueError: see :func:`mmentropy.weights.reader.read_checkpoint`.
    """
    file = Path(model_dir or Path(torch.hub.get_dir(), 'checkpoints'))
    file /= file_name or Path(urlparse(url).path).name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        digest = re.search(r'-([a-f0-9]*)\.', file.name) if check_hash else None
        try:
            torch.hub.download_url_to_file(url, str(file), digest and digest[1], progress)
        except URLError as error:
            reason = getattr(error.reason, 'strerror', None) or error.reason
            raise OSError(f'{url} could not be downloaded: {reason}') from error
    return load_local(str(file), map_location)


def load_ceph(filename: str, map_location: Any = None, backend: str = 'petrel') -> Any:
    """Return the checkpoint in an object store that mmengine knows."""
    store = get_file_backend(filename, backend_args=dict(backend=backend))
    with io.BytesIO(store.get(filename)) as buffer:
        return reader.load(buffer, map_location)


def install_readers() -> None:
    """Put the functions of this module in the place of mmengine's."""
    CheckpointLoader.register_scheme('', load_local, force=True)
    CheckpointLoader.register_scheme(
        [r'(\S+\:)?s3://', r'(\S+\:)?petrel://'], load_ceph, force=True
    )
    mmengine.runner.checkpoint.load_url = load_url
    # onedl-mmengine has further readers, which all call this function.
    if hasattr(mmengine.runner.checkpoint, '_safe_torch_load'):
        mmengine.runner.checkpoint._safe_torch_load = reader.load
