"""Unit rows, vMF densities and ER on the sphere, against mpmath, SciPy and the authors' code."""

import math

import mpmath
import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F
from drawn import (
    close,
    eps_of,
    estimators,
    exponents,
    kappas,
    matrices,
    prop,
    units,
    value_and_grads,
    wide,
)
from formulas import assert_value_and_gradient, log_sphere_area, unit_rows
from hypothesis import assume, example
from hypothesis import strategies as st
from scipy.special import logsumexp

from mmentropy.functional import sphere


@pytest.mark.parametrize('scale', [1.0, 1e-6, 1e-11, 0.0])
def test_unit_rows_equal_normalize(scale):
    """Value and gradient, above and below the smallest length."""
    x = scale * torch.randn(4, 3, dtype=torch.float64)
    grad = torch.randn(4, 3, dtype=torch.float64)
    results = []
    for function in (sphere.unit_rows, torch.nn.functional.normalize):
        z = x.clone().requires_grad_()
        unit = function(z)
        unit.backward(grad)
        results.append((unit.detach(), z.grad))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-12)


@prop(x=matrices(exponent=st.one_of(exponents, st.integers(-14, -10))))
def test_unit_rows(x):
    """Those of F.normalize in float64, as are their gradients."""
    unit, (grad,) = value_and_grads(sphere.unit_rows, x)
    expected, (slope,) = value_and_grads(F.normalize, x.double())
    close(unit, expected.numpy(), 8 * eps_of(x))
    length = wide(x.double().norm(dim=1, keepdim=True)).clip(1e-12)
    # Within rounding of the shortest length either gradient is right.
    assume((abs(length / 1e-12 - 1) > 1e-6).all() or length.min() == 1e-12)
    close(grad * torch.from_numpy(length), wide(slope) * length, 30 * eps_of(x))
    close(unit.norm(dim=1)[length[:, 0] > 1e-12], 1.0, 8 * eps_of(x))
    assert torch.equal(unit[~x.any(dim=1)], x[~x.any(dim=1)])


@prop(x=matrices(exponent=st.integers(-5, 25)), power=st.integers(-10, 10))
def test_unit_rows_ignore_length_and_order(x, power):
    unit = sphere.unit_rows(x)
    torch.testing.assert_close(sphere.unit_rows(x * 2.0**power), unit)
    assert torch.equal(sphere.unit_rows(x.flip(0)), unit.flip(0))


@prop(
    order=st.sampled_from([0.0, 0.5, 1.0, 31.0, 127.0, 1e3, 1e5, 1e18]),
    x=st.one_of(st.floats(1e-30, 1.0), st.floats(1.0, 2e3)),
)
def test_log_bessel_i(order, x):
    with mpmath.workdps(60):
        half = mpmath.mpf(x) / 2
        terms = [order * mpmath.log(half), -mpmath.loggamma(order + 1)]
        expected = sum(terms) + mpmath.log(mpmath.hyp0f1(order + 1, half**2))
        scale = max(1, *map(abs, [*terms, expected]))
        assert abs(sphere.log_bessel_i(order, x) - expected) <= 1e-13 * scale


@pytest.mark.parametrize('dim', [2, 3, 64, 1000, 65536])
@pytest.mark.parametrize('kappa', [0.1, 1.0, 10.0, 500.0, 10000.0])
def test_vmf_log_normalizer_against_mpmath(dim, kappa):
    with mpmath.workdps(40):
        order = mpmath.mpf(dim) / 2 - 1
        # The log-Bessel of a large order needs the regularised series.
        log_bessel = (
            order * mpmath.log(mpmath.mpf(kappa) / 2)
            - mpmath.loggamma(order + 1)
            + mpmath.log(mpmath.hyp0f1(order + 1, mpmath.mpf(kappa) ** 2 / 4))
        )
        expected = order * mpmath.log(kappa) - (order + 1) * mpmath.log(2 * mpmath.pi) - log_bessel
        assert sphere.vmf_log_normalizer(dim, kappa) == pytest.approx(
            float(expected), rel=1e-12, abs=1e-9
        )


