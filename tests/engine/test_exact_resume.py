"""A resumed run ends where the unbroken one does."""

import os
import pickle
import random
import signal
from functools import partial

import pytest
import torch
from mmengine.hooks import Hook
from mmpretrain.registry import DATA_SAMPLERS, HOOKS
from ranks import on_ranks
from safe_runs import DrawnViews, accumulating, config, log_of, resumed, same, train, weights
from small import on_rank
from torch.utils.data import BatchSampler, DataLoader

from mmentropy.engine.random_state import network_seed
from mmentropy.engine.seeded_loader import SeededBatches, SeededDataset, SeededIndex, seeded_loader


def batches(first=0, done=0, seed=3, rows=((1, 2), (3, 4), (5, 6))):
    return SeededBatches([list(r) for r in rows], seed, first, done)


def drawn(numbered):
    dataset = SeededDataset(DrawnViews())
    return [torch.stack([dataset[row]['inputs'][0] for row in rows]) for rows in numbered]


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
    # The other images of the batch do not matter.
    other = drawn(batches(rows=((9, 2), (3, 8), (5, 6))))
    assert torch.equal(other[0][1], passes[0][0][1])


def test_plain_rows_are_not_seeded():
    torch.manual_seed(5)
    first = SeededDataset(DrawnViews())[1]['inputs'][0]
    torch.manual_seed(5)
    random.seed(9)
    assert isinstance(SeededIndex.of(4, 1), int)
    assert not torch.equal(SeededDataset(DrawnViews())[1]['inputs'][0], first)


@pytest.mark.slow
def test_workers_that_had_started_seed_nothing():
    """A loop over iterations begins to iterate before hooks give it another loader."""
    loader = DataLoader(
        DrawnViews(), batch_size=2, num_workers=1, persistent_workers=True, collate_fn=list
    )
    started = iter(loader)
    found = [
        torch.stack([item['inputs'][0] for item in batch])
        for batch in seeded_loader(loader, batches())
    ]
    assert torch.equal(torch.stack(found), torch.stack(drawn(batches())))
    assert len(list(started)) == len(loader) == 8


def draws_of_ranks(rank, world):
    return torch.stack(drawn(batches()))


@pytest.mark.slow
def test_ranks_draw_differently(tmp_path):
    zero, one = on_ranks(draws_of_ranks, 2, tmp_path)
    assert torch.equal(zero, torch.stack(drawn(batches())))
    assert not (zero == one).all((2, 3, 4)).any()


def test_networks_of_ranks_draw_differently(monkeypatch):
    seeds = []
    for rank in (0, 1):
        monkeypatch.setattr('mmentropy.engine.random_state.get_rank', lambda rank=rank: rank)
        seeds.append(network_seed(3, 5))
    assert seeds[0] != seeds[1]


@pytest.mark.slow
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


@pytest.mark.slow
def test_resumed_at_the_last_iteration_of_an_epoch(tmp_path):
    expected = weights(train(config(tmp_path / 'whole')))
    with pytest.raises(SystemExit):
        train(config(tmp_path / 'run', hooks=[dict(type='Disturb', action='warn', at=8)]))
    cfg = config(tmp_path / 'run')
    cfg.resume = True
    same(weights(train(cfg)), expected)


@pytest.mark.slow
def test_resumed_after_an_epoch(tmp_path):
    cfg = config(tmp_path / 'whole')
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    expected = weights(train(cfg))
    (tmp_path / 'run').mkdir()
    os.rename(tmp_path / 'whole/epoch_2.pth', tmp_path / 'run/epoch_2.pth')
    cfg = config(tmp_path / 'run')
    cfg.resume = True
    same(weights(train(cfg)), expected)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize('before, now', [(16, 24), (24, 16)])
def test_resumed_with_another_batch(before, now, tmp_path):
    train(config(tmp_path / 'run', epochs=1, size=before))
    cfg = config(tmp_path / 'run', size=now)
    cfg.resume = True
    with pytest.raises(ValueError, match=f'is not of a run of {now // 4} '):
        train(cfg)


