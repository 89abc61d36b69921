"""One run at a time writes to a work directory."""

import errno
import os
import subprocess
import sys
import time

import pytest
from forked import SERVER

from mmentropy.engine.work_dir_lock import NAME, lock_work_dir


def hold(folder, end):
    """Lock a folder, and keep the lock until something is sent."""
    lock_work_dir(folder)
    # A loader process outlives a process that is killed.
    if not os.fork():
        time.sleep(2)
        os._exit(0)
    end.send('locked')
    end.recv()


@pytest.fixture
def said(monkeypatch):
    """Return the list of warnings."""
    lines = []
    monkeypatch.setattr('mmentropy.engine.work_dir_lock._say', lines.append)
    return lines


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of a folder."""
    ours, theirs = SERVER.Pipe()
    process = SERVER.Process(target=hold, args=(tmp_path / 'run', theirs))
    process.start()
    assert ours.recv() == 'locked'
    yield process
    process.kill()
    process.join()


@pytest.mark.slow
def test_another_run_is_named(holder, tmp_path):
    with pytest.raises(ValueError, match=rf'in use by process {holder.pid} on \S+ since 20\d\d-'):
        lock_work_dir(tmp_path / 'run')
    # Other ranks belong to the first one, which asks.
    os.environ['RANK'] = '1'
    try:
        lock_work_dir(tmp_path / 'run', 'pytorch')
    finally:
        del os.environ['RANK']


@pytest.mark.parametrize(
    'launcher, rank, local_rank',
    [
        ('pytorch', 'RANK', 'LOCAL_RANK'),
        ('slurm', 'SLURM_PROCID', 'SLURM_LOCALID'),
        ('mpi', 'OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_LOCAL_RANK'),
    ],
)
def test_the_first_rank_of_another_machine_does_not_ask(
    launcher, rank, local_rank, monkeypatch, tmp_path
):
    monkeypatch.setenv(rank, '1')
    monkeypatch.setenv(local_rank, '0')
    lock_work_dir(tmp_path / 'run', launcher)
    assert not (tmp_path / 'run').exists()


@pytest.mark.slow
def test_what_a_killed_run_left_is_taken_over(holder, tmp_path, said):
    holder.kill()
    holder.join()
    lock_work_dir(tmp_path / 'run')
    text = (tmp_path / 'run' / NAME).read_text()
    assert text.startswith(f'process {os.getpid()} on ')
    (line,) = said
    assert f'is taken over from process {holder.pid} on ' in line


def test_a_file_system_without_locks_is_a_warning(tmp_path, said, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr('fcntl.lockf', refuse)
    lock_work_dir(tmp_path / 'run')
    (line,) = said
    assert 'cannot be locked' in line and 'No locks available' in line


@pytest.mark.slow
def test_a_run_that_ends_leaves_nothing_to_take_over(tmp_path):
    code = f'from {lock_work_dir.__module__} import *; lock_work_dir({str(tmp_path)!r})'
    subprocess.run([sys.executable, '-c', code], check=True)
    assert (tmp_path / NAME).read_text() == ''
