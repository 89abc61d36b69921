"""Which files may be read: not pipes and devices, which block or never end, and no huge ones."""

import os
import stat


def size_of(path: str | os.PathLike, most: int | None = None) -> int:
    """Return the size of a file in bytes; links are followed.

    Args:
        path: the file.
        most: the largest size that is accepted.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        OSError: it is a pipe, a device or a socket, or larger than ``most``; one line.
    """
    try:
        state = os.stat(path)
    except FileNotFoundError:
        raise FileNotFoundError(f'{path} does not exist') from None
    if stat.S_ISDIR(state.st_mode):
        raise IsADirectoryError(f'{path} is a directory, not a file')
    if not stat.S_ISREG(state.st_mode):
        raise OSError(f'{path} is a pipe, a device or a socket, not a file')
    if most is not None and state.st_size > most:
        raise OSError(f'{path} has {state.st_size:,} bytes, more than the {most:,} that are read')
    return state.st_size


def read_text(path: str | os.PathLike, most: int) -> str:
    """Return the text of a file of at most ``most`` bytes, odd characters replaced.

    Raises:
        OSError: see :func:`size_of`.
    """
    size_of(path, most)
    with open(path, encoding='utf-8', errors='replace') as file:
        return file.read()
