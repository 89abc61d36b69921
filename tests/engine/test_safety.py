"""Nothing is lost: checkpoints, draws, bad numbers, signals, ranks."""

import errno
import json
import os
import pickle
import random
import signal
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from mmpretrain.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
)
from mmpretrain.structures import DataSample
from ranks import on_ranks
from small import on_rank, small_config
from torch.utils.data import BatchSampler, Dataset

from mmentropy.engine.hooks import safe_checkpoint as checkpoints
from mmentropy.engine.hooks.exact_resume import (
    NumberedBatches,
    SeededIndex,
    items,
)
from mmentropy.engine.hooks.non_finite import check_loss, check_scale
from mmentropy.engine.hooks.ranks import Watch, leaves
from mmentropy.engine.hooks.safe_checkpoint import (
    SafeCheckpointHook,
    choose_checkpoint,
    newest_checkpoint,
)
from mmentropy.engine.hooks.save_best import save_best
from mmentropy.engine.hooks.signals import apart
from mmentropy.models.selfsup import over_ranks
from mmentropy.weights import files
from mmentropy.weights.files import put_whole, save_whole
from mmentropy.weights.reader import read_checkpoint


@DATASETS.register_module()
class DrawnViews(Dataset):
    """Two views of an image under noise, drawn from all three generators."""

    def __init__(self, size=16, spoilt=(), moment=None):
        self.size = size
        self.spoilt = spoilt
        self.calls = 0

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        noise = np.random.rand(2, 1, 1, 1) + random.random()
        views = torch.from_numpy(noise).float() + torch.rand(2, 3, 8, 8)
        # Each image its own slope.
        views = views + index / 16 * torch.linspace(0, 1, 8)
        if index in self.spoilt:
            views[:] = float('nan')
        sample = DataSample()
        sample.set_field(int(index), 'sample_idx', field_type='metainfo')
        return dict(inputs=list(views), data_samples=sample)


@HOOKS.register_module()
class Disturb(Hook):
    """Calls ``ACTIONS[action](runner)`` after an iteration, or after each."""

    def __init__(self, action, at=None):
        self.action = action
        self.at = at

    def after_train_iter(self, runner, *args, **kwargs):
        if self.at in (None, runner.iter + 1):
            ACTIONS[self.action](runner)


# Configs hold nothing but texts and numbers.
ACTIONS = dict(
    terminate=lambda runner: os.kill(os.getpid(), signal.SIGTERM),
    warn=lambda runner: os.kill(os.getpid(), signal.SIGUSR1),
)


def disturb(action, at=None):
    """The hook's config."""
    ACTIONS[action.__name__] = action
    return dict(type='Disturb', action=action.__name__, at=at)


def config(folder, epochs=3, hooks=(), algorithm='MEC', **dataset):
    """Four iterations an epoch, a checkpoint after each epoch."""
    cfg = small_config(
        folder,
        dict(type='DrawnViews', **dataset),
        algorithm,
        norm='GlobalBN',
        epochs=epochs,
        batch_size=4,
    )
    cfg.model.backbone.norm_cfg = dict(type='GlobalBN')
    cfg.default_hooks = dict(
        logger=dict(type='LoggerHook', interval=1),
        checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=1),
        draws=dict(type='ExactResumeHook'),
        numbers=dict(type='NonFiniteHook', patience=3, keep=2),
        ranks=dict(type='RanksHook', patience=20),
        signals=dict(type='SignalHook', interval=1),
    )
    cfg.custom_hooks = list(hooks)
    return cfg


def train(cfg):
    choose_checkpoint(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def weights(runner):
    model = getattr(runner.model, 'module', runner.model)
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]), key


def log_of(runner):
    return Path(runner.log_dir, f'{runner.timestamp}.log').read_text()


# -- Files -------------------------------------------------------------------


@pytest.fixture
def two_checkpoints(tmp_path):
    for n in (1, 2):
        save_whole(
            dict(state_dict=dict(w=torch.full((500,), float(n))), meta=dict(iter=10 * n)),
            tmp_path / f'epoch_{n}.pth',
        )
    return tmp_path


@pytest.mark.parametrize('kind', ['truncated', 'flipped'])
def test_torn_checkpoints_are_reported_and_not_read(two_checkpoints, kind, monkeypatch):
    reports = []
    monkeypatch.setattr(checkpoints, 'print_log', lambda text, **kwargs: reports.append(text))
    path = two_checkpoints / 'epoch_2.pth'
    data = path.read_bytes()
    rng = random.Random(0)
    start, length = 0, len(data)
    if kind == 'flipped':
        weights = torch.full((500,), 2.0).numpy().tobytes()
        start, length = data.index(weights), len(weights)
    for place in [start, *(start + rng.randrange(length) for _ in range(20))]:
        if kind == 'truncated':
            path.write_bytes(data[:place])
        else:
            torn = bytearray(data)
            torn[place] ^= 1 << rng.randrange(8)
            path.write_bytes(torn)
        for reader in (read_checkpoint, CheckpointLoader.load_checkpoint):
            with pytest.raises(ValueError) as error:
                reader(str(path))
            assert str(path) in str(error.value)
        assert newest_checkpoint(two_checkpoints, last=path.name).name == 'epoch_1.pth'
        # Once.
        (report,) = reports
        assert report.startswith(f'{path} is ')
        reports.clear()
    (two_checkpoints / 'epoch_1.pth').write_bytes(data[:100])
    with pytest.raises(ValueError, match='none of the 2 checkpoints in'):
        newest_checkpoint(two_checkpoints)


