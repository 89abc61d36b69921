"""The checkpoint that a run goes on from."""

import random
from pathlib import Path

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader
from safe_runs import config, train

from mmentropy.engine import resume as checkpoints
from mmentropy.engine.resume import choose_checkpoint, newest_checkpoint
from mmentropy.weights import reader
from mmentropy.weights.files import save_whole
from mmentropy.weights.reader import read_checkpoint


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
        for read in (read_checkpoint, CheckpointLoader.load_checkpoint):
            with pytest.raises(ValueError) as error:
                read(str(path))
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_weights_to_begin_with(tmp_path, monkeypatch):
    """Where there is nothing to resume; of one's home, too."""
    train(config(tmp_path / 'run', epochs=1))
    monkeypatch.setenv('HOME', str(tmp_path))
    cfg = config(tmp_path / 'new')
    cfg.resume = True
    choose_checkpoint(cfg, '~/run/epoch_1.pth')
    assert not cfg.resume
    assert cfg.load_from == str(tmp_path / 'run/epoch_1.pth')


@pytest.fixture
def reads(monkeypatch):
    """The names of the files whose checksums were compared, and of those that were read."""
    compared, loaded = [], []
    check, load = reader.check_file, torch.load

    def counted_check(path):
        compared.append(Path(path).name)
        check(path)

    def counted_load(path, *args, **kwargs):
        loaded.append(Path(path).name)
        return load(path, *args, **kwargs)

    monkeypatch.setattr(reader, 'check_file', counted_check)
    monkeypatch.setattr(torch, 'load', counted_load)
    return compared, loaded


@pytest.mark.slow
@pytest.mark.parametrize('named', [False, True])
def test_a_checkpoint_is_read_once(named, tmp_path, reads):
    train(config(tmp_path / 'run', epochs=1))
    assert reads == ([], [])
    cfg = config(tmp_path / 'run', epochs=2)
    cfg.update(resume=True, load_from=str(tmp_path / 'run/epoch_1.pth') if named else None)
    # ``--check`` chooses the checkpoint for the plan, and again for the Runner.
    choose_checkpoint(cfg)
    assert train(cfg).iter == 8
    assert reads == (['epoch_1.pth'], ['epoch_1.pth'])


def test_a_checkpoint_that_changed_is_read_again(two_checkpoints, reads):
    path = two_checkpoints / 'epoch_2.pth'
    assert newest_checkpoint(two_checkpoints) == path
    save_whole(dict(meta=dict(iter=30)), path)
    assert CheckpointLoader.load_checkpoint(str(path)) == dict(meta=dict(iter=30))
    assert CheckpointLoader.load_checkpoint(str(path)) == dict(meta=dict(iter=30))
    assert reads[1] == ['epoch_2.pth'] * 3


def test_damaged_ones_are_read_once_too(two_checkpoints, reads):
    """Also if the damaged one is the last that was saved, and the newest by name."""
    path = two_checkpoints / 'epoch_2.pth'
    path.write_bytes(path.read_bytes()[:-100])
    found = newest_checkpoint(two_checkpoints, last=path.name)
    assert CheckpointLoader.load_checkpoint(str(found))['meta'] == dict(iter=10)
    assert reads == (['epoch_2.pth', 'epoch_1.pth'], ['epoch_1.pth'])
