"""Diagnostics against closed forms, numpy and scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg, special, stats

from mmentropy.evaluation import knn_predict
from mmentropy.functional import diagnostics as d

ONE_VIEW = [
    d.effective_rank,
    d.rankme,
    d.spectrum,
    d.alpha_req,
    d.feature_std,
    d.feature_length,
    d.uniformity,
    d.coding_length_per_image,
    d.entropy,
    d.assignment_entropy,
]
TWO_VIEWS = [d.alignment, d.reconstruction, lambda z1, z2: d.lidar(torch.stack([z1, z2], dim=1))]


def gaussian(n, width):
    """Columns of falling size, not centred."""
    return torch.randn(n, width) / torch.arange(1, width + 1) ** 0.5 + 0.3


def unit(z):
    z = z.double().numpy()
    return z / np.linalg.norm(z, axis=1, keepdims=True)


@pytest.mark.parametrize('n, width', [(40, 9), (9, 40)])
def test_ranks_and_spectrum_against_numpy(n, width):
    z = gaussian(n, width)
    values = np.linalg.svd(z.double().numpy(), compute_uv=False)
    np.testing.assert_allclose(d.singular_values(z), values, rtol=1e-10)
    shares = values / values.sum()
    assert float(d.effective_rank(z)) == pytest.approx(np.exp(stats.entropy(shares)), rel=1e-9)
    shares = shares + 1e-7
    assert float(d.rankme(z)) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-9)
    centred = z.double().numpy()
    values = np.linalg.svd(centred - centred.mean(0), compute_uv=False)
    np.testing.assert_allclose(d.spectrum(z), values / values.sum(), atol=1e-8)


def test_rank_closed_forms():
    assert float(d.effective_rank(7 * torch.eye(5, 9))) == pytest.approx(5)
    rank_one = torch.outer(torch.randn(50), torch.randn(200))
    assert float(d.effective_rank(rank_one)) == pytest.approx(1, abs=1e-3)
    # The 1e-7 of RankMe in 49 places where the share is 0.
    more = -49e-7 * math.log(1e-7) - 1e-7
    assert float(d.rankme(torch.ones(50, 200))) == pytest.approx(math.exp(more), abs=3e-6)
    # The mean counts.
    z = torch.randn(20000, 6)
    assert float(d.effective_rank(z)) == pytest.approx(6, abs=0.01)
    assert float(d.effective_rank(z + 100)) < 1.3
    assert float(d.spectrum(z + 100)[0]) == pytest.approx(1 / 6, abs=0.01)


def test_ranks_do_not_depend_on_the_scale():
    z = gaussian(20, 30)
    for scale in (1e-25, 1e25):
        assert float(d.effective_rank(scale * z)) == pytest.approx(
            float(d.effective_rank(z)), rel=1e-5
        )


@pytest.mark.parametrize('alpha', [0.0, 0.5, 1.0, 2.5])
def test_alpha_req_recovers_the_power(alpha):
    # Orthonormal columns of mean 0: the covariance's eigenvalues are known.
    columns = torch.linalg.qr(torch.cat([torch.ones(300, 1), torch.randn(300, 120)], 1).double())[0]
    scale = torch.arange(1, 121).double() ** (-alpha / 2)
    z = columns[:, 1:] * scale + 5
    assert float(d.alpha_req(z)) == pytest.approx(alpha, abs=1e-6)
    # The first three ranks do not count, nor those after the hundredth.
    scale[[0, 1, 2]] *= 100
    scale[100:] /= 2
    z = columns[:, 1:] * scale + 5
    assert float(d.alpha_req(z)) == pytest.approx(alpha, abs=1e-6)


@pytest.mark.parametrize('n, width, last', [(200, 30, 30), (12, 30, 11)])
def test_alpha_req_against_polyfit(n, width, last):
    z = gaussian(n, width)
    eigenvalues = np.linalg.eigvalsh(np.cov(z.double().numpy().T))[::-1]
    rank = np.arange(4, last + 1)
    slope, _ = np.polyfit(np.log(rank), np.log(eigenvalues[3:last]), 1, w=rank**-0.5)
    assert float(d.alpha_req(z)) == pytest.approx(-slope, rel=1e-6)


def lidar_slow(z, delta):
    """D x D matrices, image by image."""
    n, q, width = z.shape
    between, within = np.zeros((2, width, width))
    mean = z.mean((0, 1))
    for views in z:
        own = views.mean(0)
        between += np.outer(own - mean, own - mean) / n
        for view in views:
            within += np.outer(view - own, view - own) / (n * q)
    root = linalg.inv(linalg.sqrtm(within + delta * np.eye(width)).real)
    values = np.linalg.eigvalsh(root @ between @ root).clip(0)
    return np.exp(stats.entropy(values))


@pytest.mark.parametrize(
    'n, q, width, delta', [(20, 2, 6, 1e-4), (6, 2, 30, 1e-4), (10, 5, 12, 1e-4), (10, 3, 8, 0.5)]
)
def test_lidar_against_the_definition(n, q, width, delta):
    z = gaussian(n, width)[:, None] + 0.3 * torch.randn(n, q, width)
    assert float(d.lidar(z, delta)) == pytest.approx(
        lidar_slow(z.double().numpy(), delta), rel=1e-6
    )


def test_lidar_closed_forms():
    # N orthogonal means span N - 1 dimensions around their mean.
    images = torch.eye(7, 12)[:, None].repeat(1, 3, 1)
    assert float(d.lidar(images)) == pytest.approx(6)
    # Noise between views in one dimension hides what is there.
    images = torch.zeros(64, 2, 2)
    images[:, :, 0] = torch.randn(64, 1)
    images[:, :, 1] = torch.randn(64, 1)
    both = float(d.lidar(images))
    images[:, :, 1] += 100 * torch.randn(64, 2)
    assert both > 1.8 and float(d.lidar(images)) < 1.01
    for bad in (torch.ones(4, 3), torch.ones(4, 1, 3)):
        with pytest.raises(ValueError, match='q >= 2'):
            d.lidar(bad)


def test_feature_length():
    assert float(d.feature_length(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))) == pytest.approx(3)


def test_feature_std():
    z = gaussian(30, 5) * torch.rand(30, 1)
    assert float(d.feature_std(z)) == pytest.approx(unit(z).std(0).mean() * math.sqrt(5))
    assert float(d.feature_std(torch.randn(20000, 8))) == pytest.approx(1, abs=0.01)
    assert float(d.feature_std(torch.cat([torch.eye(4), -torch.eye(4)]))) == pytest.approx(1)


def test_uniformity():
    z = gaussian(30, 5) * (1 + torch.rand(30, 1))
    rows = unit(z)
    potential = [
        math.exp(-2 * ((rows[i] - rows[j]) ** 2).sum()) for i in range(30) for j in range(i)
    ]
    assert float(d.uniformity(z)) == pytest.approx(math.log(np.mean(potential)))
    # Uniform on the sphere of 8 dimensions.
    closed = -4 + math.log(special.gamma(4) * 0.5**3 * special.iv(3, 4))
    assert float(d.uniformity(torch.randn(1500, 8))) == pytest.approx(closed, abs=0.01)
    assert float(d.uniformity(torch.tensor([[1.0, 0], [-3, 0]]))) == -8
    with pytest.raises(ValueError, match='at least 2'):
        d.uniformity(torch.ones(1, 3))


def test_alignment():
    z1, z2 = gaussian(10, 5), 3 * gaussian(10, 5)
    cosine = (unit(z1) * unit(z2)).sum(1)
    assert float(d.alignment(z1, z2)) == pytest.approx((2 - 2 * cosine).mean())
    assert float(d.alignment(z1, -z1)) == pytest.approx(4)
    assert float(d.alignment(z1, 5 * z1)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize('n, width', [(8, 5), (5, 8)])
def test_coding_length(n, width):
    z = gaussian(n, width)
    rows = unit(z)
    _, log_det = np.linalg.slogdet(np.eye(width) + rows.T @ rows / (n * 0.1))
    assert float(d.coding_length_per_image(z, 0.1)) == pytest.approx((n + width) / 2 / n * log_det)
    assert float(d.coding_length_per_image(torch.full((n, width), 3.0))) == pytest.approx(
        (n + width) / 2 / n * math.log(1 + 1 / 0.06)
    )


def test_entropy_of_vmf_samples():
    """A narrow kernel on many points: the entropy that scipy knows."""
    rng = np.random.default_rng(0)
    for kappa in (0.5, 2.0):
        density = stats.vonmises_fisher(np.eye(3)[0], kappa)
        z = torch.from_numpy(density.rvs(4000, random_state=rng))
        assert float(d.entropy(5 * z, kappa=80.0)) == pytest.approx(density.entropy(), abs=0.06)
    area = math.log(4 * math.pi)
    assert float(d.entropy(torch.randn(2000, 3))) == pytest.approx(area, abs=0.01)
    # Points far from each other are the farthest from one.
    apart = 1000 * torch.eye(16)
    assert float(d.entropy(apart, 60.0)) == pytest.approx(d.point_entropy(16, 60.0) + math.log(16))


def test_reconstruction_and_point_entropy():
    z1, z2 = gaussian(10, 4), gaussian(10, 4)
    expected = [-stats.vonmises_fisher(mu, 10).logpdf(x) for mu, x in zip(unit(z1), unit(z2))]
    assert float(d.reconstruction(z1, z2)) == pytest.approx(np.mean(expected))
    point = -stats.vonmises_fisher([1, 0, 0, 0], 10).logpdf([1, 0, 0, 0])
    assert d.point_entropy(4) == pytest.approx(point)
    constant = torch.ones(6, 4)
    assert float(d.entropy(constant)) == pytest.approx(point)
    assert float(d.reconstruction(constant, constant)) == pytest.approx(point)


def test_assignment_entropy():
    logits = gaussian(10, 4)
    mean = special.softmax(logits.double().numpy() / 0.5, axis=1).mean(0)
    assert float(d.assignment_entropy(logits, 0.5)) == pytest.approx(
        stats.entropy(mean) / math.log(4)
    )
    assert float(d.assignment_entropy(100 * torch.eye(4))) == pytest.approx(1)
    assert float(d.assignment_entropy(100 * torch.eye(4)[[2, 2]])) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize('k', [1, 5, 100])
def test_leave_one_out_knn(k):
    """Against knn_predict on all rows but one."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (30,), generator=generator)
    centres = torch.randn(4, 6, generator=generator)
    z = centres[labels] + torch.randn(30, 6, generator=generator)
    right = 0
    for i in range(30):
        others = torch.arange(30) != i
        found = knn_predict(z[others], labels[others], z[i : i + 1], k=min(k, 29))
        right += int(found == labels[i])
    assert 30 < 100 * right / 30 < 90
    assert float(d.leave_one_out_knn(z, labels, k)) == pytest.approx(100 * right / 30)


