"""Loader processes whose parent is killed, or told something."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from mmentropy.datasets.loader_processes import guard_loader

# The texts fill the pipe to the parent, for which torch's own loader process waits for ever.
LOADING = """
import os, time
from torch.utils.data import DataLoader
from mmentropy.datasets.loader_processes import guard_loader

class Texts(list):
    def __getitem__(self, index):
        return os.getpid(), 'x' * 10 ** 6

loader = DataLoader(Texts(range(99)), None, num_workers=1, prefetch_factor=50)
guard_loader(loader)
rows = iter(loader)
pid, _ = next(rows)
print(pid, flush=True)
time.sleep(600)
"""


def gone(pid, seconds):
    """Return whether a process, if it is not a zombie, has ended in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = Path(f'/proc/{pid}/stat')
        if not status.exists() or status.read_text().rsplit(')')[1].split()[0] == 'Z':
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_a_loader_process_does_not_outlive_its_parent():
    parent = subprocess.Popen([sys.executable, '-c', LOADING], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    # It takes a moment until the pipe is full.
    time.sleep(2)
    alive = not gone(pid, 0.2)
    parent.kill()
    parent.wait()
    assert alive
    assert gone(pid, 20)


class Signals(list):
    def __getitem__(self, index):
        ignored = [signal.getsignal(n) == signal.SIG_IGN for n in (signal.SIGINT, signal.SIGUSR1)]
        return os.getpgid(0), all(ignored)


def test_signals_of_the_process_group_leave_a_loader_process_alone():
    loader = DataLoader(Signals(range(2)), None, num_workers=1)
    guard_loader(loader)
    group, ignored = next(iter(loader))
    assert group != os.getpgid(0)
    assert ignored
