"""Checkpoints survive a full disk and a lost folder."""

import errno
import json
import os
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from ranks import on_ranks
from safe_runs import (
    config,
    disturb,
    log_of,
    same,
    train,
    weights,
)
from small import on_rank

from mmentropy.engine.best_checkpoint import save_best
from mmentropy.engine.checkpoint_room import require_room, steps_to_save
from mmentropy.engine.hooks.safe_checkpoint import SafeCheckpointHook
from mmentropy.weights import files
from mmentropy.weights.reader import read_checkpoint


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_older_ones_are_removed_after_the_newest_is_whole(tmp_path, monkeypatch):
    write, there = files.put_whole, []

    def look(data, path):
        if str(path).endswith('.pth'):
            there.append(sorted(p.name for p in tmp_path.glob('run/*.pth')))
        write(data, path)

    monkeypatch.setattr(files, 'put_whole', look)
    train(config(tmp_path / 'run'))
    assert there == [[], ['epoch_1.pth'], ['epoch_2.pth']]


def test_a_run_without_its_last_weights_has_failed(tmp_path, monkeypatch):
    def full(data, path):
        raise OSError(errno.ENOSPC, 'No space left on device')

    def fill(runner):
        monkeypatch.setattr(files, 'put_whole', full)

    with pytest.raises(OSError, match='training has ended, but its last weights are not in'):
        train(config(tmp_path / 'run', hooks=[disturb(fill, at=10)]))
    # The older one stays.
    assert [path.name for path in tmp_path.glob('run/*.pth')] == ['epoch_2.pth']


def test_a_run_that_stops_before_its_time_saves_its_last_weights(tmp_path):
    def stop(runner):
        runner.train_loop.stop_training = True

    cfg = config(tmp_path / 'run', epochs=9, hooks=[disturb(stop, at=10)])
    cfg.default_hooks.checkpoint.interval = 5
    runner = train(cfg)
    checkpoint = read_checkpoint(tmp_path / 'run/epoch_3.pth')
    assert checkpoint['meta']['iter'] == 12
    same(weights(runner), checkpoint['state_dict'])


def test_a_run_without_room_for_its_checkpoints_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match='run has no room for 1 checkpoints of .* free; make room'):
        train(config(tmp_path / 'run'))
    assert not list(tmp_path.glob('run/*.pth'))


@pytest.mark.parametrize('free, fits', [(1000, True), (999, False)])
def test_checkpoints_that_are_replaced_make_room(free, fits, tmp_path, monkeypatch):
    for number in (1, 2):
        (tmp_path / f'epoch_{number}.pth').write_bytes(bytes(1000))
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=free))
    runner = SimpleNamespace(train_loop=SimpleNamespace(max_epochs=9), epoch=0)
    hook = SafeCheckpointHook(interval=1, max_keep_ckpts=2)
    hook.filename_tmpl = 'epoch_{}.pth'
    if fits:
        assert require_room(runner, hook, tmp_path, size=1000).needed == 1000
    else:
        with pytest.raises(OSError, match='no room for 2 checkpoints'):
            require_room(runner, hook, tmp_path, size=1000)


@pytest.mark.parametrize(
    'done, settings, steps',
    [
        (0, dict(interval=2), [2, 4, 6, 8, 9]),
        (0, dict(interval=2, save_last=False), [2, 4, 6, 8]),
        (6, dict(interval=2), [8, 9]),
        (7, dict(interval=3), [9]),
        (0, dict(interval=3, save_begin=4), [4, 7, 9]),
        (5, dict(interval=3, save_begin=4), [7, 9]),
        (4, dict(interval=-1), [9]),
        (4, dict(interval=-1, save_last=False), []),
    ],
)
def test_checkpoints_that_are_still_to_come(done, settings, steps):
    runner = SimpleNamespace(train_loop=SimpleNamespace(max_epochs=9), epoch=done)
    hook = SafeCheckpointHook(**settings)
    assert steps_to_save(runner, hook) == steps
    for runner.epoch in range(done, 9):
        saved = hook.every_n_epochs(runner, hook.interval, hook.save_begin)
        last = hook.save_last and runner.epoch == 8
        assert (runner.epoch + 1 in steps) == (saved or last)


