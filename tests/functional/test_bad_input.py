"""Input that no formula takes, and what is not finite."""

import math
from functools import partial

import pytest
import torch
from drawn import BAD, DTYPES, prop, raises
from hypothesis import strategies as st

from mmentropy.functional import (
    coding,
    covariance,
    diagnostics,
    matrix_entropy,
    minimum_entropy,
    normality,
    simplex,
    sphere,
    whitening,
)

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
    'gram': (coding.gram, dict(z=X)),
    'matrix_log_taylor': (coding.matrix_log_taylor, dict(c=X / 2)),
    'half_log_det': (coding.half_log_det, dict(matrix=X)),
    'coding_rate': (lambda z: coding.coding_rate(z, 0.1), dict(z=X)),
    'variance': (lambda z: covariance.variance_and_covariance(z)[0], dict(z=X)),
    'covariance': (lambda z: covariance.variance_and_covariance(z)[1], dict(z=X)),
    'entropy_order_1': (matrix_entropy.matrix_entropy, dict(gram=X)),
    'entropy_order_2': (lambda g: matrix_entropy.matrix_entropy(g, 2), dict(gram=X)),
    'nuclear_norm': (matrix_entropy.nuclear_norm, dict(gram=X)),
    'characteristic': (normality.characteristic, dict(x=X)),
    'iterative_whitening': (whitening.iterative_whitening, dict(x=X)),
    'plug_in': (sphere.sphere_entropy, dict(z=X)),
    'joe': (lambda z: sphere.sphere_entropy(z, estimator='joe'), dict(z=X)),
    'sphere_reconstruction': (sphere.sphere_reconstruction, dict(z1=X, z2=X)),
    'discrete_entropy': (simplex.discrete_entropy, dict(probs=P)),
    'discrete_reconstruction': (simplex.discrete_reconstruction, dict(p1=P, p2=P)),
    'soft_cross_entropy': (
        lambda x, t: simplex.soft_cross_entropy(x, t)[0],
        dict(logits=X, targets=P),
    ),
    'target_reconstruction': (
        lambda x, t: simplex.target_reconstruction(x, t)[0],
        dict(logits=X, target_logits=X),
    ),
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
    for name in {'c', 'gram', 'matrix'} & names.keys():
        if matrix and shape[0] != shape[1]:
            raises(ValueError, name, function, torch.full(shape, 0.5))


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
    for name, args in replaced(names, partial(spoilt, bad, at)):
        value = function(*args)
        if bad == -math.inf and name in ('g1', 'g2') and at % 4:
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
    'temperature': [
        lambda v: simplex.soft_cross_entropy(X, P, v),
        lambda v: simplex.target_reconstruction(X, X, v),
    ],
    'target_temperature': [lambda v: simplex.target_reconstruction(X, X, 1.0, v)],
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
            temperature=[0.0, -1.0],
            target_temperature=[0.0, -1.0],
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
        ('dim', 2, lambda v: sphere.vmf_log_normalizer(v, 1.0)),
        ('num_classes', 2, lambda v: minimum_entropy.class_balance(CLASSES.clamp_max(1), v)),
        ('rows', 1, lambda v: normality.epps_pulley(torch.zeros(2, 2, 3), v)),
        ('width', 1, lambda v: normality.random_directions(v, 3, 0)),
        ('count', 1, lambda v: normality.random_directions(3, v, 0)),
        ('k', 1, lambda v: diagnostics.leave_one_out_knn(X, CLASSES, v)),
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
        (lambda: normality.epps_pulley(torch.zeros(2, 1, 3), 4), ValueError, 'T >= 2'),
        (lambda: diagnostics.assignment_entropy(torch.ones(4, 1)), ValueError, '2 classes or more'),
        (
            lambda: diagnostics.leave_one_out_knn(X, CLASSES[:2]),
            ValueError,
            'labels must have shape',
        ),
        (
            lambda: diagnostics.leave_one_out_knn(X[:1], CLASSES[:1]),
            ValueError,
            'at least 2 rows',
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message) as raised:
        call()
    assert '\n' not in str(raised.value)
