"""What every formula promises, over drawn shapes, scales, zeros and faults.

A routine gives a finite value of its documented range, with a finite
gradient, or raises the error that its docstring names. Values are compared
with NumPy, SciPy and mpmath in float64.
"""

import math
from functools import partial

import mpmath
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, xlogy

from mmentropy.functional import coding, minimum_entropy, simplex, sphere
from mmentropy.models import DINOLoss, ERLoss, MECLoss, MinEntLoss

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


# -- Input that no routine takes ---------------------------------------------

# Valid arguments for the tensors that each routine takes, and the names by
# which its messages call them.
X = torch.eye(3)
P = torch.full((3, 3), 1 / 3)
CLASSES = torch.tensor([0, 1, 2])
ROUTINES = {
    'unit_rows': (sphere.unit_rows, dict(x=X)),
    'cross_gram': (coding.cross_gram, dict(pred=X, target=X)),
    'log_det_taylor': (coding.log_det_taylor, dict(c=X / 2)),
    'log_det_exact': (coding.log_det_exact, dict(c=X)),
    'spectral_norm': (coding.spectral_norm, dict(c=X)),
    'coding_length': (lambda z: coding.coding_length(z, 0.1), dict(z=X)),
    'plug_in': (sphere.sphere_entropy, dict(z=X)),
    'joe': (lambda z: sphere.sphere_entropy(z, estimator='joe'), dict(z=X)),
    'sphere_reconstruction': (sphere.sphere_reconstruction, dict(z1=X, z2=X)),
    'discrete_entropy': (simplex.discrete_entropy, dict(probs=P)),
    'discrete_joe': (lambda p: simplex.discrete_entropy(p, 'joe'), dict(probs=P)),
    'discrete_reconstruction': (simplex.discrete_reconstruction, dict(p1=P, p2=P)),
    'min_entropy_loss': (
        lambda g1, g2: minimum_entropy.min_entropy_loss(g1, g2, CLASSES, CLASSES),
        dict(g1=X, g2=X),
    ),
}
# Their results are classes, which cannot say that something was not finite.
CHOICES = {
    norm: (
        lambda logits, norm=norm: minimum_entropy.nearest_min_entropy(logits, norm),
        dict(logits=X),
    )
    for norm in minimum_entropy.NORMS
}
ALL = {**ROUTINES, **CHOICES}


def replaced(names, values):
    """Every list of arguments with one of them replaced."""
    for i, name in enumerate(names):
        args = list(names.values())
        args[i] = values(args[i])
        yield name, args


def raises(error, name, function, *args):
    """The error, in one line that says which argument."""
    with pytest.raises(error) as raised:
        function(*args)
    assert name in str(raised.value).split()
    assert '\n' not in str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize('function, names', ALL.values(), ids=ALL)
@prop(shape=st.lists(st.integers(0, 4), max_size=4))
def test_shapes(function, names, shape):
    """No matrix, an empty one, or another shape than the other argument."""
    matrix = len(shape) == 2 and min(shape) > 0
    for name, args in replaced(names, lambda x: torch.full(shape, 0.5)):
        if not matrix:
            raises(ValueError, name, function, *args)
        elif shape != [3, 3] and len(args) > 1:
            raises(ValueError, name, function, *args)
    if matrix and shape[0] != shape[1] and 'c' in names:
        raises(ValueError, 'c', function, torch.full(shape, 0.5))


@pytest.mark.parametrize(
    'dtype',
    [
        torch.float16,
        torch.bfloat16,
        torch.float8_e5m2,
        torch.int64,
        torch.uint8,
        torch.bool,
        torch.complex64,
    ],
    ids=str,
)
@pytest.mark.parametrize('function, names', ALL.values(), ids=ALL)
def test_dtypes(function, names, dtype):
    for name, args in replaced(names, lambda x: x.to(dtype)):
        raises(TypeError, name, function, *args)
    for name, args in replaced(names, torch.Tensor.tolist):
        raises(TypeError, name, function, *args)
    if len(names) > 1:
        for name, args in replaced(names, torch.Tensor.double):
            raises(TypeError, name, function, *args)


def spoilt(bad, at, x):
    """A copy with one bad number."""
    x = x.clone()
    x.view(-1)[at] = bad
    return x


@pytest.mark.slow
@pytest.mark.parametrize('function, names', ROUTINES.values(), ids=ROUTINES)
@prop(bad=st.sampled_from(BAD), at=st.integers(0, 8), dtype=st.sampled_from(DTYPES))
def test_not_finite_goes_into_the_result(function, names, bad, at, dtype):
    # Without zeros, which times infinity are NaN anyway.
    names = {name: x.to(dtype) * 0.5 + 0.1 for name, x in names.items()}
    # A mean below 0 counts as 0.
    assume(bad != -math.inf or function is not ROUTINES['discrete_joe'][0])
    for name, args in replaced(names, partial(spoilt, bad, at)):
        value = function(*args)
        if bad == -math.inf and name[0] == 'g' and at % 4:
            # A class without probability that is no target: the limit.
            args = [x.nan_to_num(neginf=-1e4) for x in args]
            assert value == function(*args)
        elif function is sphere.unit_rows:
            # Only the row that has it is spoilt.
            rows = torch.arange(3) == at // 3
            assert torch.equal(~torch.isfinite(value).all(dim=1), rows)
        else:
            assert not torch.isfinite(value).all()


