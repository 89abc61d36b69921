"""Every formula against a transcription, a closed form or a limit."""

import math

import mpmath
import pytest
import reference
import torch
import torch.nn.functional as F

from mmentropy.functional import coding, minimum_entropy, simplex, sphere
from mmentropy.models import ERLoss, MECLoss, MinEntLoss, mec

SHAPES = [(6, 10), (8, 8), (12, 5)]


def value_of(loss):
    """A loss module as a function whose result is its loss alone."""
    return lambda *inputs: loss(*inputs)['loss']


def unit_rows(n, d):
    return F.normalize(torch.randn(n, d, dtype=torch.float64), dim=1)


def assert_value_and_gradient(ours, theirs, *inputs):
    """Both functions agree to 1e-10, relative, in value and gradients."""
    results = []
    for function in (ours, theirs):
        leaves = [x.detach().clone().requires_grad_() for x in inputs]
        value = function(*leaves)
        results.append((value, torch.autograd.grad(value, leaves)))
    (value1, grads1), (value2, grads2) = results
    torch.testing.assert_close(value1, value2, rtol=1e-10, atol=1e-10)
    for grad1, grad2 in zip(grads1, grads2):
        assert grad2.abs().max() > 1e-6
        torch.testing.assert_close(grad1, grad2, rtol=1e-10, atol=1e-12)


# -- MEC ---------------------------------------------------------------------


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('order', [1, 2, 3, 4, 5, 6])
def test_mec_equals_official(shape, order):
    loss = MECLoss(distortion=0.06, taylor_order=order, guard=False)
    pred, target = torch.randn(2, *shape, dtype=torch.float64)
    assert_value_and_gradient(
        value_of(loss),
        lambda p, t: reference.mec_loss(t, p, shape[0] * 0.06, order),
        pred,
        target,
    )


def test_mec_order_1_is_minus_mean_cosine():
    pred, target = torch.randn(2, 9, 7, dtype=torch.float64)
    loss = MECLoss(distortion=0.3, taylor_order=1)(pred, target)['loss']
    cosine = F.cosine_similarity(pred, target).mean()
    torch.testing.assert_close(loss, -cosine, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('shape', SHAPES)
def test_series_tends_to_exact(shape):
    pred, target = torch.randn(2, *shape, dtype=torch.float64)
    # A distortion above 1 guarantees a spectral norm below 1.
    exact = value_of(MECLoss(distortion=1.5, exact=True))
    errors = []
    for order in (1, 2, 4, 60):
        series = value_of(MECLoss(distortion=1.5, taylor_order=order))
        errors.append(abs(series(pred, target) - exact(pred, target)))
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 1e-8
    assert_value_and_gradient(series, exact, pred, target)


def test_log_det_exact_closed_form():
    c = torch.diag(torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64))
    expected = math.log(1.5 * 3 * 4)
    assert float(coding.log_det_exact(c)) == pytest.approx(expected, rel=1e-12)


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


def test_guard_bounds_the_norm_and_the_loss():
    # A scaled rotation by 45 degrees: its fourth power is negative, so the
    # series is unbounded although the determinant is fine.
    angle = math.pi / 4
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    target = torch.eye(2, dtype=torch.float64).repeat(50, 1)
    pred = target @ turn.double().T
    free = MECLoss(distortion=0.01, guard=False)(pred, target)['loss']
    terms = MECLoss(distortion=0.01, guard=True)(pred, target)
    # Twice 50 equal rows: the norm of C is 50, 1 / lambda is 100 * 0.01.
    assert float(terms['spectral_norm']) == pytest.approx(50, rel=1e-3)
    assert float(terms['guard_active']) == 1
    assert float(free) < -1000
    x = 0.9 * torch.tensor([complex(math.cos(angle), math.sin(angle))])
    series = (x - x**2 / 2 + x**3 / 3 - x**4 / 4).real
    expected = -2 * (50 / 0.9) / 100 * series
    assert float(terms['loss']) == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize(
    'guard, advice',
    [
        (True, 'as distortion=0.278 would'),
        (False, 'raise distortion above 0.25'),
    ],
)
def test_a_norm_above_one_is_logged_once(guard, advice, monkeypatch):
    lines = []
    monkeypatch.setattr(mec, 'print_log', lambda line, **kwargs: lines.append(line))
    # Orthonormal rows: C is the identity, 1 / lambda is 4 * 0.2.
    rows = torch.eye(4, dtype=torch.float64)
    loss = MECLoss(distortion=0.2, guard=guard)
    for _ in range(2):
        loss.warn_of_divergence(loss(rows, rows)['spectral_norm'])
    assert len(lines) == 1
    assert lines[0].startswith('MEC: the spectral norm of lambda C is 1.25')
    assert lines[0].endswith(advice)
    loss = MECLoss(distortion=0.3, guard=guard)
    loss.warn_of_divergence(loss(rows, rows)['spectral_norm'])
    assert len(lines) == 1


