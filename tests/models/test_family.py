"""The family's losses equal their authors', in value and gradient, on one rank and several."""

import math

import pytest
import torch
from family import FAMILY, pair_of
from ranks import on_ranks

import mmentropy.models.lejepa
from mmentropy.distributed import local_rows
from mmentropy.models import CorInfoMaxLoss, FroSSLLoss, INTLLoss, MatrixSSLLoss, MECLoss

SHAPES = [(48, 24), (24, 48)]


def drawn(count, rows, width, seed=0):
    """Views of the same images: they have something in common."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    noise = torch.randn(count, rows, width, generator=generator, dtype=torch.float64)
    return [(base + 0.5 * x).requires_grad_() for x in noise]


def simple_directions(width, count, seed):
    """In the place of random ones, which the second form does not draw."""
    return torch.eye(width, count, dtype=torch.float64)


@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('name', FAMILY)
def test_value_and_gradient(name, shape, monkeypatch):
    monkeypatch.setattr(mmentropy.models.lejepa, 'random_directions', simple_directions)
    ours, second, count = pair_of(name, shape[1])
    views = drawn(count, *shape)
    value, expected = ours(*views)['loss'], second(*views)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)
    leaves = views[: 3 if name.startswith('simdino') else count]
    grads = torch.autograd.grad(value, leaves)
    for grad, other in zip(grads, torch.autograd.grad(expected, leaves)):
        assert grad.abs().max() > 1e-6
        torch.testing.assert_close(grad, other, rtol=1e-10, atol=1e-10)


def test_uniformity_is_mec_of_centred_rows():
    """At mu = 1 and a distortion of 1; rows and their opposites have no mean."""
    pred, target = (torch.cat([z, -z]) for z in drawn(2, 12, 6))
    uniformity = MatrixSSLLoss(alignment=0.0, mu=1.0, taylor_order=4)(pred, target)['loss']
    mec = MECLoss(distortion=1.0, taylor_order=4, guard=False)(pred, target)['loss']
    torch.testing.assert_close(uniformity, mec)


def test_the_teacher_of_simdino_gets_no_gradient():
    views = drawn(5, 12, 6)
    for name in ('simdino', 'simdino_with_teacher'):
        loss = pair_of(name, 6)[0](*views)['loss']
        grads = torch.autograd.grad(loss, views, allow_unused=True)
        assert [grad is None for grad in grads] == [False, False, False, True, True]


def values_on_a_rank(rank, world):
    """Loss and gradient of this rank's rows, of all losses."""
    found = {}
    for name in FAMILY:
        ours, _, count = pair_of(name, 10)
        views = drawn(count, 24, 10)
        local = [local_rows(z, 24 // world).detach().requires_grad_() for z in views]
        loss = ours(*local)['loss']
        grads = torch.autograd.grad(loss, local, allow_unused=True)
        found[name] = [loss.detach(), *(g for g in grads if g is not None)]
    return found


@pytest.mark.slow
@pytest.mark.parametrize('world', [2, 4])
def test_ranks_give_the_loss_of_all_rows(world, tmp_path):
    """The mean over ranks of losses and of gradients, which DDP takes."""
    whole = values_on_a_rank(0, 1)
    ranks = on_ranks(values_on_a_rank, world, tmp_path)
    for name in FAMILY:
        losses, *grads = zip(*(found[name] for found in ranks))
        expected, *expected_grads = whole[name]
        mean = torch.stack(losses).mean()
        torch.testing.assert_close(mean, expected, rtol=1e-10, atol=1e-10)
        for parts, grad in zip(grads, expected_grads, strict=True):
            joined = torch.cat(parts) / world
            torch.testing.assert_close(joined, grad, rtol=1e-10, atol=1e-10)


def losses_on_a_rank(rank, world):
    """The loss of FroSSL of this rank's rows, and that of the authors."""
    local = [local_rows(z, 24 // world) for z in drawn(3, 24, 10)]
    _, authors, _ = pair_of('frossl', 10)
    return float(FroSSLLoss(gather=False)(*local)['loss']), float(authors(*local))


@pytest.mark.slow
def test_frossl_of_the_rows_of_each_rank(tmp_path):
    (ours, authors), (other, _) = on_ranks(losses_on_a_rank, 2, tmp_path)
    assert ours == pytest.approx(authors, rel=1e-10)
    assert abs(ours - other) > 0.01


def uneven(decay):
    """Rows whose singular values fall as a power."""
    z = torch.randn(256, 512, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, _, v = torch.linalg.svd(z, full_matrices=False)
    return u * torch.arange(1, 257, dtype=torch.float64) ** -decay @ v


def close_together(cosine):
    """Rows with nearly the same direction."""
    z = torch.randn(256, 512, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.eye(1, 512, dtype=torch.float64) + math.sqrt((1 / cosine - 1) / 512) * z


@pytest.mark.parametrize('name', ['mmcr', 'mmcr_local', 'ivne'])
@pytest.mark.parametrize(
    'rows', [uneven(2), uneven(3), close_together(0.9999)], ids=['square', 'cube', 'close']
)
def test_single_precision_resolves_small_singular_values(name, rows):
    ours, second, count = pair_of(name, 512)
    noise = torch.randn(count, *rows.shape, generator=torch.Generator().manual_seed(1))
    # The views differ where rows do, so that none has a spectrum of its own.
    exact = [(rows * (1 + 0.1 * x)).requires_grad_() for x in noise.double()]
    single = [z.detach().float().requires_grad_() for z in exact]
    second(*exact).backward()
    ours(*single)['loss'].backward()
    for z, other in zip(single, exact, strict=True):
        assert z.grad.dtype == torch.float32
        assert (z.grad - other.grad).norm() < 1e-3 * other.grad.norm()


def test_corinfomax_remembers():
    """Statistics of three batches, in training only."""
    ours, state = CorInfoMaxLoss(6, momentum=0.3), [(0.0, torch.eye(6, dtype=torch.float64))] * 2
    for seed in range(3):
        views = drawn(2, 12, 6, seed)
        expected = pair_of('corinfomax', 6)[1](*views, state=state, l=0.3)
        torch.testing.assert_close(ours(*views)['loss'], expected, rtol=1e-10, atol=1e-10)
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    torch.testing.assert_close(before['covariance'][1], state[1][1], rtol=1e-10, atol=1e-12)
    ours.eval()(*drawn(2, 12, 6, 9))
    assert all(torch.equal(value, before[key]) for key, value in ours.state_dict().items())


@pytest.mark.parametrize('views, width', [(3, 6), (2, 5)])
def test_corinfomax_of_other_views(views, width):
    with pytest.raises(ValueError, match='2 views of width 6, got'):
        CorInfoMaxLoss(6)(*drawn(views, 8, width))


@pytest.mark.parametrize('name', [name for name in FAMILY if not name.startswith('matrix')])
def test_one_view(name):
    with pytest.raises(ValueError, match='at least two'):
        pair_of(name, 6)[0](*drawn(1, 8, 6))


def test_the_authors_trade_off_of_intl():
    views = drawn(2, 32, 24)
    expected = pair_of('intl', 24)[0](*views)
    found = INTLLoss()(*views)
    # log2(32) - 3 = 2
    difference = (0.02 - 0.05) * 2 * expected['trace']
    torch.testing.assert_close(found['loss'], expected['loss'] + difference)
    with pytest.raises(ValueError, match='below 0 for 7 variables'):
        INTLLoss()(*drawn(2, 7, 24))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', FAMILY)
def test_half_precision_gives_the_float32_loss(name, dtype):
    """Rows are long enough for their squared norm to overflow float16."""
    ours, _, count = pair_of(name, 600)
    views = [(100 * z.detach()).to(dtype) for z in drawn(count, 8, 600)]
    state = {key: value.clone() for key, value in ours.state_dict().items()}
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = ours(*views)
    ours.load_state_dict(state)
    full = ours(*(z.float() for z in views))
    for key, value in half.items():
        assert value.dtype == torch.float32
        assert torch.isfinite(value)
        assert torch.equal(value, full[key])


@pytest.mark.parametrize('shape', [(8, 16), (16, 8)], ids=str)
@pytest.mark.parametrize('name', FAMILY)
def test_loss_and_gradient_are_finite(name, shape):
    """Equal rows, rows of zeros, duplicates, a zero row and column, tiny and huge features."""
    ours, _, count = pair_of(name, shape[1])
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    holes = rows.clone()
    holes[0], holes[:, 1] = 0, 0
    views = dict(
        equal=rows[:1].expand(shape),
        zeros=torch.zeros(shape),
        duplicates=rows[: shape[0] // 4].repeat(4, 1),
        holes=holes,
        tiny=rows * 1e-12,
    )
    if not name.startswith(('vicreg', 'lejepa')):
        views['huge'] = rows * 1e12
    for kind, z in views.items():
        leaves = [z.clone().requires_grad_() for _ in range(count)]
        value = ours(*leaves)['loss']
        assert torch.isfinite(value), kind
        for grad in torch.autograd.grad(value, leaves, allow_unused=True):
            assert grad is None or torch.isfinite(grad).all(), kind


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
@pytest.mark.parametrize('name', FAMILY)
def test_what_is_not_finite_is_not_hidden(name, bad):
    ours, _, count = pair_of(name, 6)
    views = [z.detach().clone() for z in drawn(count, 8, 6)]
    views[1][2, 3] = bad
    assert not torch.isfinite(ours(*views)['loss'])
