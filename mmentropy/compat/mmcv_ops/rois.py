"""Pooling of regions of interest.

Regions are (K, 5) as index of the image, x1, y1, x2, y2. The size of outputs and of their gradients
(K, C, height, width) says what mmcv's keywords say once more.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmentropy.compat.mmcv_ops.operators import OUTSIDE, TORCHVISION, add_at, operator, widen_halves


@operator
def roi_align_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, **how: Any
) -> None:
    """Mean, or maximum if ``pool_mode`` is 0, of samples in each bin.

    The coordinates of the largest samples are like ``output``; the mean has none. The samples of a
    region that is not finite are zero.
    """
    (images,) = widen_halves(input)
    rois = _numbers(rois.to(images.dtype))
    scale, ratio, aligned = how['spatial_scale'], how['sampling_ratio'], how['aligned']
    height, width = output.shape[2:]
    if how['pool_mode']:
        output.copy_(TORCHVISION.roi_align(images, rois, scale, height, width, ratio, aligned))
        return
    start = rois[:, 1:3] * scale - (0.5 if aligned else 0.0)
    size = (rois[:, 3:] - rois[:, 1:3]) * scale
    size = size if aligned else size.clamp(min=1)
    bin_size = size / size.new_tensor([width, height])
    numbers = _samples(bin_size, ratio)
    output.zero_()
    argmax_y.fill_(-1)
    argmax_x.fill_(-1)
    # Regions are taken one by one because each has its own number of samples.
    for k, (nx, ny) in enumerate(numbers):
        if not nx * ny:
            continue
        rows, columns = height * ny, width * nx
        # The mean of one sample is the sample.
        samples = TORCHVISION.roi_align(images, rois[k : k + 1], scale, rows, columns, 1, aligned)
        output[k : k + 1], best = F.max_pool2d(samples, (ny, nx), return_indices=True)
        row, column = (best[0] // columns).to(rois), (best[0] % columns).to(rois)
        argmax_y[k] = start[k, 1] + (row + 0.5) * bin_size[k, 1] / ny
        argmax_x[k] = start[k, 0] + (column + 0.5) * bin_size[k, 0] / nx


def _numbers(rois: Tensor) -> Tensor:
    """Regions that are not finite as empty ones outside: torchvision would read any memory."""
    finite = rois.isfinite().all(1, keepdim=True)
    return torch.where(finite, rois, rois.new_tensor([0, *4 * [OUTSIDE]]))


def _samples(bin_size: Tensor, ratio: int) -> list[list[int]]:
    """Numbers of samples along x and y in a bin of each region."""
    numbers = bin_size.ceil() if ratio <= 0 else torch.full_like(bin_size, ratio)
    return numbers.clamp(min=0).int().tolist()


@operator
def roi_align_backward(
    grad: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, total: Tensor, **how: Any
) -> None:
    """Add the gradient to ``total`` (N, C, H, W)."""
    grad, y, x = widen_halves(grad, argmax_y, argmax_x)
    if how['pool_mode']:
        sizes = *grad.shape[2:], *total.shape
        samples = how['sampling_ratio'], how['aligned']
        rois = _numbers(rois.to(grad.dtype))
        total += TORCHVISION._roi_align_backward(grad, rois, how['spatial_scale'], *sizes, *samples)
        return
    height, width = total.shape[2:]
    top, bottom, down, inside_y = _neighbours(y, height)
    left, right, across, inside_x = _neighbours(x, width)
    grad = grad * (inside_y & inside_x & (y != -1))
    for row, part in ((top, 1 - down), (bottom, down)):
        line = (_planes(rois, total) * height + row) * width
        add_at(total, line + left, grad * part * (1 - across))
        add_at(total, line + right, grad * part * across)


def _neighbours(at: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Lower and upper pixel, weight of the upper, and whether in the image.

    The image ends one pixel beyond the centres of its outer pixels, which count for what is there.
    """
    inside = (at >= -1) & (at <= size)
    at = at.clamp(0, size - 1)
    low = at.floor()
    return low.long(), (low.long() + 1).clamp(max=size - 1), at - low, inside


def _planes(rois: Tensor, images: Tensor) -> Tensor:
    """Index n * C + c of each region's planes, (K, C, 1, 1)."""
    channels = torch.arange(images.size(1), device=rois.device)
    planes = rois[:, :1].long() * images.size(1) + channels
    return planes[..., None, None]


@operator
def roi_pool_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax: Tensor, spatial_scale: float, **size: int
) -> None:
    """Maximum of the pixels that each bin touches.

    torchvision's rounds the regions to pixels first, mmcv's does not. ``argmax`` is like
    ``output``, the index of the pixel in its plane, or -1 in an empty bin.
    """
    (images,) = widen_halves(input)
    corners = rois[:, 1:].to(images.dtype) + images.new_tensor([0, 0, 1, 1])
    left, top, right, bottom = corners.T * spatial_scale
    rows = _bins(top, bottom, output.size(2), images.size(2))
    columns = _bins(left, right, output.size(3), images.size(3))
    output.zero_()
    argmax.fill_(-1)
    for k, n in enumerate(rois[:, 0].int().tolist()):
        for i, j in product(range(output.size(2)), range(output.size(3))):
            (y1, y2), (x1, x2) = rows[k][i], columns[k][j]
            if y1 < y2 and x1 < x2:
                # The first pixel of a tie is taken.
                output[k, :, i, j], best = images[n, :, y1:y2, x1:x2].flatten(1).max(1)
                y, x = y1 + best // (x2 - x1), x1 + best % (x2 - x1)
                argmax[k, :, i, j] = y * images.size(3) + x


