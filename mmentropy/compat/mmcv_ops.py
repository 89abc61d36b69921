"""mmcv's compiled operators on torchvision's, for an mmcv that has none.

:mod:`mmentropy.compat.mmcv_extension` makes them importable as ``mmcv._ext``. They are called by
mmcv/ops/*.py as the compiled ones are: tensors by position, outputs allocated by the caller and
filled in place, gradients added to what is there. They follow mmcv's kernels (onedl-mmcv 2.3.6,
mmcv/ops/csrc), except that half precision, bfloat16 included, is computed in float32, and run
wherever torchvision's operators do.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

# The functions of ``mmcv._ext``.
OPS: dict[str, Callable] = {}
_TV = torch.ops.torchvision


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


def _add_vjp(function: Callable, inputs: tuple, grad: Tensor, into: tuple) -> None:
    """Add to ``into`` the gradients of ``function(*inputs)``, recomputed."""
    leaves = [x.detach().requires_grad_() for x in _full(*inputs)]
    with torch.enable_grad():
        output = function(*leaves)
    grads = torch.autograd.grad(output, leaves, grad.to(output.dtype))
    for total, part in zip(into, grads):
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

    Fills the first rows of ``dets`` (N, 5) with boxes and decayed scores in
    the order of their choice, and returns the indices of those boxes.
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


# Regions of interest are (K, 5) as index of the image, x1, y1, x2, y2.


@_op
def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Mean, or maximum if ``pool_mode`` is 0, of samples in each bin.

    ``output`` is (K, C, aligned_height, aligned_width), and so are the
    coordinates of the largest samples, which the mean does not have.
    """
    (images,) = _full(input)
    rois = rois.to(images.dtype)
    if pool_mode:
        output.copy_(
            _TV.roi_align(
                images, rois, spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned
            )
        )
        return
    corners = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    size = corners[:, 2:] - corners[:, :2]
    size = size if aligned else size.clamp(min=1)
    bin_size = size / size.new_tensor([aligned_width, aligned_height])
    numbers = bin_size.ceil() if sampling_ratio <= 0 else torch.full_like(bin_size, sampling_ratio)
    i = torch.arange(aligned_width, device=rois.device)
    j = torch.arange(aligned_height, device=rois.device)[:, None]
    output.zero_()
    argmax_y.fill_(-1)
    argmax_x.fill_(-1)
    # Regions are taken one by one because each has its own number of samples.
    for k, (n, (nx, ny)) in enumerate(zip(rois[:, 0].int().tolist(), numbers.int().tolist())):
        if nx <= 0 or ny <= 0:
            continue
        x = _samples(corners[k, 0], bin_size[k, 0], aligned_width, nx)
        y = _samples(corners[k, 1], bin_size[k, 1], aligned_height, ny)
        low, high, weight, inside = _neighbours(y.flatten(), images.size(2))
        values = (
            images[n][:, low] * ((1 - weight) * inside)[:, None]
            + images[n][:, high] * (weight * inside)[:, None]
        )
        low, high, weight, inside = _neighbours(x.flatten(), images.size(3))
        values = values[..., low] * ((1 - weight) * inside) + values[..., high] * (weight * inside)
        values = values.view(-1, *y.shape, *x.shape).transpose(2, 3)
        output[k], best = values.flatten(3).max(3)
        argmax_y[k] = y[j, best // nx]
        argmax_x[k] = x[i, best % nx]


@_op
def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Add the gradient to ``grad_input`` (N, C, H, W)."""
    (grad,) = _full(grad_output)
    rois = rois.to(grad.dtype)
    if pool_mode:
        grad_input += _TV._roi_align_backward(
            grad,
            rois,
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
        return
    height, width = grad_input.shape[2:]
    y, x = _full(argmax_y, argmax_x)
    top, bottom, down, inside_y = _neighbours(y, height)
    left, right, across, inside_x = _neighbours(x, width)
    grad = grad * (inside_y & inside_x & (y != -1))
    for row, part in ((top, 1 - down), (bottom, down)):
        line = (_planes(rois, grad_input) * height + row) * width
        _add_at(grad_input, line + left, grad * part * (1 - across))
        _add_at(grad_input, line + right, grad * part * across)


def _samples(start: Tensor, bin_size: Tensor, bins: int, number: int) -> Tensor:
    """Coordinates of ``number`` samples in each bin, (bins, number)."""
    like: dict[str, Any] = dict(dtype=start.dtype, device=start.device)
    first = torch.arange(bins, **like)[:, None] * bin_size
    at = torch.arange(number, **like) + 0.5
    return start + first + at * bin_size / number


def _neighbours(at: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Lower and upper pixel, weight of the upper, and whether in the image.

    The image ends one pixel beyond its first and last pixel's centre, which
    count for all that is outside of them.
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
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Maximum of the pixels that each bin touches.

    torchvision's rounds the regions to pixels first, mmcv's does not.
    ``output`` is (K, C, pooled_height, pooled_width), and so is ``argmax``,
    the index of the pixel in its plane, or -1 in an empty bin.
    """
    (images,) = _full(input)
    rois = rois.to(images.dtype)
    height, width = images.shape[2:]
    start = rois[:, 1:3] * spatial_scale
    size = (rois[:, 3:] + 1) * spatial_scale - start
    x_bins = _bins(start[:, 0], size[:, 0], pooled_width, width)
    y_bins = _bins(start[:, 1], size[:, 1], pooled_height, height)
    empty = (size <= 0).any(1).tolist()
    output.zero_()
    argmax.fill_(-1)
    for k, n in enumerate(rois[:, 0].int().tolist()):
        if empty[k]:
            continue
        for i, (left, right) in enumerate(x_bins[k]):
            if left >= right:
                continue
            # The maximum of each row, then that of the rows, is the first pixel of a tie.
            values, x = images[n, :, :, left:right].max(2)
            for j, (top, bottom) in enumerate(y_bins[k]):
                if top < bottom:
                    output[k, :, j, i], y = values[:, top:bottom].max(1)
                    y = top + y[:, None]
                    argmax[k, :, j, i] = (y * width + left + x.gather(1, y))[:, 0]


def _bins(start: Tensor, size: Tensor, bins: int, limit: int) -> list:
    """First pixel and the one after the last, of each region's bins."""
    index = torch.arange(bins, device=start.device)
    step = size[:, None] / bins
    first = (index * step + start[:, None]).floor()
    end = ((index + 1) * step + start[:, None]).ceil()
    return torch.stack([first, end], -1).clamp(0, limit).int().tolist()


@_op
def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Add the gradient to ``grad_input`` (N, C, H, W)."""
    (grad,) = _full(grad_output)
    pixels = grad_input.size(2) * grad_input.size(3)
    index = _planes(rois, grad_input) * pixels + argmax.clamp(min=0)
    _add_at(grad_input, index, grad * (argmax >= 0))


# Deformable convolutions sample their input at positions that are moved by an offset.


def _geometry(
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> tuple[int, ...]:
    return dH, dW, padH, padW, dilationH, dilationW, group, deformable_group


def _modulated_geometry(
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
) -> tuple[int, ...]:
    return (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)


def _without_mask(input: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The mask and the bias that torchvision wants where there is none."""
    return input.new_zeros(len(input), 1), input.new_zeros(len(weight))


@_op
def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **geometry: int,
) -> None:
    """Convolution at positions moved by ``offset``, into ``output``."""
    input, weight, offset = _full(input, weight, offset)
    output.copy_(
        _TV.deform_conv2d(
            input, weight, offset, *_without_mask(input, weight), *_geometry(**geometry), False
        )
    )


