"""Files that are whole or not there."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Written aside under this name, and left behind only by a process that died.
PART = '.part'


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder, which becomes ``path`` when the block ends well.

    Several processes may do so at once, and any may be killed: one of them
    wins, and nothing half-written has that name.

    Args:
        path: not there, or made by another process meanwhile. Its parents
            are made.
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
        OSError: the old one is still there.
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
