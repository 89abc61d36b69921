"""Deformable attention, which samples maps of several sizes."""

import torch
from torch import Tensor

from mmentropy.compat.mmcv_ops.operators import add_gradients, operator, widen_halves


def _attend(
    value: Tensor, locations: Tensor, weights: Tensor, shapes: Tensor, starts: Tensor
) -> Tensor:
    """Weighted sum of samples of each level's map: (N, Q, heads * C)."""
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    # mmcv's own function takes the levels in the order of their shapes.
    ranges = zip(starts.tolist(), shapes.prod(1).tolist())
    value = torch.cat([value[:, start : start + size] for start, size in ranges], 1)
    return multi_scale_deformable_attn_pytorch(value, shapes, locations, weights)


@operator
def ms_deform_attn_forward(
    value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor, **how: int
) -> Tensor:
    """Multi-scale deformable attention, (N, Q, heads * C).

    Args:
        value: (N, positions of all levels, heads, C).
        shapes: (L, 2), height and width.
        starts: (L,), a level's first position.
        locations: (N, Q, heads, L, P, 2), x and y in [0, 1].
        weights: (N, Q, heads, L, P).
        how: not used, only a matter of memory.
    """
    maps, locations, weights = widen_halves(value, locations, weights)
    return _attend(maps, locations, weights, shapes, starts).to(value.dtype)


@operator
def ms_deform_attn_backward(*tensors: Tensor, im2col_step: int) -> None:
    """Add to the gradients of value, locations and weights."""
    value, shapes, starts, locations, weights, grad, *totals = tensors
    inputs = value, locations, weights
    add_gradients(lambda v, at, w: _attend(v, at, w, shapes, starts), inputs, grad, totals)
