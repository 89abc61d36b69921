"""Average precision of VOC 2007 against its definition."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from mmpretrain.evaluation import VOCAveragePrecision

from mmentropy.evaluation import (
    VOC07AveragePrecision,
    voc07_ap,
)


def exact_ap(scores, labels):
    """VOC 2007's definition, rank by rank, in fractions."""
    pairs = sorted((p for p in zip(scores, labels) if p[1] >= 0), reverse=True)
    total, hits, points = sum(y for _, y in pairs), 0, []
    for rank, (_, y) in enumerate(pairs, 1):
        hits += y
        points.append((Fraction(hits, total), Fraction(hits, rank)))
    return sum(max(p for r, p in points if r >= Fraction(t, 10)) for t in range(11)) / 11


def test_voc_ap_at_eleven_points():
    # One of two found at once, the other third.
    assert voc07_ap(np.array([3.0, 2, 1]), np.array([1, 0, 1])) == pytest.approx(
        (6 + 5 * 2 / 3) / 11
    )
    # Nothing is right at rank 1, so precision is never 1.
    assert voc07_ap(np.array([2.0, 1]), np.array([0, 1])) == 0.5
    assert np.isnan(voc07_ap(np.array([2.0, 1]), np.array([0, -1])))
    rng = np.random.default_rng(0)
    for total in (7, 10, 30):
        labels = rng.permutation([1] * total + [0] * 40 + [-1] * 20)
        scores = rng.normal(size=len(labels)) + 0.5 * labels
        expected = float(exact_ap(scores.tolist(), labels.tolist()))
        assert voc07_ap(scores, labels) == pytest.approx(expected, abs=1e-12)


def test_voc_metric_is_the_mean_over_classes():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(50, 4)), rng.integers(-1, 2, (50, 4))
    labels[:, 3] = 0
    each = [100 * voc07_ap(scores[:, c], labels[:, c]) for c in range(3)]
    args = torch.tensor(scores), torch.tensor(labels)
    found = VOC07AveragePrecision.calculate(*args)
    assert found.item() == pytest.approx(np.mean(each))
    found = VOC07AveragePrecision.calculate(*args, average=None)
    assert found[:3].tolist() == pytest.approx(each)
    # The area under the curve is something else.
    area = VOCAveragePrecision.calculate(*args, average=None)
    assert (area[:3] - found[:3]).abs().min() > 0.1