def _deform_conv_backward(
    input: Tensor, weight: Tensor, offset: Tensor, grad: Tensor, geometry: dict[str, int]
) -> tuple[Tensor, ...]:
    input, weight, offset, grad = _full(input, weight, offset, grad)
    return _TV._deform_conv2d_backward(
        grad, input, weight, offset, *_without_mask(input, weight), *_geometry(**geometry), False
    )


@_op
def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **geometry: int,
) -> None:
    """Add to the gradients of the input and the offset."""
    grads = _deform_conv_backward(input, weight, offset, grad_output, geometry)
    grad_input += grads[0]
    grad_offset += grads[2]


@_op
def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    scale: float,
    **geometry: int,
) -> None:
    """Add ``scale`` times the gradient to that of the weight."""
    # Only the shape of the weight matters here.
    grads = _deform_conv_backward(input, grad_weight, offset, grad_output, geometry)
    grad_weight += scale * grads[1]


@_op
def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Deformable convolution of samples times ``mask``, into ``output``."""
    input, weight, offset, mask, bias = _full(input, weight, offset, mask, bias)
    if not with_bias:
        _, bias = _without_mask(input, weight)
    output.copy_(
        _TV.deform_conv2d(input, weight, offset, mask, bias, *_modulated_geometry(**geometry), True)
    )


@_op
def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Add to the gradients of all inputs."""
    input, weight, offset, mask, bias, grad = _full(input, weight, offset, mask, bias, grad_output)
    if not with_bias:
        _, bias = _without_mask(input, weight)
    grads = _TV._deform_conv2d_backward(
        grad, input, weight, offset, mask, bias, *_modulated_geometry(**geometry), True
    )
    for total, part in zip((grad_input, grad_weight, grad_offset, grad_mask), grads):
        total += part
    if with_bias:
        grad_bias += grads[4]


