"""ER on the simplex, against NumPy, closed forms and the authors' code."""

import math

import numpy as np
import pytest
import reference
import torch
from drawn import close, eps_of, matrices, prop, simplices, value_and_grads, wide
from formulas import assert_value_and_gradient
from hypothesis import strategies as st
from scipy.special import xlogy

from mmentropy.functional import simplex


def test_discrete_entropy_equals_official():
    logits = torch.randn(9, 5, dtype=torch.float64)
    assert_value_and_gradient(
        lambda x: simplex.discrete_entropy(x.softmax(1), 1e-7),
        lambda x: reference.er_discrete_entropy(x.softmax(1)),
        logits,
    )


def test_discrete_entropy_bounds_and_finite_gradient_at_zero():
    one_hot = torch.eye(3, dtype=torch.float64)[[0, 0]].requires_grad_()
    entropy = simplex.discrete_entropy(one_hot)
    assert float(entropy.detach()) == 0
    entropy.backward()
    assert torch.isfinite(one_hot.grad).all()
    uniform = torch.full((2, 8), 1 / 8, dtype=torch.float64)
    assert float(simplex.discrete_entropy(uniform)) == pytest.approx(math.log(8))


# Below the least of float32, and of float64.
guards = st.sampled_from([0.0, 1e-320, 1e-46, 1e-40, 1e-30, 1e-7, 1e-3])


@prop(probs=simplices(), eps=guards, rows=st.permutations(range(6)))
def test_discrete_entropy(probs, eps, rows):
    n, k = probs.shape
    tol = 20 * eps_of(probs)
    value, _ = value_and_grads(lambda p: simplex.discrete_entropy(p, eps=eps), probs)
    mean = wide(probs).mean(axis=0)
    close(value, -xlogy(mean, mean + eps).sum(), tol)
    assert -k * eps - tol <= value <= math.log(k) + tol
    for moved in (probs[[r for r in rows if r < n]], probs.flip(1)):
        close(simplex.discrete_entropy(moved, eps=eps), wide(value), tol)


def test_discrete_reconstruction_equals_official():
    assert_value_and_gradient(
        lambda a, b: simplex.discrete_reconstruction(a.softmax(1), b.softmax(1), 1e-7),
        lambda a, b: reference.er_discrete_reconstruction(a.softmax(1), b.softmax(1)),
        *torch.randn(2, 9, 5, dtype=torch.float64),
    )


def test_discrete_reconstruction_is_the_entropy_of_equal_rows():
    p = torch.randn(6, 5, dtype=torch.float64).softmax(1)
    entropy = torch.special.entr(p).sum(1).mean()
    torch.testing.assert_close(simplex.discrete_reconstruction(p, p), entropy)


@pytest.mark.parametrize('scale', [1.0, 1000.0])
@pytest.mark.parametrize('temperature', [1.0, 0.3])
def test_soft_cross_entropy_is_torch_s(scale, temperature):
    """Also with gradient into the mean, and with logits whose exponentials overflow."""
    logits, targets = torch.randn(2, 9, 5, dtype=torch.float64)
    logits, targets = scale * logits, targets.softmax(1)
    weight = torch.randn(5, dtype=torch.float64)

    def ours(x):
        value, mean = simplex.soft_cross_entropy(x, targets, temperature)
        return value + mean[0] @ weight

    def plain(x):
        x = x / temperature
        return torch.nn.functional.cross_entropy(x, targets) + x.softmax(1).mean(0) @ weight

    assert_value_and_gradient(ours, plain, logits)


def test_target_reconstruction_is_that_of_assignments():
    logits, other = torch.randn(2, 9, 5, dtype=torch.float64)
    weight = torch.randn(5, dtype=torch.float64)

    def ours(x):
        value, mean = simplex.target_reconstruction(x, other, 0.3, 0.2)
        return value + mean[0] @ weight

    def plain(x):
        p1, p2 = (x / 0.3).softmax(1), (other / 0.2).softmax(1)
        return simplex.discrete_reconstruction(p1, p2) + p1.mean(0) @ weight

    assert_value_and_gradient(ours, plain, logits)


@prop(pair=simplices(2), eps=guards)
def test_discrete_reconstruction(pair, eps):
    tiny = torch.finfo(pair[0].dtype).tiny
    value, _ = value_and_grads(lambda p, q: simplex.discrete_reconstruction(p, q, eps), *pair)
    p, q = map(wide, pair)
    tol = 50 * eps_of(pair[0])
    logs = [np.log(np.maximum(x + eps, tiny)) for x in (p, q)]
    small = [(x > 0) & (x < 1e3 * tiny) for x in (p, q)]
    if not (small[0] | small[1]).any():
        close(value, -(p * logs[1] + q * logs[0]).sum(axis=1).mean() / 2, tol)
    # By Gibbs' inequality a cross-entropy is above the entropy.
    entropies = [-xlogy(x, x).sum(axis=1).mean() for x in (p, q)]
    k = p.shape[1]
    assert value >= np.mean(entropies) - k * max(eps, tiny) - 2 * tol
    for other in (
        simplex.discrete_reconstruction(*pair[::-1], eps),
        simplex.discrete_reconstruction(*(x.flip(0, 1) for x in pair), eps),
    ):
        close(other, wide(value), tol)


@prop(x=matrices(exponent=st.integers(-3, 30)), eps=guards)
def test_entropy_outside_of_the_simplex_is_finite(x, eps):
    value_and_grads(lambda x: simplex.discrete_entropy(x, eps), x)
