"""MEC's coding length and its series, against eigenvalues and closed forms."""

import math

import numpy as np
import pytest
import torch
from drawn import (
    DTYPES,
    close,
    eps_of,
    exponents,
    matrices,
    prop,
    raises,
    units,
    value_and_grads,
    wide,
)
from hypothesis import assume
from hypothesis import strategies as st

from mmentropy.functional import coding


def test_log_det_exact_closed_form():
    c = torch.diag(torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64))
    expected = math.log(1.5 * 3 * 4)
    assert float(coding.log_det_exact(c)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('shape', [(6, 10), (12, 5)])
def test_cross_gram_takes_the_small_side(shape):
    pred, target = torch.randn(2, *shape, dtype=torch.float64)
    c = coding.cross_gram(pred, target)
    assert len(c) == min(shape)
    big = target.T @ pred if len(c) == shape[0] else pred @ target.T
    for order in (1, 2, 5):
        torch.testing.assert_close(
            coding.log_det_taylor(c, order), coding.log_det_taylor(big, order)
        )


def test_coding_length_closed_forms():
    n, d, distortion = 4, 6, 0.06
    orthonormal = torch.eye(n, d, dtype=torch.float64)
    value = coding.coding_length(orthonormal, distortion)
    expected = (n + d) / 2 * n * math.log(1 + 1 / (n * distortion))
    assert float(value) == pytest.approx(expected, rel=1e-12)
    same = orthonormal[:1].expand(n, d)
    value = coding.coding_length(same, distortion)
    expected = (n + d) / 2 * math.log(1 + 1 / distortion)
    assert float(value) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('n', [5, 60])
def test_spectral_norm_against_svd(n):
    c = torch.randn(n, n, dtype=torch.float64)
    largest = torch.linalg.matrix_norm(c, 2)
    assert coding.spectral_norm(c, 200) == pytest.approx(float(largest), rel=1e-4)
    estimate = float(coding.spectral_norm(c))
    assert 0.85 * largest < estimate <= largest * (1 + 1e-12)


def test_spectral_norm_of_centred_collapse_and_zero():
    # Rank one and orthogonal to a constant vector.
    v = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    assert float(coding.spectral_norm(torch.outer(v, v))) == pytest.approx(4)
    assert float(coding.spectral_norm(torch.zeros(3, 3))) == 0


@prop(pair=matrices(2))
def test_cross_gram(pair):
    pred, target = map(wide, pair)
    n, d = pred.shape
    expected = pred @ target.T if n <= d else target.T @ pred
    bound = float(np.max(np.abs(pred)) * np.max(np.abs(target)) * 36)
    largest = torch.finfo(pair[0].dtype).max
    if np.abs(expected).max() > largest:
        assert not torch.isfinite(coding.cross_gram(*pair)).all()
    elif bound < largest:
        value, _ = value_and_grads(coding.cross_gram, *pair)
        assert len(value) == min(n, d)
        close(value, expected, 30 * eps_of(pair[0]), bound)


def series(c, order):
    """By eigenvalues, and the sum of the sizes of its terms."""
    eigenvalues = np.linalg.eigvals(c)
    norm = np.linalg.norm(c)
    terms = [(-1) ** (k + 1) / k * (eigenvalues**k).sum().real for k in range(1, order + 1)]
    return sum(terms), sum(norm**k / k for k in range(1, order + 1)) * len(c)


def overflows(c, order):
    """Whether the value of the series says that its powers left the range."""
    return not torch.isfinite(coding.log_det_taylor(c, order))


@prop(c=matrices(square=True), order=st.integers(1, 7))
def test_log_det_taylor(c, order):
    norm = np.linalg.norm(wide(c))
    largest = math.log(torch.finfo(c.dtype).max)
    size = order * math.log(max(norm, 1))
    if size > largest:
        assert overflows(c, order)
    elif size < largest - math.log(10):
        value, _ = value_and_grads(lambda c: coding.log_det_taylor(c, order), c)
        expected, scale = series(wide(c), order)
        # Eigenvalues of a defective matrix are known to a root of rounding.
        close(value, expected, 1e3 * eps_of(c) + 1e-7, scale)
        close(coding.log_det_taylor(c.T, order), wide(value), 100 * eps_of(c), scale)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('order', range(2, 8))
def test_log_det_taylor_close_to_overflow(order, dtype):
    largest = torch.finfo(dtype).max
    c = torch.ones(1, 1, dtype=dtype)
    value_and_grads(lambda c: coding.log_det_taylor(c, order), c * (largest / 10) ** (1 / order))
    assert overflows(c * 1.1 * (largest * order) ** (1 / order), order)


def test_log_det_taylor_with_traceless_powers():
    """Nilpotent: every trace is 0, while the gradient would overflow."""
    c = torch.diag(torch.full((4,), 1e13), 1)
    assert overflows(c, 4)
    value, _ = value_and_grads(lambda c: coding.log_det_taylor(c, 2), c)
    assert value == 0


@prop(x=units(square=True), norm=st.floats(1e-3, 0.5), order=st.integers(1, 12))
def test_taylor_tends_to_exact(x, norm, order):
    """The rest of the series is at most N r^(n+1) / ((n+1) (1-r))."""
    largest = np.linalg.norm(wide(x), 2)
    c = x * (norm / largest if largest else 1.0)
    exact, _ = value_and_grads(coding.log_det_exact, c)
    rest = len(c) * norm ** (order + 1) / ((order + 1) * (1 - norm))
    error = abs(coding.log_det_taylor(c, order) - exact)
    assert error <= rest + 30 * eps_of(c)
    assert abs(exact) <= -len(c) * math.log(1 - norm) + 30 * eps_of(c)


@prop(c=matrices(square=True))
def test_log_det_exact(c):
    matrix = np.eye(len(c)) + wide(c)
    sign, expected = np.linalg.slogdet(matrix)
    condition = np.linalg.cond(matrix)
    if condition < 0.01 / eps_of(c):
        if sign < 0:
            raises(FloatingPointError, 'det(I', coding.log_det_exact, c)
            return
        value, _ = value_and_grads(coding.log_det_exact, c)
        close(value, expected, 30 * condition * eps_of(c), 10)
        return
    try:
        assert torch.isfinite(coding.log_det_exact(c))
    except FloatingPointError as error:
        assert 'det(I + C)' in str(error)


def test_log_det_exact_whose_factors_overflow():
    c = torch.tensor([[3e38, 3e38], [-3e38, 3e38]])
    assert not torch.isfinite(coding.log_det_exact(c))


@prop(c=matrices(square=True), iterations=st.integers(1, 12))
def test_spectral_norm(c, iterations):
    r"""Between the norm and what Jensen's inequality leaves of it.

    The moments of power iteration give at least
    :math:`\sigma |\cos(v_0, w)|^{1 / (2 k + 1)}`, w the singular vector.
    """
    value = float(coding.spectral_norm(c, iterations))
    _, sigmas, vectors = np.linalg.svd(wide(c))
    start = np.cos(np.arange(1, len(c) + 1) ** 2.0)
    cosine = abs(vectors[0] @ start) / np.linalg.norm(start)
    least = sigmas[0] * cosine ** (1 / (2 * iterations + 1))
    tol = 1e-4 if c.dtype == torch.float32 else 1e-12
    assert least * (1 - tol) <= value <= sigmas[0] * (1 + 20 * eps_of(c))


@prop(z=units(), exponent=exponents, columns=st.permutations(range(6)))
def test_coding_length(z, exponent, columns):
    """By eigenvalues; between 0 and that of equal ones; order is nothing."""
    distortion = 10.0**exponent
    n, d = z.shape
    try:
        value, _ = value_and_grads(lambda z: coding.coding_length(z, distortion), z)
    except FloatingPointError as error:
        # As I + C is singular.
        assert exponent < -4
        assert 'det(I + C)' in str(error)
        return
    largest = (n + d) / 2 * min(n, d) * math.log1p(1 / (min(n, d) * distortion))
    tol = 100 * eps_of(z)
    if exponent < -3:
        return
    scale = 1 / distortion + n + d
    assert -tol * (n + d) <= value <= largest + tol * scale
    gram = wide(z) @ wide(z).T / (n * distortion)
    expected = np.log1p(np.linalg.eigvalsh(gram).clip(0)).sum() * (n + d) / 2
    close(value, expected, tol, scale)
    columns = [c for c in columns if c < d]
    close(coding.coding_length(z.flip(0)[:, columns], distortion), wide(value), tol, scale)


@prop(z=matrices(), exponent=exponents)
def test_coding_length_of_any_rows(z, exponent):
    largest = torch.finfo(z.dtype).max * min(1.0, 10.0**exponent)
    assume(z.double().square().sum() < largest / 100)
    try:
        value_and_grads(lambda z: coding.coding_length(z, 10.0**exponent), z)
    except FloatingPointError:
        assert z.double().norm() > 10.0 ** (exponent / 2) or exponent < -4


def test_one_term_of_the_logarithm_is_the_matrix():
    c = torch.eye(3).mul(0.5)
    torch.testing.assert_close(coding.matrix_log_taylor(c, 1), c)
