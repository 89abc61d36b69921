r"""Distributions over K classes: entropy and reconstruction of ER.

``N`` is the number of rows. Entropies are in nats. Rows outside of the simplex give numbers without
a meaning. For errors and what is not finite see :mod:`mmentropy.functional`.

Source:
    arXiv 2307.10907, written from its formulas; compared with
    apple/ml-entropy-reconstruction@f523f11:entropy_reconstruction.py.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmentropy.checks.arguments import NOT_NEGATIVE, POSITIVE, require
from mmentropy.checks.tensors import check_matrix, check_pair


class _Assignment(torch.autograd.Function):
    """What comparisons need of p = softmax(l / T), computed in as few passes over it as possible.

    Returns the cross-entropy of the targets t with p, the mean product <p, w>, and the mean of p
    over the rows (1, K). The first two are means over the rows, too. All have their gradient in l.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, temperature: float, targets: Tensor, weights: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        logits = logits / temperature
        probs = logits.softmax(1)
        cross = _log_sum_exp(logits, probs) - torch.linalg.vecdot(targets, logits)
        product = None if weights is None else torch.linalg.vecdot(probs, weights)
        # A product of matrices is faster here than a mean over the first dimension.
        mean = probs.new_full((1, len(probs)), 1 / len(probs)) @ probs
        ctx.save_for_backward(probs, targets, weights, product)
        ctx.temperature = temperature
        return cross.mean(), None if product is None else product.mean(), mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_cross: Tensor, to_product: Tensor | None, to_mean: Tensor) -> tuple:
        probs, targets, weights, product = ctx.saved_tensors
        share = 1 / (len(probs) * ctx.temperature)
        to_cross, row = share * to_cross, share * to_mean
        # In l / T, a gradient r in p is p * (r - <p, r>), and that of the cross-entropy p - t.
        # Together they are p * (r + rest) - t, each with its factor.
        rest = to_cross - probs @ row.T
        if weights is None:
            slope = row + rest
        else:
            to_product = share * to_product
            slope = torch.addcmul(row, weights, to_product)
            slope += rest - to_product * product.unsqueeze(1)
        slope *= probs
        return slope.addcmul_(targets, -to_cross), None, None, None


def _log_sum_exp(logits: Tensor, probs: Tensor) -> Tensor:
    """Return log sum exp of each row of logits (N, K), from ``probs``, their softmax."""
    # The largest probability is at least 1 / K, so that its logarithm is exact enough.
    return logits.amax(1) - probs.amax(1).log()


def _log(probs: Tensor, eps: float) -> Tensor:
    """Logarithm of ``probs`` + ``eps``, finite at 0; without ``eps`` its gradient there is 0."""
    require(NOT_NEGATIVE, eps=eps)
    if eps:
        probs = probs + eps
    return probs.clamp_min(torch.finfo(probs.dtype).tiny).log()


def discrete_entropy(probs: Tensor, eps: float = 0.0) -> Tensor:
    """Entropy of a discrete assignment, that of the mean of its distributions per row.

    Args:
        probs: (N, K), rows in the simplex; gradient flows into it.
        eps: Numerical guard inside the logarithm, 1e-7 in the released code.

    Returns:
        Scalar in nats, in [0, log K] less K ``eps``.
    """
    check_matrix('probs', probs)
    mean = probs.mean(dim=0)
    return -(mean * _log(mean, eps)).sum()


def discrete_reconstruction(p1: Tensor, p2: Tensor, eps: float = 0.0) -> Tensor:
    r"""Mean cross-entropy of two assignments, averaged over directions.

    .. math:: -\frac{1}{2N} \sum_i \sum_c p_1 \log p_2 + p_2 \log p_1

    Args:
        p1: (N, K), rows in the simplex.
        p2: (N, K), likewise; row i belongs to row i of ``p1``.
        eps: Numerical guard inside the logarithm.

    Returns:
        Scalar in nats, >= 0 for ``eps`` = 0. Gradient flows into both arguments.
    """
    check_pair(p1=p1, p2=p2)
    cross = p1 * _log(p2, eps) + p2 * _log(p1, eps)
    return -0.5 * cross.sum(dim=1).mean()


def soft_cross_entropy(
    logits: Tensor, targets: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    r"""Mean cross-entropy of targets t with :math:`p = \mathrm{softmax}(l / T)`, and the mean of p.

    .. math:: -\frac{1}{N} \sum_i \sum_c t_{ic} \log p_{ic}

    Args:
        logits: (N, K), l; gradient flows into it from both results.
        targets: (N, K), rows in the simplex; no gradient flows into it.
        temperature: T, above 0.

    Returns:
        Scalar in nats, >= 0, and the mean of p over the rows, (1, K).
    """
    check_pair(logits=logits, targets=targets)
    require(POSITIVE, temperature=temperature)
    value, _, mean = _Assignment.apply(logits, temperature, targets, None)
    return value, mean


def target_reconstruction(
    logits: Tensor,
    target_logits: Tensor,
    temperature: float = 1.0,
    target_temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    r""":func:`discrete_reconstruction` of two softmaxes, the second one fixed.

    Args:
        logits: (N, K), of :math:`p_1 = \mathrm{softmax}(l_1 / T_1)`; gradient flows into it from
            both results.
        target_logits: (N, K), of :math:`p_2 = \mathrm{softmax}(l_2 / T_2)`; no gradient flows into
            it.
        temperature: :math:`T_1`, above 0.
        target_temperature: :math:`T_2`, above 0.

    Returns:
        Scalar in nats, >= 0, and the mean of :math:`p_1` over the rows, (1, K).
    """
    check_pair(logits=logits, target_logits=target_logits)
    require(POSITIVE, temperature=temperature, target_temperature=target_temperature)
    other = target_logits.detach() / target_temperature
    targets = other.softmax(1)
    forth, product, mean = _Assignment.apply(logits, temperature, targets, other)
    # log p2 is its logits less one number per row, so that no second matrix is made.
    back = _log_sum_exp(other, targets).mean() - product
    return 0.5 * (forth + back), mean