def test_newest_is_by_iteration(two_checkpoints):
    """Not by name or date; what has another name is another's."""
    save_whole(dict(meta=dict(iter=15)), two_checkpoints / 'interrupted_15.pth')
    (two_checkpoints / 'epoch_x.pth').touch()
    (two_checkpoints / 'best_epoch_3.pth').touch()
    assert newest_checkpoint(two_checkpoints).name == 'epoch_2.pth'
    save_whole(dict(meta=dict(iter=25)), two_checkpoints / 'iter_25.pth')
    assert newest_checkpoint(two_checkpoints).name == 'iter_25.pth'
    assert newest_checkpoint(two_checkpoints / 'none') is None


def test_the_last_that_was_saved_is_newer(tmp_path):
    """Than what an attempt left that was given up."""
    cfg = config(tmp_path / 'run')
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    train(cfg)
    cfg = config(tmp_path / 'run', hooks=[dict(type='Disturb', action='terminate', at=6)])
    cfg.update(resume=True, load_from=f'{tmp_path}/run/epoch_1.pth')
    with pytest.raises(SystemExit):
        train(cfg)
    cfg = config(tmp_path / 'run')
    cfg.resume = True
    choose_checkpoint(cfg)
    assert Path(cfg.load_from).name == 'interrupted_6.pth'
    (tmp_path / 'run/interrupted_6.pth').write_bytes(b'')
    cfg.load_from = None
    choose_checkpoint(cfg)
    assert Path(cfg.load_from).name == 'epoch_3.pth'


def test_names_and_folders_of_mmengine(tmp_path):
    """A template of one's own, and the work directory as ``out_dir``."""
    cfg = config(tmp_path / 'run', epochs=1)
    cfg.default_hooks.checkpoint.update(filename_tmpl='ckpt+{}.pth', out_dir=str(tmp_path / 'run'))
    train(cfg)
    for last in (True, False):
        if not last:
            (tmp_path / 'run/last_checkpoint').unlink()
        cfg.update(resume=True, load_from=None)
        choose_checkpoint(cfg, 'weights.pth')
        assert cfg.load_from == str(tmp_path / 'run/ckpt+1.pth')


def test_what_mmengine_saves_can_be_read(tmp_path):
    """Methods of schedulers, numbers of all kinds, its dicts, paths."""

    def note(runner):
        hub = runner.message_hub
        for kind in ('i1', 'i2', 'u1', 'f2', 'f4', 'c8'):
            hub.update_info(kind, np.array([1, 2], kind))
        hub.update_info('text', np.array(['a', 'bc']))
        DrawnViews.metainfo = dict(path=tmp_path, nested=ConfigDict(classes=('a', 'b')))

    cfg = config(tmp_path / 'run', epochs=1, hooks=[disturb(note, at=2)])
    cfg.param_scheduler = [dict(type='OneCycleLR', eta_max=0.1, total_steps=12, by_epoch=False)]
    try:
        train(cfg)
    finally:
        del DrawnViews.metainfo
    cfg = config(tmp_path / 'run', epochs=2)
    cfg.param_scheduler = [dict(type='OneCycleLR', eta_max=0.1, total_steps=12, by_epoch=False)]
    cfg.resume = True
    runner = train(cfg)
    assert runner.iter == 8
    assert runner.message_hub.get_info('f2').dtype == np.float16


def test_writing_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'file'
    put_whole(b'old', path)

    def full(file):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(files.os, 'fsync', full)
    with pytest.raises(OSError, match='No space'):
        put_whole(b'new', path)
    assert path.read_bytes() == b'old' and len(list(tmp_path.iterdir())) == 1


def test_mmengine_runs_nothing_in_a_checkpoint(tmp_path):
    """onedl-mmengine alone would read the first with a warning."""
    path, mark = tmp_path / 'harmful.pth', tmp_path / 'was_run'

    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(mark),)

    torch.save(dict(state_dict=Harmful()), path)
    with pytest.raises(ValueError, match='posix.mkdir.*write its weights'):
        CheckpointLoader.load_checkpoint(str(path))
    path.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(ValueError, match='harmful.pth'):
        CheckpointLoader.load_checkpoint(str(path))
    torch.save(dict(meta=dict(config='import os', epoch=1)), path)
    found = CheckpointLoader.load_checkpoint(str(path))
    # mmengine would run it on resume.
    assert found == dict(meta=dict(epoch=1))
    assert not mark.exists()


# -- Saving ------------------------------------------------------------------


