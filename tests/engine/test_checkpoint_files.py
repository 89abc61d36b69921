"""Files of checkpoints are whole, and run nothing when they are read."""

import errno
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.runner.checkpoint import CheckpointLoader
from safe_runs import (
    DrawnViews,
    config,
    disturb,
    train,
)

from mmentropy.weights import files
from mmentropy.weights.files import put_whole


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


@pytest.mark.slow
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