def _bins(start: Tensor, end: Tensor, bins: int, limit: int) -> list:
    """First pixel and the one after the last, of each region's bins."""
    index = torch.arange(bins + 1, device=start.device)
    edges = index * ((end - start) / bins)[:, None] + start[:, None]
    first, last = edges[:, :-1].floor(), edges[:, 1:].ceil()
    # A region that ends where it starts, or before, has no pixels.
    last = torch.where((end > start)[:, None], last, first)
    return torch.stack([first, last], -1).clamp(0, limit).int().tolist()


@operator
def roi_pool_backward(
    grad: Tensor, rois: Tensor, argmax: Tensor, total: Tensor, **how: Any
) -> None:
    """Add the gradient to ``total`` (N, C, H, W)."""
    (grad,) = widen_halves(grad)
    index = _planes(rois, total) * total[0, 0].numel() + argmax.clamp(min=0)
    add_at(total, index, grad * (argmax >= 0))


@operator
def deform_roi_pool_forward(
    input: Tensor, rois: Tensor, offset: Tensor, output: Tensor, **how: Any
) -> None:
    """Mean of the samples in each bin of regions whose bins are moved.

    ``offset`` (K, 2, height, width) is x and y in parts of the region's size over ``gamma``, or
    empty.
    """
    images, rois, offset = widen_halves(input, rois, offset)
    for k, (n, y, x) in enumerate(_deformed(rois, offset, output, how)):
        plane = images[n].flatten(1)
        corners = _corners(y, x, images.shape[2:])
        total = torch.stack([plane[:, index] * weight for index, weight in corners]).sum((0, -1))
        output[k] = total / max(y.size(-1), 1)


def _deformed(
    rois: Tensor, offset: Tensor, output: Tensor, how: dict[str, Any]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield the image of each region, and y and x of the samples, (height, width, samples)."""
    height, width = output.shape[2:]
    corners = rois[:, 1:] * how['spatial_scale'] - 0.5
    size = corners[:, 2:] - corners[:, :2]
    start = corners[:, :2, None, None].expand(-1, -1, height, width)
    if offset.numel():
        start = start + how['gamma'] * size[..., None, None] * offset
    bin_size = size / size.new_tensor([width, height])
    images = rois[:, 0].int().tolist()
    for k, (nx, ny) in enumerate(_samples(bin_size, how['sampling_ratio'])):
        rows = torch.arange(height * ny).to(rois).view(height, 1, ny, 1) + 0.5
        columns = torch.arange(width * nx).to(rois).view(width, 1, nx) + 0.5
        y = start[k, 1, ..., None, None] + rows * bin_size[k, 1] / max(ny, 1)
        x = start[k, 0, ..., None, None] + columns * bin_size[k, 0] / max(nx, 1)
        y, x = torch.broadcast_tensors(y, x)
        yield images[k], y.flatten(2), x.flatten(2)


def _corners(y: Tensor, x: Tensor, size: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Index in the plane and weight of the four pixels around each sample.

    They are top left, top right, bottom left and bottom right. The weights are 0 outside.
    """
    top, bottom, down, inside_y = _neighbours(y, size[0])
    left, right, across, inside_x = _neighbours(x, size[1])
    inside = inside_y & inside_x
    return [
        (row * size[1] + column, inside * part_y * part_x)
        for row, part_y in ((top, 1 - down), (bottom, down))
        for column, part_x in ((left, 1 - across), (right, across))
    ]


@operator
def deform_roi_pool_backward(*tensors: Tensor, **how: Any) -> None:
    """Add to the gradients of the images and the offset, the last two of ``tensors``."""
    *inputs, input_total, offset_total = tensors
    grad, images, rois, offset = widen_halves(*inputs)
    total = torch.zeros_like(images).flatten(2)
    for k, (n, y, x) in enumerate(_deformed(rois, offset, grad, how)):
        grads = grad[k, ..., None] / max(y.size(-1), 1)
        corners = _corners(y, x, images.shape[2:])
        for index, weight in corners:
            total[n].index_add_(1, index.flatten(), (grads * weight).flatten(1))
        if offset.numel():
            values = [images[n].flatten(1)[:, index] for index, _ in corners]
            slopes = _slopes(y, x, values, images.shape[2:])
            size = how['gamma'] * how['spatial_scale'] * (rois[k, 3:] - rois[k, 1:3])
            offset_total[k] += size[:, None, None] * (grads * slopes).sum((1, -1))
    input_total += total.view_as(images)


def _slopes(y: Tensor, x: Tensor, values: list[Tensor], size: Sequence[int]) -> Tensor:
    """Slopes along x and y of each sample between the ``values`` of its corners.

    In the outer pixel beyond the centres they go on as mmcv's do, although the samples do not.
    """
    top_left, top_right, bottom_left, bottom_right = values
    top, bottom, _, inside_y = _neighbours(y, size[0])
    left, right, _, inside_x = _neighbours(x, size[1])
    along_x = (bottom_right - bottom_left) * (y - top) + (top_right - top_left) * (bottom - y)
    along_y = (bottom_right - top_right) * (x - left) + (bottom_left - top_left) * (right - x)
    return torch.stack([along_x, along_y]) * (inside_y & inside_x)
