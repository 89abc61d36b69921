"""Deformable convolutions, which sample their input at positions that are moved by an offset."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mmentropy.compat.mmcv_ops.operators import (
    OUTSIDE,
    TORCHVISION,
    add_each,
    operator,
    widen_halves,
)

# mmcv's keywords in the order of torchvision's arguments.
_GEOMETRY = 'dH dW padH padW dilationH dilationW group deformable_group'.split()
_MODULATED_GEOMETRY = (
    'stride_h stride_w pad_h pad_w dilation_h dilation_w group deformable_group'.split()
)


def _plain(input: Tensor, weight: Tensor, offset: Tensor, geometry: dict[str, int]) -> list:
    """Return torchvision's arguments for a convolution without mask and bias."""
    mask, bias = input.new_zeros(len(input), 1), input.new_zeros(len(weight))
    numbers = [geometry[name] for name in _GEOMETRY]
    return [*widen_halves(input, weight, _positions(offset), mask, bias), *numbers, False]


def _modulated(
    input: Tensor, weight: Tensor, bias: Tensor, offset: Tensor, mask: Tensor, how: dict[str, int]
) -> list:
    """Return torchvision's arguments for a convolution of samples times ``mask``."""
    bias = bias if how['with_bias'] else input.new_zeros(len(weight))
    numbers = [how[name] for name in _MODULATED_GEOMETRY]
    return [*widen_halves(input, weight, _positions(offset), mask, bias), *numbers, True]


def _positions(offset: Tensor) -> Tensor:
    """Offsets, which lead outside if not finite, as in mmcv: torchvision would read any memory."""
    return offset.nan_to_num(OUTSIDE, OUTSIDE, OUTSIDE)


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
    grads = TORCHVISION._deform_conv2d_backward(*widen_halves(grad), *arguments)
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


@operator
def deform_conv_forward(
    input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, *buffers: Tensor, **geometry: int
) -> None:
    """Convolution at positions moved by ``offset``, into ``output``."""
    output.copy_(TORCHVISION.deform_conv2d(*_plain(input, weight, offset, geometry)))


@operator
def deform_conv_backward_input(*tensors: Tensor, **geometry: int) -> None:
    """Add to the gradients of the input and the offset."""
    input, offset, grad, input_total, offset_total, weight, _ = tensors
    grads = _backward(grad, _plain(input, weight, offset, geometry))
    input_total += grads[0]
    offset_total += grads[2]


@operator
def deform_conv_backward_parameters(*tensors: Tensor, scale: float, **geometry: int) -> None:
    """Add ``scale`` times the gradient to that of the weight."""
    input, offset, grad, total, *_ = tensors
    # Only the shape of the weight matters here.
    total += scale * _backward(grad, _plain(input, total, offset, geometry))[1]


@operator
def modulated_deform_conv_forward(*tensors: Tensor, **how: int) -> None:
    """Deformable convolution of samples times ``mask``, into ``output``."""
    input, weight, bias, _, offset, mask, output, _ = tensors
    offset, mask = _cut(offset, output), _cut(mask, output)
    output.copy_(TORCHVISION.deform_conv2d(*_modulated(input, weight, bias, offset, mask, how)))


@operator
def modulated_deform_conv_backward(*tensors: Tensor, **how: int) -> None:
    """Add to the gradients of all inputs."""
    input, weight, bias, _, offset, mask, _, *totals, grad = tensors
    offset, mask = _cut(offset, grad), _cut(mask, grad)
    parts = _backward(grad, _modulated(input, weight, bias, offset, mask, how))
    input_total, weight_total, bias_total, offset_total, mask_total = totals
    add_each((input_total, weight_total), parts)
    _add_cut(offset_total, parts[2])
    _add_cut(mask_total, parts[3])
    if how['with_bias']:
        bias_total += parts[4]
