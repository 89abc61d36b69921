r"""How far points are from a standard normal distribution, seen along lines: SIGReg.

A batch is projected onto random directions. Along each, the empirical characteristic function is
compared with that of the standard normal at equally spaced knots, the test of Epps and Pulley:

.. math:: T = N \int e^{-t^2 / 2} \left| \frac{1}{N} \sum_i e^{\mathrm{i} t x_i} - e^{-t^2 / 2}
          \right|^2 dt

The integral runs over [-3, 3]; by symmetry it is twice that over [0, 3], and is taken by the
trapezoidal rule. For errors and what is not finite see :mod:`mmentropy.functional`.

Source:
    arXiv 2511.08544; nothing is taken from rbalestr-lab/lejepa, whose licence is CC BY-NC.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmentropy.checks.arguments import COUNT, SEVERAL, require
from mmentropy.checks.tensors import check_floats, check_matrix

# The largest argument of the characteristic function.
LAST_KNOT = 3.0
# Blocks of so many numbers stay in the cache of a core.
CACHED = 2**15


class _Characteristic(torch.autograd.Function):
    """Means over rows of cos(t x) and sin(t x), which are not kept for all t at once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor) -> Tensor:
        ctx.save_for_backward(x, t)
        means = x.new_empty(2, len(t), x.size(1))
        for columns in _blocks(x):
            for k, knot in enumerate(t):
                angle = x[:, columns] * knot
                means[0, k, columns] = angle.cos().mean(dim=0)
                means[1, k, columns] = angle.sin().mean(dim=0)
        return means

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, t = ctx.saved_tensors
        of_cos, of_sin = grad * t[:, None] / len(x)
        result = torch.zeros_like(x)
        for columns in _blocks(x):
            for k, knot in enumerate(t):
                angle = x[:, columns] * knot
                result[:, columns].addcmul_(angle.sin(), of_cos[k, columns], value=-1)
                result[:, columns].addcmul_(angle.cos(), of_sin[k, columns])
        return result, None


def _blocks(x: Tensor) -> list[slice]:
    """Columns of ``x`` that are worked on together."""
    width = x.size(1) if x.is_cuda else max(1, CACHED // len(x))
    return [slice(first, first + width) for first in range(0, x.size(1), width)]


def knots_of(count: int, like: Tensor) -> Tensor:
    """Equally spaced arguments t in [0, 3] of characteristic functions, (T,), as ``like`` is."""
    return torch.linspace(0, LAST_KNOT, count, dtype=like.dtype, device=like.device)


def characteristic(x: Tensor, knots: int = 17) -> Tensor:
    """Empirical characteristic functions of the columns of a batch.

    Args:
        x: (N, K), points along K directions.
        knots: T >= 2 arguments.

    Returns:
        (2, T, K): the real parts, means of cos(t x) over rows, and the imaginary parts, means of
        sin(t x). The means of batches of one size average to that of all. Gradient flows, once.
    """
    require(SEVERAL, knots=knots)
    check_matrix('x', x)
    return _Characteristic.apply(x, knots_of(knots, x))


def epps_pulley(means: Tensor, rows: int) -> Tensor:
    """Statistic of Epps and Pulley against the standard normal.

    Args:
        means: (2, T, K), T >= 2, what :func:`characteristic` gives, or its mean over ranks.
        rows: N, the number of points that the means were taken over.

    Returns:
        Scalar >= 0, the mean over the K columns; of N points that are normal it is about 1.
        Gradient flows.
    """
    check_floats('means', means)
    require(COUNT, rows=rows)
    if means.dim() != 3 or len(means) != 2 or means.size(1) < 2:
        raise ValueError(f'means must have shape (2, T, K), T >= 2, got {tuple(means.shape)}')
    t = knots_of(means.size(1), means)
    normal = (-t.square() / 2).exp()
    error = (means[0] - normal[:, None]).square() + means[1].square()
    # Twice the trapezoidal rule on [0, 3].
    weights = torch.full_like(t, 2 * LAST_KNOT / (len(t) - 1))
    # A list of indices would be copied to the device.
    weights[0] /= 2
    weights[-1] /= 2
    return rows * (weights * normal) @ error.mean(dim=1)


def random_directions(width: int, count: int, seed: int) -> Tensor:
    """Unit columns (D, K) in uniformly random directions, on the CPU.

    Args:
        width: D.
        count: K.
        seed: The same seed gives the same directions.

    Returns:
        (D, K) float32.
    """
    require(COUNT, width=width, count=count)
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(width, count, generator=generator), dim=0)
