"""What --check tells of a run before it is trained."""

import shutil
import signal
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import DATA_SAMPLERS, DATASETS, HOOKS
from mmpretrain.structures import DataSample
from ranks import on_ranks
from small import on_rank, small_config
from torch.utils.data import BatchSampler, Dataset

from mmentropy.engine.trial_run import TrialHook, readable_size, try_run


@DATASETS.register_module()
class Pairs(Dataset):
    """Two views of noise, all the same if ``bad``: not a number."""

    def __init__(self, size=40, bad=False):
        self.size = size
        self.bad = bad

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        views = torch.rand(2, 3, 8, 8)
        if self.bad:
            views *= float('nan')
        return dict(inputs=list(views), data_samples=DataSample())


DATA_SAMPLERS.register_module(name='Batches', module=BatchSampler)


@HOOKS.register_module()
class EndsEpochs(Hook):
    """Stands for what takes long after an epoch, or an iteration."""

    ended = 0
    iterations = 0

    def after_train_epoch(self, runner):
        EndsEpochs.ended += 1

    def after_train_iter(self, runner, *args, **kwargs):
        EndsEpochs.iterations += 1


@HOOKS.register_module()
class Lingers(Hook):
    """Takes a second of a clock that stands still otherwise."""

    now = 0.0

    def after_train_iter(self, runner, *args, **kwargs):
        Lingers.now += 1


def config(folder, **dataset):
    """Five batches an epoch."""
    cfg = small_config(folder, dict(type='Pairs', **dataset))
    cfg.default_hooks = dict(
        checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=1),
        numbers=dict(type='NonFiniteHook'),
        signals=dict(type='SignalHook'),
    )
    cfg.custom_hooks = [dict(type='EndsEpochs')]
    EndsEpochs.ended = EndsEpochs.iterations = 0
    return cfg


def lines_of(cfg, folder):
    """By the word before the colon."""
    return dict(line.split(': ', 1) for line in try_run(Runner.from_cfg(cfg), folder))


def test_a_try_run(tmp_path):
    folder = tmp_path / 'not' / 'there' / 'yet'
    handler = signal.getsignal(signal.SIGTERM)
    lines = lines_of(config(tmp_path / 'trial'), folder)
    assert not (tmp_path / 'not').exists()
    assert signal.getsignal(signal.SIGTERM) == handler
    # The third is cut off.
    assert EndsEpochs.ended == 0 and EndsEpochs.iterations == 2
    assert list(lines) == ['data', 'training', 'time', 'network', 'memory', 'checkpoints', 'disk']
    assert lines['data'] == ('40 images, 1 process x batch 8 = 8, 5 iterations an epoch')
    assert lines['training'] == '2 epochs = 10 iterations'
    assert lines['network'].startswith('MEC of ResNet_CIFAR, ')
    assert f' each in {folder}, every 1 epochs, 1 kept' in lines['checkpoints']


def test_batch_samplers(tmp_path):
    cfg = config(tmp_path / 'trial')
    cfg.train_dataloader.pop('batch_size')
    cfg.train_dataloader.batch_sampler = dict(type='Batches', batch_size=4, drop_last=True)
    cfg.auto_scale_lr = dict(base_batch_size=4)
    lines = lines_of(cfg, tmp_path)
    assert '1 process x batch 4 = 4, 10 ' in lines['data']
    assert 'batch' not in lines


def data_line(folder, rank, world):
    cfg = config(folder / f'{rank}')
    cfg.default_hooks.ranks = dict(type='RanksHook')
    return lines_of(on_rank(cfg, rank, 'plan'), folder)['data']


@pytest.mark.slow
def test_two_ranks(tmp_path):
    assert (
        on_ranks(partial(data_line, tmp_path), 2, tmp_path)
        == ['40 images, 2 processes x batch 8 = 16, 3 iterations an epoch'] * 2
    )


@pytest.mark.slow
@pytest.mark.parametrize('batches', [1, 2])
def test_an_epoch_shorter_than_the_trial(batches, tmp_path):
    lines = lines_of(config(tmp_path / 'trial', size=8 * batches), tmp_path)
    assert EndsEpochs.ended == 0 and EndsEpochs.iterations == batches
    assert lines['training'] == f'2 epochs = {2 * batches} iterations'
    assert 'a step' in lines['time']


@pytest.mark.slow
def test_what_is_left_after_resuming(tmp_path):
    runner = Runner.from_cfg(config(tmp_path / 'run'))
    runner.train()
    cfg = config(tmp_path / 'trial')
    cfg.update(resume=True, load_from=f'{tmp_path}/run/epoch_2.pth')
    lines = lines_of(cfg, tmp_path)
    assert 'time' not in lines
    assert lines['training'] == '2 epochs = 10 iterations, 0 of them left'
    cfg = config(tmp_path / 'trial')
    cfg.train_cfg.max_epochs = 3
    cfg.update(resume=True, load_from=f'{tmp_path}/run/epoch_2.pth')
    assert lines_of(cfg, tmp_path)['training'] == ('3 epochs = 15 iterations, 5 of them left')