def test_vmf_log_normalizer_closed_form_in_three_dimensions():
    for kappa in (0.5, 7.0):
        expected = math.log(kappa / (4 * math.pi * math.sinh(kappa)))
        assert sphere.vmf_log_normalizer(3, kappa) == pytest.approx(expected)


@pytest.mark.parametrize('dim', [2, 8, 256, 2048])
def test_normalizer_tends_to_the_area(dim):
    area = log_sphere_area(dim)
    assert -sphere.vmf_log_normalizer(dim, 1e-3) == pytest.approx(area, abs=1e-5)
    assert log_sphere_area(3) == pytest.approx(math.log(4 * math.pi))


@prop(dim=st.one_of(st.integers(2, 300), st.integers(2, 10**6)), kappa=kappas)
def test_vmf_log_normalizer(dim, kappa):
    """exp(kappa cos) has a mean of at least 1 and below exp(kappa)."""
    area = log_sphere_area(dim)
    value = sphere.vmf_log_normalizer(dim, kappa)
    tol = 1e-13 * (kappa + dim * math.log(dim) + abs(dim * math.log(kappa)))
    assert -area - kappa - tol <= value <= -area + tol
    # A larger Bessel function, a smaller constant.
    assert sphere.vmf_log_normalizer(dim, kappa, True) <= value + tol


