"""A rank whose launcher was killed."""

import subprocess
import sys
import time

from repository import REPOSITORY

RANK = """
import os, signal, sys, time
sys.path.insert(0, {tools!r})
import cli
signal.signal(signal.SIGTERM, lambda *_: open({told!r}, 'w').write(str(os.getpid())))
cli.SECONDS_TO_SAVE = 1
cli.leave_with_launcher()
open({ready!r}, 'w').close()
while True:
    time.sleep(0.1)
    open({alive!r}, 'w').write(str(time.time()))
"""
LAUNCHER = 'import subprocess, sys; subprocess.run([sys.executable, "-c", sys.argv[1]])'


def test_a_rank_is_told_and_then_killed(tmp_path):
    names = {name: str(tmp_path / name) for name in ('told', 'ready', 'alive')}
    rank = RANK.format(tools=str(REPOSITORY / 'tools'), **names)
    launcher = subprocess.Popen([sys.executable, '-c', LAUNCHER, rank])
    wait_for(tmp_path / 'ready')
    time.sleep(1.5)
    assert not (tmp_path / 'told').exists()
    launcher.kill()
    launcher.wait()
    wait_for(tmp_path / 'told')
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        before = (tmp_path / 'alive').read_text()
        time.sleep(1)
        if (tmp_path / 'alive').read_text() == before:
            return
    raise AssertionError('the rank goes on')


def wait_for(path):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, path.name
        time.sleep(0.05)
