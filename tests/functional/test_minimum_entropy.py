"""MinEnt's targets, their balance and the cross-entropy, against NumPy."""

import math

import numpy as np
import pytest
import torch
from drawn import BAD, close, eps_of, matrices, prop, seeds, value_and_grads, wide
from hypothesis import assume
from hypothesis import strategies as st
from scipy.special import logsumexp, xlogy

from mmentropy.functional import minimum_entropy


def test_norms_choose_different_targets():
    g = torch.randn(64, 8, dtype=torch.float64)
    g = g * torch.linspace(0.2, 3, 8) + torch.linspace(2, -2, 8)
    chosen = {
        tuple(minimum_entropy.nearest_min_entropy(g, norm).tolist())
        for norm in minimum_entropy.NORMS
    }
    assert len(chosen) == len(minimum_entropy.NORMS)


def test_batch_norm_targets_ignore_scale_and_shift_of_columns():
    g = torch.randn(64, 8, dtype=torch.float64)
    moved = g * torch.linspace(0.5, 3, 8) + torch.linspace(2, -2, 8)
    assert torch.equal(
        minimum_entropy.nearest_min_entropy(g), minimum_entropy.nearest_min_entropy(moved)
    )


def normalised(x, norm):
    x = x.astype(np.longdouble)
    if norm == 'batch':
        return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    if norm == 'softmax':
        x = np.exp(x - x.max(0))
        return x / x.sum(0)
    if norm == 'l2':
        return x / np.maximum(np.sqrt((x**2).sum(0)), 1e-12)
    return x


@pytest.mark.slow
@pytest.mark.parametrize('norm', minimum_entropy.NORMS)
@pytest.mark.parametrize('columns', [False, True], ids=['rows', 'columns'])
@prop(logits=matrices(rows=st.integers(2, 6)))
def test_nearest_min_entropy(norm, columns, logits):
    """Largest of the normalised row; scales may be those of columns."""
    if columns:
        logits = logits.T.contiguous()
        assume(len(logits) > 1)
    classes = minimum_entropy.nearest_min_entropy(logits, norm)
    assert classes.dtype == torch.int64 and classes.shape == logits.shape[:1]
    rows = normalised(wide(logits), norm)
    chosen = np.take_along_axis(rows, classes.numpy()[:, None], 1)[:, 0]
    # Of columns that tie but for rounding either is right.
    tol = 30 * eps_of(logits) if norm == 'softmax' else 1e-12
    size = np.abs(rows).max(axis=1)
    if norm == 'batch':
        size = size + (np.abs(wide(logits)) / np.sqrt(wide(logits).var(0) + 1e-5)).max(axis=1)
    assert (chosen >= rows.max(axis=1) - tol * size).all()


@pytest.mark.parametrize('bad', BAD)
@pytest.mark.parametrize('norm', minimum_entropy.NORMS)
def test_classes_beside_an_entry_that_is_not_finite(norm, bad):
    """Whose class means nothing: that row's, and with some norms those of all."""
    logits = torch.randn(8, 5, dtype=torch.float64)
    # The other columns decide, whatever the norm does to the third.
    logits[:, 2] -= 9
    expected = minimum_entropy.nearest_min_entropy(logits, norm)
    logits[3, 2] = bad
    classes = minimum_entropy.nearest_min_entropy(logits, norm)
    if norm == 'batch' or norm == 'softmax' and bad != -math.inf or norm == 'l2' and bad != bad:
        assert (classes == 2).all()
    else:
        others = torch.arange(8) != 3
        assert torch.equal(classes[others], expected[others])


@prop(classes=st.lists(st.integers(0, 7), min_size=2, max_size=40), more=st.integers(0, 5))
def test_class_balance(classes, more):
    k = max(*classes, 1) + 1 + more
    value = minimum_entropy.class_balance(torch.tensor(classes), k)
    share = np.bincount(classes) / len(classes)
    expected = -xlogy(share, share).sum() / math.log(min(k, len(classes)))
    close(value, expected, 1e-6)
    assert -1e-6 <= value <= 1 + 1e-6
    renamed = k - 1 - torch.tensor(classes[::-1])
    close(minimum_entropy.class_balance(renamed, k), expected, 1e-6)


@prop(pair=matrices(2), seed=seeds)
def test_min_entropy_loss(pair, seed):
    n, k = pair[0].shape
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(k, (2, n), generator=generator)
    value, grads = value_and_grads(
        lambda a, b: minimum_entropy.min_entropy_loss(a, b, *targets), *pair
    )
    halves = []
    for g, target in zip(map(wide, pair), targets.flip(0)):
        true = g[np.arange(n), target.numpy()]
        halves.append((logsumexp(g, axis=1) - true).mean() / 2)
    largest = max(float(x.abs().max()) for x in pair)
    close(value, sum(halves), 30 * eps_of(pair[0]), largest + 1)
    assert value >= 0
    # A distribution less a one-hot, over 2 N.
    assert all(grad.abs().max() <= 0.5 / n + 1e-6 for grad in grads)
