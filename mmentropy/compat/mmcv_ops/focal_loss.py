"""Focal losses.

Their logarithms are exact, where mmcv's, of a rounded sigmoid, end at log(FLT_MIN). A target (N,)
may be no class; ``weight`` is (C,), by class of the target, or empty.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mmentropy.compat.mmcv_ops.operators import add_gradients, operator, widen_halves


def _one_hot(target: Tensor, weight: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """One-hot targets (N, C), and the weight of each one's class (N,), 0 for what is no class."""
    one_hot = target[:, None] == torch.arange(classes, device=target.device)
    return one_hot, (one_hot * (weight if weight.numel() else weight.new_ones(1))).sum(1)


def _sigmoid_focal(
    input: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float
) -> Tensor:
    (weight,) = widen_halves(weight)
    one_hot, weights = _one_hot(target, weight, input.size(1))
    # A label that is no class stands for the background, whose weight is 1.
    weights = torch.where(one_hot.any(1), weights, 1)
    # The sigmoid of z should be 1.
    z = torch.where(one_hot, input, -input)
    factor = input.new_tensor([1 - alpha, alpha])[one_hot.long()] * weights[:, None]
    return -factor * (gamma * F.logsigmoid(-z)).exp() * F.logsigmoid(z)


@operator
def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Loss of each logit of ``input`` (N, C) into ``output`` (N, C)."""
    (input,) = widen_halves(input)
    output.copy_(_sigmoid_focal(input, target, weight, gamma, alpha))


@operator
def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Gradient of the loss's sum, into ``grad_input`` (N, C)."""
    grad_input.zero_()
    loss = partial(_sigmoid_focal, target=target, weight=weight, gamma=gamma, alpha=alpha)
    add_gradients(loss, [input], torch.ones_like(input), [grad_input])


@operator
def softmax_focal_loss_forward(
    softmax: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Loss of each row of ``softmax`` (N, C) into ``output`` (N,)."""
    softmax, weight = widen_halves(softmax, weight)
    one_hot, weights = _one_hot(target, weight, softmax.size(1))
    p = (softmax * one_hot).sum(1)
    tiny = torch.finfo(p.dtype).tiny
    output.copy_(-alpha * weights * (1 - p) ** gamma * p.clamp(min=tiny).log())


@operator
def softmax_focal_loss_backward(*tensors: Tensor, gamma: float, alpha: float) -> None:
    """Gradient of the loss's sum by logits, into the last of ``tensors`` (N, C)."""
    softmax, target, weight, _, grad_input = tensors
    softmax, weight = widen_halves(softmax, weight)
    one_hot, weights = _one_hot(target, weight, softmax.size(1))
    p = (softmax * one_hot).sum(1)
    tiny = torch.finfo(p.dtype).tiny
    # The power would be infinite where gamma is below 1 and p is 1, and log p is 0 there.
    power = (1 - p).clamp(min=tiny) ** (gamma - 1)
    slope = gamma * power * p * p.clamp(min=tiny).log() - (1 - p) ** gamma
    grad_input.copy_((alpha * weights * slope)[:, None] * (one_hot.to(p.dtype) - softmax))
