r"""Points on the unit sphere: entropy and reconstruction of ER.

``N`` is the number of rows, ``D`` their width. Entropies are in nats. For errors and what is not
finite see :mod:`mmentropy.functional`.

Source:
    arXiv 2307.10907, written from its formulas; compared with
    apple/ml-entropy-reconstruction@f523f11:entropy_reconstruction.py.
"""

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmentropy.checks.arguments import NUMBER, Rule, at_least, is_number, one_of, require
from mmentropy.checks.tensors import check_matrix, check_pair

ESTIMATORS = ('plug_in', 'joe')
# ER's released code adds it to the Bessel function and inside logarithms.
AUTHORS_EPS = 1e-7
# The work and the rounding of the normaliser grow with the concentration.
KAPPA = Rule('a number in (0, 1e6]', lambda x: is_number(x) and 0 < x <= 1e6)
ORDER = Rule('a number in [0, 2**62]', lambda x: is_number(x) and 0 <= x <= 2**62)
# No row is divided by less.
MIN_LENGTH = 1e-12


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        # The squares of huge or tiny entries would leave float32.
        norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True, dtype=torch.float64)
        norm = norm.clamp_min(MIN_LENGTH).to(x.dtype)
        unit = x / norm
        ctx.save_for_backward(unit, norm)
        ctx.dim = dim
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        unit, norm = ctx.saved_tensors
        along = torch.linalg.vecdot(grad, unit, dim=ctx.dim).unsqueeze(ctx.dim)
        # The shortest rows were divided by a constant.
        along = along * (norm > MIN_LENGTH)
        return torch.addcmul(grad, unit, along, value=-1).div_(norm), None


def unit_rows(x: Tensor) -> Tensor:
    """Rows divided by their Euclidean norm, or by 1e-12 if that is smaller.

    The same as ``F.normalize``, but in fewer passes over memory, and also right for rows whose
    squares leave float32.

    Args:
        x: (N, D).

    Returns:
        (N, D), rows of length 1, of zeros where ``x`` has them. Gradient flows, once: it cannot be
        differentiated again.
    """
    check_matrix('x', x)
    return _Unit.apply(x, 1)


def unit_columns(x: Tensor) -> Tensor:
    """Columns divided by their Euclidean norm; see :func:`unit_rows`.

    Args:
        x: (N, D).

    Returns:
        (N, D), columns of length 1, of zeros where ``x`` has them. Gradient flows, once.
    """
    check_matrix('x', x)
    return _Unit.apply(x, 0)


def log_bessel_i(order: float, x: float) -> float:
    r""":math:`\log I_\nu(x)` of the modified Bessel function, first kind.

    Sums the power series in log space: its terms are all positive, so there is no cancellation and
    nothing under- or overflows.

    Args:
        order: :math:`\nu` in [0, 2**62].
        x: Argument in (0, 1e6]; time and memory grow linearly with it.

    Returns:
        The logarithm, to about 1e-14 of its largest term, or of 1.
    """
    require(KAPPA, x=x)
    require(ORDER, order=order)
    # The terms shrink from k = x / 2 on, and at k = x at least fourfold a step.
    k = torch.arange(int(x) + 100, dtype=torch.float64)
    terms = (2 * k + order) * math.log(x / 2) - torch.lgamma(k + 1) - torch.lgamma(k + order + 1)
    return float(torch.logsumexp(terms, dim=0))