def test_a_disk_that_is_full_for_a_while(tmp_path, monkeypatch):
    write, tries = files.put_whole, []

    def fill(runner):
        def full(data, path):
            tries.append(Path(path).name)
            raise OSError(errno.ENOSPC, 'No space left on device')

        monkeypatch.setattr(files, 'put_whole', full)

    def empty(runner):
        assert sorted(p.name for p in tmp_path.glob('run/*.pth')) == ['epoch_1.pth']
        monkeypatch.setattr(files, 'put_whole', write)

    runner = train(config(tmp_path / 'run', hooks=[disturb(fill, at=5), disturb(empty, at=9)]))
    assert tries == ['epoch_2.pth']
    assert 'epoch_2.pth was not saved' in log_of(runner)
    assert 'No space left' in log_of(runner)
    assert [p.name for p in tmp_path.glob('run/*.pth')] == ['epoch_3.pth']
    hub = read_checkpoint(tmp_path / 'run/epoch_3.pth')['message_hub']
    assert hub['runtime_info']['keep_ckpt_ids'] == [3]
    assert (tmp_path / 'run/last_checkpoint').read_text().endswith('epoch_3.pth')


def test_a_folder_that_vanishes(tmp_path):

    def remove(runner):
        os.rename(runner.work_dir, tmp_path / 'gone')
        # Where the folder was is now a file.
        Path(runner.work_dir).touch()

    def give_back(runner):
        Path(runner.work_dir).unlink()

    runner = train(
        config(
            tmp_path / 'run',
            hooks=[
                disturb(remove, at=5),
                dict(type='EntropyMonitorHook', interval=2, images=8),
                disturb(give_back, at=9),
            ],
        )
    )
    assert [p.name for p in tmp_path.glob('run/*.pth')] == ['epoch_3.pth']
    lines = Path(runner.log_dir, 'vis_data/monitor.jsonl').read_text()
    assert [json.loads(line)['iter'] for line in lines.splitlines()] == [10, 12]
    # One line of scalars an iteration, but for those that were not written.
    scalars = Path(runner.log_dir, 'vis_data/scalars.json').read_text()
    assert scalars.count('"loss"') == 4
    log = next((tmp_path / 'gone').glob('*/*.log')).read_text()
    assert log.count('scalars were not written') == 1
    assert 'epoch_2.pth was not saved' in log
    assert log.count('monitor.jsonl was not written') == 2


def validated(runner, score):
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook))
    hook.after_val_epoch(runner, {KEY: score})


def measured(runner, score):
    save_best(runner, {KEY: score})


KEY = 'score/top1'


@pytest.mark.parametrize('judge', [validated, measured])
def test_the_best_stays_until_a_better_one_is_whole(judge, tmp_path, monkeypatch):
    write, kept = files.put_whole, []

    def files_there():
        return sorted(p.name for p in tmp_path.glob('run/best_*'))

    def judged(runner, score):
        judge(runner, score)
        hub = runner.message_hub
        kept.append(
            (files_there(), Path(hub.get_info('best_ckpt')).name, hub.get_info('best_score'))
        )

    def look(data, path):
        if Path(path).name.startswith('best_'):
            kept.append(files_there())
        write(data, path)

    def full(data, path):
        raise OSError(errno.ENOSPC, 'No space left on device')

    def first(runner):
        judged(runner, 1.0)

    def better_but_full(runner):
        with monkeypatch.context() as patch:
            patch.setattr(files, 'put_whole', full)
            judged(runner, 2.0)

    def better_than_first(runner):
        with monkeypatch.context() as patch:
            patch.setattr(files, 'put_whole', look)
            judged(runner, 1.5)

    cfg = config(
        tmp_path / 'run',
        hooks=[
            disturb(first, at=2),
            disturb(better_but_full, at=6),
            disturb(better_than_first, at=10),
        ],
    )
    cfg.default_hooks.checkpoint.update(save_best=KEY, rule='greater')
    log = log_of(train(cfg))
    (old,), *_ = kept[0]
    (new,), *_ = kept[-1]
    assert kept == [([old], old, 1.0), ([old], old, 1.0), [old], ([new], new, 1.5)]
    assert new != old and log.count('was not saved') == 1


def test_older_ones_are_removed_after_the_newest_is_whole(tmp_path, monkeypatch):
    write, there = files.put_whole, []

    def look(data, path):
        if str(path).endswith('.pth'):
            there.append(sorted(p.name for p in tmp_path.glob('run/*.pth')))
        write(data, path)

    monkeypatch.setattr(files, 'put_whole', look)
    train(config(tmp_path / 'run'))
    assert there == [[], ['epoch_1.pth'], ['epoch_2.pth']]


# -- Draws -------------------------------------------------------------------


def batches(first=0, done=0, seed=3, rows=((1, 2), (3, 4), (5, 6))):
    return NumberedBatches([list(r) for r in rows], seed, first, done)


def drawn(numbered):
    dataset = DrawnViews()
    return [torch.stack([item['inputs'][0] for item in items(dataset, rows)]) for rows in numbered]


