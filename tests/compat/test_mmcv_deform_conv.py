"""Deformable convolutions, called as mmcv calls them."""

import math

import mmcv.ops
import pytest
import torch
import torch.nn.functional as F
from mmcv_operators import HALVES, assert_equal_with_gradients, rand

GEOMETRY = dict(stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2)


def conv_tensors(deform_groups=1):
    """Input, offset, mask, weight and bias; an output of 3 by 7."""
    offset = rand(2, deform_groups * 2 * 6, 3, 7) * 3 - 1.5
    # Away from pixels, where the interpolation has kinks.
    offset += (0.1 - offset % 1).clamp(min=0) - (offset % 1 - 0.9).clamp(min=0)
    return (
        rand(2, 4, 5, 7),
        offset,
        rand(2, deform_groups * 6, 3, 7),
        rand(6, 2, 2, 3) - 0.5,
        rand(6),
    )


def deform_conv(x, offset, weight):
    return mmcv.ops.deform_conv2d(x, offset, weight, *GEOMETRY.values(), offset.size(1) // 12)


def modulated(x, offset, mask, weight, bias=None):
    return mmcv.ops.modulated_deform_conv2d(
        x, offset, mask, weight, bias, *GEOMETRY.values(), mask.size(1) // 6
    )


def test_deform_conv_without_offset_is_conv():
    x, offset, mask, weight, bias = conv_tensors()
    zero, one = torch.zeros_like(offset), torch.ones_like(mask)
    assert_equal_with_gradients(
        lambda x, w: deform_conv(x, zero, w), lambda x, w: F.conv2d(x, w, **GEOMETRY), x, weight
    )
    assert_equal_with_gradients(
        lambda x, w, b: modulated(x, zero, one, w, b),
        lambda x, w, b: F.conv2d(x, w, b, **GEOMETRY),
        x,
        weight,
        bias,
    )


def test_deform_conv_of_whole_offset_is_shifted_conv():
    x, weight = rand(1, 2, 6, 6), rand(3, 2, 3, 3)
    offset = torch.zeros(1, 2 * 9, 4, 4, dtype=x.dtype)
    # Pairs of y and x: one down and two to the left, zero beyond the edge.
    offset[:, 0::2], offset[:, 1::2] = 1, -2
    shifted = torch.zeros_like(x)
    shifted[:, :, :-1, 2:] = x[:, :, 1:, :-2]
    torch.testing.assert_close(mmcv.ops.deform_conv2d(x, offset, weight), F.conv2d(shifted, weight))


def test_deform_conv_gradients():
    x, offset, mask, weight, bias = conv_tensors()
    inputs = [t.requires_grad_() for t in (x, offset, weight)]
    assert torch.autograd.gradcheck(deform_conv, inputs, fast_mode=True)
    inputs = [t.requires_grad_() for t in (x, offset, mask, weight, bias)]
    assert torch.autograd.gradcheck(modulated, inputs, fast_mode=True)
    assert torch.autograd.gradcheck(modulated, inputs[:4], fast_mode=True)


def test_deform_conv_mask_and_groups():
    """A mask scales the samples, and deformable groups split channels."""
    x, offset, mask, weight, _ = conv_tensors(deform_groups=2)
    zero = torch.zeros_like(offset)
    constant = torch.full_like(mask, 0.25)
    torch.testing.assert_close(
        modulated(x, offset, constant, weight), 0.25 * deform_conv(x, offset, weight)
    )
    offset[:, 12:] = 0
    torch.testing.assert_close(
        deform_conv(x, offset, weight)[:, 3:], deform_conv(x, zero, weight)[:, 3:]
    )
    assert not torch.allclose(
        deform_conv(x, offset, weight)[:, :3], deform_conv(x, zero, weight)[:, :3]
    )


def test_deform_conv_gradients_are_added():
    """To what is there; mmcv hands in zeros."""
    import mmcv._ext as ext

    x, offset, _, weight, _ = conv_tensors()
    grad = rand(2, 6, 3, 7)
    how = dict(
        kW=3,
        kH=2,
        dW=1,
        dH=2,
        padW=2,
        padH=1,
        dilationW=2,
        dilationH=1,
        group=2,
        deformable_group=1,
        im2col_step=2,
    )
    unused = x.new_empty(0)
    totals = []
    for start in (0.0, 1.0):
        into = [torch.full_like(t, start) for t in (x, offset, weight)]
        ext.deform_conv_backward_input(x, offset, grad, *into[:2], weight, unused, **how)
        ext.deform_conv_backward_parameters(
            x, offset, grad, into[2], unused, unused, scale=0.5, **how
        )
        totals.append(into)
    for from_0, from_1 in zip(*totals):
        torch.testing.assert_close(from_0 + 1, from_1)
    inputs = [t.clone().requires_grad_() for t in (x, offset, weight)]
    expected = torch.autograd.grad(deform_conv(*inputs), inputs, grad)
    torch.testing.assert_close(totals[0][2], 0.5 * expected[2])


def test_deform_conv_layers():
    x = torch.rand(2, 4, 3, 3)
    for layer in (
        mmcv.ops.DeformConv2dPack(4, 6, 3, padding=1),
        mmcv.ops.ModulatedDeformConv2dPack(4, 6, 3, padding=1),
        mmcv.ops.SAConv2d(4, 6, 3, padding=1, use_deform=True),
    ):
        output = layer(x)
        assert output.shape == (2, 6, 3, 3)
        output.sum().backward()
        assert all(p.grad.isfinite().all() for p in layer.parameters() if p.grad is not None)
        assert layer.weight.grad.any()
    # Smaller than its kernel: mmcv pads and crops around the op.
    layer = mmcv.ops.DeformConv2d(4, 6, 3, padding=1)
    assert layer(x[..., :2], torch.zeros(2, 18, 3, 2)).shape == (2, 6, 3, 2)


@pytest.mark.parametrize('dtype', HALVES)
def test_deform_conv_of_halves(dtype):
    x, offset, mask, weight, bias = conv_tensors()
    for function, inputs in (
        (deform_conv, (x, offset, weight)),
        (modulated, (x, offset, mask, weight, bias)),
    ):
        inputs = [t.to(dtype).requires_grad_() for t in inputs]
        exact = [t.detach().float().requires_grad_() for t in inputs]
        output, expected = function(*inputs), function(*exact)
        torch.testing.assert_close(output, expected.to(dtype))
        for ours, theirs in zip(
            torch.autograd.grad(output.sum(), inputs), torch.autograd.grad(expected.sum(), exact)
        ):
            assert ours.dtype == dtype
            torch.testing.assert_close(ours, theirs.to(dtype))
    layer = mmcv.ops.ModulatedDeformConv2dPack(4, 6, 3)
    with torch.autocast('cpu', dtype):
        output = layer(x.float())
    assert output.dtype == dtype


def test_deform_conv_offset_has_no_gradient_one_pixel_before_the_image():
    """As in mmcv: torchvision has a slope there, where all padding starts."""
    x, weight = rand(1, 2, 4, 5), rand(3, 2, 3, 3)
    offset = torch.zeros(1, 18, 4, 5, dtype=x.dtype, requires_grad=True)
    one = torch.ones(1, 9, 4, 5, dtype=x.dtype)
    outputs = (
        mmcv.ops.modulated_deform_conv2d(x, offset, one, weight, None, 1, 1),
        mmcv.ops.deform_conv2d(x, offset, weight, 1, 1),
    )
    for output in outputs:
        (grad,) = torch.autograd.grad(output.sum(), offset)
        grad = grad.view(3, 3, 2, 4, 5)
        assert not grad[0, :, :, 0].any() and not grad[:, 0, :, :, 0].any()
        inside = grad.clone()
        inside[0, :, :, 0] = inside[:, 0, :, :, 0] = 1
        # A sample on the line below or to the right of the image has none either.
        inside[2, :, :, -1] = inside[:, 2, :, :, -1] = 1
        assert inside.all()


def test_deform_conv_takes_the_first_offsets_of_a_larger_map():
    """As mmcv's kernel reads them: DyHead gives those of another level."""
    conv = mmcv.ops.ModulatedDeformConv2d(4, 6, 3, padding=1, deform_groups=2).double()
    x = rand(2, 4, 5, 5)
    offset, mask = (rand(2, n, 7, 8).requires_grad_() for n in (36, 18))

    def cut(buffer):
        channels = buffer.size(1)
        return buffer.reshape(2, -1)[:, : channels * 25].reshape(2, channels, 5, 5)

    output, expected = conv(x, offset, mask), conv(x, cut(offset), cut(mask))
    assert torch.equal(output, expected)
    for ours, theirs in zip(
        torch.autograd.grad(output.square().sum(), (offset, mask)),
        torch.autograd.grad(expected.square().sum(), (offset, mask)),
    ):
        torch.testing.assert_close(ours, theirs)
        assert ours.any()
    with pytest.raises(ValueError, match='smaller than its output'):
        conv(x, offset[..., :4, :4], mask[..., :4, :4])


@pytest.mark.parametrize('number', [math.nan, math.inf, -math.inf])
def test_positions_that_are_not_finite_are_outside_of_the_image(number):
    """Maps of odd width, at which torchvision reads outside of its memory."""
    x = rand(1, 2, 7, 7).requires_grad_()
    rois = torch.tensor([[0, 0, 0, 4, 4], [0, number, 1, 5, 5]], dtype=x.dtype)
    aligned = mmcv.ops.roi_align(x, rois, (2, 2), 1.0, 2)
    assert aligned[0].abs().min() > 0 and not aligned[1].any()
    offset = torch.zeros(1, 18, 7, 7, dtype=x.dtype)
    offset[0, 0] = number
    offset.requires_grad_()
    weight = rand(3, 2, 3, 3)
    convolved = mmcv.ops.deform_conv2d(x, offset, weight, 1, 1)
    without_first = weight.clone()
    without_first[:, :, 0, 0] = 0
    torch.testing.assert_close(convolved, F.conv2d(x, without_first, padding=1))
    grads = torch.autograd.grad(aligned.sum() + convolved.sum(), [x, offset])
    assert all(grad.isfinite().all() for grad in grads)
    assert not grads[1][0, :2].any()