@pytest.mark.parametrize('function, names', CHOICES.values(), ids=CHOICES)
@prop(bad=st.sampled_from(BAD), at=st.integers(0, 8))
def test_classes_of_what_is_not_finite_are_in_range(function, names, bad, at):
    for _, args in replaced(names, partial(spoilt, bad, at)):
        classes = function(*args)
        assert classes.min() >= 0 and classes.max() < 3


NUMBERS = {
    'kappa': [
        lambda v: sphere.vmf_log_normalizer(3, v),
        lambda v: sphere.sphere_entropy(X, v),
        lambda v: sphere.sphere_entropy(X, v, log_normalizer=0.0),
        lambda v: sphere.sphere_reconstruction(X, X, v, 0.0),
    ],
    'x': [lambda v: sphere.log_bessel_i(1.0, v)],
    'order': [lambda v: sphere.log_bessel_i(v, 1.0)],
    'distortion': [lambda v: coding.coding_length(X, v)],
    'log_normalizer': [
        lambda v: sphere.sphere_entropy(X, 1.0, log_normalizer=v),
        lambda v: sphere.sphere_reconstruction(X, X, 1.0, v),
    ],
    'eps': [
        lambda v: simplex.discrete_entropy(P, eps=v),
        lambda v: simplex.discrete_reconstruction(P, P, v),
    ],
}


@pytest.mark.parametrize('name', NUMBERS)
def test_numbers(name):
    """NaN, infinity, and what lies outside of the range."""
    bad = [
        *BAD,
        *dict(
            kappa=[0.0, -1.0, 1.1e6, 1e30, '1'],
            x=[0.0, -1e-30, 1.1e6, 1e30, '1'],
            order=[-1e-9, 1e30],
            distortion=[0.0, -1.0],
            eps=[-1e-9],
            log_normalizer=[],
        ).get(name),
    ]
    for function in NUMBERS[name]:
        for value in bad:
            raises(ValueError, name, function, value)


@pytest.mark.parametrize(
    'name, least, function',
    [
        ('order', 1, lambda v: coding.log_det_taylor(X / 2, v)),
        ('iterations', 1, lambda v: coding.spectral_norm(X, v)),
        ('dim', 1, sphere.log_sphere_area),
        ('dim', 2, lambda v: sphere.vmf_log_normalizer(v, 1.0)),
        ('num_classes', 2, lambda v: minimum_entropy.class_balance(CLASSES.clamp_max(1), v)),
    ],
)
def test_integers(name, least, function):
    for value in (least - 1, -5, float(least), math.nan, '3', None, 10**400):
        with pytest.raises(ValueError, match=f'{name} must be an integer'):
            function(value)
    function(least)


@pytest.mark.parametrize(
    'function',
    [
        lambda e: sphere.sphere_entropy(X, 1.0, e),
        lambda e: simplex.discrete_entropy(P, e),
        lambda e: minimum_entropy.nearest_min_entropy(X, e),
    ],
)
def test_choices(function):
    for choice in ('', 'mean', None, math.nan):
        with pytest.raises(ValueError, match='must be one of .*, got'):
            function(choice)


@prop(shape=st.lists(st.integers(0, 4), max_size=3))
def test_vectors(shape):
    """What is no vector of the right length."""
    classes = torch.zeros(shape).long()
    if len(shape) != 1 or shape[0] < 2:
        raises(ValueError, 'classes', minimum_entropy.class_balance, classes, 2)
    if shape != [3]:
        raises(ValueError, 'target1', minimum_entropy.min_entropy_loss, X, X, classes, CLASSES)
        raises(ValueError, 'target2', minimum_entropy.min_entropy_loss, X, X, CLASSES, classes)


@pytest.mark.parametrize('dtype', [torch.int32, torch.float32, torch.bool])
def test_vectors_of_another_dtype(dtype):
    classes = CLASSES.to(dtype)
    raises(TypeError, 'classes', minimum_entropy.class_balance, classes, 3)
    raises(TypeError, 'target1', minimum_entropy.min_entropy_loss, X, X, classes, CLASSES)
    raises(TypeError, 'target2', minimum_entropy.min_entropy_loss, X, X, CLASSES, classes)


@prop(bad=st.sampled_from([-(2**63) + 1, -100, -1, 3, 2**40]), count=st.integers(1, 3))
def test_classes_out_of_range(bad, count):
    """-100 too, which torch's cross-entropy leaves out silently."""
    wrong = CLASSES.clone()
    wrong[:count] = bad
    for function in (
        lambda: minimum_entropy.class_balance(wrong, 3),
        lambda: minimum_entropy.min_entropy_loss(X, X, wrong, CLASSES),
        lambda: minimum_entropy.min_entropy_loss(X, X, CLASSES, wrong),
    ):
        with pytest.raises(IndexError):
            function()