def test_draws_depend_on_iteration_and_place_only():
    whole = batches()
    passes = drawn(whole), drawn(whole)
    assert not torch.equal(passes[0][0], passes[1][0])
    assert not torch.equal(passes[0][0][0], passes[0][0][1])
    rest = batches(first=1, done=1)
    assert torch.equal(drawn(rest)[0], passes[0][1])
    # The next pass is whole again.
    assert torch.equal(drawn(rest)[0], passes[1][0])
    assert list(batches(first=1, done=1)) == [[3, 4], [5, 6]]
    assert list(rest) == [[1, 2], [3, 4], [5, 6]]
    assert not torch.equal(drawn(batches(seed=4))[0], passes[0][0])
    # What else is in the batch does not matter.
    other = drawn(batches(rows=((9, 2), (3, 8), (5, 6))))
    assert torch.equal(other[0][1], passes[0][0][1])


def test_plain_rows_are_not_seeded():
    torch.manual_seed(5)
    first = items(DrawnViews(), [1])[0]['inputs'][0]
    torch.manual_seed(5)
    random.seed(9)
    assert isinstance(SeededIndex.of(4, 1), int)
    assert not torch.equal(items(DrawnViews(), [1])[0]['inputs'][0], first)


def draws_of_ranks(rank, world):
    return torch.stack(drawn(batches()))


def test_ranks_draw_differently(tmp_path):
    zero, one = on_ranks(draws_of_ranks, 2, tmp_path)
    assert torch.equal(zero, torch.stack(drawn(batches())))
    assert not (zero == one).all((2, 3, 4)).any()


@pytest.mark.parametrize('workers', [0, 2])
def test_resumed_within_an_epoch(workers, tmp_path):
    """From a checkpoint after iteration 6 of 12, whatever the workers."""
    expected = weights(train(config(tmp_path / 'whole')))
    cfg = config(tmp_path / 'run', hooks=[dict(type='Disturb', action='terminate', at=6)])
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        train(cfg)
    assert left.value.code == 75
    assert signal.getsignal(signal.SIGTERM) == before
    assert {p.name for p in tmp_path.glob('run/*.pth')} == {'epoch_1.pth', 'interrupted_6.pth'}
    cfg = config(tmp_path / 'run')
    cfg.train_dataloader.num_workers = workers
    cfg.resume = True
    runner = train(cfg)
    same(weights(runner), expected)
    assert 'Epoch(train) [2][3/4]' in log_of(runner)
    assert 'Epoch(train) [3][1/4]' in log_of(runner)
    assert [p.name for p in tmp_path.glob('run/*.pth')] == ['epoch_3.pth']


def test_resumed_at_the_last_iteration_of_an_epoch(tmp_path):
    expected = weights(train(config(tmp_path / 'whole')))
    with pytest.raises(SystemExit):
        train(config(tmp_path / 'run', hooks=[dict(type='Disturb', action='warn', at=8)]))
    cfg = config(tmp_path / 'run')
    cfg.resume = True
    same(weights(train(cfg)), expected)


def test_resumed_after_an_epoch(tmp_path):
    cfg = config(tmp_path / 'whole')
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    expected = weights(train(cfg))
    (tmp_path / 'run').mkdir()
    os.rename(tmp_path / 'whole/epoch_2.pth', tmp_path / 'run/epoch_2.pth')
    cfg = config(tmp_path / 'run')
    cfg.resume = True
    same(weights(train(cfg)), expected)


@pytest.mark.parametrize('sampler', ['InfiniteSampler', 'DefaultSampler'])
def test_resumed_where_training_counts_iterations(sampler, tmp_path, monkeypatch):
    # mmengine waits two seconds between passes over the data.
    monkeypatch.setattr('mmengine.runner.loops.time.sleep', lambda s: None)

    def counting(name, *hooks):
        cfg = config(tmp_path / name, hooks=hooks)
        cfg.train_cfg = dict(by_epoch=False, max_iters=10)
        cfg.train_dataloader.sampler.type = sampler
        cfg.default_hooks.checkpoint.update(interval=100, by_epoch=False)
        return cfg

    expected = weights(train(counting('whole')))
    with pytest.raises(SystemExit):
        train(counting('run', dict(type='Disturb', action='terminate', at=6)))
    cfg = counting('run')
    cfg.resume = True
    same(weights(train(cfg)), expected)


@pytest.mark.parametrize('before, now', [(16, 24), (24, 16)])
def test_resumed_with_another_batch(before, now, tmp_path):
    train(config(tmp_path / 'run', epochs=1, size=before))
    cfg = config(tmp_path / 'run', size=now)
    cfg.resume = True
    with pytest.raises(ValueError, match=f'is not of a run of {now // 4} '):
        train(cfg)


def test_resumed_from_another_folder(tmp_path):
    cfg = config(tmp_path / 'run', epochs=1)
    cfg.default_hooks.checkpoint.out_dir = str(tmp_path / 'out')
    train(cfg)
    cfg.resume = True
    choose_checkpoint(cfg)
    assert cfg.load_from == str(tmp_path / 'out/run/epoch_1.pth')


def test_resume_with_nothing_to_resume(tmp_path):
    cfg = config(tmp_path / 'run', epochs=1)
    cfg.resume = True
    assert train(cfg).iter == 4
    cfg.resume = True
    cfg.load_from = str(tmp_path / 'absent.pth')
    with pytest.raises(FileNotFoundError, match='absent.pth'):
        choose_checkpoint(cfg)