def test_guard_is_idle_inside():
    pred, target = torch.randn(2, 8, 20, dtype=torch.float64)
    on, off = (MECLoss(2.0, guard=guard)(pred, target) for guard in (True, False))
    assert on['loss'] == off['loss']
    assert float(on['guard_active']) == 0
    assert 'guard_active' not in off


# -- ER ----------------------------------------------------------------------


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
    area = sphere.log_sphere_area(dim)
    assert -sphere.vmf_log_normalizer(dim, 1e-3) == pytest.approx(area, abs=1e-5)
    assert sphere.log_sphere_area(3) == pytest.approx(math.log(4 * math.pi))


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


@pytest.mark.parametrize('authors', [True, False])
def test_sphere_reconstruction_equals_official(authors):
    log_c = sphere.vmf_log_normalizer(12, 6.0, authors)
    assert_value_and_gradient(
        lambda a, b: sphere.sphere_reconstruction(a, b, 6.0, log_c),
        lambda a, b: reference.er_sphere_reconstruction(a, b, 6.0, 1e-7 if authors else 0.0),
        unit_rows(7, 12),
        unit_rows(7, 12),
    )


@pytest.mark.parametrize('estimator', sphere.ESTIMATORS)
def test_discrete_entropy_equals_official(estimator):
    logits = torch.randn(9, 5, dtype=torch.float64)
    assert_value_and_gradient(
        lambda x: simplex.discrete_entropy(x.softmax(1), estimator, 1e-7),
        lambda x: reference.er_discrete_entropy(x.softmax(1), estimator),
        logits,
    )


def test_discrete_reconstruction_equals_official():
    assert_value_and_gradient(
        lambda a, b: simplex.discrete_reconstruction(a.softmax(1), b.softmax(1), 1e-7),
        lambda a, b: reference.er_discrete_reconstruction(a.softmax(1), b.softmax(1)),
        *torch.randn(2, 9, 5, dtype=torch.float64),
    )


def test_numbers_of_the_released_readme():
    """What apple/ml-entropy-reconstruction@f523f11:README.md prints.

    Its inputs are random and unseeded, 1000 x 1000, drawn as here; the
    tolerances are several times the spread over draws.
    """

    def rand():
        return torch.rand(1000, 1000, dtype=torch.float64)

    def noisy(x):
        return x + torch.randn(1000, 1000)

    log_c = sphere.vmf_log_normalizer(1000, 10.0, authors_constant=True)
    z = unit_rows(1000, 1000)
    for estimator, expected in (('plug_in', -249.30849), ('joe', -249.30833)):
        entropy = sphere.sphere_entropy(z, 10.0, estimator, log_c)
        assert float(entropy) == pytest.approx(expected, abs=2e-3)
    base = rand()
    z1, z2 = (F.normalize(noisy(base), dim=1) for _ in range(2))
    error = sphere.sphere_reconstruction(z1, z2, 10.0, log_c)
    assert float(error) == pytest.approx(-248.65526, abs=5e-2)

    for probs, expected, tolerance in (
        (rand().softmax(1), 6.9076123, 1e-5),
        ((1000 * rand()).softmax(1), 6.6955442, 5e-2),
    ):
        entropy = simplex.discrete_entropy(probs, eps=1e-7)
        assert float(entropy) == pytest.approx(expected, abs=tolerance)
    uniform = torch.full((4, 1000), 1e-3, dtype=torch.float64)
    assert float(simplex.discrete_entropy(uniform)) == pytest.approx(6.907755278982137, rel=1e-12)
    one_hot = torch.eye(1000)[:1]
    assert float(simplex.discrete_entropy(one_hot, eps=1e-7)) == pytest.approx(
        -1.1920928955078125e-07, rel=1e-6
    )
    base = 10 * rand()
    p1, p2 = (noisy(base).softmax(1) for _ in range(2))
    error = simplex.discrete_reconstruction(p1, p2, eps=1e-7)
    assert float(error) == pytest.approx(6.1006846, abs=1e-2)


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
        assert entropy <= sphere.log_sphere_area(dim) + 1e-9


def test_entropy_of_a_collapse_is_that_of_the_kernel_at_its_mode():
    z = unit_rows(1, 20).expand(16, 20)
    expected = -(sphere.vmf_log_normalizer(20, 10.0) + 10.0)
    for estimator in sphere.ESTIMATORS:
        assert float(sphere.sphere_entropy(z, 10.0, estimator)) == pytest.approx(
            expected, rel=1e-12
        )


def test_discrete_entropy_bounds_and_finite_gradient_at_zero():
    one_hot = torch.eye(3, dtype=torch.float64)[[0, 0]].requires_grad_()
    entropy = simplex.discrete_entropy(one_hot)
    assert float(entropy.detach()) == 0
    entropy.backward()
    assert torch.isfinite(one_hot.grad).all()
    uniform = torch.full((2, 8), 1 / 8, dtype=torch.float64)
    assert float(simplex.discrete_entropy(uniform)) == pytest.approx(math.log(8))


