"""Objectives over the rows of all ranks, each rank its share of the work.

``m`` rows in all, ``n`` on this rank, of width ``d``. What costs is done for
the local rows and summed or gathered; no graph of intermediates is kept. The
gradients are those of :mod:`mmentropy.distributed`: averaged over ranks, as DDP takes
them, they are that of one process with all rows.
"""

from typing import Any

import torch
from mmengine.dist import all_gather, all_reduce, get_rank, get_world_size
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmentropy.functional import check_same_shape

# Entries of a block of the kernel matrix: 64 MiB in float32.
BLOCK = 2**24


# -- log det(I + C) of MEC ---------------------------------------------------


def transposed_gram(pred: Tensor, target: Tensor) -> Tensor:
    r"""Transpose of :func:`~mmentropy.functional.cross_gram` of unit rows.

    Args:
        pred: (n, d) local rows of any length, as many on every rank.
        target: (n, d) likewise.

    Returns:
        :math:`T P^\top` (m, m) where m <= d, else :math:`P^\top T` (d, d),
        of the rows of all ranks, without gradient, the same on every rank.

    Raises:
        ValueError: Shapes differ.
    """
    check_same_shape('pred', pred, 'target', target)
    pred, target = pred.detach(), target.detach()
    if len(pred) * get_world_size() > pred.size(1):
        # One after the other: the product may leave float32.
        gram = pred.T @ (target / _lengths(target) / _lengths(pred))
        all_reduce(gram)
        return gram
    rows = _all_rows(pred)
    gram = (target / _lengths(target) @ rows.T).div_(_lengths(rows).T)
    return _all_rows(gram)


def log_det(
    pred: Tensor, target: Tensor, gram: Tensor, lambda_inv: Tensor | float, order: int | None = 4
) -> Tensor:
    r""":math:`\log\det(I + \lambda C)` of the unit rows of all ranks.

    Args:
        pred: (n, d) local rows of any length.
        target: (n, d) likewise.
        gram: :func:`transposed_gram` of the two.
        lambda_inv: Scalar > 0, :math:`1 / \lambda`, without gradient.
        order: Terms of :func:`~mmentropy.functional.log_det_taylor` >= 1, or
            None for the exact value. The gradient of order k takes the powers
            of the value: k - 2 products of C, or k - 1 with local rows.

    Returns:
        Scalar, the same on every rank. Gradient flows into ``pred`` and
        ``target``.

    Raises:
        FloatingPointError: ``order`` is None and det(I + lambda C) is not
            positive.
    """
    return _LogDet.apply(pred, target, gram, lambda_inv, order)


class _LogDet(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        pred: Tensor,
        target: Tensor,
        gram: Tensor,
        lambda_inv: Tensor | float,
        order: int | None,
    ) -> Tensor:
        # DDP will divide by the number of ranks.
        ctx.scale = get_world_size() / lambda_inv
        value, slope = _solve(pred, target, gram, lambda_inv, order)
        ctx.slopes = [slope, None]
        if ctx.needs_input_grad[1]:
            # The transposed problem, which has the same value.
            ctx.slopes[1] = _solve(target, pred, gram.T, lambda_inv, order)[1]
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad = grad * ctx.scale
        return (*(s if s is None else s * grad for s in ctx.slopes), None, None, None)


def _solve(
    pred: Tensor, target: Tensor, gram: Tensor, lambda_inv: Tensor | float, order: int | None
) -> tuple[Tensor, Tensor]:
    """The value, and its gradient for ``pred`` times 1 / lambda."""
    n, d = pred.shape
    ranks = get_world_size()
    if n * ranks <= d:
        rows = slice(get_rank() * n, (get_rank() + 1) * n)
        value, weight = _derivative(gram, rows, lambda_inv, order)
        others = _all_rows(target)
        slope = weight.div_(_lengths(others).T) @ others
    elif ranks == 1:
        value, weight = _derivative(gram, slice(d), lambda_inv, order)
        slope = (target @ weight).div_(_lengths(target))
    else:
        unit = target / _lengths(target)
        if order is None:
            value, slope = _exact(gram, lambda_inv, unit)
        else:
            value, slope = _series(pred / _lengths(pred), unit, gram, lambda_inv, order)
    if ranks > 1 and order is not None:
        all_reduce(value)
    # From unit rows to rows.
    length = _lengths(pred)
    unit = pred / length
    along = torch.bmm(slope.unsqueeze(1), unit.unsqueeze(2))[:, 0]
    return value, slope.addcmul_(unit, along, value=-1).div_(length)


