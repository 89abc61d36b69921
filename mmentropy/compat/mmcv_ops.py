"""mmcv's compiled operators on torchvision's, for an mmcv that has none.

:mod:`mmentropy.compat.mmcv_extension` makes them importable as ``mmcv._ext``. They are called by
mmcv/ops/*.py as the compiled ones are: tensors by position, outputs allocated by the caller and
filled in place, gradients added to what is there. They follow mmcv's kernels (onedl-mmcv 2.3.6,
mmcv/ops/csrc), except that half precision, bfloat16 included, is computed in float32, and run
wherever torchvision's operators do.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial, wraps
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

# The functions of ``mmcv._ext``.
OPS: dict[str, Callable] = {}
_TV = torch.ops.torchvision
# A coordinate outside of any image, in pixels.
_FAR = -3e4


def _op(function: Callable) -> Callable:
    """Put a function into ``mmcv._ext``, out of autograd and autocast."""

    @wraps(function)
    def run(first: Tensor, *args: Any, **kwargs: Any) -> Any:
        with torch.no_grad(), torch.autocast(first.device.type, enabled=False):
            return function(first, *args, **kwargs)

    OPS[function.__name__] = run
    return run


def _full(*tensors: Tensor) -> list[Tensor]:
    """Halves as float32, others as they are."""
    halves = (torch.float16, torch.bfloat16)
    return [t.float() if t.dtype in halves else t for t in tensors]


def _add_vjp(
    function: Callable, inputs: Sequence[Tensor], grad: Tensor, into: Sequence[Tensor]
) -> None:
    """Add to ``into`` the gradients of ``function(*inputs)``, recomputed."""
    leaves = [x.detach().requires_grad_() for x in _full(*inputs)]
    with torch.enable_grad():
        output = function(*leaves)
    _add(into, torch.autograd.grad(output, leaves, grad.to(output.dtype)))


def _add(totals: Sequence[Tensor], parts: Sequence[Tensor]) -> None:
    for total, part in zip(totals, parts):
        total += part


def _add_at(total: Tensor, index: Tensor, values: Tensor) -> None:
    """Add ``values`` to the elements ``index`` of the flattened ``total``."""
    flat = values.new_zeros(total.numel())
    flat.index_add_(0, index.flatten(), values.flatten())
    total += flat.view_as(total)


OPS['get_compiler_version'] = lambda: (
    f'none, mmentropy.compat.mmcv_ops on torchvision {torchvision.__version__}'
)
OPS['get_compiling_cuda_version'] = lambda: 'not available'

# Boxes are (..., 4) as x1, y1, x2, y2. ``offset`` is 1 where pixels x2 and y2 belong to the box.


def _overlaps(a: Tensor, b: Tensor, offset: int, over_a: bool = False) -> Tensor:
    size_a = a[..., 2:] - a[..., :2] + offset
    size_b = b[..., 2:] - b[..., :2] + offset
    size = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2]) + offset
    size = size.clamp(min=0)
    both = size[..., 0] * size[..., 1]
    area = size_a[..., 0] * size_a[..., 1]
    if over_a:
        return both / area
    return both / (area + size_b[..., 0] * size_b[..., 1] - both)


@_op
def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """IoU, or intersection over ``bboxes1`` if ``mode``, into ``ious``.

    ``ious`` is (M, N), or (M,) if ``aligned``.
    """
    a, b = _full(bboxes1, bboxes2)
    ious.copy_(_overlaps(a if aligned else a[:, None], b, offset, bool(mode)))


@_op
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes kept, highest score first, lowest index in a tie.

    A box goes if its IoU with a kept one is above the threshold.
    """
    boxes, scores = _full(boxes, scores)
    boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    # The threshold is rounded like the boxes, as in mmcv: an IoU of exactly 0.6 in float32 is above
    # 0.6 in float64, and torchvision would drop the box.
    threshold = torch.tensor(iou_threshold, dtype=boxes.dtype).item()
    return _TV.nms(boxes, scores.to(boxes.dtype), threshold)