def test_constant_batch():
    """What the docstrings say, whatever the direction."""
    for row in (torch.ones(8), torch.randn(8), torch.zeros(8)):
        z = row.repeat(6, 1)
        assert float(d.effective_rank(z)) == pytest.approx(1, abs=1e-5)
        assert float(d.rankme(z)) == pytest.approx(1, abs=1e-4)
        assert float(d.lidar(torch.stack([z, z], 1))) == pytest.approx(1, abs=1e-5)
        assert float(d.feature_std(z)) == pytest.approx(0, abs=1e-7)
        assert float(d.uniformity(z)) == pytest.approx(0, abs=1e-7)
        assert float(d.alignment(z, z)) == 0
        point = pytest.approx(d.point_entropy(8))
        assert float(d.entropy(z)) == point and float(d.reconstruction(z, z)) == point
        assert float(d.spectrum(torch.ones(6, 8)).sum()) == 0
        assert float(d.alpha_req(z)) == math.inf


@pytest.mark.parametrize('function', ONE_VIEW)
def test_one_view_in_any_precision(function):
    z = gaussian(20, 12)
    for dtype, tolerance in [(torch.float16, 2e-2), (torch.bfloat16, 1e-1), (torch.float64, 1e-6)]:
        low = z.to(dtype).requires_grad_()
        value = function(low)
        assert value.dtype == torch.float64 and not value.requires_grad
        # The same numbers, in the wider type: nothing is lost on the way.
        torch.testing.assert_close(value, function(low.detach().float()), rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(value, function(z), rtol=tolerance, atol=tolerance)
    duplicates = z[[0, 0, 1, 1, 2]]
    assert torch.isfinite(function(duplicates)).all() or (function is d.alpha_req)


def test_large_half_precision_does_not_overflow():
    z = 60000 * torch.eye(5, 9).half()
    assert float(d.effective_rank(z)) == pytest.approx(5)
    assert float(d.alignment(z, z.flip(0))) == pytest.approx(8 / 5)


@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_what_is_not_finite_raises(bad):
    z = gaussian(6, 5)
    z[2, 3] = bad
    for function in ONE_VIEW:
        with pytest.raises(FloatingPointError, match='1 non-finite'):
            function(z)
    for function in TWO_VIEWS:
        for pair in ((z, gaussian(6, 5)), (gaussian(6, 5), z)):
            with pytest.raises(FloatingPointError, match='1 non-finite'):
                function(*pair)


def test_measure_is_all_of_them():
    z1, z2 = gaussian(12, 9), gaussian(12, 9)
    found, shares = d.measure([z1, z2])
    expected = {
        name: getattr(d, name)(z1)
        for name in ('effective_rank', 'rankme', 'alpha_req', 'feature_std', 'uniformity')
    }
    expected['coding_length'] = d.coding_length_per_image(z1)
    expected['feature_length'] = d.feature_length(z1)
    expected['entropy'] = (d.entropy(z1) + d.entropy(z2)) / 2
    expected['alignment'] = d.alignment(z1, z2)
    expected['reconstruction'] = d.reconstruction(z1, z2)
    expected['er_bound'] = expected['entropy'] - expected['reconstruction']
    expected['lidar'] = d.lidar(torch.stack([z1, z2], 1))
    assert found == pytest.approx({name: float(value) for name, value in expected.items()})
    torch.testing.assert_close(shares, d.spectrum(z1))
    alone, _ = d.measure([z1])
    assert alone.keys() == found.keys() - {'alignment', 'reconstruction', 'er_bound', 'lidar'}
    assert alone['entropy'] == pytest.approx(float(d.entropy(z1)))
