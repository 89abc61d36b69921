r"""Entropies of a spectrum: that of a Gram matrix as a density matrix, and its nuclear norm.

A batch Z (N, D) has the Gram matrix :math:`G = Z Z^\top` or :math:`Z^\top Z`, whose non-zero
eigenvalues are the same; :func:`~mmentropy.functional.coding.gram` takes the smaller one.
Divided by its trace it is a density matrix :math:`\rho`, and the Renyi entropy of its eigenvalues
says over how many dimensions the batch spreads. For errors and what is not finite see
:mod:`mmentropy.functional`.

Source:
    The objectives of :mod:`mmentropy.models.matrix_entropy`, which are three orders of one entropy.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmentropy.checks.arguments import POSITIVE, require
from mmentropy.checks.tensors import check_floats, check_square

# Eigenvalues up to so many epsilons of the largest one may be rounding. In float32 matrices of up
# to 1,024 rows they came to 15 where a batch is one point, and to 5 at any other rank.
ROUNDING = 16
# A function of eigenvalues: its values and its derivatives.
Spectral = Callable[[Tensor], tuple[Tensor, Tensor]]


class _SpectralSum(torch.autograd.Function):
    """The sum of f over the eigenvalues of each symmetric matrix, with gradient V f' V^T.

    Matrices are (..., K, K) and their sums (...). One decomposition serves value and gradient.
    Eigenvalues that are rounding count as 0, where f is 0 and its gradient is taken to be 0.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, f: Spectral) -> Tensor:
        # The decomposition refuses what is not finite.
        values, vectors = torch.linalg.eigh(matrix.nan_to_num(posinf=0.0, neginf=0.0))
        noise = ROUNDING * torch.finfo(values.dtype).eps * values[..., -1:]
        positive = values > noise.clamp_min(torch.finfo(values.dtype).tiny)
        value, slope = f(values.where(positive, 1.0))
        ctx.save_for_backward(vectors, slope.where(positive, 0.0))
        return value.where(positive, 0.0).sum(-1) + 0 * matrix.sum((-2, -1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        vectors, slope = ctx.saved_tensors
        return grad[..., None, None] * (vectors * slope[..., None, :]) @ vectors.mT, None


class _CollisionEntropy(torch.autograd.Function):
    """The entropy of order 2, 2 log tr G - log |G|_F^2; its gradient keeps one matrix."""

    @staticmethod
    def forward(ctx: Any, gram: Tensor) -> Tensor:
        trace = gram.trace()
        trace = trace.where(trace != 0, 1.0)
        rho = gram / trace
        moment = torch.linalg.vector_norm(rho).square()
        # A matrix of zeros has no density.
        moment = moment.where(moment != 0, 1.0)
        ctx.save_for_backward(rho, moment, trace)
        return -moment.log()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        rho, moment, trace = ctx.saved_tensors
        slope = rho * (-2 / moment)
        slope.diagonal().add_(2)
        return slope.mul_(grad / trace)


def matrix_entropy(gram: Tensor, order: float = 1.0) -> Tensor:
    r"""Renyi entropy of a Gram matrix, divided by its trace.

    .. math:: S_\alpha = \frac{1}{1 - \alpha} \log \sum_i p_i^\alpha, \qquad
              S_1 = -\sum_i p_i \log p_i

    Order 2 is :math:`-2 \log \|\rho\|_F` and needs no decomposition.

    Args:
        gram: (K, K), symmetric and positive semidefinite.
        order: :math:`\alpha > 0`.

    Returns:
        Scalar in nats, in [0, log K]; 0 for a matrix of rank one, or of zeros. Gradient flows,
        once: it cannot be differentiated again.
    """
    check_square('gram', gram)
    require(POSITIVE, order=order)
    if order == 2:
        return _CollisionEntropy.apply(gram)
    trace = gram.trace()
    # A matrix of zeros has no density.
    exists = trace != 0
    rho = gram / trace.detach().where(exists, 1.0)
    # It is 1, and has the gradient of the trace.
    total = rho.trace().where(exists, 1.0)
    if order == 1:
        entropy = _SpectralSum.apply(rho, lambda p: (torch.special.entr(p), -1 - p.log()))
        return entropy / total + total.log()
    moment = _SpectralSum.apply(rho, lambda p: (p**order, order * p ** (order - 1)))
    return (moment.where(exists, 1.0).log() - order * total.log()) / (1 - order)


def nuclear_norm(gram: Tensor) -> Tensor:
    r"""Sum of the singular values of Z, the square roots of the eigenvalues of its Gram matrix.

    Args:
        gram: (K, K), :math:`Z Z^\top` or :math:`Z^\top Z`.

    Returns:
        Scalar >= 0. Gradient flows, once; singular values that are rounding have none.
    """
    check_square('gram', gram)
    return _SpectralSum.apply(gram, lambda p: (p.sqrt(), 0.5 * p.rsqrt()))


def nuclear_norms(z: Tensor) -> Tensor:
    """:func:`nuclear_norm` of each of many small matrices, all decomposed in one call.

    Args:
        z: (N, V, D), N matrices of V rows; the smaller Gram matrix of each is decomposed.

    Returns:
        (N,), each >= 0. Gradient flows, once; singular values that are rounding have none.

    Raises:
        TypeError: ``z`` is no tensor of float32 or float64.
        ValueError: It has not three dimensions, or no entry.
    """
    check_floats('z', z)
    if z.dim() != 3 or z.numel() == 0:
        raise ValueError(f'z must be non-empty, (N, V, D), got shape {tuple(z.shape)}')
    grams = z @ z.mT if z.size(1) <= z.size(2) else z.mT @ z
    return _SpectralSum.apply(grams, lambda p: (p.sqrt(), 0.5 * p.rsqrt()))