@pytest.mark.slow
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


@pytest.mark.slow
def test_ranks_resumed_between_iterations_that_share_a_step(tmp_path):
    for whole, again in on_ranks(partial(accumulating_ranks, tmp_path), 2, tmp_path):
        same(again, whole)


@pytest.mark.slow
def test_resumed_after_an_iteration_was_left_out(tmp_path):
    """The target's momentum follows the iterations that count."""
    cfg = config(tmp_path / 'run', spoilt=(5,))
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    whole = train(cfg)
    again = resumed(config(tmp_path / 'again', spoilt=(5,)), tmp_path / 'run/epoch_1.pth')
    same(weights(again), weights(whole))


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_hooks_may_iterate_over_the_images(tmp_path):
    plain = train(config(tmp_path / 'plain'))
    same(weights(train(config(tmp_path / 'run', hooks=[dict(type='Looks')]))), weights(plain))


@pytest.mark.slow
@pytest.mark.parametrize('epoch', [2, 3, 4])
def test_a_resumed_run_stops_early_where_the_whole_one_does(epoch, tmp_path):
    def run(name):
        # A loss that never falls below 0 waits three times.
        early = dict(
            type='EarlyStoppingHook', monitor='val_loss', patience=3, rule='less', min_delta=100
        )
        cfg = config(tmp_path / name, 9, [early])
        cfg.val_cfg, cfg.val_evaluator = dict(type='HeldOutLoop'), []
        cfg.val_dataloader = dict(cfg.train_dataloader, sampler=dict(type='DefaultSampler'))
        cfg.default_hooks.checkpoint.max_keep_ckpts = -1
        return cfg

    whole = train(run('whole'))
    assert whole.epoch == 4
    again = resumed(run('again'), tmp_path / f'whole/epoch_{epoch}.pth')
    assert again.epoch == 4
    same(weights(again), weights(whole))


@pytest.mark.slow
@pytest.mark.parametrize('epoch', [1, 3])
def test_a_validation_that_is_made_up_for_has_the_loss_of_the_whole_run(epoch, tmp_path):
    """Also where the objective follows the iteration, as MEC in its warm-up."""

    def run(name):
        cfg = config(tmp_path / name)
        cfg.model.head.loss.update(warmup=1.0, distortion=1.0, guard=False)
        cfg.val_cfg, cfg.val_evaluator = dict(type='HeldOutLoop'), []
        cfg.val_dataloader = dict(cfg.train_dataloader, sampler=dict(type='DefaultSampler'))
        cfg.default_hooks.checkpoint.max_keep_ckpts = -1
        return cfg

    whole = train(run('whole'))
    again = resumed(run('again'), tmp_path / f'whole/epoch_{epoch}.pth')
    same(weights(again), weights(whole))
    losses, expected = (
        runner.message_hub.get_scalar('val/val_loss').data[0].tolist() for runner in (again, whole)
    )
    assert losses == expected and len(set(losses)) == 3


@pytest.mark.slow
def test_another_batch_is_told_where_training_counts_iterations(tmp_path):
    def run(name, batch):
        cfg = config(tmp_path / name)
        cfg.train_cfg = dict(by_epoch=False, max_iters=4)
        cfg.train_dataloader.update(batch_size=batch, sampler=dict(type='InfiniteSampler'))
        cfg.default_hooks.checkpoint.update(by_epoch=False, interval=2, max_keep_ckpts=-1)
        return cfg

    train(run('old', 4))
    old = tmp_path / 'old/iter_2.pth'
    assert 'images an iteration' not in log_of(resumed(run('same', 4), old))
    assert 'of 4 images an iteration' in log_of(resumed(run('other', 8), old))


def test_what_hooks_set_is_set_in_the_data_set():
    dataset = DrawnViews()
    seeded = pickle.loads(pickle.dumps(SeededDataset(dataset)))
    seeded = SeededDataset(dataset)
    seeded[SeededIndex.of(1, 1)]
    seeded.pipeline = 'another'
    assert dataset.pipeline == 'another' and seeded._seeds is None