def test_weights_to_begin_with(tmp_path, monkeypatch):
    """Where there is nothing to resume; of one's home, too."""
    train(config(tmp_path / 'run', epochs=1))
    monkeypatch.setenv('HOME', str(tmp_path))
    cfg = config(tmp_path / 'new')
    cfg.resume = True
    choose_checkpoint(cfg, '~/run/epoch_1.pth')
    assert not cfg.resume
    assert cfg.load_from == str(tmp_path / 'run/epoch_1.pth')


def accumulating(folder, *hooks, batch=4, **dataset):
    """Every second iteration steps; by default, every epoch ends in one."""
    cfg = config(folder, hooks=hooks, **dataset)
    cfg.optim_wrapper.accumulative_counts = 2
    cfg.train_dataloader.batch_size = batch
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    return cfg


def resumed(cfg, checkpoint):
    cfg.update(resume=True, load_from=str(checkpoint))
    return train(cfg)


@pytest.mark.parametrize('size, spoilt', [(16, ()), (12, ()), (12, (5,))])
def test_resumed_between_iterations_that_share_a_step(size, spoilt, tmp_path):
    """Of three iterations an epoch, the first epoch ends in between."""
    whole = train(accumulating(tmp_path / 'run', size=size, spoilt=spoilt))
    again = resumed(
        accumulating(tmp_path / 'again', size=size, spoilt=spoilt), tmp_path / 'run/epoch_1.pth'
    )
    same(weights(again), weights(whole))


def accumulating_ranks(folder, rank, world):
    found = []
    for name in ('run', 'again'):
        cfg = accumulating(folder / name, size=24)
        on_rank(cfg, rank, name)
        if name == 'again':
            cfg.update(resume=True, load_from=str(folder / 'run/epoch_1.pth'))
        found.append(weights(train(cfg)))
    return found


def test_ranks_resumed_between_iterations_that_share_a_step(tmp_path):
    for whole, again in on_ranks(partial(accumulating_ranks, tmp_path), 2, tmp_path):
        same(again, whole)


def test_resumed_after_an_iteration_was_left_out(tmp_path):
    """The target's momentum follows the iterations that count."""
    cfg = config(tmp_path / 'run', spoilt=(5,))
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    whole = train(cfg)
    again = resumed(config(tmp_path / 'again', spoilt=(5,)), tmp_path / 'run/epoch_1.pth')
    same(weights(again), weights(whole))


@METRICS.register_module()
class FirstIsBest(BaseMetric):
    """A score that falls from epoch to epoch; ends training if asked."""

    ending = False
    scored = []

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        if FirstIsBest.ending:
            raise KeyboardInterrupt
        epoch = MessageHub.get_current_instance().get_info('epoch')
        FirstIsBest.scored.append(epoch)
        return dict(score=-epoch)


@MODELS.register_module()
class Validated(MODELS.get('mmpretrain.MEC')):
    def forward(self, inputs, data_samples=None, mode='tensor'):
        return data_samples if mode == 'predict' else super().forward(inputs, data_samples, mode)


def validating(folder, by_epoch):
    cfg = config(folder, epochs=3)
    cfg.model.type = 'Validated'
    cfg.val_dataloader = dict(
        cfg.train_dataloader, sampler=dict(type='DefaultSampler', shuffle=False)
    )
    cfg.val_cfg, cfg.val_evaluator = dict(), dict(type='FirstIsBest')
    cfg.default_hooks.checkpoint.update(save_best='score', rule='greater')
    if not by_epoch:
        cfg.train_cfg = dict(by_epoch=False, max_iters=12, val_interval=4)
        cfg.train_dataloader.sampler.type = 'InfiniteSampler'
        cfg.default_hooks.checkpoint.update(by_epoch=False, interval=4)
    return cfg


@pytest.mark.parametrize('by_epoch', [True, False])
@pytest.mark.parametrize('moment', [1, 3])
def test_a_missed_validation_is_made_up_for(by_epoch, moment, tmp_path, monkeypatch):
    """Of the first epoch or of the last, and once."""
    whole = train(validating(tmp_path / 'whole', by_epoch))
    # Not ended by a signal to all processes, either.
    assert whole.val_dataloader.worker_init_fn.func is apart
    expected = weights(whole)
    (best,) = (p.name for p in tmp_path.glob('whole/best_*'))
    cfg = validating(tmp_path / 'run', by_epoch)
    loop = 4 * moment if not by_epoch else moment

    def die(runner):
        if (runner.epoch + 1 if by_epoch else runner.iter + 1) == loop:
            FirstIsBest.ending = True

    cfg.custom_hooks = [disturb(die)]
    with pytest.raises(KeyboardInterrupt):
        train(cfg)
    FirstIsBest.ending, FirstIsBest.scored = False, []
    cfg = validating(tmp_path / 'run', by_epoch)
    cfg.resume = True
    same(weights(train(cfg)), expected)
    assert [p.name for p in tmp_path.glob('run/best_*')] == [best]
    assert len(FirstIsBest.scored) == 4 - moment


