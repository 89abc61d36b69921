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


def variance_and_covariance(z: Tensor, eps: float = 1e-4) -> tuple[Tensor, Tensor]:
    r"""How far standard deviations are below 1, and how large covariances are.

    With :math:`\|Z^\top Z\|_F = \|Z Z^\top\|_F` it takes the cheaper of both products.

    Args:
        z: (N, D), N >= 2.
        eps: Added to the variance, > 0.

    Returns:
        The mean over columns of max(0, 1 - standard deviation), a scalar in [0, 1]; and the sum of
        the squared covariances of different columns, divided by D, a scalar >= 0 up to rounding.
        Gradient flows.
    """
    require(POSITIVE, eps=eps)
    check_matrix('z', z)
    if len(z) < 2:
        raise ValueError('a variance needs at least 2 rows, got 1')
    z = z - z.mean(dim=0)
    # In this order the backward pass needs less memory.
    variances = torch.linalg.vector_norm(z, dim=0).square() / (len(z) - 1)
    covariances = torch.linalg.vector_norm(gram(z)) / (len(z) - 1)
    hinge = torch.relu(1 - (variances + eps).sqrt()).mean()
    return hinge, (covariances.square() - variances.square().sum()) / z.size(1)
