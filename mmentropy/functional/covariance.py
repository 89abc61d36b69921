"""Variance and covariance of features, as VICReg regularises them.

For errors and what is not finite see :mod:`mmentropy.functional`.

Source:
    arXiv 2105.04906; facebookresearch/vicreg@4e12602:main_vicreg.py#L194-L219.
"""

import torch
from torch import Tensor

from mmentropy.checks.arguments import POSITIVE, require
from mmentropy.checks.tensors import check_matrix
from mmentropy.functional.coding import gram


def variance_hinge(z: Tensor, eps: float = 1e-4) -> Tensor:
    """How far the standard deviations of columns are below 1, on average.

    Args:
        z: (N, D), N >= 2.
        eps: Added to the variance, > 0.

    Returns:
        Scalar in [0, 1]. Gradient flows.
    """
    require(POSITIVE, eps=eps)
    _check_rows(z)
    return torch.relu(1 - (z.var(dim=0) + eps).sqrt()).mean()


def covariance_penalty(z: Tensor) -> Tensor:
    r"""Sum of the squared covariances of different columns, divided by D.

    With :math:`\|Z^\top Z\|_F = \|Z Z^\top\|_F` it takes the cheaper of both products.

    Args:
        z: (N, D), N >= 2.

    Returns:
        Scalar >= 0. Gradient flows.
    """
    _check_rows(z)
    z = z - z.mean(dim=0)
    covariances = torch.linalg.vector_norm(gram(z)) / (len(z) - 1)
    variances = z.square().sum(dim=0) / (len(z) - 1)
    return (covariances.square() - variances.square().sum()) / z.size(1)


def _check_rows(z: Tensor) -> None:
    """Raise unless ``z`` is a matrix of two or more rows."""
    check_matrix('z', z)
    if len(z) < 2:
        raise ValueError('a variance needs at least 2 rows, got 1')
