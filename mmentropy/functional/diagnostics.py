"""What features tell without labels: tensors in, scalars out.

``z`` has shape (N, D), a row per image; ``z1`` and ``z2`` are two views, row i of both the same
image. Whatever the precision of the input, values are computed in float64 from products of rows,
which is finer than float32 features are, and carry no gradient. Each function takes duplicates,
constant batches and zeros; what is not finite raises ``FloatingPointError``.
"""

import math

import torch
from torch import Tensor

from mmentropy.checks.arguments import COUNT, POSITIVE, require
from mmentropy.checks.tensors import check_classes, check_finite, check_matrix, check_pair
from mmentropy.functional.coding import coding_length, gram
from mmentropy.functional.simplex import discrete_entropy, discrete_reconstruction
from mmentropy.functional.sphere import (
    sphere_entropy,
    sphere_reconstruction,
    unit_rows,
    vmf_log_normalizer,
)

# The concentration of the kernel in ER's paper.
KAPPA = 10.0
# The distortion in MEC's paper.
DISTORTION = 0.06
# The power law is fitted to these ranks of the eigenvalues, both included. They are our choice;
# the paper's code takes them as an argument.
POWER_LAW_RANKS = (4, 100)


def _wide(name: str, z: Tensor) -> Tensor:
    """``z`` in float64 without gradient, after a look at type, shape and entries."""
    if isinstance(z, Tensor) and z.is_floating_point():
        z = z.detach().double()
    check_matrix(name, z)
    check_finite(name, z)
    return z


def _unit(name: str, z: Tensor) -> Tensor:
    return unit_rows(_wide(name, z))


def _on_sphere(name: str, z: Tensor) -> Tensor:
    """Unit rows, where rows of zeros, which have no direction, all have that of the first axis."""
    z = _unit(name, z)
    axis = torch.zeros_like(z[0])
    axis[0] = 1
    return torch.where(z.any(dim=1, keepdim=True), z, axis)


