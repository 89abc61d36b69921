"""Runs that are killed and resumed end where the unbroken ones do."""

import gc
import os
import random
import signal
import time

import pytest
import torch
import torch.distributed as dist
from forked import SERVER
from mmengine.config import Config
from mmengine.runner import Runner
from repository import REPOSITORY

from mmentropy.distributed import cpu_wrapper
from mmentropy.engine.resume import choose_checkpoint

ROOT = REPOSITORY
# Of 20 iterations, saved every 7: more saves than kills.
EPOCHS = {1: 4, 2: 2}


def config(folder, ranks):
    """MEC on Digits, small, saving within epochs."""
    cfg = Config.fromfile(ROOT / 'configs/mec/r18s_1xb64_50e_digits.py')
    cfg.merge_from_dict(
        {
            'work_dir': str(folder),
            'experiment_name': f'{folder.parent.name}_{folder.name}',
            'model.backbone.stem_channels': 4,
            'model.backbone.base_channels': 4,
            'model.neck.in_channels': 4,
            # Ranks wait for each other in every batch norm.
            'model.backbone.num_stages': 1,
            'model.backbone.strides': (2,),
            'model.backbone.dilations': (1,),
            'model.backbone.out_indices': (0,),
            'train_dataloader.batch_size': 16 // ranks,
            'train_dataloader.dataset.indices': 320,
            'train_dataloader.num_workers': 1 if ranks == 1 else 0,
            'train_dataloader.persistent_workers': ranks == 1,
            'train_cfg.max_epochs': EPOCHS[ranks],
            'default_hooks.checkpoint.interval': 7,
            'default_hooks.checkpoint.by_epoch': False,
            'launcher': 'none' if ranks == 1 else 'pytorch',
        }
    )
    cfg.param_scheduler[0].end = cfg.param_scheduler[1].begin = 1
    cfg.custom_hooks = [
        dict(type='EntropyMonitorHook', interval=10, images=64),
        dict(type='KNNHook', interval=3),
    ]
    return cfg


def train(folder, rendezvous, rank, ranks):
    """What tools/train.py --resume does, with slow writes."""
    gc.freeze()
    torch.set_num_threads(1)
    sync = os.fsync

    def slow_sync(file):
        time.sleep(0.02)
        sync(file)

    os.fsync = slow_sync
    cfg = config(folder, ranks)
    if ranks > 1:
        os.environ.update(LOCAL_RANK=str(rank), RANK=str(rank), WORLD_SIZE=str(ranks))
        dist.init_process_group('gloo', f'file://{rendezvous}', rank=rank, world_size=ranks)
        cfg.model_wrapper_cfg = cpu_wrapper()
    cfg.resume = True
    choose_checkpoint(cfg)
    Runner.from_cfg(cfg).train()
    (folder / 'done').touch()


def entry(folder, rendezvous, rank, ranks):
    """A child: its output in a file, its loader processes in its group."""
    os.setpgid(0, 0)
    log = os.open(folder / f'log_{rank}', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    train(folder, rendezvous, rank, ranks)


def start(folder, ranks, attempt):
    processes = []
    for rank in range(ranks):
        process = SERVER.Process(
            target=entry, args=(folder, folder / f'rendezvous_{attempt}', rank, ranks)
        )
        process.start()
        processes.append(process)
    return processes


def kill(processes):
    for process in processes:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            process.kill()
    for process in processes:
        process.join()


def saved(folder):
    return {path.name for path in folder.glob('iter_*.pth')}


def final_weights(folder, ranks):
    path = folder / f'iter_{EPOCHS[ranks] * 20}.pth'
    checkpoint = torch.load(path, weights_only=False)
    history = checkpoint['message_hub']['log_scalars']
    return checkpoint['state_dict'], {
        key: value.data[0][-5:].tolist()
        for key, value in history.items()
        if key.startswith(('monitor', 'val', 'train/loss', 'train/lr'))
    }


def killed(folder, ranks, kills):
    """Kill a run so often, then let it end."""
    folder.mkdir()
    rng = random.Random(ranks)
    in_saves = 0
    for attempt in range(kills):
        before = saved(folder)
        processes = start(folder, ranks, attempt)
        # Where it has got somewhere, so that the moments differ.
        deadline = time.monotonic() + 60
        while (
            saved(folder) == before
            and time.monotonic() < deadline
            and all(p.is_alive() for p in processes)
        ):
            time.sleep(0.005)
        if attempt % 2:
            while (
                not any(folder.glob('*.part'))
                and time.monotonic() < deadline
                and all(p.is_alive() for p in processes)
            ):
                time.sleep(0.001)
            in_saves += any(folder.glob('*.part'))
        else:
            time.sleep(rng.uniform(0, 0.3))
        assert not (folder / 'done').exists(), attempt
        kill(processes)
    processes = start(folder, ranks, kills)
    for process in processes:
        process.join(400)
        assert process.exitcode == 0, (folder / 'log_0').read_text()[-3000:]
    return in_saves


@pytest.mark.slow
@pytest.mark.parametrize('ranks, kills', [(1, 8), (2, 3)])
def test_killed_runs_end_as_unbroken_ones(ranks, kills, tmp_path):
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    whole.mkdir()
    processes = start(whole, ranks, 0)
    for process in processes:
        process.join(400)
        assert process.exitcode == 0, (whole / 'log_0').read_text()[-3000:]
    in_saves = killed(broken, ranks, kills)
    assert in_saves >= kills // 4
    assert not list(broken.glob('*.part'))
    weights, curves = final_weights(broken, ranks)
    expected, expected_curves = final_weights(whole, ranks)
    assert expected_curves['train/loss'] and curves == expected_curves
    assert weights.keys() == expected.keys()
    for key, value in weights.items():
        assert torch.equal(value, expected[key]), key