def _derivative(
    gram: Tensor, rows: slice, lambda_inv: Tensor | float, order: int | None
) -> tuple[Tensor, Tensor]:
    """Share of these rows in the value, and theirs of f'(gram) for it."""
    share = gram[rows]
    if order is None:
        eye = torch.zeros_like(share)
        eye[:, rows].fill_diagonal_(1)
        return _exact(gram, lambda_inv, eye)
    power = share / lambda_inv
    value = power[:, rows].trace()
    weight = power.neg() if order > 1 else torch.zeros_like(power)
    for k in range(2, order):
        power = (power @ gram).div_(lambda_inv)
        value += (-1) ** (k + 1) / k * power[:, rows].trace()
        weight.add_(power, alpha=(-1) ** k)
    if order > 1:
        # The last power serves the value only, of which a trace will do.
        last = _dot(power, gram[:, rows].T) / lambda_inv
        value += (-1) ** (order + 1) / order * last
    weight[:, rows].diagonal().add_(1)
    return value, weight


def _series(
    pred: Tensor, target: Tensor, gram: Tensor, lambda_inv: Tensor | float, order: int
) -> tuple[Tensor, Tensor]:
    """Share of these unit rows in the value, and f'(gram) of the target.

    From the rows on, so that (d, d) is never multiplied by (d, d).
    """
    value = gram.new_zeros(())
    slope = target.clone()
    for k in range(order):
        if k:
            target = (target @ gram).div_(lambda_inv)
            slope.add_(target, alpha=(-1) ** k)
        value += (-1) ** k / (k + 1) * _dot(target, pred)
    return value / lambda_inv, slope


def _dot(x: Tensor, y: Tensor) -> Tensor:
    """Sum of products, without a matrix of them."""
    pairs = zip(x.split(128), y.split(128), strict=True)
    return torch.stack([(a * b).sum() for a, b in pairs]).sum()


def _exact(gram: Tensor, lambda_inv: Tensor | float, x: Tensor) -> tuple[Tensor, Tensor]:
    """The value log det(I + lambda gram) and x (I + lambda gram)^-1."""
    matrix = gram / lambda_inv
    matrix.diagonal().add_(1)
    sign, value = torch.linalg.slogdet(matrix)
    # Of what is not finite the caller will tell.
    if sign <= 0 and torch.isfinite(gram).all():
        raise FloatingPointError(
            'det(I + C) is not positive, so its logarithm does not exist; '
            'raise the distortion or switch the norm guard on'
        )
    return value, torch.linalg.solve(matrix, x, left=False)


def _lengths(x: Tensor) -> Tensor:
    """Lengths of rows (n, 1), those of zeros as in F.normalize."""
    # Squares of huge or tiny entries would leave float32.
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float64)
    return norm.clamp_min(1e-12).to(x.dtype)


# -- Kernel density of ER ----------------------------------------------------


def kernel_sums(z: Tensor, kappa: float, gather: bool) -> Tensor:
    r""":math:`\log \sum_j e^{\kappa z_i^\top z_j}` of every row.

    The kernel matrix is made in blocks of rows, and made again for the
    gradient unless one block holds it.

    Args:
        z: (n, d) local rows.
        kappa: > 0.
        gather: Whether j runs over the rows of all ranks, the same number on
            each.

    Returns:
        (n,), i over the local rows. Gradient flows through both factors.
    """
    return _KernelSums.apply(z, kappa, gather)


class _KernelSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, kappa: float, gather: bool) -> Tensor:
        rows = _all_rows(z) if gather else z
        ctx.size = max(1, BLOCK // len(rows))
        sums = []
        for block in z.split(ctx.size):
            kernel = (block @ rows.T).mul_(kappa)
            sums.append(torch.logsumexp(kernel, dim=1))
        ctx.kappa, ctx.gather = kappa, gather
        ctx.kernel = kernel if len(sums) == 1 else None
        ctx.save_for_backward(z, rows, torch.cat(sums))
        return torch.cat(sums)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        z, rows, sums = ctx.saved_tensors
        # The kernel is symmetric: entry (i, j) is in sum i and in sum j.
        all_sums, all_grads = sums, grad
        if ctx.gather:
            all_sums, all_grads = _all_rows(sums), _all_rows(grad)
        grads = []
        for block, s, g in zip(
            z.split(ctx.size), sums.split(ctx.size), grad.split(ctx.size), strict=True
        ):
            kernel = ctx.kernel
            if kernel is None:
                kernel = (block @ rows.T).mul_(ctx.kappa)
            weight = (kernel - s[:, None]).exp_().mul_(g[:, None])
            weight.add_((kernel - all_sums).exp_().mul_(all_grads))
            grads.append(weight @ rows)
        return torch.cat(grads).mul_(ctx.kappa), None, None


def _all_rows(x: Tensor) -> Tensor:
    if get_world_size() == 1:
        return x
    return torch.cat(all_gather(x.contiguous()))