@example(kappa=1e6)
@prop(kappa=st.one_of(st.floats(1e-30, 1.0), st.floats(1.0, 1e4)))
def test_vmf_log_normalizer_in_three_dimensions(kappa):
    with mpmath.workdps(60):
        k = mpmath.mpf(kappa)
        bessel = mpmath.sqrt(2 / (mpmath.pi * k)) * mpmath.sinh(k)
        for guard in (0, mpmath.mpf('1e-7')):
            expected = mpmath.log(mpmath.sqrt(k) / ((2 * mpmath.pi) ** 1.5 * (bessel + guard)))
            value = sphere.vmf_log_normalizer(3, kappa, bool(guard))
            assert value == pytest.approx(float(expected), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize('estimator', sphere.ESTIMATORS)
@pytest.mark.parametrize('authors', [True, False])
def test_sphere_entropy_equals_official(estimator, authors):
    z = unit_rows(7, 12)
    guard = 1e-7 if authors else 0.0
    log_c = sphere.vmf_log_normalizer(12, 6.0, authors)
    assert_value_and_gradient(
        lambda z: sphere.sphere_entropy(z, 6.0, estimator, log_c),
        lambda z: reference.er_sphere_entropy(z, 6.0, estimator, guard),
        z,
    )


@pytest.mark.parametrize('estimator', sphere.ESTIMATORS)
@pytest.mark.parametrize('dim', [2, 16, 512])
@pytest.mark.parametrize('kappa', [0.1, 10.0, 1000.0])
def test_entropy_stays_below_the_log_area(estimator, dim, kappa):
    clouds = [
        unit_rows(32, dim),
        torch.eye(dim, dtype=torch.float64)[:16],
        unit_rows(1, dim).expand(8, dim),
        F.normalize(unit_rows(1, dim) + 0.1 * unit_rows(32, dim)),
    ]
    for z in clouds:
        entropy = float(sphere.sphere_entropy(z, kappa, estimator))
        assert entropy <= log_sphere_area(dim) + 1e-9


def test_entropy_of_a_collapse_is_that_of_the_kernel_at_its_mode():
    z = unit_rows(1, 20).expand(16, 20)
    expected = -(sphere.vmf_log_normalizer(20, 10.0) + 10.0)
    for estimator in sphere.ESTIMATORS:
        assert float(sphere.sphere_entropy(z, 10.0, estimator)) == pytest.approx(
            expected, rel=1e-12
        )


def kernel_density_entropy(z, kappa, estimator, log_c):
    """Entropy from the densities of the rows one by one."""
    sums = logsumexp(kappa * wide(z) @ wide(z).T, axis=1)
    density = sums - math.log(len(sums)) + log_c
    if estimator == 'joe':
        return -density.mean()
    return -(np.exp(sums - logsumexp(sums)) * density).sum()


@prop(z=units(columns=st.integers(2, 6)), kappa=kappas, estimator=estimators)
def test_sphere_entropy(z, kappa, estimator):
    n, d = z.shape
    log_c = sphere.vmf_log_normalizer(d, kappa)
    value, _ = value_and_grads(lambda z: sphere.sphere_entropy(z, kappa, estimator), z)
    expected = kernel_density_entropy(z, kappa, estimator, log_c)
    scale = 1 + kappa + abs(log_c)
    tol = 20 * eps_of(z)
    if estimator == 'joe' or kappa < 1e3 or z.dtype == torch.float64:
        # Of a large kappa the weights of the sums are rounding.
        close(value, expected, tol * (1 + kappa**0.5), scale)
    point = -log_c - kappa
    assert value >= point - tol * scale
    assert value <= point + kappa + math.log(n) + tol * scale
    if z.any(dim=1).all():
        assert value <= point + math.log(n) + tol * scale
        if estimator == 'plug_in':
            assert value <= log_sphere_area(d) + tol * scale
    torch.testing.assert_close(
        sphere.sphere_entropy(z.flip(0).flip(1), kappa, estimator),
        value,
        rtol=0,
        atol=tol * scale * (1 + kappa**0.5),
    )


@prop(z=matrices(columns=st.integers(2, 6)), kappa=kappas, estimator=estimators)
def test_sphere_entropy_of_any_rows(z, kappa, estimator):
    length = float(z.double().norm(dim=1).max())
    kernel = kappa * length**2
    largest = torch.finfo(z.dtype).max

    def entropy(z):
        return sphere.sphere_entropy(z, kappa, estimator)

    if kernel > 2 * largest:
        assert not torch.isfinite(entropy(z))
    elif kernel * max(1, kappa * length) < largest / 100:
        value_and_grads(entropy, z)


@prop(
    z=units(columns=st.integers(2, 6)),
    estimator=estimators,
    log_c=st.floats(-1e30, 1e30),
)
def test_sphere_entropy_with_another_constant(z, estimator, log_c):
    value = sphere.sphere_entropy(z, 10.0, estimator, log_c)
    expected = kernel_density_entropy(z, 10.0, estimator, log_c)
    close(value, expected, 50 * eps_of(z), 20 + abs(log_c))


@pytest.mark.parametrize('authors', [True, False])
def test_sphere_reconstruction_equals_official(authors):
    log_c = sphere.vmf_log_normalizer(12, 6.0, authors)
    assert_value_and_gradient(
        lambda a, b: sphere.sphere_reconstruction(a, b, 6.0, log_c),
        lambda a, b: reference.er_sphere_reconstruction(a, b, 6.0, 1e-7 if authors else 0.0),
        unit_rows(7, 12),
        unit_rows(7, 12),
    )


@prop(pair=units(2, columns=st.integers(2, 6)), kappa=kappas)
def test_sphere_reconstruction(pair, kappa):
    log_c = sphere.vmf_log_normalizer(pair[0].size(1), kappa)
    value, _ = value_and_grads(lambda a, b: sphere.sphere_reconstruction(a, b, kappa), *pair)
    a, b = map(wide, pair)
    scale = 1 + kappa + abs(log_c)
    tol = 10 * eps_of(pair[0])
    close(value, -np.einsum('nd,nd->n', a, b).mean() * kappa - log_c, tol, scale)
    assert abs(value + log_c) <= kappa + tol * scale
    for other in (
        sphere.sphere_reconstruction(*pair[::-1], kappa),
        sphere.sphere_reconstruction(*(x.flip(0) for x in pair), kappa),
    ):
        close(other, wide(value), tol, scale)


@prop(pair=matrices(2, columns=st.integers(2, 6)), kappa=kappas)
def test_sphere_reconstruction_of_any_rows(pair, kappa):
    largest = torch.finfo(pair[0].dtype).max
    a, b = map(wide, pair)
    found = abs(np.einsum('nd,nd->n', a, b).mean())
    bound = np.abs(a).max() * np.abs(b).max() * 36

    def error(a, b):
        return sphere.sphere_reconstruction(a, b, kappa)

    if found > 2 * largest or found * kappa > 2 * largest:
        assert not torch.isfinite(error(*pair))
    elif max(1, kappa) * bound < largest:
        value_and_grads(error, *pair)
