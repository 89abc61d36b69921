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

from mmentropy.checks.arguments import NOT_NEGATIVE, one_of, require
from mmentropy.checks.tensors import check_matrix, check_pair
from mmentropy.functional.sphere import ESTIMATORS


class _CrossEntropy(torch.autograd.Function):
    """Cross-entropy of targets with a softmax, and that softmax, whose exponentials serve both."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        probs = logits.softmax(1)
        # From the largest entry, whose probability is at least 1 / K, without a sum over all.
        log_sum_exp = logits.amax(1) - probs.amax(1).log()
        ctx.save_for_backward(probs, targets)
        ctx.set_materialize_grads(False)
        return (log_sum_exp - torch.linalg.vecdot(targets, logits)).mean(), probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, grad_probs: Tensor | None) -> tuple:
        probs, targets = ctx.saved_tensors
        slope = probs - targets
        slope *= 0 if grad is None else grad / len(probs)
        if grad_probs is not None:
            inner = torch.linalg.vecdot(probs, grad_probs).unsqueeze(1)
            slope.addcmul_(probs, grad_probs - inner)
        return slope, None


def _log(probs: Tensor, eps: float) -> Tensor:
    """Logarithm, finite at 0, where its gradient is 0 for a tiny ``eps``."""
    require(NOT_NEGATIVE, eps=eps)
    if eps:
        probs = probs + eps
    return probs.clamp_min(torch.finfo(probs.dtype).tiny).log()


def discrete_entropy(probs: Tensor, estimator: str = 'plug_in', eps: float = 0.0) -> Tensor:
    r"""Entropy of a discrete assignment from its distribution per row.

    Args:
        probs: (N, K), rows in the simplex; gradient flows into it.
        estimator: ``'plug_in'``, the entropy of the mean row :math:`\bar p`, or ``'joe'``, the
            released code's :math:`-\frac1K \sum_c \log \bar p_c`. The latter is the cross-entropy
            of the uniform distribution with :math:`\bar p`: at least log K, and smallest where the
            entropy is largest.
        eps: Numerical guard inside the logarithm, 1e-7 in the released code.

    Returns:
        Scalar in nats; for ``'plug_in'`` in [0, log K] less K ``eps``.
    """
    check_matrix('probs', probs)
    require(one_of(ESTIMATORS), estimator=estimator)
    mean = probs.mean(dim=0)
    if estimator == 'joe':
        return -_log(mean, eps).mean()
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


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    r"""Mean cross-entropy of targets t with :math:`p = \mathrm{softmax}(l)`, and p itself.

    .. math:: -\frac{1}{N} \sum_i \sum_c t_{ic} \log p_{ic}

    Args:
        logits: (N, K), l; gradient flows into it from both results.
        targets: (N, K), rows in the simplex; no gradient flows into it.

    Returns:
        Scalar in nats, >= 0, and p, (N, K).
    """
    check_pair(logits=logits, targets=targets)
    return _CrossEntropy.apply(logits, targets)


def target_reconstruction(logits: Tensor, log_targets: Tensor) -> tuple[Tensor, Tensor]:
    r""":func:`discrete_reconstruction` of p = softmax(l) and fixed targets, and p itself.

    Args:
        logits: (N, K), l; gradient flows into it from both results.
        log_targets: (N, K), logarithms of rows in the simplex; no gradient flows into it.

    Returns:
        Scalar in nats, >= 0, and p, (N, K).
    """
    check_pair(logits=logits, log_targets=log_targets)
    log_targets = log_targets.detach()
    forth, probs = _CrossEntropy.apply(logits, log_targets.exp())
    back = -torch.linalg.vecdot(probs, log_targets).mean()
    return 0.5 * (forth + back), probs
