"""All ranks save and leave together."""

import signal
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ranks import on_ranks
from safe_runs import config, disturb, train
from small import on_rank

from mmentropy.engine.hooks.signals import SignalHook
from mmentropy.weights import files


def slow_writer(folder, rank, world):
    """Rank 0 takes seconds to write what is saved on a signal, then all leave."""
    write, left = files.put_whole, []

    def slow(data, path):
        if Path(path).name.startswith('interrupted'):
            time.sleep(2)
        write(data, path)

    files.put_whole = slow
    hooks = [dict(type='Disturb', action='warn', at=6)]
    cfg = config(folder / 'run', hooks=hooks)
    cfg.train_dataloader.batch_size = 2
    on_rank(cfg, rank, 'slow')
    try:
        train(cfg)
    except SystemExit as error:
        left.append(error.code)
    return left, [p.name for p in folder.glob('run/*.pth')]


@pytest.mark.slow
def test_all_ranks_stay_until_the_first_has_written(tmp_path):
    for left, there in on_ranks(partial(slow_writer, tmp_path), 2, tmp_path):
        assert left == [75] and 'interrupted_6.pth' in there


@pytest.mark.parametrize(
    'told, ended, saved',
    [
        (6, pytest.raises(SystemExit, match='75'), 'interrupted_10.pth'),
        # No question comes before the end of training, which saves as always.
        (11, nullcontext(), 'epoch_3.pth'),
    ],
)
def test_ranks_ask_each_other_at_intervals(told, ended, saved, tmp_path, monkeypatch):
    # A rank without others gets its own answer.
    monkeypatch.setattr('mmentropy.engine.hooks.signals.get_world_size', lambda: 2)
    cfg = config(tmp_path / 'run', hooks=[dict(type='Disturb', action='terminate', at=told)])
    cfg.default_hooks.signals.interval = 5
    with ended:
        train(cfg)
    assert (tmp_path / 'run/last_checkpoint').read_text().endswith(saved)


def test_an_error_gives_the_handlers_back(tmp_path):
    def fail(runner):
        raise RuntimeError('disturbed')

    before = signal.getsignal(signal.SIGINT)
    cfg = config(tmp_path / 'run', hooks=[disturb(fail, at=2)])
    with pytest.raises(RuntimeError, match='disturbed'):
        train(cfg)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_interrupts_at_once():
    hook = SignalHook()
    hook._note(signal.SIGTERM, None)
    hook._note(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        hook._note(signal.SIGINT, None)


def test_a_signal_during_a_question_is_for_the_next_one(tmp_path, monkeypatch):
    def signalled(told, op):
        hook._note(signal.SIGTERM, None)

    hook = SignalHook(interval=1)
    runner = SimpleNamespace(iter=0, model=torch.nn.Linear(1, 1))
    with monkeypatch.context() as patch:
        patch.setattr('mmentropy.engine.hooks.signals.get_world_size', lambda: 2)
        patch.setattr('mmentropy.engine.hooks.signals.all_reduce', signalled)
        assert not hook._told(runner)
        patch.setattr('mmentropy.engine.hooks.signals.all_reduce', lambda told, op: None)
        assert hook._told(runner) and hook.received == signal.SIGTERM