@pytest.mark.parametrize('interval, at, scored', [(1, 6, [0, 1, 2]), (2, 6, [1, 2])])
def test_no_other_validation_is_made_up_for(interval, at, scored, tmp_path):
    """One that the checkpoint knows of, or that was not due."""

    def die(runner):
        raise KeyboardInterrupt

    FirstIsBest.scored = []
    for hooks in ([disturb(die, at)], []):
        cfg = validating(tmp_path / 'run', by_epoch=True)
        cfg.train_cfg.val_interval = interval
        cfg.custom_hooks = hooks
        cfg.resume = not hooks
        if hooks:
            with pytest.raises(KeyboardInterrupt):
                train(cfg)
        else:
            train(cfg)
    assert FirstIsBest.scored == scored


def test_schedulers_follow_a_repeated_validation(tmp_path):
    """Which ended after the checkpoint was written."""

    def die(runner):
        raise KeyboardInterrupt

    rates = []
    for name, hooks in (('whole', []), ('run', [disturb(die, at=10)]), ('run', [])):
        cfg = validating(tmp_path / name, by_epoch=True)
        cfg.param_scheduler = [
            dict(type='ReduceOnPlateauLR', monitor='score', rule='greater', patience=0, factor=0.5)
        ]
        cfg.custom_hooks, cfg.resume = hooks, name == 'run' and not hooks
        if hooks:
            with pytest.raises(KeyboardInterrupt):
                train(cfg)
        else:
            runner = train(cfg)
            rates.append((runner.optim_wrapper.get_lr()['lr'], weights(runner)))
    (rate, whole), (again, resumed_one) = rates
    assert rate == again != [0.05]
    same(resumed_one, whole)


def sampler_config(folder, run_seed, **sampler):
    cfg = config(folder)
    cfg.randomness = dict(seed=run_seed)
    cfg.train_dataloader.pop('batch_size')
    cfg.train_dataloader.batch_sampler = dict(type='PlainBatches', batch_size=4)
    cfg.train_dataloader.sampler.update(sampler)
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    return cfg


@DATA_SAMPLERS.register_module()
class PlainBatches(BatchSampler):
    """As mmdet's, which the loader takes in place of a sampler."""

    def __init__(self, sampler, batch_size):
        super().__init__(sampler, batch_size, drop_last=True)


def test_batch_samplers_are_seeded_by_the_run(tmp_path):
    """Of the checkpoint, whatever the config says now."""
    whole = train(sampler_config(tmp_path / 'run', 1))
    again = resumed(sampler_config(tmp_path / 'again', None), tmp_path / 'run/epoch_1.pth')
    same(weights(again), weights(whole))
    own = train(sampler_config(tmp_path / 'own', 1, seed=99))
    assert own.train_dataloader.batch_sampler.sampler.seed == 99


@HOOKS.register_module()
class Looks(Hook):
    """Iterates over the training set after an epoch, as PreciseBNHook."""

    def after_train_epoch(self, runner):
        next(iter(runner.train_dataloader))


def test_hooks_may_iterate_over_the_images(tmp_path):
    plain = train(config(tmp_path / 'plain'))
    same(weights(train(config(tmp_path / 'run', hooks=[dict(type='Looks')]))), weights(plain))


# -- Bad numbers -------------------------------------------------------------


@pytest.mark.parametrize('algorithm', ['MEC', 'SimSiam'])
def test_a_bad_batch_is_left_out(algorithm, tmp_path):
    runner = train(config(tmp_path / 'run', epochs=2, algorithm=algorithm, spoilt=(5,)))
    state = weights(runner)
    assert all(torch.isfinite(value).all() for value in state.values())
    log = log_of(runner)
    assert log.count('is left out') == 2 and '2 in all' in log
    hub = read_checkpoint(tmp_path / 'run/epoch_2.pth')['message_hub']
    assert hub['runtime_info']['non_finite'] == 2
    kept = sorted((tmp_path / 'run/bad_batches').iterdir())
    assert len(kept) == 2
    bad = torch.load(kept[0], weights_only=True)
    rows = [sample['sample_idx'] for sample in bad['samples']]
    assert bad['inputs'][0][rows.index(5)].isnan().all()
    assert bad['inputs'][0].isnan().sum() == 3 * 64
    assert 'finite' in bad['error']


def test_patience_counts_iterations_that_share_a_step(tmp_path):
    cfg = accumulating(tmp_path / 'run', spoilt=range(16), algorithm='SimSiam')
    with pytest.raises(FloatingPointError, match='3 in a row, 3 in all'):
        train(cfg)


def test_a_bad_iteration_before_the_step_is_left_out(tmp_path):
    cfg = accumulating(tmp_path / 'run', spoilt=(5,), algorithm='SimSiam')
    # Statistics of a batch of its own, which the loss does not show.
    cfg.model.backbone.norm_cfg = dict(type='BN')
    state = weights(train(cfg))
    assert all(torch.isfinite(value).all() for value in state.values())
    for file in (tmp_path / 'run/bad_batches').iterdir():
        kept = torch.load(file, weights_only=True)
        assert kept['inputs'][0].isnan().any()