# Deformable attention samples maps of several sizes.


def _attend(
    value: Tensor, locations: Tensor, weights: Tensor, shapes: Tensor, starts: Tensor
) -> Tensor:
    """Weighted sum of samples of each level's map: (N, Q, heads * C)."""
    n, _, heads, channels = value.shape
    total = value.new_zeros(())
    for level, ((height, width), start) in enumerate(zip(shapes.tolist(), starts.tolist())):
        maps = value[:, start : start + height * width].permute(0, 2, 3, 1)
        samples = F.grid_sample(
            maps.reshape(n * heads, channels, height, width),
            2 * locations[:, :, :, level].transpose(1, 2).flatten(0, 1) - 1,
            align_corners=False,
        )
        weight = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)
        total = total + (samples * weight[:, None]).sum(-1)
    return total.view(n, heads * channels, -1).transpose(1, 2).contiguous()


@_op
def ms_deform_attn_forward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Multi-scale deformable attention, (N, Q, heads * C).

    Args:
        value: (N, positions of all levels, heads, C).
        spatial_shapes: (L, 2), height and width.
        level_start_index: (L,), a level's first position.
        sampling_locations: (N, Q, heads, L, P, 2), x and y in [0, 1].
        attention_weights: (N, Q, heads, L, P).
        im2col_step: not used, only a matter of memory.
    """
    maps, locations, weights = _full(value, sampling_locations, attention_weights)
    return _attend(maps, locations, weights, spatial_shapes, level_start_index).to(value.dtype)


@_op
def ms_deform_attn_backward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Add to the gradients of value, locations and weights."""
    _add_vjp(
        lambda v, at, w: _attend(v, at, w, spatial_shapes, level_start_index),
        (value, sampling_locations, attention_weights),
        grad_output,
        (grad_value, grad_sampling_loc, grad_attn_weight),
    )


# The logarithms of the focal losses are exact, where mmcv's, of a rounded sigmoid, end at
# log(FLT_MIN).


def _weight_of(target: Tensor, weight: Tensor, classes: int) -> Tensor:
    """Weight of each target's class, (N,); 1 for what is no class."""
    if not weight.numel():
        return weight.new_ones(len(target))
    known = (target >= 0) & (target < classes)
    return torch.where(known, weight[target.clamp(0, classes - 1)], 1)


