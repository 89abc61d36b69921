r"""The coding length of MEC: :math:`\log\det(I + C)` and its Taylor series.

``N`` is the number of rows, ``D`` their width. Lengths are in nats. For errors and what is not
finite see :mod:`mmentropy.functional`.

Source:
    arXiv 2210.11464, xinliu20/MEC@35045dc:main_pretrain.py#L365-L390.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmentropy.checks.arguments import COUNT, POSITIVE, require
from mmentropy.checks.tensors import check_matrix, check_pair, check_square


def cross_gram(pred: Tensor, target: Tensor) -> Tensor:
    r"""The smaller of :math:`P T^\top` (N, N) and :math:`T^\top P` (D, D).

    Both have the same non-zero eigenvalues, hence the same traces of powers and the same
    :math:`\det(I + \lambda C)` (Sylvester; eq. 4 of MEC).

    Args:
        pred: (N, D), rows of unit length for MEC.
        target: (N, D), likewise.

    Returns:
        Square matrix of side min(N, D). Gradient flows into both arguments.
    """
    check_pair(pred=pred, target=target)
    if pred.size(0) <= pred.size(1):
        return pred @ target.T
    return target.T @ pred


class _Gram(torch.autograd.Function):
    """Products of rows, or of columns; their gradient takes one product of matrices, not two.

    Rows are kept in the type that they came in; a copy in another one is made for forward and for
    backward.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, of_rows: bool, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(z)
        ctx.of_rows = of_rows
        z = z.to(dtype)
        return z @ z.T if of_rows else z.T @ z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (kept,) = ctx.saved_tensors
        z, grad = kept.to(grad.dtype), grad + grad.T
        return (grad @ z if ctx.of_rows else z @ grad).to(kept.dtype), None, None


