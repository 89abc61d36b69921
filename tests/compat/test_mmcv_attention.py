"""Deformable attention, called as mmcv calls it."""

import pytest
import torch
import torch.nn.functional as F
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from mmcv_operators import HALVES, assert_equal_with_gradients, rand, sample

SHAPES = torch.tensor([[3, 4], [2, 2]])
STARTS = torch.tensor([0, 12])


def attention_tensors(dtype=torch.float64):
    """Value, locations, of which some are outside, and weights."""
    return (
        rand(2, 16, 2, 3, dtype=dtype),
        rand(2, 5, 2, 2, 3, 2, dtype=dtype) * 1.4 - 0.2,
        rand(2, 5, 2, 2, 3, dtype=dtype),
    )


def attend(value, locations, weights):
    return MultiScaleDeformableAttnFunction.apply(value, SHAPES, STARTS, locations, weights, 64)


def test_attention():
    assert_equal_with_gradients(
        attend,
        lambda value, locations, weights: multi_scale_deformable_attn_pytorch(
            value, SHAPES, locations, weights
        ),
        *attention_tensors(),
    )
    inputs = [t.requires_grad_() for t in attention_tensors()]
    assert torch.autograd.gradcheck(attend, inputs, fast_mode=True)


def test_attention_samples():
    """Against a loop, so not by grid_sample, and levels in any order."""
    value, locations, weights = attention_tensors()
    starts = torch.tensor([4, 0])
    output = MultiScaleDeformableAttnFunction.apply(value, SHAPES, starts, locations, weights, 64)
    n, query, head, channel = 1, 2, 1, 2
    expected = 0.0
    for level, (height, width) in enumerate(SHAPES.tolist()):
        start = starts[level].item()
        plane = value[n, start : start + height * width, head, channel].view(height, width)
        plane = F.pad(plane, (1, 1, 1, 1))
        for point in range(3):
            x, y = locations[n, query, head, level, point].tolist()
            expected += weights[n, query, head, level, point] * sample(
                plane, y * height + 0.5, x * width + 0.5
            )
    torch.testing.assert_close(output[n, query, head * 3 + channel], expected)


@pytest.mark.parametrize('dtype', HALVES)
def test_attention_of_halves(dtype):
    inputs = [t.requires_grad_() for t in attention_tensors(dtype)]
    exact = [t.detach().float().requires_grad_() for t in inputs]
    output, expected = attend(*inputs), attend(*exact)
    torch.testing.assert_close(output, expected.to(dtype))
    for ours, theirs in zip(
        torch.autograd.grad(output.sum(), inputs), torch.autograd.grad(expected.sum(), exact)
    ):
        torch.testing.assert_close(ours, theirs.to(dtype))
