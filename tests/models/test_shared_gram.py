"""Every rank's share against one process and against the plain formula."""

import pytest
import torch
import torch.distributed as dist
from ranks import on_ranks
from torch.nn.functional import normalize

from mmentropy import functional as F
from mmentropy.distributed import gather as dist_rows
from mmentropy.models import shared_gram as shares

# Rows of all ranks by width: on either side of m = d, and a width below the
# rows of one rank.
SHAPES = [(8, 20), (12, 12), (24, 20), (24, 4)]
ORDERS = [1, 2, 3, 4, 5, None]


def pair(m, d):
    """Prediction and target, rows of several lengths."""
    generator = torch.Generator().manual_seed(m + d)
    z = torch.randn(2, m, d, generator=generator, dtype=torch.float64)
    # Related, so that neither the traces nor the antisymmetric part vanish.
    z[1] += z[0]
    return z * (1 + torch.arange(m).unsqueeze(1) % 3)


def unit(m, d):
    return normalize(pair(m, d)[0])


def log_dets(pred, target):
    """Values and gradients of this rank's rows, for every order."""
    results = []
    for order in ORDERS:
        p, t = (x.clone().requires_grad_() for x in (pred, target))
        gram = shares.transposed_gram(p, t)
        value = shares.log_det(p, t, gram, gram.new_tensor(7.0), order)
        # A factor that the gradient has to pass on.
        (3 * value).backward()
        results.append((value.detach(), p.grad, t.grad))
    return results


def plain_log_dets(pred, target):
    results = []
    for order in ORDERS:
        p, t = (x.clone().requires_grad_() for x in (pred, target))
        c = F.cross_gram(normalize(p), normalize(t)) / 7
        value = F.log_det_exact(c) if order is None else F.log_det_taylor(c, order)
        (3 * value).backward()
        results.append((value.detach(), p.grad, t.grad))
    return results


def entropies(z, gather, kappa):
    """Values and gradients of this rank's rows, for both estimators."""
    results = []
    for estimator in F.ESTIMATORS:
        x = z.clone().requires_grad_()
        sums = shares.kernel_sums(x, kappa, gather)
        if gather:
            sums = dist_rows(sums)
        value = F.kernel_entropy(sums, estimator, 0.0)
        (3 * value).backward()
        results.append((value.detach(), x.grad))
    return results


def plain_entropies(z, kappa):
    results = []
    for estimator in F.ESTIMATORS:
        x = z.clone().requires_grad_()
        value = F.sphere_entropy(x, kappa, estimator, 0.0)
        (3 * value).backward()
        results.append((value.detach(), x.grad))
    return results


def on_rank(rank, world):
    def local(x):
        # Columns first in memory, as slices and transposes come.
        return x.chunk(world)[rank].T.contiguous().T

    return (
        {shape: log_dets(*map(local, pair(*shape))) for shape in SHAPES},
        entropies(local(unit(24, 4)), True, 5.0),
        entropies(local(unit(24, 4)), False, 5.0),
        sent(rank, world),
    )


def sent(rank, world):
    """Shapes that this rank sends, where it has 4 rows of width 3."""
    shapes = []

    def note(name):
        function = getattr(dist, name)

        def wrapper(*args, **kwargs):
            tensor = next(a for a in args if isinstance(a, torch.Tensor))
            shapes.append((name, tuple(tensor.shape)))
            return function(*args, **kwargs)

        setattr(dist, name, wrapper)
        return function

    before = {name: note(name) for name in ('all_gather', 'all_reduce')}
    try:
        z = torch.randn(4, 3).requires_grad_()
        gram = shares.transposed_gram(z, z.detach())
        shares.log_det(z, z.detach(), gram, gram.new_tensor(9.0), 4).backward()
    finally:
        for name, function in before.items():
            setattr(dist, name, function)
    return shapes


def assert_equal(ours, expected):
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_one_process(shape):
    for ours, plain in zip(log_dets(*pair(*shape)), plain_log_dets(*pair(*shape))):
        assert plain[1].abs().max() > 1e-3
        assert_equal(ours, plain)


@pytest.mark.parametrize('world', [2, 4])
def test_ranks(world, tmp_path):
    by_rank = on_ranks(on_rank, world, tmp_path)
    for shape in SHAPES:
        for i, plain in enumerate(plain_log_dets(*pair(*shape))):
            for results in by_rank:
                assert_equal(results[0][shape][i][0], plain[0])
            for part in (1, 2):
                rows = [results[0][shape][i][part] for results in by_rank]
                assert_equal(torch.cat(rows) / world, plain[part])
    z = unit(24, 4)
    for i, plain in enumerate(plain_entropies(z, 5.0)):
        for results in by_rank:
            assert_equal(results[1][i][0], plain[0])
        rows = [results[1][i][1] for results in by_rank]
        assert_equal(torch.cat(rows) / world, plain[1])
    for results, rows in zip(by_rank, z.chunk(world)):
        assert_equal(results[2], plain_entropies(rows, 5.0))
        # d x d once and the value: nothing that grows with the ranks.
        assert results[3] == [('all_reduce', (3, 3)), ('all_reduce', ())]


@pytest.mark.parametrize('block', [10**6, 24, 60, 1])
def test_blocks_of_the_kernel(block, monkeypatch):
    monkeypatch.setattr(shares, 'BLOCK', block)
    z = unit(24, 4)
    assert_equal(entropies(z, False, 5.0), plain_entropies(z, 5.0))


def test_kernel_of_zero_rows_and_large_kappa():
    z = unit(6, 3).float()
    z[0] = 0
    for value, grad in entropies(z, False, 1000.0):
        assert torch.isfinite(value)
        assert torch.isfinite(grad).all()


def test_target_without_gradient():
    p, t = pair(8, 20)
    p.requires_grad_()
    gram = shares.transposed_gram(p, t)
    shares.log_det(p, t, gram, 7.0, 4).backward()
    assert_equal(3 * p.grad, plain_log_dets(*pair(8, 20))[3][1])


def test_errors():
    p = torch.eye(3)
    with pytest.raises(ValueError, match=r'one shape, got \(3, 3\) and \(2'):
        shares.transposed_gram(p, p[:2])
    with pytest.raises(FloatingPointError, match='not positive'):
        shares.log_det(p, -3 * p, -3 * p, 1.0, None)
