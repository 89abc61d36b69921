"""One rank that fails ends all, and says why."""

import os
import subprocess
import sys
import time

import pytest
from repository import REPOSITORY

ROOT = REPOSITORY
HOOK = """
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class FailHook(Hook):

    def after_train_iter(self, runner, *args, **kwargs):
        if get_rank() == 1 and runner.iter == 2:
            raise ValueError('a cable was cut')
"""


@pytest.mark.slow
def test_first_failure_is_shown(tmp_path):
    (tmp_path / 'cables.py').write_text(HOOK)
    (tmp_path / 'config.py').write_text(f"""
_base_ = '{ROOT}/configs/mec/r18s_1xb64_50e_digits.py'
custom_imports = dict(
    imports=['mmentropy', 'cables'], allow_failed_imports=False)
custom_hooks = [dict(type='FailHook')]
model = dict(backbone=dict(base_channels=4), neck=dict(in_channels=16))
""")
    start = time.monotonic()
    done = subprocess.run(
        [
            'bash',
            'tools/dist_train.sh',
            tmp_path / 'config.py',
            '2',
            '--work-dir',
            tmp_path / 'run',
        ],
        cwd=ROOT,
        env=dict(os.environ, PYTHON=sys.executable, PYTHONPATH=str(tmp_path), OMP_NUM_THREADS='1'),
        text=True,
        capture_output=True,
        timeout=240,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('error: rank 1 failed first: ')
    assert 'a cable was cut (traceback: ' in last
    assert 'Traceback' not in done.stderr
    (file,) = (tmp_path / 'run').glob('*/traceback_1.txt')
    assert str(file) in last and 'ValueError: a cable was cut' in file.read_text()
    # Loading torch twice included.
    assert time.monotonic() - start < 200
