"""Drawn matrices for property-based tests, and what is asked of values and gradients."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmentropy.functional import sphere

DTYPES = [torch.float32, torch.float64]
KINDS = ['random', 'zeros', 'equal', 'zero row', 'one-hot', 'mixed', 'shifted']
BAD = [math.nan, math.inf, -math.inf]
sizes = st.integers(1, 6)
seeds = st.integers(0, 2**32 - 1)
# Of one matrix, or, of kind 'mixed', of every row its own.
exponents = st.integers(-30, 30)
kappas = st.sampled_from([1e-30, 1e-3, 1.0, 10.0, 300.0, 1e5])
estimators = st.sampled_from(sphere.ESTIMATORS)


def prop(**strategies):
    """``given``, the same examples in every run and none kept on disk."""
    # A machine that is busy is no failure.
    run = settings(
        derandomize=True,
        deadline=None,
        max_examples=60,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    return lambda test: run(given(**strategies)(test))


@st.composite
def matrices(
    draw, count=1, square=False, exponent=exponents, rows=sizes, columns=sizes, kinds=KINDS
):
    """Matrices of one shape and dtype; a list of them if several."""
    n, d = draw(rows), draw(columns)
    d = n if square else d
    dtype = draw(st.sampled_from(DTYPES))
    found = []
    for _ in range(count):
        generator = torch.Generator().manual_seed(draw(seeds))
        x = torch.randn(n, d, generator=generator, dtype=torch.float64)
        kind = draw(st.sampled_from(kinds))
        if kind == 'zeros':
            x = 0 * x
        elif kind == 'equal':
            x = x[:1].expand(n, d).clone()
        elif kind == 'zero row':
            x[draw(st.integers(0, n - 1))] = 0
        elif kind == 'one-hot':
            x = F.one_hot(x.argmax(dim=1), d).double()
        elif kind == 'shifted':
            x = x / 100 + 1
        if kind == 'mixed':
            each = [10.0 ** draw(exponent) for _ in range(n)]
            x = x * torch.tensor(each, dtype=x.dtype).unsqueeze(1)
        else:
            x = x * 10.0 ** draw(exponent)
        found.append(x.to(dtype))
    return found if count > 1 else found[0]


def units(count=1, kinds=KINDS, **kwargs):
    """Rows of length 1, or 0 where the kind has them."""

    def divide(x):
        return F.normalize(x.double(), dim=1).to(x.dtype)

    kwargs = dict(exponent=st.just(0), kinds=kinds, **kwargs)
    return matrices(count, **kwargs).map(
        divide if count == 1 else lambda xs: [divide(x) for x in xs]
    )


def simplices(count=1):
    """Distributions, from uniform ones to exact one-hots."""

    def softmax(x):
        return x.double().softmax(dim=1).to(x.dtype)

    return matrices(count).map(softmax if count == 1 else lambda xs: [softmax(x) for x in xs])


def wide(x):
    return x.detach().double().numpy()


def eps_of(x):
    return torch.finfo(x.dtype).eps


def value_and_grads(function, *inputs):
    """Both finite, or the test fails."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    value = function(*leaves)
    assert torch.isfinite(value).all()
    assert value.dtype == inputs[0].dtype
    # A direction of its own for every entry of a matrix.
    weight = torch.arange(1, value.numel() + 1).view_as(value).cos()
    grads = torch.autograd.grad(value, leaves, weight.to(value.dtype))
    assert all(torch.isfinite(grad).all() for grad in grads)
    return value.detach(), grads


def close(value, expected, tol, scale=1.0):
    """To ``tol`` of the result or of ``scale``, whichever is larger."""
    expected = np.asarray(expected)
    allowed = tol * np.maximum(np.abs(expected), scale)
    assert (np.abs(wide(value) - expected) <= allowed).all()


def raises(error, name, function, *args):
    """The error, in one line that says which argument."""
    with pytest.raises(error) as raised:
        function(*args)
    assert name in str(raised.value).split()
    assert '\n' not in str(raised.value)