@_op
def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Groups of indices: a kept box of (N, 5), then those it suppresses."""
    (dets,) = _full(dets)
    order = dets[:, 4].argsort(descending=True, stable=True)
    groups = []
    while len(order):
        overlaps = _overlaps(dets[order[0], :4], dets[order, :4], 0)
        suppressed = overlaps >= iou_threshold
        # A box suppresses itself, also when its area is 0 and the ratio is not a number.
        suppressed[0] = True
        groups.append(order[suppressed].tolist())
        order = order[~suppressed]
    return groups


@_op
def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Decay the scores of overlapping boxes: 0 naive, 1 linear, 2 gaussian.

    Fills the first rows of ``dets`` (N, 5) with boxes and decayed scores in the order of their
    choice, and returns the indices of those boxes.
    """
    boxes, scores = _full(boxes, scores)
    scores = scores.clone()
    # Boxes are exchanged and dropped as in mmcv, because the order decides ties.
    left = torch.arange(len(boxes), device=boxes.device)
    chosen = 0
    while chosen < len(left):
        rest = left[chosen:]
        best = int(scores[rest].argmax())
        rest[[0, best]] = rest[[best, 0]]
        box = boxes[rest[0]]
        dets[chosen, :4] = box
        dets[chosen, 4] = scores[rest[0]]
        chosen += 1
        rest = left[chosen:]
        # The overlap of two boxes without area is not a number.
        overlaps = _overlaps(box, boxes[rest], offset).nan_to_num(0)
        if method == 2:
            scores[rest] *= torch.exp(-(overlaps**2) / sigma)
        else:
            decay = 1 - overlaps if method == 1 else 0.0
            scores[rest] *= torch.where(overlaps >= iou_threshold, decay, 1.0)
        good = scores[rest] >= min_score
        # The last good box takes the place of the first bad one, and so on.
        kept = int(good.sum())
        rest[:kept][~good[:kept]] = rest[kept:][good[kept:]].flip(0)
        left = left[: chosen + kept]
    return left


