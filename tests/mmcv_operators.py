"""What tests of the operators that stand in for mmcv's compiled ones share.

A test file that imports this is skipped where mmcv's own operators are compiled.
"""

import math
from importlib.util import find_spec

import pytest
import torch

from mmentropy.compat import mmcv_extension

# Importing mmentropy lets the operators be found, and mmcv.ops be imported.
if find_spec('mmcv._ext').origin != mmcv_extension.__file__:
    pytest.skip('this mmcv has compiled ops', allow_module_level=True)

HALVES = [torch.float16, torch.bfloat16]


def rand(*shape, dtype=torch.float64):
    return torch.rand(*shape, dtype=dtype)


def assert_equal_with_gradients(ours, theirs, *inputs):
    """Value and gradients agree, and no gradient is zero altogether."""
    results = []
    for function in (ours, theirs):
        leaves = [x.detach().clone().requires_grad_() for x in inputs]
        value = function(*leaves)
        by = torch.linspace(-1, 2, value.numel(), dtype=value.dtype)
        grads = torch.autograd.grad(value, leaves, by.view_as(value))
        results.append((value, *grads))
    for our, their in zip(*results):
        assert their.abs().max() > 1e-6
        torch.testing.assert_close(our, their, rtol=1e-9, atol=1e-9)


def sample(plane, y, x):
    """Bilinear; outside the outer pixel centres the nearest, then zero."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return plane.new_zeros(())
    y, x = (min(max(at, 0.0), n - 1.0) for at, n in ((y, height), (x, width)))
    value = 0.0
    for i in (math.floor(y), math.floor(y) + 1):
        for j in (math.floor(x), math.floor(x) + 1):
            weight = (1 - abs(y - i)) * (1 - abs(x - j))
            if weight > 0:
                value = value + weight * plane[i, j]
    return value