@lru_cache(typed=True)
def vmf_log_normalizer(dim: int, kappa: float, authors_constant: bool = False) -> float:
    r"""Log of :math:`C_d(\kappa)` in the vMF density :math:`C_d(\kappa)\, e^{\kappa \mu^\top x}`.

    Args:
        dim: d >= 2, the dimension of the space around the sphere.
        kappa: Concentration in (0, 1e6].
        authors_constant: Add 1e-7 to the Bessel function as ER's released code does. Above some 50
            dimensions that is no density any more (271 nats off at d = 256, kappa = 10); gradients
            do not change.

    Returns:
        The logarithm in nats.
    """
    require(KAPPA, kappa=kappa)
    require(at_least(2), dim=dim)
    order = dim / 2 - 1
    log_bessel = log_bessel_i(order, kappa)
    if authors_constant:
        high, low = sorted((log_bessel, math.log(AUTHORS_EPS)), reverse=True)
        log_bessel = high + math.log1p(math.exp(low - high))
    return order * math.log(kappa) - dim / 2 * math.log(2 * math.pi) - log_bessel


class _KernelSums(torch.autograd.Function):
    """The logarithm of the sum over j of exp(kappa z_i z_j), for each i.

    Its gradient takes one matrix (N, N) beside the kernel, where autograd takes three.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, kappa: float) -> Tensor:
        kernel = kappa * z @ z.T
        sums = torch.logsumexp(kernel, dim=1)
        ctx.save_for_backward(z, kernel, sums)
        ctx.kappa = kappa
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        z, kernel, sums = ctx.saved_tensors
        weights = (kernel - sums[:, None]).exp_().mul_(ctx.kappa * grad[:, None])
        return (weights @ z).addmm_(weights.T, z), None


def sphere_entropy(
    z: Tensor, kappa: float = 10.0, estimator: str = 'plug_in', log_normalizer: float | None = None
) -> Tensor:
    r"""Entropy of points on the sphere by a vMF kernel density.

    :math:`\hat p(z_i) = \frac{1}{N} \sum_j C_d(\kappa) e^{\kappa z_i^\top z_j}`, j = i included.

    Args:
        z: (N, D), rows of unit length; gradient flows through every factor, once.
        kappa: Concentration of the kernel, in (0, 1e6].
        estimator: ``'joe'``, the mean of :math:`-\log \hat p(z_i)`, or ``'plug_in'``, that mean
            weighted by :math:`\hat p(z_i)`.
        log_normalizer: :math:`\log C_d(\kappa)`, computed when None.

    Returns:
        Scalar in nats. With ``'plug_in'`` never above the log of the sphere's area, the largest
        entropy that a density on it can have, since sum p log p / sum p >= log mean p and the
        kernel is positive definite.
    """
    check_matrix('z', z)
    require(KAPPA, kappa=kappa)
    require(one_of(ESTIMATORS), estimator=estimator)
    if log_normalizer is None:
        log_normalizer = vmf_log_normalizer(z.size(1), kappa)
    require(NUMBER, log_normalizer=log_normalizer)
    kernel_sums = _KernelSums.apply(z, kappa)
    if estimator == 'joe':
        mean = kernel_sums.mean()
    else:
        mean = (kernel_sums.softmax(dim=0) * kernel_sums).sum()
    # The large constants meet in double precision, apart from the tensor.
    return (math.log(len(z)) - log_normalizer) - mean


def sphere_reconstruction(
    z1: Tensor, z2: Tensor, kappa: float = 10.0, log_normalizer: float | None = None
) -> Tensor:
    r"""Mean :math:`-\log q(z_2 | z_1)` with a vMF density around ``z1``.

    Args:
        z1: (N, D), rows of unit length.
        z2: (N, D), likewise; row i belongs to row i of ``z1``.
        kappa: Concentration in (0, 1e6].
        log_normalizer: :math:`\log C_d(\kappa)`, computed when None.

    Returns:
        Scalar in nats, to be minimised. Gradient flows into both arguments.
    """
    check_pair(z1=z1, z2=z2)
    require(KAPPA, kappa=kappa)
    if log_normalizer is None:
        log_normalizer = vmf_log_normalizer(z1.size(1), kappa)
    require(NUMBER, log_normalizer=log_normalizer)
    return -kappa * (z1 * z2).sum(dim=1).mean() - log_normalizer