@_op
def line_nms_forward(
    lanes: Tensor, scores: Tensor, threshold: float, top_k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Drop the lanes that are near to a better one.

    mmcv's kernel takes the lane to compare with from the order of storage, where CLRNet's, from
    which it comes, takes the next best one. This function does as CLRNet's.

    Args:
        lanes: (N, 5 + P). Column 2 is the start as a part of the P - 1 strips, column 4 the number
            of points, and x at the P rows follows.
        scores: (N,).
        threshold: Mean distance in the rows of both lanes, below which they are near.
        top_k: At most so many lanes are kept.

    Returns:
        Indices (N,) of lanes kept, best first, filled with 0; their number; and for each lane
        (N,) the number, from 1, of the kept lane that it belongs to, or 0.
    """
    lanes, scores = _full(lanes, scores)
    order = scores.argsort(descending=True, stable=True)
    lanes = lanes[order]
    x, rows = lanes[:, 5:], torch.arange(lanes.size(1) - 5, device=lanes.device)
    start = (lanes[:, 2] * (len(rows) - 1) + 0.5).long()
    end = start + lanes[:, 4].long() - 1
    parents, kept = torch.zeros_like(order), torch.zeros_like(order)
    left, found = order >= 0, 0
    while left.any() and found < top_k:
        best = int(left.int().argmax())
        first = torch.maximum(start, start[best])
        last = torch.minimum(end, end[best]).clamp(max=len(rows) - 1)
        shared = (rows >= first[:, None]) & (rows <= last[:, None])
        distance = ((x - x[best]).abs() * shared).sum(1)
        near = (first >= 0) & (last >= first) & (distance < threshold * (last - first + 1))
        near[: best + 1] = False
        near[best] = True
        kept[found] = order[best]
        found += 1
        parents[order[near]] = found
        left &= ~near
    return kept, kept.new_tensor(found), parents


# Regions of interest are (K, 5) as index of the image, x1, y1, x2, y2. The size of outputs and of
# their gradients (K, C, height, width) says what mmcv's keywords say once more.


@_op
def roi_align_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, **how: Any
) -> None:
    """Mean, or maximum if ``pool_mode`` is 0, of samples in each bin.

    The coordinates of the largest samples are like ``output``; the mean has none. The samples of a
    region that is not finite are zero.
    """
    (images,) = _full(input)
    rois = _numbers(rois.to(images.dtype))
    scale, ratio, aligned = how['spatial_scale'], how['sampling_ratio'], how['aligned']
    height, width = output.shape[2:]
    if how['pool_mode']:
        output.copy_(_TV.roi_align(images, rois, scale, height, width, ratio, aligned))
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
        samples = _TV.roi_align(images, rois[k : k + 1], scale, rows, columns, 1, aligned)
        output[k : k + 1], best = F.max_pool2d(samples, (ny, nx), return_indices=True)
        row, column = (best[0] // columns).to(rois), (best[0] % columns).to(rois)
        argmax_y[k] = start[k, 1] + (row + 0.5) * bin_size[k, 1] / ny
        argmax_x[k] = start[k, 0] + (column + 0.5) * bin_size[k, 0] / nx


def _numbers(rois: Tensor) -> Tensor:
    """Regions that are not finite as empty ones outside: torchvision would read any memory."""
    finite = rois.isfinite().all(1, keepdim=True)
    return torch.where(finite, rois, rois.new_tensor([0, *4 * [_FAR]]))


def _samples(bin_size: Tensor, ratio: int) -> list[list[int]]:
    """Numbers of samples along x and y in a bin of each region."""
    numbers = bin_size.ceil() if ratio <= 0 else torch.full_like(bin_size, ratio)
    return numbers.clamp(min=0).int().tolist()


@_op
def roi_align_backward(
    grad: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, total: Tensor, **how: Any
) -> None:
    """Add the gradient to ``total`` (N, C, H, W)."""
    grad, y, x = _full(grad, argmax_y, argmax_x)
    if how['pool_mode']:
        sizes = *grad.shape[2:], *total.shape
        samples = how['sampling_ratio'], how['aligned']
        rois = _numbers(rois.to(grad.dtype))
        total += _TV._roi_align_backward(grad, rois, how['spatial_scale'], *sizes, *samples)
        return
    height, width = total.shape[2:]
    top, bottom, down, inside_y = _neighbours(y, height)
    left, right, across, inside_x = _neighbours(x, width)
    grad = grad * (inside_y & inside_x & (y != -1))
    for row, part in ((top, 1 - down), (bottom, down)):
        line = (_planes(rois, total) * height + row) * width
        _add_at(total, line + left, grad * part * (1 - across))
        _add_at(total, line + right, grad * part * across)


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


@_op
def roi_pool_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax: Tensor, spatial_scale: float, **size: int
) -> None:
    """Maximum of the pixels that each bin touches.

    torchvision's rounds the regions to pixels first, mmcv's does not. ``argmax`` is like
    ``output``, the index of the pixel in its plane, or -1 in an empty bin.
    """
    (images,) = _full(input)
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


@_op
def roi_pool_backward(
    grad: Tensor, rois: Tensor, argmax: Tensor, total: Tensor, **how: Any
) -> None:
    """Add the gradient to ``total`` (N, C, H, W)."""
    (grad,) = _full(grad)
    index = _planes(rois, total) * total[0, 0].numel() + argmax.clamp(min=0)
    _add_at(total, index, grad * (argmax >= 0))


@_op
def deform_roi_pool_forward(
    input: Tensor, rois: Tensor, offset: Tensor, output: Tensor, **how: Any
) -> None:
    """Mean of the samples in each bin of regions whose bins are moved.

    ``offset`` (K, 2, height, width) is x and y in parts of the region's size over ``gamma``, or
    empty.
    """
    images, rois, offset = _full(input, rois, offset)
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


@_op
def deform_roi_pool_backward(*tensors: Tensor, **how: Any) -> None:
    """Add to the gradients of the images and the offset, the last two of ``tensors``."""
    *inputs, input_total, offset_total = tensors
    grad, images, rois, offset = _full(*inputs)
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


# A masked convolution is one of the patches around some of the pixels.


@_op
def masked_im2col_forward(
    input: Tensor,
    rows: Tensor,
    columns: Tensor,
    output: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Copy the patches of one image (1, C, H, W) into ``output`` (C * k_h * k_w, P)."""
    padded = F.pad(input[0], (pad_w, pad_w, pad_h, pad_h))
    patches = padded.unfold(1, kernel_h, 1).unfold(2, kernel_w, 1)[:, rows, columns]
    output.copy_(patches.permute(0, 2, 3, 1).flatten(0, 2))


@_op
def masked_col2im_forward(
    values: Tensor, rows: Tensor, columns: Tensor, output: Tensor, **size: int
) -> None:
    """Copy ``values`` (C, P) to pixels of ``output`` (1, C, H, W)."""
    output[0][:, rows, columns] = values.to(output.dtype)


# Deformable convolutions sample their input at positions that are moved by an offset. These are
# mmcv's keywords in the order of torchvision's arguments.
_GEOMETRY = 'dH dW padH padW dilationH dilationW group deformable_group'.split()
_MODULATED_GEOMETRY = (
    'stride_h stride_w pad_h pad_w dilation_h dilation_w group deformable_group'.split()
)


def _plain(input: Tensor, weight: Tensor, offset: Tensor, geometry: dict[str, int]) -> list:
    """Return torchvision's arguments for a convolution without mask and bias."""
    mask, bias = input.new_zeros(len(input), 1), input.new_zeros(len(weight))
    numbers = [geometry[name] for name in _GEOMETRY]
    return [*_full(input, weight, _positions(offset), mask, bias), *numbers, False]


def _modulated(
    input: Tensor, weight: Tensor, bias: Tensor, offset: Tensor, mask: Tensor, how: dict[str, int]
) -> list:
    """Return torchvision's arguments for a convolution of samples times ``mask``."""
    bias = bias if how['with_bias'] else input.new_zeros(len(weight))
    numbers = [how[name] for name in _MODULATED_GEOMETRY]
    return [*_full(input, weight, _positions(offset), mask, bias), *numbers, True]


def _positions(offset: Tensor) -> Tensor:
    """Offsets, which lead outside if not finite, as in mmcv: torchvision would read any memory."""
    return offset.nan_to_num(_FAR, _FAR, _FAR)


def _cut(buffer: Tensor, output: Tensor) -> Tensor:
    """Offsets or masks of the size of ``output``, from those of a map that may be larger.

    mmcv reads them from the beginning as if they had that size. DyHead of mmdet, which gives the
    offsets of one level to the next, is trained with that.
    """
    shape = buffer.size(1), *output.shape[2:]
    if buffer.shape[2:] == output.shape[2:]:
        return buffer
    if buffer[0].numel() < math.prod(shape):
        raise ValueError(
            f'offsets or masks of a deformable convolution are {tuple(buffer.shape[2:])}, smaller '
            f'than its output, {tuple(output.shape[2:])}: give one for each pixel of the output'
        )
    return buffer.flatten(1)[:, : math.prod(shape)].reshape(-1, *shape)


def _add_cut(total: Tensor, part: Tensor) -> None:
    """Add the gradient of what :func:`_cut` returned."""
    missing = total[0].numel() - part[0].numel()
    total += F.pad(part.flatten(1), (0, missing)).view_as(total)


def _backward(grad: Tensor, arguments: list) -> tuple[Tensor, ...]:
    """Return the gradients of input, weight, offset, mask and bias."""
    grads = _TV._deform_conv2d_backward(*_full(grad), *arguments)
    grads[2].masked_fill_(_before_image(arguments), 0)
    return grads


def _before_image(arguments: list) -> Tensor:
    """Return whether a sample is one pixel or more above or left of the image, for each offset.

    Its offset has no gradient in mmcv. torchvision takes the slope towards the image where it is
    exactly one pixel, and so is each padded pixel before offsets have been trained.
    """
    _, weight, offset, _, _, *numbers = arguments
    before = []
    moved = offset.unflatten(1, (-1, *weight.shape[2:], 2))
    for axis, (stride, pad, dilation) in enumerate(zip(*(numbers[i : i + 2] for i in (0, 2, 4)))):
        kernel, positions = (
            torch.arange(n, device=offset.device)
            for n in (weight.size(2 + axis), offset.size(2 + axis))
        )
        start = kernel[:, None] * dilation + positions * stride - pad
        shape = [1] * 4
        shape[axis], shape[2 + axis] = start.shape
        before.append(moved[:, :, :, :, axis] + start.view(shape) <= -1)
    return (before[0] | before[1]).unsqueeze(4).expand_as(moved).reshape(offset.shape)


@_op
def deform_conv_forward(
    input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, *buffers: Tensor, **geometry: int
) -> None:
    """Convolution at positions moved by ``offset``, into ``output``."""
    output.copy_(_TV.deform_conv2d(*_plain(input, weight, offset, geometry)))


@_op
def deform_conv_backward_input(*tensors: Tensor, **geometry: int) -> None:
    """Add to the gradients of the input and the offset."""
    input, offset, grad, input_total, offset_total, weight, _ = tensors
    grads = _backward(grad, _plain(input, weight, offset, geometry))
    input_total += grads[0]
    offset_total += grads[2]


@_op
def deform_conv_backward_parameters(*tensors: Tensor, scale: float, **geometry: int) -> None:
    """Add ``scale`` times the gradient to that of the weight."""
    input, offset, grad, total, *_ = tensors
    # Only the shape of the weight matters here.
    total += scale * _backward(grad, _plain(input, total, offset, geometry))[1]


@_op
def modulated_deform_conv_forward(*tensors: Tensor, **how: int) -> None:
    """Deformable convolution of samples times ``mask``, into ``output``."""
    input, weight, bias, _, offset, mask, output, _ = tensors
    offset, mask = _cut(offset, output), _cut(mask, output)
    output.copy_(_TV.deform_conv2d(*_modulated(input, weight, bias, offset, mask, how)))


@_op
def modulated_deform_conv_backward(*tensors: Tensor, **how: int) -> None:
    """Add to the gradients of all inputs."""
    input, weight, bias, _, offset, mask, _, *totals, grad = tensors
    offset, mask = _cut(offset, grad), _cut(mask, grad)
    parts = _backward(grad, _modulated(input, weight, bias, offset, mask, how))
    input_total, weight_total, bias_total, offset_total, mask_total = totals
    _add((input_total, weight_total), parts)
    _add_cut(offset_total, parts[2])
    _add_cut(mask_total, parts[3])
    if how['with_bias']:
        bias_total += parts[4]


# Deformable attention samples maps of several sizes.


def _attend(
    value: Tensor, locations: Tensor, weights: Tensor, shapes: Tensor, starts: Tensor
) -> Tensor:
    """Weighted sum of samples of each level's map: (N, Q, heads * C)."""
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    # mmcv's own function takes the levels in the order of their shapes.
    ranges = zip(starts.tolist(), shapes.prod(1).tolist())
    value = torch.cat([value[:, start : start + size] for start, size in ranges], 1)
    return multi_scale_deformable_attn_pytorch(value, shapes, locations, weights)


@_op
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
    maps, locations, weights = _full(value, locations, weights)
    return _attend(maps, locations, weights, shapes, starts).to(value.dtype)


@_op
def ms_deform_attn_backward(*tensors: Tensor, im2col_step: int) -> None:
    """Add to the gradients of value, locations and weights."""
    value, shapes, starts, locations, weights, grad, *totals = tensors
    inputs = value, locations, weights
    _add_vjp(lambda v, at, w: _attend(v, at, w, shapes, starts), inputs, grad, totals)


# The logarithms of the focal losses are exact, where mmcv's, of a rounded sigmoid, end at
# log(FLT_MIN). A target (N,) may be no class; ``weight`` is (C,), by class of the target, or empty.


def _one_hot(target: Tensor, weight: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """One-hot targets (N, C), and the weight of each one's class (N,), 0 for what is no class."""
    one_hot = target[:, None] == torch.arange(classes, device=target.device)
    return one_hot, (one_hot * (weight if weight.numel() else weight.new_ones(1))).sum(1)


def _sigmoid_focal(
    input: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float
) -> Tensor:
    (weight,) = _full(weight)
    one_hot, weights = _one_hot(target, weight, input.size(1))
    # A label that is no class stands for the background, whose weight is 1.
    weights = torch.where(one_hot.any(1), weights, 1)
    # The sigmoid of z should be 1.
    z = torch.where(one_hot, input, -input)
    factor = input.new_tensor([1 - alpha, alpha])[one_hot.long()] * weights[:, None]
    return -factor * (gamma * F.logsigmoid(-z)).exp() * F.logsigmoid(z)


@_op
def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Loss of each logit of ``input`` (N, C) into ``output`` (N, C)."""
    (input,) = _full(input)
    output.copy_(_sigmoid_focal(input, target, weight, gamma, alpha))


@_op
def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Gradient of the loss's sum, into ``grad_input`` (N, C)."""
    grad_input.zero_()
    loss = partial(_sigmoid_focal, target=target, weight=weight, gamma=gamma, alpha=alpha)
    _add_vjp(loss, [input], torch.ones_like(input), [grad_input])


@_op
def softmax_focal_loss_forward(
    softmax: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Loss of each row of ``softmax`` (N, C) into ``output`` (N,)."""
    softmax, weight = _full(softmax, weight)
    one_hot, weights = _one_hot(target, weight, softmax.size(1))
    p = (softmax * one_hot).sum(1)
    tiny = torch.finfo(p.dtype).tiny
    output.copy_(-alpha * weights * (1 - p) ** gamma * p.clamp(min=tiny).log())


@_op
def softmax_focal_loss_backward(*tensors: Tensor, gamma: float, alpha: float) -> None:
    """Gradient of the loss's sum by logits, into the last of ``tensors`` (N, C)."""
    softmax, target, weight, _, grad_input = tensors
    softmax, weight = _full(softmax, weight)
    one_hot, weights = _one_hot(target, weight, softmax.size(1))
    p = (softmax * one_hot).sum(1)
    tiny = torch.finfo(p.dtype).tiny
    # The power would be infinite where gamma is below 1 and p is 1, and log p is 0 there.
    power = (1 - p).clamp(min=tiny) ** (gamma - 1)
    slope = gamma * power * p * p.clamp(min=tiny).log() - (1 - p) ** gamma
    grad_input.copy_((alpha * weights * slope)[:, None] * (one_hot.to(p.dtype) - softmax))


# CARAFE upsamples by a kernel of its own for every output pixel.


def _reassemble(
    features: Tensor, masks: Tensor, kernel_size: int, group_size: int, scale_factor: int
) -> Tensor:
    n, channels, height, width = features.shape
    area = kernel_size**2
    patches = F.unfold(features, kernel_size, padding=kernel_size // 2)
    output = torch.einsum(
        'ngckhw,ngkhawb->ngchawb',
        patches.view(n, group_size, -1, area, height, width),
        masks.view(n, group_size, area, height, scale_factor, width, scale_factor),
    )
    return output.reshape(n, channels, height * scale_factor, width * scale_factor)


@_op
def carafe_naive_forward(features: Tensor, masks: Tensor, output: Tensor, **how: int) -> None:
    """(N, C, H, W) by masks (N, G * k * k, sH, sW) into (N, C, sH, sW)."""
    features, masks = _full(features, masks)
    output.copy_(_reassemble(features, masks, **how))


@_op
def carafe_forward(
    features: Tensor, masks: Tensor, kept: Tensor, *buffers: Tensor, **how: int
) -> None:
    """See :func:`carafe_naive_forward`; the backward needs ``kept``."""
    carafe_naive_forward(features, masks, buffers[-1], **how)
    kept.copy_(features)


@_op
def carafe_backward(
    grad: Tensor, features: Tensor, masks: Tensor, *buffers: Tensor, **how: int
) -> None:
    """Add to the gradients of features and masks, the last two of ``buffers``."""
    _add_vjp(lambda f, m: _reassemble(f, m, **how), (features, masks), grad, buffers[-2:])


OPS['carafe_naive_backward'] = carafe_backward