def test_gradients_that_are_never_finite_stop(tmp_path):
    """Where only the step shows it."""

    def spoil(runner):
        weight = runner.model.backbone.conv1.weight
        weight.register_hook(lambda grad: grad * float('inf'))

    with pytest.raises(FloatingPointError, match='3 in a row, 3 in all'):
        train(accumulating(tmp_path / 'run', disturb(spoil, at=2)))


def test_a_loss_scale_that_fell(tmp_path):
    check_scale(None)
    check_scale(SimpleNamespace(get_scale=lambda: 2.0))
    with pytest.raises(FloatingPointError, match='fallen to 6.1e-05'):
        check_scale(SimpleNamespace(get_scale=lambda: 2.0**-14))


def test_left_out_means_that_nothing_moved(tmp_path):
    states = []

    def note(runner):
        states.append(weights(runner))

    cfg = config(tmp_path / 'run', epochs=2, hooks=[disturb(note)], spoilt=(5,))
    # Two in all are not two in a row.
    cfg.default_hooks.numbers.patience = 2
    runner = train(cfg)
    bad = [
        int(line.split('iteration ')[1].split()[0])
        for line in log_of(runner).splitlines()
        if 'is left out' in line
    ]
    for n in bad:
        for key, value in states[n - 1].items():
            # The target moves before the loss is known.
            if n > 1 and 'target_net.module' not in key:
                assert torch.equal(value, states[n - 2][key]), key
    good = next(n for n in range(2, 9) if n not in bad)
    assert not torch.equal(
        states[good - 1]['backbone.conv1.weight'], states[good - 2]['backbone.conv1.weight']
    )


def test_gradients_are_looked_at(tmp_path):

    def spoil(runner):
        weight = runner.model.backbone.conv1.weight
        weight.register_hook(lambda grad: grad * float('inf'))

    with pytest.raises(FloatingPointError) as error:
        train(config(tmp_path / 'run', hooks=[disturb(spoil, at=2)]))
    text = str(error.value)
    assert 'iteration 5 is left out (3 in a row, 3 in all)' in text
    assert 'backbone.conv1.weight' in text and 'clip_grad' in text
    # Two were asked for.
    assert len(list((tmp_path / 'run/bad_batches').iterdir())) == 2


def test_methods_are_put_back(tmp_path, recwarn):
    """Those of mmengine's schedulers, which warn of others."""
    cfg = config(tmp_path / 'run', epochs=1)
    cfg.param_scheduler = [dict(type='LinearLR', start_factor=0.5)]
    runner = train(cfg)
    assert not [w for w in recwarn if 'overridden' in str(w.message)]
    assert 'train_step' not in vars(runner.model)
    assert 'checked' not in runner.optim_wrapper.step.__code__.co_name
    assert runner.optim_wrapper.step._with_counter


@OPTIM_WRAPPERS.register_module()
class ScaledWrapper(OptimWrapper):
    """Skips steps itself, as mmengine's for float16, which needs a GPU."""

    loss_scaler = None

    def step(self, **kwargs):
        gradients = [p.grad for p in self.optimizer.param_groups[0]['params'] if p.grad is not None]
        if all(torch.isfinite(grad).all() for grad in gradients):
            super().step(**kwargs)


def test_overflows_are_the_loss_scalers(tmp_path):

    def overflow(runner):
        weight = runner.model.backbone.conv1.weight
        weight.register_hook(lambda grad: grad * float('inf'))

    cfg = config(tmp_path / 'run', hooks=[disturb(overflow, at=2)])
    cfg.optim_wrapper.type = 'ScaledWrapper'
    assert 'is left out' not in log_of(train(cfg))


def bad_on_one_rank(folder, algorithm, wrapper, rank, world):
    cfg = config(folder / 'run', epochs=2, algorithm=algorithm, spoilt=(5,))
    cfg.optim_wrapper.type = wrapper
    cfg.train_dataloader.batch_size = 2
    on_rank(cfg, rank, 'bad')
    runner = train(cfg)
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == 'NonFiniteHook')
    return hook.total, weights(runner)


@pytest.mark.parametrize(
    'algorithm, wrapper',
    [
        ('MEC', 'OptimWrapper'),
        ('SimSiam', 'OptimWrapper'),
        ('SimSiam', 'ScaledWrapper'),
    ],
)
def test_a_bad_batch_of_one_rank_is_left_out_by_all(algorithm, wrapper, tmp_path):
    (total, zero), (other, one) = on_ranks(
        partial(bad_on_one_rank, tmp_path, algorithm, wrapper), 2, tmp_path
    )
    assert total == other == 2
    same(zero, one)
    assert all(torch.isfinite(value).all() for value in zero.values())
    kept = {p.name for p in (tmp_path / 'run/bad_batches').iterdir()}
    assert len(kept) == 4


def raised(infinite, rank, world):
    """What each rank says of a fault that rank 1 has, terms finite or not."""
    terms = dict(loss=torch.tensor(float('inf') if infinite else 1.0))
    errors = [FloatingPointError('mine')] if rank and not infinite else []
    if infinite and not rank:
        terms = dict(loss=torch.tensor(1.0))
    try:
        return over_ranks(terms, errors)
    except FloatingPointError as error:
        return str(error)


