"""Progress is shown where a tool asked for it."""

import io
import sys
import time

import pytest
import torch

from mmentropy.evaluation import knn_predict, progress


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setattr(progress, '_asked', True)
    monkeypatch.setattr(progress, 'INTERVAL', -1)


def test_lines_tell_what_is_left(asked, capsys):
    assert list(progress.progress(range(3), 'reading', 'image')) == [0, 1, 2]
    # The last one needs no line.
    said = 'reading: 1 of 3 images, 0:00:00 left\nreading: 2 of 3 images, 0:00:00 left\n'
    assert capsys.readouterr().err == said


def test_a_terminal_has_a_bar_that_goes(asked, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, 'stderr', terminal := Terminal())
    # Nothing is shown in the first second, as most loops take less.
    assert list(progress.progress(range(3), 'reading', 'image')) == [0, 1, 2]
    assert not terminal.getvalue()
    monkeypatch.setattr(progress, 'DELAY', 0)
    for item in progress.progress(range(3), 'reading', 'image'):
        if item == 0:
            # A bar is drawn ten times a second at most.
            time.sleep(0.2)
        else:
            assert 'reading:  33%' in terminal.getvalue()
    assert '\n' not in terminal.getvalue()


def test_nothing_is_shown_while_training_or_by_other_ranks(asked, monkeypatch, capsys):
    monkeypatch.setattr(progress, 'is_main_process', lambda: False)
    assert list(progress.progress(range(3), 'reading')) == [0, 1, 2]
    monkeypatch.undo()
    assert list(progress.progress(range(3), 'reading')) == [0, 1, 2]
    assert not capsys.readouterr().err


def test_protocols_tell_how_far_they_are(asked, capsys):
    x = torch.eye(1000, 4)
    knn_predict(x, torch.zeros(1000, dtype=torch.int64), x, k=1)
    assert 'kNN: 1 of 4 blocks' in capsys.readouterr().err
