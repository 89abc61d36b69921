"""A work directory that one run at a time writes to."""

import atexit
import errno
import fcntl
import logging
import os
import socket
from datetime import datetime
from pathlib import Path
from typing import TextIO

from mmengine.logging import print_log

NAME = 'run.lock'
# Where each launcher tells a process its number.
RANKS = dict(pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')


def lock_work_dir(folder: str | os.PathLike, launcher: str = 'none') -> None:
    """Keep a work directory, which is made, for this process and the ranks that belong to it.

    The first rank holds a lock of the system on ``run.lock`` until it ends, in whatever way; the
    file says on which host, by which process and since when. What a killed process left there is
    taken over. Where a file system has no locks, that is a warning.

    Raises:
        ValueError: Another process holds the lock; the message says what the file says.
    """
    if int(os.environ.get(RANKS.get(launcher, ''), 0)):
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    # It stays open, and locked, as long as the process lives.
    file = Path(folder, NAME).open('a+', encoding='utf-8')
    file.seek(0)
    holder = file.read().strip()
    try:
        # Unlike flock's, this lock is not inherited by loader processes, which may live longer.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise ValueError(
                f'{folder} is in use by {holder}: wait for it, end it, or take another --work-dir'
            ) from error
        _say(f'{folder} cannot be locked ({error}): see to it that no other run writes there')
        return
    if holder and f'process {os.getpid()} ' not in holder:
        _say(f'{folder} is taken over from {holder}, which did not end by itself')
    now = datetime.now().strftime('%Y-%m-%d %H:%M:%S')
    _write(file, f'process {os.getpid()} on {socket.gethostname()} since {now}\n')
    # Loader processes end without this.
    atexit.register(_write, file, '')


def _say(text: str) -> None:
    print_log(text, logger='current', level=logging.WARNING)


def _write(file: TextIO, text: str) -> None:
    """Replace what is in a file."""
    file.truncate(0)
    file.write(text)
    file.flush()
