"""Training on several machines, each of which is a torchrun of its own here."""

import os
import socket
import subprocess
import time

import psutil
import pytest
from repository import REPOSITORY

RECIPE = 'configs/mec/r18s_1xb64_50e_digits.py'
# Epochs of four iterations of 16 images.
CHANGES = {
    'train_dataloader.dataset.indices': 64,
    'model.backbone.base_channels': 4,
    'model.backbone.stem_channels': 4,
    'model.neck.in_channels': 16,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'param_scheduler.0.end': 1,
    'param_scheduler.1.begin': 1,
    'default_hooks.checkpoint.interval': 1,
}


def free_port():
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]


def start(machines, work_dir, epochs):
    """What a user types on each machine, with one rank there."""
    changes = CHANGES | {
        'train_dataloader.batch_size': 16 // machines,
        'train_cfg.max_epochs': epochs,
    }
    options = [f'{key}={value}' for key, value in changes.items()]
    command = ['bash', 'tools/dist_train.sh', RECIPE, '1', '--work-dir', work_dir, '--resume']
    command += ['--resume-settings', 'config', '--cfg-options', *options]
    where = dict(NNODES=str(machines), MASTER_ADDR='127.0.0.1', PORT=str(free_port()))
    processes = []
    for machine in range(machines):
        with (work_dir.parent / f'printed_{machine}').open('w') as printed:
            processes.append(
                subprocess.Popen(
                    command,
                    cwd=REPOSITORY,
                    env=os.environ | where | dict(NODE_RANK=str(machine), OMP_NUM_THREADS='1'),
                    stdout=printed,
                    stderr=printed,
                )
            )
    return processes


@pytest.mark.slow
def test_a_machine_is_lost_and_others_go_on(tmp_path):
    """Four machines, of which one is gone at once, end; two go on where they were."""
    work_dir = tmp_path / 'run'
    machines = start(4, work_dir, epochs=1000)
    while not list(work_dir.glob('epoch_*.pth')):
        assert all(process.poll() is None for process in machines), said(tmp_path)
        time.sleep(0.1)
    lost = psutil.Process(machines.pop().pid)
    for process in [lost, *lost.children(recursive=True)]:
        process.kill()
    # Nobody tells the others; their next exchange fails.
    assert all(process.wait(120) for process in machines)
    assert 'error: rank ' in said(tmp_path)
    done = max(int(path.stem.split('_')[1]) for path in work_dir.glob('epoch_*.pth'))
    machines = start(2, work_dir, epochs=done + 1)
    assert [process.wait(120) for process in machines] == [0, 0], said(tmp_path)
    assert (work_dir / f'epoch_{done + 1}.pth').exists()


def said(folder):
    """The last that each machine has printed."""
    return '\n'.join(path.read_text()[-1500:] for path in sorted(folder.glob('printed_*')))