def _sigmoid_parts(
    input: Tensor, target: Tensor, weight: Tensor, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits whose sigmoid should be 1, the loss's factor, and the sign."""
    input, weight = _full(input, weight)
    classes = input.size(1)
    positive = target[:, None] == torch.arange(classes, device=target.device)
    positive = positive.to(input.dtype)
    factor = positive * alpha + (1 - positive) * (1 - alpha)
    factor *= _weight_of(target, weight, classes)[:, None]
    sign = 2 * positive - 1
    return input * sign, factor, sign


@_op
def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Loss of each logit of ``input`` (N, C) into ``output`` (N, C).

    ``target`` (N,) is a class, C is the background; ``weight`` is (C,), by
    class of the target, or empty.
    """
    z, factor, _ = _sigmoid_parts(input, target, weight, alpha)
    output.copy_(-factor * torch.sigmoid(-z) ** gamma * F.logsigmoid(z))


@_op
def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Gradient of the loss's sum, into ``grad_input`` (N, C)."""
    z, factor, sign = _sigmoid_parts(input, target, weight, alpha)
    p, q = torch.sigmoid(z), torch.sigmoid(-z)
    slope = q**gamma * (gamma * p * F.logsigmoid(z) - q)
    grad_input.copy_(sign * factor * slope)


def _softmax_parts(
    softmax: Tensor, target: Tensor, weight: Tensor, alpha: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Probability of the target, the loss's factor, and the target one-hot.

    The factor is 0 where the target is no class.
    """
    softmax, weight = _full(softmax, weight)
    classes = softmax.size(1)
    one_hot = target[:, None] == torch.arange(classes, device=target.device)
    factor = one_hot.any(1) * _weight_of(target, weight, classes) * alpha
    return softmax, (softmax * one_hot).sum(1), factor, one_hot


@_op
def softmax_focal_loss_forward(
    softmax: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Loss of each row of ``softmax`` (N, C) into ``output`` (N,)."""
    _, p, factor, _ = _softmax_parts(softmax, target, weight, alpha)
    tiny = torch.finfo(p.dtype).tiny
    output.copy_(-factor * (1 - p) ** gamma * p.clamp(min=tiny).log())


@_op
def softmax_focal_loss_backward(
    softmax: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Gradient of the loss's sum by logits, into ``grad_input`` (N, C).

    ``buff`` (N,) gets the derivative by the logit of the target over 1 - p.
    """
    s, p, factor, one_hot = _softmax_parts(softmax, target, weight, alpha)
    tiny = torch.finfo(p.dtype).tiny
    # The power would be infinite where gamma is below 1 and p is 1, and log p is 0 there.
    slope = (
        gamma * (1 - p).clamp(min=tiny) ** (gamma - 1) * p * p.clamp(min=tiny).log()
        - (1 - p) ** gamma
    )
    buff.copy_(factor * slope)
    grad_input.copy_((factor * slope)[:, None] * (one_hot.to(s.dtype) - s))


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
def carafe_naive_backward(
    top_grad: Tensor,
    features: Tensor,
    masks: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    **how: int,
) -> None:
    """Add to the gradients of features and masks."""
    _add_vjp(
        lambda f, m: _reassemble(f, m, **how), (features, masks), top_grad, (bottom_grad, mask_grad)
    )


@_op
def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    **how: int,
) -> None:
    """See :func:`carafe_naive_forward`; the backward needs ``rfeatures``."""
    carafe_naive_forward(features, masks, output, **how)
    rfeatures.copy_(features)


@_op
def carafe_backward(
    top_grad: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rtop_grad: Tensor,
    rbottom_grad_hs: Tensor,
    rbottom_grad: Tensor,
    rmask_grad: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    **how: int,
) -> None:
    """Add to the gradients of features and masks."""
    carafe_naive_backward(top_grad, rfeatures, masks, bottom_grad, mask_grad, **how)