def test_iterations_and_a_batch_of_the_config(tmp_path):
    cfg = config(tmp_path / 'trial')
    cfg.train_cfg = dict(by_epoch=False, max_iters=1200)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=500)
    cfg.auto_scale_lr = dict(base_batch_size=64, enable=True)
    lines = lines_of(cfg, tmp_path)
    assert lines['training'] == '1,200 iterations'
    assert lines['batch'] == (
        'the config is meant for 64, this is 8; the learning rate is scaled, but iterations are '
        'not: keep the batch by train_dataloader.batch_size'
    )
    assert 'every 500 iterations, 1 kept' in lines['checkpoints']


@pytest.mark.slow
@pytest.mark.parametrize(
    'interval, keep, best, files',
    [
        (1, -1, None, 3),
        (2, -1, None, 3),
        (2, 5, None, 3),
        (1, 1, None, 2),
        (1, 1, ['score/a', 'score/b'], 4),
        (-1, -1, None, 2),
    ],
)
def test_room_for_checkpoints(interval, keep, best, files, tmp_path, monkeypatch):
    """Those that are kept, and one more while it is written."""
    runner = Runner.from_cfg(config(tmp_path / 'run'))
    runner.train()
    size = (tmp_path / 'run/epoch_2.pth').stat().st_size

    def free(share):
        monkeypatch.setattr(
            shutil, 'disk_usage', lambda path: SimpleNamespace(free=share * files * size)
        )

    cfg = config(tmp_path / 'trial')
    cfg.default_hooks.checkpoint.update(
        interval=interval, max_keep_ckpts=keep, save_best=best, rule='less'
    )
    if interval == 2:
        # The last one is saved too.
        cfg.train_cfg.max_epochs = 3
    free(1.05)
    lines = lines_of(cfg, tmp_path)
    assert ('best' in lines) == bool(best)
    free(0.95)
    with pytest.raises(OSError, match='make room, or lower default_hooks'):
        lines_of(cfg, tmp_path)


def test_nothing_is_saved(tmp_path):
    cfg = config(tmp_path / 'trial')
    cfg.train_cfg = dict(by_epoch=False, max_iters=9)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=1, out_dir=str(tmp_path / 'out'))
    lines = lines_of(cfg, tmp_path)
    assert 'every 1 iterations' in lines['checkpoints']
    assert not list(tmp_path.rglob('*.pth'))


@HOOKS.register_module()
class Interrupts(Hook):
    """Stands for Ctrl-C within the first iteration."""

    def before_train_iter(self, runner, *args, **kwargs):
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_ends_a_trial_at_once_and_saves_nothing(tmp_path):
    cfg = config(tmp_path / 'trial')
    cfg.custom_hooks = [dict(type='Interrupts')]
    # A training of this process that ended by an error may have left a handler of its own.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            try_run(Runner.from_cfg(cfg), tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not list(tmp_path.rglob('*.pth'))


def test_waiting_is_that_for_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(
        'mmentropy.engine.trial_run.time', SimpleNamespace(perf_counter=lambda: Lingers.now)
    )
    cfg = config(tmp_path / 'trial')
    cfg.custom_hooks = [dict(type='Lingers')]
    assert lines_of(cfg, tmp_path)['time'].startswith('0 s a step, 0 s waiting for a batch')
    assert Lingers.now > 0


@pytest.mark.parametrize('workers, seconds', [(0, 5.0), (2, 2.0), (8, 1.0)])
def test_loader_processes_share_the_loading(workers, seconds):
    trial = TrialHook()
    trial.loading, trial.steps = [9.0, 4.0, 4.5], [9.0, 1.0, 1.5]
    assert trial.seconds(workers) == (4.0, 1.0, seconds)


def test_nothing_is_validated(tmp_path):
    cfg = config(tmp_path / 'trial')
    cfg.train_cfg = dict(by_epoch=False, max_iters=9, val_interval=1)
    cfg.val_dataloader, cfg.val_cfg = cfg.train_dataloader, dict()
    cfg.val_evaluator = dict(type='Accuracy')
    assert 'time' in lines_of(cfg, tmp_path)
    cfg.val_evaluator = dict(type='Acuracy')
    with pytest.raises(KeyError, match='Acuracy'):
        lines_of(cfg, tmp_path)


def test_no_checkpoints(tmp_path):
    cfg = config(tmp_path / 'trial')
    cfg.default_hooks.checkpoint = None
    cfg.default_hooks.pop('signals')
    assert lines_of(cfg, tmp_path)['checkpoints'].startswith('none, ')


def test_iterations_that_are_left_out(tmp_path):
    with pytest.raises(FloatingPointError, match='first iterations are not'):
        try_run(Runner.from_cfg(config(tmp_path / 'trial', bad=True)), tmp_path)


def test_units():
    assert [readable_size(x) for x in (3, 2048, 3 * 2**20, 5 * 2**40)] == [
        '3 B',
        '2 KiB',
        '3 MiB',
        '5.12e+03 GiB',
    ]
