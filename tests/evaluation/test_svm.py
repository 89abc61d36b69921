"""SVMs: which rows choose the cost, difficult labels, few shots."""

import numpy as np
import pytest
import torch

from mmentropy.evaluation import (
    low_shot,
    svm,
    svm_score,
)


def spied(monkeypatch, name):
    """Arguments and results of the calls of a function of the module."""
    calls, original = [], getattr(svm, name)

    def spy(*args):
        calls.append((*args, original(*args)))
        return calls[-1][-1]

    monkeypatch.setattr(svm, name, spy)
    return calls


@pytest.mark.slow
@pytest.mark.parametrize('several', [False, True])
def test_svm_cost_is_chosen_on_training_rows(digits, several, monkeypatch):
    if several:
        digits = [torch.eye(10, dtype=torch.int64)[v] if v.dim() == 1 else v for v in digits]
    calls = spied(monkeypatch, '_mean_ap' if several else '_accuracy')
    costs = (1e-4, 1.0, 1e-3)
    assert svm_score(*digits, costs=costs) > 94
    assert [call[2] for call in calls] == [*costs, 1.0]
    unit = torch.nn.functional.normalize(digits[0].double())
    for (x, _), (held_x, _), *_ in calls[:-1]:
        assert (len(x), len(held_x)) == (1167, 130)
        together = np.concatenate([x, held_x])
        assert np.allclose(sorted(together.sum(1)), sorted(unit.sum(1)))
    last = calls[-1]
    assert np.allclose(last[0][0], unit) and len(last[1][0]) == 500
    # Wrong test labels change the result, not the choice.
    calls.clear()
    flipped = svm_score(*digits[:3], digits[3].flip(0), costs=costs)
    assert flipped < 30 and calls[-1][2] == 1.0


@pytest.mark.slow
def test_svm_ignores_what_is_difficult(digits):
    train_x, train_y, test_x, test_y = digits
    train_y, test_y = [torch.eye(10, dtype=torch.int64)[y] for y in (train_y, test_y)]
    clean = svm_score(train_x, train_y, test_x, test_y, costs=[1.0])
    wrong, marked = [], []
    for y in (train_y, test_y):
        noise = torch.rand(y.shape) < 0.3
        wrong.append(torch.where(noise, 1 - y, y))
        marked.append(torch.where(noise, -1, y))
    worse = svm_score(train_x, wrong[0], test_x, wrong[1], costs=[1.0])
    same = svm_score(train_x, marked[0], test_x, marked[1], costs=[1.0])
    assert abs(same - clean) < 2 and worse < clean - 20
    for y in (marked, wrong):
        mixed = svm_score(train_x, y[0], test_x, marked[1], costs=[1.0])
        assert (mixed > clean - 2) == (y is marked)


def test_svm_of_rare_classes_and_bad_input(digits):
    x, y = digits[0][:40], torch.zeros(40, 3, dtype=torch.int64)
    y[:20, 0] = y[0, 1] = 1
    assert 0 < svm_score(x, y, x, y) <= 100
    with pytest.raises(ValueError, match=r'same classes.*\(40, 3\)'):
        svm_score(x, y, x, y[:, :2])
    with pytest.raises(ValueError, match='train_x has 40 rows'):
        svm_score(x, y[:9], x, y)
    with pytest.raises(ValueError, match='train_x has non-finite'):
        svm_score(x / 0, y, x, y)


def test_low_shot_sees_k_rows_of_each_class(digits, monkeypatch):
    calls = spied(monkeypatch, '_accuracy')
    scores = low_shot(*digits, shots=(1, 4, 16), draws=3)
    assert list(scores) == [1, 4, 16] and len(calls) == 9
    assert scores[1] < scores[4] < scores[16] < 95
    rows = [{tuple(row) for row in call[0][0]} for call in calls]
    for k, call in zip([1, 4, 16] * 3, calls):
        assert np.bincount(call[0][1]).tolist() == [k] * 10
        assert len(call[1][0]) == 500
    for draw in range(3):
        one, four, sixteen = rows[3 * draw : 3 * draw + 3]
        assert one < four < sixteen
    assert rows[0] != rows[3]
    assert scores[4] == pytest.approx(np.mean([call[-1] for call in calls[1::3]]))
    assert low_shot(*digits, shots=(1, 4, 16), draws=3) == scores
    assert low_shot(*digits, shots=(4,), draws=3, seed=1)[4] != scores[4]
    with pytest.raises(ValueError, match='training rows, fewer than 200'):
        low_shot(*digits, shots=(1, 200))