# -- Rows of unit length -----------------------------------------------------


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


# -- Coding length (MEC) -----------------------------------------------------


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


# -- Entropy and reconstruction (ER) -----------------------------------------


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


@prop(dim=st.one_of(st.integers(1, 300), st.integers(1, 10**9)))
def test_log_sphere_area(dim):
    """A_(d+2) = 2 pi / d A_d, from 2 points and a circle of 2 pi."""
    step = sphere.log_sphere_area(dim + 2) - sphere.log_sphere_area(dim)
    assert step == pytest.approx(
        math.log(2 * math.pi / dim), abs=1e-15 * dim * math.log(dim + 2), rel=1e-12
    )
    assert math.exp(sphere.log_sphere_area(1)) == pytest.approx(2)
    assert math.exp(sphere.log_sphere_area(2)) == pytest.approx(2 * math.pi)


@prop(dim=st.one_of(st.integers(2, 300), st.integers(2, 10**6)), kappa=kappas)
def test_vmf_log_normalizer(dim, kappa):
    """exp(kappa cos) has a mean of at least 1 and below exp(kappa)."""
    area = sphere.log_sphere_area(dim)
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
            assert value <= sphere.log_sphere_area(d) + tol * scale
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
    joe, _ = value_and_grads(lambda p: simplex.discrete_entropy(p, 'joe', eps), probs)
    tiny = torch.finfo(probs.dtype).tiny
    guarded = np.maximum(mean + eps, tiny)
    # A mean below the normal numbers is rounded to few digits.
    if not ((mean > 0) & (mean < 1e3 * tiny)).any():
        close(joe, -np.log(guarded).mean(), tol)
    assert joe >= math.log(k) - k * eps - tol
    for moved in (probs[[r for r in rows if r < n]], probs.flip(1)):
        close(simplex.discrete_entropy(moved, eps=eps), wide(value), tol)


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


@prop(x=matrices(exponent=st.integers(-3, 30)), estimator=estimators, eps=guards)
def test_entropy_outside_of_the_simplex_is_finite(x, estimator, eps):
    value_and_grads(lambda x: simplex.discrete_entropy(x, estimator, eps), x)


# -- Minimum entropy (MinEnt) ------------------------------------------------


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


# -- The loss modules --------------------------------------------------------

LOSSES = {
    'mec': MECLoss(),
    'mec_exact': MECLoss(exact=True),
    'er': ERLoss(),
    'er_joe': ERLoss(estimator='joe'),
    'er_simplex': ERLoss(support='simplex'),
    'dino': DINOLoss(),
    **{f'minent_{norm}': MinEntLoss(norm) for norm in minimum_entropy.NORMS},
}
views = dict(rows=st.integers(2, 6), columns=st.integers(2, 6))


@pytest.mark.slow
@pytest.mark.parametrize('name', LOSSES)
@prop(
    pair=matrices(2, **views), first=st.booleans(), at=st.integers(0, 35), bad=st.sampled_from(BAD)
)
def test_losses_of_what_is_not_finite(name, pair, first, at, bad):
    # A logit of minus infinity is a class without probability, which has a loss.
    assume(bad != -math.inf or name.startswith(('mec', 'er')) and name != 'er_simplex')
    x = pair[not first]
    x.view(-1)[at % x.numel()] = bad
    assert not torch.isfinite(LOSSES[name](*pair)['loss'])


@pytest.mark.slow
@pytest.mark.parametrize('name', LOSSES)
@prop(pair=matrices(2, **views))
def test_losses_of_finite_input_are_finite(name, pair):
    leaves = [x.requires_grad_() for x in pair]
    terms = LOSSES[name](*leaves)
    assert all(torch.isfinite(x) for x in terms.values())
    grads = torch.autograd.grad(terms['loss'], leaves, allow_unused=True)
    # Only DINO's target has none.
    assert [g is None for g in grads] == [False, name == 'dino']
    assert all(g is None or torch.isfinite(g).all() for g in grads)


@pytest.mark.slow
@pytest.mark.parametrize(
    'loss',
    [ERLoss(), ERLoss(estimator='joe'), MECLoss(), MECLoss(exact=True)],
    ids=['plug_in', 'joe', 'mec', 'mec_exact'],
)
@prop(pair=matrices(2, **views, exponent=st.integers(-10, 30)), power=st.integers(-20, 20))
def test_length_of_rows_does_not_matter(loss, pair, power):
    long = [x * 2.0**power for x in pair]
    assume(
        all(x.isfinite().all() and (x.double().norm(dim=1) > 1e-11).all() for x in (*long, *pair))
    )
    torch.testing.assert_close(loss(*long), loss(*pair))


@prop(pair=matrices(2, **views))
def test_minent_of_one_class_or_row(pair):
    for cut in ((slice(None), slice(1)), (slice(1), slice(None))):
        with pytest.raises(ValueError):
            MinEntLoss()(*(x[cut] for x in pair))
