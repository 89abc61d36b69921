"""Gradients against finite differences."""

import pytest
import torch

from mmentropy.functional import coding, simplex, sphere

TARGETS = torch.arange(24, dtype=torch.float64).view(4, 6).cos()


@pytest.mark.parametrize(
    'function',
    [
        lambda x: coding.log_det_taylor(x @ x.T, 5),
        lambda x: coding.log_det_exact(x @ x.T),
        lambda x: coding.coding_length(x, 0.1),
        lambda x: sphere.sphere_entropy(x, 3.0),
        lambda x: sphere.sphere_entropy(x, 3.0, 'joe'),
        lambda x: simplex.discrete_entropy(x.softmax(1)),
        lambda x: simplex.discrete_reconstruction(x.softmax(1), x.cos().softmax(1)),
        lambda x: simplex.soft_cross_entropy(x, TARGETS.softmax(1), 0.7),
        lambda x: simplex.target_reconstruction(x, TARGETS, 0.7, 0.4),
    ],
)
def test_gradcheck(function):
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, x)