def gram(z: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    r"""The smaller of :math:`Z Z^\top` (N, N) and :math:`Z^\top Z` (D, D).

    It is :func:`cross_gram` of a batch with itself, with a cheaper gradient.

    Args:
        z: (N, D).
        dtype: of the products and the result; None is that of ``z``.

    Returns:
        Symmetric matrix of side min(N, D). Gradient flows, once: it cannot be differentiated again.
    """
    check_matrix('z', z)
    return _Gram.apply(z, z.size(0) <= z.size(1), dtype or z.dtype)


def second_moment(z: Tensor) -> Tensor:
    r""":math:`Z^\top Z`, whichever side is smaller, with the cheaper gradient of :func:`gram`.

    Args:
        z: (N, D).

    Returns:
        (D, D). Gradient flows, once: it cannot be differentiated again.
    """
    check_matrix('z', z)
    return _Gram.apply(z, False, z.dtype)


class _LogDetTaylor(torch.autograd.Function):
    """The series with its derivative f'(C) in place of a graph.

    The powers of C serve the value and the derivative alike, so that order 4 takes two products of
    matrices, where autograd takes nine.
    """

    @staticmethod
    def forward(ctx: Any, c: Tensor, order: int) -> Tensor:
        value, power = c.trace(), c
        derivative = torch.eye(len(c), dtype=c.dtype, device=c.device)
        for k in range(2, order + 1):
            # `power` is C^(k-1) here, and the last trace needs no product.
            sign = (-1) ** (k + 1)
            derivative.add_(power, alpha=sign)
            if k < order:
                power = power @ c
                value = value + sign / k * power.trace()
            else:
                value = value + sign / k * _trace_of_product(power, c)
        ctx.save_for_backward(derivative)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (derivative,) = ctx.saved_tensors
        return grad * derivative.T, None


def _trace_of_product(a: Tensor, b: Tensor) -> Tensor:
    """tr(A B), a block of rows at a time to spare memory."""
    blocks = zip(a.split(128), b.split(128, dim=1), strict=True)
    return torch.stack([(x * y.T).sum() for x, y in blocks]).sum()


def log_det_taylor(c: Tensor, order: int = 4) -> Tensor:
    r"""Taylor series of :math:`\log\det(I + C)` cut after ``order`` terms.

    .. math:: \mathrm{tr} \sum_{k=1}^{n} \frac{(-1)^{k+1}}{k} C^k

    The full series converges for a spectral radius below 1.

    Args:
        c: (N, N), need not be symmetric.
        order: n >= 1.

    Returns:
        Scalar. Gradient flows, once: it cannot be differentiated again.
    """
    check_square('c', c)
    require(COUNT, order=order)
    return _LogDetTaylor.apply(c, order)


def matrix_log_taylor(c: Tensor, order: int = 4) -> Tensor:
    r"""Taylor series of :math:`\log(I + C)` cut after ``order`` terms, a matrix.

    .. math:: \sum_{k=1}^{n} \frac{(-1)^{k+1}}{k} C^k

    Its trace is :func:`log_det_taylor`.

    Args:
        c: (N, N), need not be symmetric.
        order: n >= 1.

    Returns:
        (N, N). Gradient flows.
    """
    check_square('c', c)
    require(COUNT, order=order)
    if order == 1:
        return c
    eye = torch.eye(len(c), dtype=c.dtype, device=c.device)
    # Horner's scheme: the innermost factor comes first.
    factor = eye / (order - 1) - c / order
    for k in range(order - 2, 0, -1):
        factor = torch.addmm(eye, c, factor, beta=1 / k, alpha=-1)
    return c @ factor


def log_det_exact(c: Tensor) -> Tensor:
    r""":math:`\log\det(I + C)` by LU factorisation.

    Args:
        c: (N, N), need not be symmetric.

    Returns:
        Scalar. Gradient flows.

    Raises:
        FloatingPointError: det(I + C) is not positive, which a spectral norm of C below 1 rules
            out. The host waits for the device.
    """
    check_square('c', c)
    eye = torch.eye(len(c), dtype=c.dtype, device=c.device)
    sign, value = torch.linalg.slogdet(eye + c)
    # If C has entries that are not finite, the value is NaN or infinite, and the sign is arbitrary.
    if sign <= 0 and value < torch.inf:
        raise FloatingPointError(
            'det(I + C) is not positive, so its logarithm does not exist; '
            'raise the distortion or switch the norm guard on'
        )
    return value


@torch.no_grad()
def spectral_norm(c: Tensor, iterations: int = 10) -> Tensor:
    """Estimate the largest singular value by power iteration on C^T C.

    Never above the true norm; starts from a fixed vector, so it draws no random numbers and is the
    same on every rank.

    Args:
        c: (N, N).
        iterations: Number of steps >= 1, each two products with a vector.

    Returns:
        Scalar without gradient; 0 for a zero matrix.
    """
    check_square('c', c)
    require(COUNT, iterations=iterations)
    tiny = torch.finfo(c.dtype).tiny
    # Quasi-random signs and sizes are orthogonal to no structure that is met in practice; constant
    # ones would be to centred features.
    v = torch.arange(1, len(c) + 1, dtype=c.dtype, device=c.device)
    v = F.normalize((v * v).cos(), dim=0)
    # The squares of huge or tiny entries would leave float32.
    scale = torch.linalg.vector_norm(c @ v, dtype=torch.float64).to(c.dtype).clamp_min(tiny)
    c = c / scale
    for _ in range(iterations):
        v = F.normalize(c.T @ (c @ v), dim=0, eps=tiny)
    return torch.linalg.vector_norm(c @ v) * scale


def coding_length(z: Tensor, distortion: float) -> Tensor:
    r"""Coding length of N vectors, eq. 1 of MEC.

    .. math:: \frac{N + D}{2} \log\det\left(I + \frac{1}{N \epsilon_d^2} Z Z^\top\right)

    Args:
        z: (N, D), rows of unit length.
        distortion: Distortion per dimension :math:`\epsilon_d^2 = \epsilon^2 / D > 0`.

    Returns:
        Scalar in nats, >= 0. Gradient flows.

    Raises:
        FloatingPointError: ``distortion`` is so small that rounding makes I + C singular.
    """
    require(POSITIVE, distortion=distortion)
    check_matrix('z', z)
    n, d = z.shape
    return (n + d) / 2 * log_det_exact(cross_gram(z, z) / (n * distortion))


class _HalfLogDet(torch.autograd.Function):
    """Half of log det(c A + s I) by Cholesky; its gradient is c / 2 times the inverse."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, scale: float, shift: float) -> Tensor:
        shifted = matrix * scale
        shifted.diagonal().add_(shift)
        factor, failed = torch.linalg.cholesky_ex(shifted)
        ctx.save_for_backward(factor)
        ctx.scale = scale
        # The diagonal of a factor that was given up holds anything.
        value = factor.diagonal().log().sum().where(failed == 0, torch.nan)
        # The factorisation reads one triangle only.
        return value + 0 * matrix.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (factor,) = ctx.saved_tensors
        return torch.cholesky_inverse(factor).mul_(grad * ctx.scale / 2), None, None


def half_log_det(matrix: Tensor, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    r""":math:`\frac{1}{2} \log\det(c A + s I)` by Cholesky factorisation.

    Nothing waits for the device.

    Args:
        matrix: A, (K, K), symmetric.
        scale: c.
        shift: s; c A + s I is positive definite.

    Returns:
        Scalar; NaN if the matrix is not positive definite. Gradient flows, once: it cannot be
        differentiated again.
    """
    check_square('matrix', matrix)
    return _HalfLogDet.apply(matrix, scale, shift)


def coding_rate(z: Tensor, eps: float) -> Tensor:
    r"""Rate of coding N vectors, the expansion term of SimDINO and EMP-SSL.

    .. math:: R = \frac{1}{2} \log\det\left(I + \frac{D}{N \epsilon} Z^\top Z\right)

    It is :func:`coding_length` with a distortion of :math:`\epsilon / D`, divided by N + D. Nothing
    waits for the device.

    Args:
        z: (N, D), rows of unit length.
        eps: :math:`\epsilon > 0`, of whole vectors.

    Returns:
        Scalar in nats, >= 0; NaN if ``eps`` is so small that rounding leaves no positive matrix.
        Gradient flows, once: it cannot be differentiated again.

    Source:
        arXiv 2304.03977, tsb0601/EMP-SSL@8fc3758:loss.py#L76-L91; arXiv 2502.10385,
        RobinWu218/SimDINO@8149fc4:simdino/main_dino.py#L535-L559.
    """
    require(POSITIVE, eps=eps)
    matrix = gram(z)
    n, d = z.shape
    return half_log_det(matrix, scale=d / (n * eps), shift=1.0)
