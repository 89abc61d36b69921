"""Files and folders that are whole or not there."""

import io
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.fileio import LocalBackend, register_backend

# A file has this ending while it is written. Only a process that died leaves one behind.
PART = '.part'


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder, which becomes ``path`` when the block ends without an error.

    Several processes may do so at once, and any may be killed: one of them wins, and nothing
    half-written has that name. The parents of ``path`` are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f'.{path.name}.{uuid.uuid4().hex}')
    aside.mkdir()
    try:
        yield aside
        try:
            os.replace(aside, path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def put_whole(data: bytes, path: str | os.PathLike) -> None:
    """Write a file that, whatever happens, is the old or the new one.

    Raises:
        OSError: the new file could not be written; the old one is still there.
    """
    part = Path(f'{path}{PART}')
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with part.open('wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    # The new name, too, must outlive a loss of power.
    folder = os.open(part.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save_whole(value: Any, path: str | os.PathLike) -> None:
    """Write what ``torch.save`` writes by :func:`put_whole`."""
    with io.BytesIO() as stream:
        torch.save(value, stream)
        put_whole(stream.getvalue(), path)


class WholeFiles(LocalBackend):
    """mmengine's local files by :func:`put_whole`, for ``backend_args=dict(backend='whole')``."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        put_whole(obj, filepath)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        put_whole(obj.encode(encoding), filepath)


register_backend('whole', WholeFiles, force=True)
