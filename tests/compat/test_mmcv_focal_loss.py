"""Focal losses, called as mmcv calls them."""

import pytest
import torch
from mmcv.ops import sigmoid_focal_loss, softmax_focal_loss
from mmcv_operators import HALVES, assert_equal_with_gradients, rand


def sigmoid_focal(logits, target, gamma, alpha, weight=None):
    p = logits.sigmoid()
    classes = torch.arange(logits.size(1))
    loss = torch.where(
        target[:, None] == classes,
        -alpha * (1 - p) ** gamma * p.log(),
        -(1 - alpha) * p**gamma * (1 - p).log(),
    )
    if weight is None:
        return loss
    return loss * torch.cat([weight, weight.new_ones(1)])[target][:, None]


@pytest.mark.parametrize('gamma, alpha', [(2.0, 0.25), (0.0, 0.5), (1.5, 0.9)])
@pytest.mark.parametrize('weighted', [False, True])
def test_sigmoid_focal_loss(weighted, gamma, alpha):
    logits, target = torch.randn(6, 3).double() * 3, torch.arange(6) % 4
    how = (target, gamma, alpha, rand(3) if weighted else None)
    for name, reduce in (
        ('none', torch.clone),
        ('sum', torch.sum),
        ('mean', lambda loss: loss.sum() / 6),
    ):
        assert_equal_with_gradients(
            lambda x, name=name: sigmoid_focal_loss(x, *how, name),
            lambda x, reduce=reduce: reduce(sigmoid_focal(x, *how)),
            logits,
        )


def test_sigmoid_focal_loss_at_extremes():
    logits = torch.tensor([[-200.0, 200.0], [40.0, -40.0]], requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([0, 1]), 2.0, 0.25, None, 'sum')
    # Every prediction is wrong: its loss is the logit.
    assert loss.item() == pytest.approx(0.25 * 240 + 0.75 * 240)
    loss.backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[-0.25, 0.75], [0.75, -0.25]]))


def softmax_focal(logits, target, gamma, alpha, weight=None):
    """Rows whose target is no class do not count."""
    rows = (target >= 0).nonzero()[:, 0]
    p = logits.softmax(1)[rows, target[rows]]
    loss = -alpha * (1 - p) ** gamma * p.log()
    return loss if weight is None else loss * weight[target[rows]]


@pytest.mark.parametrize('gamma, alpha', [(2.0, 0.25), (0.0, 0.5), (0.5, 0.9)])
@pytest.mark.parametrize('weighted', [False, True])
def test_softmax_focal_loss(weighted, gamma, alpha):
    logits, target = torch.randn(6, 3).double(), torch.arange(6) % 4 - 1
    how = (target, gamma, alpha, rand(3) if weighted else None)
    assert_equal_with_gradients(
        lambda x: softmax_focal_loss(x, *how), lambda x: softmax_focal(x, *how).sum() / 6, logits
    )


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
def test_softmax_focal_loss_of_certainty_has_no_gradient(gamma):
    logits = torch.tensor([[200.0, 0]], requires_grad=True)
    softmax_focal_loss(logits, torch.tensor([0]), gamma, 0.25).backward()
    assert not logits.grad.any()


@pytest.mark.parametrize('dtype', HALVES)
@pytest.mark.parametrize('loss', [sigmoid_focal_loss, softmax_focal_loss])
def test_focal_loss_of_halves_and_nothing(loss, dtype):
    logits = torch.randn(6, 3).to(dtype).requires_grad_()
    target = torch.arange(6) % 3
    exact = logits.detach().float().requires_grad_()
    ours = loss(logits, target, 2.0, 0.25, None, 'sum')
    theirs = loss(exact, target, 2.0, 0.25, None, 'sum')
    torch.testing.assert_close(ours, theirs.to(dtype), rtol=0.02, atol=0.02)
    (ours + theirs).backward()
    torch.testing.assert_close(logits.grad, exact.grad.to(dtype), rtol=0.05, atol=0.02)
    if loss is sigmoid_focal_loss:
        nothing = loss(logits[:0], target[:0], 2.0, 0.25, None, 'sum')
        assert nothing == 0