def _pair(z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
    z1, z2 = _unit('z1', z1), _unit('z2', z2)
    check_pair(z1=z1, z2=z2)
    return z1, z2


# -- Ranks and spectra -------------------------------------------------------


def singular_values(z: Tensor) -> Tensor:
    """Singular values by the eigenvalues of the smaller product of ``z``.

    Returns:
        (min(N, D),) float64, falling, >= 0; below 1e-8 of the largest they are rounding.
    """
    z = _wide('z', z)
    # Huge or tiny features would leave float64 when squared.
    scale = z.abs().max().clamp_min(torch.finfo(z.dtype).tiny)
    z = z / scale
    return torch.linalg.eigvalsh(gram(z)).flip(0).clamp_min(0).sqrt() * scale


def entropy_rank(values: Tensor, eps: float = 0.0) -> Tensor:
    """Exponential of the entropy of (K,) values >= 0 as shares of their sum, plus ``eps`` each.

    It is 1 if all values are 0, and ``eps`` too.
    """
    total = values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return torch.special.entr(values / total + eps).sum().exp()


def effective_rank(z: Tensor) -> Tensor:
    """Exponential of the entropy of the singular values; not centred.

    Returns:
        Scalar, a number of dimensions in [1, min(N, D)]; 1 on a constant batch.

    Source:
        Roy & Vetterli, EUSIPCO 2007.
    """
    return entropy_rank(singular_values(z))


def rankme(z: Tensor) -> Tensor:
    """:func:`effective_rank` with 1e-7 added to each share, as in RankMe.

    So it is above it where there are more than e dimensions, by at most 2 in 10,000 for 100
    singular values and 4 in 1,000 for 2048, and the shares no longer sum to 1.

    Returns:
        Scalar, a number of dimensions in [1, 1.01 min(N, D)]; 1, but for the 1e-7, on a constant
        batch.

    Source:
        arXiv 2210.02885, eq. 1.
    """
    return entropy_rank(singular_values(z), eps=1e-7)


def spectrum(z: Tensor) -> Tensor:
    """Singular values of the centred features as shares of their sum.

    Returns:
        (min(N, D),) falling, in [0, 1], sum 1; zeros on a constant batch.
    """
    z = _wide('z', z)
    values = singular_values(z - z.mean(dim=0))
    return values / values.sum().clamp_min(torch.finfo(z.dtype).tiny)


def alpha_req(z: Tensor) -> Tensor:
    r"""Exponent of the power law of the covariance's eigenvalues.

    The slope of :math:`\log \lambda_i = c - \alpha \log i` by least squares with weights
    :math:`1 / i` over ranks 4 to 100, or to the last eigenvalue that is not rounding.

    Returns:
        Scalar >= 0, no unit: 0 isotropic, about 1 what the paper found to transfer best; inf with
        fewer than two eigenvalues to fit, as on a constant batch.

    Source:
        arXiv 2202.05808; weights kumarkrishna/fastssl@2ecb27e:fastssl/utils/powerlaw.py.
    """
    return power_law(spectrum(z))


def power_law(shares: Tensor) -> Tensor:
    """:func:`alpha_req` from :func:`spectrum`."""
    eigenvalues = shares.square()
    noise = len(shares) * torch.finfo(shares.dtype).eps * eigenvalues[0]
    first, last = POWER_LAW_RANKS
    last = min(last, int((eigenvalues > noise).sum()))
    if last <= first:
        return shares.new_tensor(math.inf)
    rank = torch.arange(first, last + 1).to(shares)
    weight = 1 / (rank * (1 / rank).sum())
    x, y = rank.log(), eigenvalues[first - 1 : last].log()
    x = x - (weight * x).sum()
    return -(weight * x * y).sum() / (weight * x * x).sum()


def lidar(z: Tensor, delta: float = 1e-4) -> Tensor:
    r"""Effective rank of what tells images apart from their views.

    :math:`\exp` of the entropy of the eigenvalues of :math:`\Sigma_w^{-1/2} \Sigma_b
    \Sigma_w^{-1/2}`: :math:`\Sigma_b` is the covariance of the means of each image's views,
    :math:`\Sigma_w` that of views around their mean, plus :math:`\delta I`. :math:`\delta` is
    absolute, so scale the features alike before comparing. The paper's guard of the logarithm is
    not needed.

    Args:
        z: (N, q, D), q >= 2 views of N images.
        delta: > 0.

    Returns:
        Scalar, a number of dimensions in [1, min(N - 1, D)]; 1 on a constant batch. Views in random
        directions, with nothing in common, count too.

    Source:
        arXiv 2312.04000, section 3.
    """
    require(POSITIVE, delta=delta)
    if z.dim() != 3 or z.size(1) < 2:
        raise ValueError(
            f'lidar needs (N, q, D) with q >= 2 views of an image, got shape {tuple(z.shape)}'
        )
    n, q, d = z.shape
    z = _wide('z', z.reshape(n * q, d)).view(n, q, d)
    means = z.mean(dim=1)
    between = (means - means.mean(dim=0)) / math.sqrt(n)
    # Orthonormal contrasts of the views have one row fewer than deviations.
    contrasts = torch.linalg.svd(z.new_ones(1, q)).Vh[1:]
    within = (contrasts @ z).flatten(0, 1) / math.sqrt(n * q)
    # Woodbury: the eigenvalues that are not 0 are those of B S^-1 B^T with
    # S^-1 = (I - W^T (delta I + W W^T)^-1 W) / delta, whatever D.
    inner = within @ within.T
    inner.diagonal().add_(delta)
    cross = within @ between.T
    matrix = between @ between.T - cross.T @ torch.linalg.solve(inner, cross)
    return entropy_rank(torch.linalg.eigvalsh(matrix).clamp_min(0))


# -- On the sphere -----------------------------------------------------------


def feature_std(z: Tensor) -> Tensor:
    r"""Standard deviation of unit rows, mean over columns, times :math:`\sqrt D`.

    Returns:
        Scalar in [0, 1], no unit: 1 if every column has mean 0 and variance 1 / D, 0 on a constant
        batch.

    Source:
        SimSiam, arXiv 2011.10566, figure 2, there without the factor.
    """
    return _unit('z', z).std(dim=0, correction=0).mean() * math.sqrt(z.size(1))


def feature_length(z: Tensor) -> Tensor:
    """Mean Euclidean length of the rows (N, D): a scalar in [0, inf)."""
    return torch.linalg.vector_norm(_wide('z', z), dim=1).mean()


def uniformity(z: Tensor) -> Tensor:
    r"""Log of the mean Gaussian potential of pairs of N >= 2 unit rows, t = 2.

    .. math:: \log \frac{2}{N (N - 1)} \sum_{i < j} e^{-2 \|z_i - z_j\|^2}

    Returns:
        Scalar in [-8, 0], no unit: near -4 spread out in many dimensions, 0 on a constant batch.

    Source:
        arXiv 2005.10242, eq. 2 and its appendix's code.
    """
    z = _unit('z', z)
    if len(z) < 2:
        raise ValueError('uniformity compares rows and needs at least 2')
    # Rows of zeros have no unit length.
    norms = z.square().sum(dim=1)
    squared = norms[:, None] + norms - 2 * z @ z.T
    i, j = torch.triu_indices(len(z), len(z), 1, device=z.device)
    potential = squared[i, j].clamp_min(0) * -2
    return potential.logsumexp(dim=0) - math.log(len(i))


def alignment(z1: Tensor, z2: Tensor) -> Tensor:
    """Mean squared distance of the two unit rows of an image.

    Returns:
        Scalar in [0, 4], no unit: 0 if views are mapped to one point, as on a constant batch; 2 if
        they are orthogonal.

    Source:
        arXiv 2005.10242, eq. 1, alpha = 2.
    """
    z1, z2 = _pair(z1, z2)
    return (z1 - z2).square().sum(dim=1).mean()


def coding_length_per_image(z: Tensor, distortion: float = DISTORTION) -> Tensor:
    """:func:`~mmentropy.functional.coding.coding_length` of unit rows, per image.

    Args:
        z: (N, D).
        distortion: Per dimension, > 0.

    Returns:
        Scalar in nats per image, >= 0; on a constant batch of any direction (N + D) / (2 N) log(1 +
        1 / distortion).
    """
    return coding_length(_unit('z', z), distortion) / len(z)


def entropy(z: Tensor, kappa: float = KAPPA) -> Tensor:
    """:func:`mmentropy.functional.sphere.sphere_entropy` of unit rows.

    The estimator is ``'joe'``, which tends to Shannon's entropy as rows grow in number and the
    kernel narrows; ``'plug_in'``, the losses' default, weighs rows by their density and lies below
    it.

    Args:
        z: (N, D), D >= 2.
        kappa: Concentration of the kernel, > 0.

    Returns:
        Scalar in nats, from :func:`point_entropy`, on a constant batch or one of zeros, to log N
        above it.
    """
    return sphere_entropy(_on_sphere('z', z), kappa, estimator='joe')


def point_entropy(dim: int, kappa: float = KAPPA) -> float:
    """The entropy, in nats, that a single point of the sphere is given."""
    return -vmf_log_normalizer(dim, kappa) - kappa


def reconstruction(z1: Tensor, z2: Tensor, kappa: float = KAPPA) -> Tensor:
    """:func:`mmentropy.functional.sphere.sphere_reconstruction` of unit rows.

    :func:`entropy` minus this is ER's lower bound on the information that the views share, at most
    log N. D and ``kappa`` are as there.

    Returns:
        Scalar in nats, from :func:`point_entropy`, on a constant batch or one of zeros, to 2
        ``kappa`` above it.
    """
    check_pair(z1=z1, z2=z2)
    return sphere_reconstruction(_on_sphere('z1', z1), _on_sphere('z2', z2), kappa)


def assignment_entropy(logits: Tensor, temperature: float = 0.1) -> Tensor:
    """:func:`mmentropy.functional.simplex.discrete_entropy` as a share of the largest, log K.

    Args:
        logits: (N, K), K >= 2.
        temperature: Divides them, > 0.

    Returns:
        Scalar in [0, 1], no unit: 1 if all classes are used alike on average, 0 if one is. A
        constant batch gives the entropy of its assignment.
    """
    require(POSITIVE, temperature=temperature)
    probs = (_wide('logits', logits) / temperature).softmax(dim=1)
    if probs.size(1) < 2:
        raise ValueError(f'logits must be those of 2 classes or more, got {tuple(probs.shape)}')
    return discrete_entropy(probs) / math.log(probs.size(1))


def assignment_terms(views: list[Tensor]) -> dict[str, float]:
    """Both terms of ER's bound on the simplex, where views are assigned to classes by a softmax.

    Args:
        views: Logits (N, K) of one or two views of the same images.

    Returns:
        ``simplex_entropy``, the :func:`~mmentropy.functional.simplex.discrete_entropy` that is the
        mean over views; with two also ``simplex_reconstruction``, their
        :func:`~mmentropy.functional.simplex.discrete_reconstruction`, and ``simplex_bound``, the
        difference, at most log K. In nats.
    """
    probs = [_wide('logits', logits).softmax(dim=1) for logits in views]
    entropies = torch.stack([discrete_entropy(p) for p in probs])
    found = dict(simplex_entropy=float(entropies.mean()))
    if len(probs) == 2:
        found['simplex_reconstruction'] = float(discrete_reconstruction(probs[0], probs[1]))
        found['simplex_bound'] = found['simplex_entropy'] - found['simplex_reconstruction']
    return found


def leave_one_out_knn(z: Tensor, labels: Tensor, k: int = 20) -> Tensor:
    """Rows whose class is that of their neighbours, in percent.

    The ``k`` nearest other rows, or all of them if they are fewer, vote with weight exp(cosine /
    0.07), as in :func:`mmentropy.evaluation.knn_predict`.

    Args:
        z: (N, D), N >= 2.
        labels: (N,) int64 >= 0.
        k: Neighbours, >= 1.

    Returns:
        Scalar in [0, 100].
    """
    z = _unit('z', z)
    check_classes('labels', labels, len(z))
    require(COUNT, k=k)
    if len(z) < 2:
        raise ValueError('neighbours need at least 2 rows, got 1')
    cosines = (z @ z.T).fill_diagonal_(-torch.inf)
    nearest, index = cosines.topk(min(k, len(z) - 1))
    labels = labels.to(z.device)
    votes = z.new_zeros(len(z), int(labels.max()) + 1)
    votes.scatter_add_(1, labels[index], ((nearest - 1) / 0.07).exp())
    return 100 * (votes.argmax(1) == labels).double().mean()


def measure(views: list[Tensor]) -> tuple[dict[str, float], Tensor]:
    """All of the above that apply, each decomposition done once.

    Args:
        views: (N, D) of one or two views of the same N >= 2 images, D >= 2.

    Returns:
        Scalars by name, and the :func:`spectrum`, all of the first view; but ``entropy`` is the
        mean over views. With two views also ``alignment``, ``reconstruction``, ``er_bound`` and
        ``lidar``.
    """
    z = views[0]
    values, shares = singular_values(z), spectrum(z)
    found = dict(
        effective_rank=entropy_rank(values),
        rankme=entropy_rank(values, eps=1e-7),
        alpha_req=power_law(shares),
        feature_std=feature_std(z),
        feature_length=feature_length(z),
        uniformity=uniformity(z),
        coding_length=coding_length_per_image(z),
        entropy=torch.stack([entropy(view) for view in views]).mean(),
    )
    if len(views) == 2:
        found['alignment'] = alignment(z, views[1])
        found['reconstruction'] = reconstruction(z, views[1])
        found['er_bound'] = found['entropy'] - found['reconstruction']
        found['lidar'] = lidar(torch.stack(views, dim=1))
    return {name: float(value) for name, value in found.items()}, shares