def test_all_ranks_raise_the_fault_of_one(tmp_path):
    one, two = tmp_path / 'one', tmp_path / 'two'
    one.mkdir(), two.mkdir()
    zero, first = on_ranks(partial(raised, False), 2, one)
    assert first == 'mine'
    assert zero.startswith('the features of rank 1 are not finite; ')
    for text in on_ranks(partial(raised, True), 2, two):
        assert text.startswith('loss is inf, although all features are ')


def complaint(rank, world):
    """What each rank says of a loss that is bad on rank 1."""
    with pytest.raises(FloatingPointError) as error:
        check_loss(dict(loss=torch.tensor(float('nan') if rank else 1.0)))
    return str(error.value)


def test_all_ranks_look_at_the_loss_of_each(tmp_path):
    assert set(on_ranks(complaint, 2, tmp_path)) == {'the loss of 1 of the processes is not finite'}


# -- Ranks -------------------------------------------------------------------


def slow_writer(folder, moment, rank, world):
    """Rank 0 writes for longer than the others wait, then all leave."""
    write, left = files.put_whole, []

    def slow(data, path):
        if Path(path).name.startswith(moment):
            time.sleep(4)
        write(data, path)

    files.put_whole = slow
    hooks = [dict(type='Disturb', action='warn', at=6)]
    cfg = config(folder / 'run', hooks=hooks if moment == 'interrupted' else ())
    cfg.default_hooks.ranks.patience = 1.5
    cfg.train_dataloader.batch_size = 2
    on_rank(cfg, rank, 'slow')
    try:
        train(cfg)
    except SystemExit as error:
        left.append(error.code)
    return left, [p.name for p in folder.glob('run/*.pth')]


@pytest.mark.parametrize(
    'moment, status, last',
    [
        ('interrupted', [75], 'interrupted_6.pth'),
        ('epoch_3', [], 'epoch_3.pth'),
    ],
)
def test_all_ranks_stay_until_the_first_has_written(moment, status, last, tmp_path):
    for left, there in on_ranks(partial(slow_writer, tmp_path, moment), 2, tmp_path):
        assert left == status and last in there


def unequal(folder, what, rank, world):
    cfg = config(folder / f'run{rank}')
    if rank == 1 and what == 'config':
        cfg.optim_wrapper.optimizer.lr = 0.1
    if rank == 1 and what == 'data':
        DrawnViews.__len__ = lambda self: 20
    on_rank(cfg, rank, 'unequal')
    try:
        train(cfg)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize(
    'what, words',
    [
        ('config', 'the config, optim_wrapper.optimizer.lr: 0.1 instead of 0.05;'),
        ('data', 'the number of batches: 3 instead of 2;'),
    ],
)
def test_ranks_that_differ(what, words, tmp_path):
    for text in on_ranks(partial(unequal, tmp_path, what), 2, tmp_path):
        assert text.startswith('rank 1 differs from rank 0 in ')
        assert words.rstrip(';') in text


def test_leaves():
    assert dict(leaves(dict(a=dict(b=1), c=[2, dict(d=3)]))) == {'a.b': 1, 'c.0': 2, 'c.1.d': 3}


class Store(dict):
    """Of a process group."""

    def set(self, key, value):
        self[key] = value.encode()

    def check(self, keys):
        return all(key in self for key in keys)

    def get(self, key):
        return self[key]


@pytest.mark.parametrize('silent', [1, None])
def test_a_rank_without_a_sign_of_life(silent, capfd):
    store, left = Store(), threading.Event()
    names = ['rank 0', 'rank 1 (process 7)', 'rank 2']
    watch = Watch(store, names, 1.0, leave=lambda status: left.set())
    watch.start()
    end = time.monotonic() + 2
    beat = 0
    while time.monotonic() < end and not left.is_set():
        beat += 1
        for rank in (1, 2):
            if rank != silent:
                store.set(f'mmentropy/beat/{rank}', str(beat))
        time.sleep(0.05)
    watch.stop()
    assert left.is_set() == (silent is not None)
    printed = capfd.readouterr().err
    assert printed.startswith('rank 1 (process 7): no sign of life for 1 s') == (silent is not None)


def test_a_store_that_stopped(capfd):
    left = threading.Event()
    blocked = SimpleNamespace(set=lambda key, value: time.sleep(1e6))
    Watch(blocked, ['rank 0', 'rank 1'], 1.0, lambda _: left.set()).start()
    assert left.wait(3)
    assert 'store of the process group' in capfd.readouterr().err


def test_wrong_arguments():
    for cfg, words in (
        (dict(type='SignalHook', interval=0), 'interval'),
        (dict(type='NonFiniteHook', patience=0), 'patience'),
        (dict(type='NonFiniteHook', keep=-1), 'keep'),
        (dict(type='RanksHook', patience='x'), 'patience'),
    ):
        with pytest.raises(ValueError, match=f'{words} must be'):
            HOOKS.build(cfg)
