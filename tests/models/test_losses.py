"""What all loss modules promise: finite values and gradients, precision, faults."""

import math

import pytest
import torch
from drawn import BAD, matrices, prop
from hypothesis import assume
from hypothesis import strategies as st

from mmentropy.functional import minimum_entropy
from mmentropy.models import DINOLoss, ERLoss, MECLoss, MinEntLoss

MINENT = {f'minent_{norm}': MinEntLoss(norm) for norm in minimum_entropy.NORMS}
LOSSES = {
    'mec': MECLoss(),
    'mec_exact': MECLoss(exact=True),
    'er': ERLoss(),
    'er_joe': ERLoss(estimator='joe'),
    'er_simplex': ERLoss(support='simplex'),
    'dino': DINOLoss(),
    **MINENT,
}
views = dict(rows=st.integers(2, 6), columns=st.integers(2, 6))


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
@pytest.mark.parametrize('name', LOSSES)
@prop(
    pair=matrices(2, **views), first=st.booleans(), at=st.integers(0, 35), bad=st.sampled_from(BAD)
)
def test_losses_of_what_is_not_finite(name, pair, first, at, bad):
    # A logit of minus infinity has tests of its own, below.
    assume(bad != -math.inf or name.startswith(('mec', 'er')) and name != 'er_simplex')
    x = pair[not first]
    x.view(-1)[at % x.numel()] = bad
    assert not torch.isfinite(LOSSES[name](*pair)['loss'])


def with_minus_infinity(first, at, value=-math.inf):
    """Logits (6, 4) of two views with one that is -inf, or almost."""
    generator = torch.Generator().manual_seed(at)
    pair = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    pair[int(not first)].view(-1)[at] = value
    return [x.clone().requires_grad_() for x in pair]


@pytest.mark.parametrize('first', [True, False], ids=['first view', 'second view'])
@pytest.mark.parametrize('name', ['er_simplex', 'dino', *MINENT])
def test_a_logit_of_minus_infinity_is_a_class_without_probability(name, first):
    """The loss is the limit, with a finite gradient, unless the class is a target."""
    loss, finite = LOSSES[name], 0
    for at in range(24):
        views = with_minus_infinity(first, at)
        value = loss(*views)['loss']
        grads = torch.autograd.grad(value, views, allow_unused=True)
        assert all(grad is None or torch.isfinite(grad).all() for grad in grads)
        finite += bool(torch.isfinite(value))
        # Statistics of a column with -inf are no numbers, which a limit does not have.
        if torch.isfinite(value) and name not in ('minent_batch', 'minent_l2'):
            limit = with_minus_infinity(first, at, value=-1e4)
            torch.testing.assert_close(value, loss(*limit)['loss'])
            others = torch.autograd.grad(loss(*limit)['loss'], limit, allow_unused=True)
            for grad, other in zip(grads, others):
                assert grad is other is None or torch.equal(grad, other)
    # The student of DINO is asked for every class.
    assert finite == 0 if name == 'dino' and first else finite > 10


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


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    'loss',
    [
        MECLoss(),
        MECLoss(exact=True),
        ERLoss(),
        ERLoss(support='simplex'),
        MinEntLoss(),
        DINOLoss(),
    ],
    ids=str,
)
def test_half_precision_gives_the_float32_loss(loss, dtype):
    # Rows long enough for their squared norm to overflow float16.
    z1, z2 = (100 * torch.randn(2, 8, 600)).to(dtype)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = loss(z1, z2)
    full = loss(z1.float(), z2.float())
    for key, value in half.items():
        assert value.dtype == torch.float32
        assert torch.isfinite(value)
        assert torch.equal(value, full[key])


@pytest.mark.parametrize('loss', [MECLoss(), ERLoss(), MinEntLoss()], ids=['mec', 'er', 'minent'])
def test_batch_of_one(loss):
    with pytest.raises(ValueError, match='at least 2'):
        loss(torch.randn(1, 8), torch.randn(1, 8))


def test_shapes_that_differ():
    for loss in (MECLoss(), ERLoss(), MinEntLoss(), DINOLoss()):
        with pytest.raises(ValueError, match='one shape'):
            loss(torch.randn(4, 8), torch.randn(4, 6))