def test_discrete_reconstruction_is_the_entropy_of_equal_rows():
    p = torch.randn(6, 5, dtype=torch.float64).softmax(1)
    entropy = torch.special.entr(p).sum(1).mean()
    torch.testing.assert_close(simplex.discrete_reconstruction(p, p), entropy)


# -- MinEnt ------------------------------------------------------------------


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('norm', minimum_entropy.NORMS)
def test_min_ent_equals_official(shape, norm):
    g1 = torch.randn(*shape, dtype=torch.float64)
    # Uneven columns, so that the norms choose different targets.
    g1 = g1 * torch.rand(shape[1]) * 4 + torch.randn(shape[1])
    g2 = g1 + 0.5 * torch.randn(*shape)
    assert_value_and_gradient(
        value_of(MinEntLoss(norm=norm)), lambda a, b: reference.min_ent_loss(a, b, norm), g1, g2
    )


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


def test_target_entropy_metric():
    g = 9 * torch.eye(4).repeat(8, 1)
    assert float(MinEntLoss('none')(g, g)['target_entropy']) == pytest.approx(1)
    g = 9 * torch.eye(4)[:1].repeat(8, 1)
    assert float(MinEntLoss('none')(g, g)['target_entropy']) == 0


# -- Diagnostics and input ---------------------------------------------------


@pytest.mark.parametrize(
    'loss',
    [
        MECLoss(),
        MECLoss(exact=True),
        MECLoss(distortion=0.01),
        ERLoss(),
        ERLoss(estimator='joe'),
        ERLoss(support='simplex'),
        MinEntLoss(),
    ],
    ids=str,
)
def test_gradient_is_finite_at_collapse(loss):
    row = torch.randn(1, 16)
    for z in (row.expand(8, 16), torch.zeros(8, 16)):
        z1, z2 = z.clone().requires_grad_(), z.clone().requires_grad_()
        grads = torch.autograd.grad(loss(z1, z2)['loss'], [z1, z2])
        assert all(torch.isfinite(g).all() for g in grads)


@pytest.mark.parametrize(
    'function',
    [
        lambda x: coding.log_det_taylor(x @ x.T, 5),
        lambda x: coding.log_det_exact(x @ x.T),
        lambda x: coding.coding_length(x, 0.1),
        lambda x: sphere.sphere_entropy(x, 3.0),
        lambda x: sphere.sphere_entropy(x, 3.0, 'joe'),
        lambda x: simplex.discrete_entropy(x.softmax(1)),
        lambda x: simplex.discrete_reconstruction(x.softmax(1), x.cos().softmax(1)),
    ],
)
def test_gradcheck(function):
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, x)


@pytest.mark.parametrize(
    'call, error, message',
    [
        (lambda: coding.log_det_taylor(torch.ones(2, 3)), ValueError, 'square'),
        (lambda: coding.log_det_exact(torch.ones(2, 3)), ValueError, 'square'),
        (lambda: coding.spectral_norm(torch.ones(2, 3)), ValueError, 'square'),
        (lambda: coding.log_det_taylor(torch.eye(2), 0), ValueError, 'order'),
        (lambda: coding.log_det_exact(-3 * torch.eye(3)), FloatingPointError, 'det'),
        (lambda: sphere.sphere_entropy(torch.ones(3)), ValueError, 'matrix'),
        (lambda: sphere.sphere_entropy(torch.ones(0, 3)), ValueError, 'non-empty'),
        (lambda: sphere.sphere_entropy(torch.ones(3, 3).long()), TypeError, 'floating'),
        (
            lambda: sphere.sphere_entropy(torch.eye(3), estimator='mean'),
            ValueError,
            "plug_in, joe, got 'mean'",
        ),
        (lambda: sphere.vmf_log_normalizer(1, 10.0), ValueError, 'dim'),
        (lambda: sphere.vmf_log_normalizer(3, 0.0), ValueError, 'kappa'),
        (lambda: coding.coding_length(torch.eye(3), -1), ValueError, 'distortion'),
        (lambda: sphere.sphere_reconstruction(torch.eye(3), torch.eye(2)), ValueError, 'one shape'),
        (
            lambda: simplex.discrete_reconstruction(torch.eye(3), torch.eye(2)),
            ValueError,
            'one shape',
        ),
        (lambda: coding.cross_gram(torch.eye(3), torch.eye(2)), ValueError, 'one shape'),
        (
            lambda: minimum_entropy.nearest_min_entropy(torch.eye(3), 'layer'),
            ValueError,
            "batch, softmax, l2, none, got 'layer'",
        ),
        (
            lambda: minimum_entropy.nearest_min_entropy(torch.eye(3)[:1]),
            ValueError,
            'at least 2 rows',
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message) as raised:
        call()
    assert '\n' not in str(raised.value)
