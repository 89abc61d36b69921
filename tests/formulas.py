"""Comparing two implementations of a formula."""

import math

import torch
import torch.nn.functional as F

SHAPES = [(6, 10), (8, 8), (12, 5)]


def value_of(loss):
    """A loss module as a function whose result is its loss alone."""
    return lambda *inputs: loss(*inputs)['loss']


def unit_rows(n, d):
    return F.normalize(torch.randn(n, d, dtype=torch.float64), dim=1)


def log_sphere_area(dim):
    """Log of the area of the unit sphere in ``dim`` dimensions."""
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


def assert_value_and_gradient(ours, theirs, *inputs):
    """Both functions agree to 1e-10, relative, in value and gradients."""
    results = []
    for function in (ours, theirs):
        leaves = [x.detach().clone().requires_grad_() for x in inputs]
        value = function(*leaves)
        results.append((value, torch.autograd.grad(value, leaves)))
    (value1, grads1), (value2, grads2) = results
    torch.testing.assert_close(value1, value2, rtol=1e-10, atol=1e-10)
    for grad1, grad2 in zip(grads1, grads2):
        assert grad2.abs().max() > 1e-6
        torch.testing.assert_close(grad1, grad2, rtol=1e-10, atol=1e-12)