def test_checkpoints_of_a_resumed_run_that_stay_make_no_room(tmp_path, monkeypatch):
    """Of nine that are all kept the last two are missing, and one is to be written anew."""
    for number in (1, 2, 3, 4, 5, 6, 7, 8):
        (tmp_path / f'epoch_{number}.pth').write_bytes(bytes(1000))
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=9000))
    runner = SimpleNamespace(train_loop=SimpleNamespace(max_epochs=9), epoch=7)
    hook = SafeCheckpointHook(interval=1)
    hook.filename_tmpl = 'epoch_{}.pth'
    assert require_room(runner, hook, tmp_path, size=1000) == (2, 2000, 9000)


def test_what_a_killed_process_had_half_written_is_removed(tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/interrupted_2.pth.part').write_bytes(b'half')
    train(config(tmp_path / 'run', epochs=1))
    assert not list((tmp_path / 'run').glob('*.part'))


def best_that_cannot_be_written(folder, rank, world):
    """Three iterations an epoch, two a step; the first best checkpoint meets a full disk."""

    def judged(runner):
        validated(runner, float(runner.iter))

    def full(data, path):
        if Path(path).name.startswith('best') and not bad.is_file():
            bad.touch()
            raise OSError(errno.ENOSPC, 'No space left on device')
        write(data, path)

    bad, write, files.put_whole = folder / 'met', files.put_whole, full
    hooks = [disturb(judged, at=9), disturb(judged, at=12)]
    cfg = config(folder / 'run', epochs=4, hooks=hooks, size=12)
    cfg.optim_wrapper.accumulative_counts = 2
    cfg.train_dataloader.batch_size = 2
    cfg.default_hooks.checkpoint.update(save_best=KEY, rule='greater')
    on_rank(cfg, rank, 'full')
    runner = train(cfg)
    return runner.iter, runner.message_hub.get_info('best_score')


@pytest.mark.slow
def test_ranks_agree_that_a_checkpoint_could_not_be_written(tmp_path):
    found = on_ranks(partial(best_that_cannot_be_written, tmp_path), 2, tmp_path)
    assert found[0] == found[1] and found[0][0] == 12
    assert (tmp_path / 'met').is_file() and len([*tmp_path.glob('run/best*')]) == 1


def last_that_cannot_be_noted(folder, rank, world):
    """The first rank alone writes last_checkpoint, where a folder is in the way for an epoch."""

    def clear(runner):
        if rank == 0:
            (folder / 'run/last_checkpoint').rmdir()

    if rank == 0:
        (folder / 'run/last_checkpoint').mkdir(parents=True)
    cfg = config(folder / 'run', hooks=[disturb(clear, at=3)])
    cfg.default_hooks.checkpoint.max_keep_ckpts = 3
    runner = train(on_rank(cfg, rank, 'noted'))
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook))
    return runner.iter, [*hook.keep_ckpt_ids]


@pytest.mark.slow
def test_ranks_agree_that_the_last_checkpoint_could_not_be_noted(tmp_path):
    found = on_ranks(partial(last_that_cannot_be_noted, tmp_path), 2, tmp_path)
    assert found == [(6, [2, 3])] * 2


def last_that_cannot_be_written(folder, rank, world):
    """The first rank alone writes checkpoints, and meets a full disk at the end."""

    def full(data, path):
        if Path(path).name == 'epoch_3.pth':
            raise OSError(errno.ENOSPC, 'No space left on device')
        write(data, path)

    write, files.put_whole = files.put_whole, full
    with pytest.raises(OSError, match='training has ended, but its last weights are not in'):
        train(on_rank(config(folder / 'run'), rank, 'full at the end'))
    return rank


@pytest.mark.slow
def test_all_ranks_fail_where_the_last_weights_could_not_be_written(tmp_path):
    assert on_ranks(partial(last_that_cannot_be_written, tmp_path), 2, tmp_path) == [0, 1]


@pytest.mark.slow
def test_names_may_format_the_number(tmp_path):
    cfg = config(tmp_path / 'run')
    cfg.default_hooks.checkpoint.update(filename_tmpl='epoch_{:03d}.pth', max_keep_ckpts=-1)
    train(cfg)
    (tmp_path / 'run/last_checkpoint').write_text('')
    (tmp_path / 'run/epoch_003.pth').unlink()
    cfg = config(tmp_path / 'run')
    cfg.default_hooks.checkpoint.filename_tmpl = 'epoch_{:03d}.pth'
    cfg.resume = True
    assert 'epoch_002.pth' in log_of(train(cfg))
