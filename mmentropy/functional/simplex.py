r"""Distributions over K classes: entropy and reconstruction of ER.

``N`` is the number of rows. Entropies are in nats. Rows outside of the simplex give numbers without
a meaning. For errors and what is not finite see :mod:`mmentropy.functional`.

Source:
    arXiv 2307.10907, written from its formulas; compared with
    apple/ml-entropy-reconstruction@f523f11:entropy_reconstruction.py.
"""

import torch
from torch import Tensor

from mmentropy.checks.arguments import NOT_NEGATIVE, one_of, require
from mmentropy.checks.tensors import check_matrix, check_pair
from mmentropy.functional.sphere import ESTIMATORS


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
