"""What MEC is with one and with two terms of its series (docs/low_orders.md)."""

import pytest
import torch
import torch.nn.functional as F
from formulas import SHAPES
from mmpretrain.models.losses import CosineSimilarityLoss

from mmentropy.functional import coding
from mmentropy.models import MECLoss


def value_and_gradients(function, *inputs):
    leaves = [x.clone().requires_grad_() for x in inputs]
    value = function(*leaves)
    return value.detach(), *torch.autograd.grad(value, leaves)


def largest_difference(ours, theirs):
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize('shape', SHAPES)
def test_order_1_is_the_loss_of_simsiam(shape):
    """The loss is the one of mmpretrain for SimSiam; lambda drops out."""
    views = torch.randn(2, *shape, dtype=torch.float64)
    theirs = value_and_gradients(CosineSimilarityLoss(), *views)
    for distortion in (0.06, 0.3):
        loss = MECLoss(distortion, taylor_order=1)
        ours = value_and_gradients(lambda p, t, loss=loss: loss(p, t)['loss'], *views)
        assert largest_difference(ours, theirs) < 1e-15


@pytest.mark.parametrize('shape', SHAPES)
def test_order_2_in_closed_form_on_both_sides(shape):
    """-Tr C / m + lambda / (2 m) Tr C^2, of the rows (m, m) and of the features (d, d)."""
    views = torch.randn(2, *shape, dtype=torch.float64)
    m, distortion = shape[0], 0.5
    lamda = 1 / (m * distortion)

    def of_the_rows(p, t):
        c = F.normalize(p) @ F.normalize(t).T
        return -c.trace() / m + lamda / (2 * m) * (c @ c).trace()

    def of_the_features(p, t):
        c = F.normalize(t).T @ F.normalize(p)
        return -c.trace() / m + lamda / (2 * m) * (c @ c).trace()

    loss = MECLoss(distortion, taylor_order=2, guard=False)
    ours = value_and_gradients(lambda p, t: loss(p, t)['loss'], *views)
    rows, features = (value_and_gradients(f, *views) for f in (of_the_rows, of_the_features))
    assert largest_difference(rows, features) < 1e-15
    assert largest_difference(ours, rows) < 1e-15


def test_order_2_squares_entries_only_where_c_is_symmetric():
    """Tr C^2 is the sum of C_ij C_ji, and that of C_ij^2 only if both views are the same."""
    p, t = F.normalize(torch.randn(2, 6, 10, dtype=torch.float64), dim=2)
    for other, same in ((p, True), (t, False)):
        c = coding.cross_gram(p, other)
        second = 2 * (c.trace() - coding.log_det_taylor(c, 2))
        assert torch.isclose(second, c.square().sum(), rtol=1e-12) == same
