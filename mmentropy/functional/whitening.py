"""Whitening by Newton's iteration, as INTL has it.

For errors and what is not finite see :mod:`mmentropy.functional`.

Source:
    arXiv 2305.16789; winci-ai/INTL@0aa69af:methods/whitening.py#L49-L60.
"""

import torch
from torch import Tensor

from mmentropy.checks.arguments import COUNT, require
from mmentropy.checks.tensors import check_matrix
from mmentropy.functional.coding import gram


def iterative_whitening(x: Tensor, iterations: int = 4) -> Tensor:
    r"""Center columns and make them nearly uncorrelated.

    .. math:: P_0 = I, \quad P_{k+1} = \frac{1}{2} (3 P_k - P_k^3 \Sigma / \mathrm{tr} \Sigma),
              \quad \hat X = X P_n / \sqrt{\mathrm{tr} \Sigma}

    The eigenvalues of the covariance of :math:`\hat X` go to 1 as n grows; for few iterations the
    small ones stay below.

    Args:
        x: (M, K), M >= 2 samples of K variables.
        iterations: n >= 1.

    Returns:
        (M, K). Gradient flows. A batch of equal rows gives zeros.
    """
    require(COUNT, iterations=iterations)
    check_matrix('x', x)
    if len(x) < 2:
        raise ValueError('a covariance needs at least 2 samples, got 1')
    x = x - x.mean(dim=0)
    # Either product of x with itself serves: P is a series in it, and X f(X^T X) = f(X X^T) X.
    sigma = gram(x) / (len(x) - 1)
    trace = sigma.trace().clamp_min(torch.finfo(x.dtype).tiny)
    sigma = sigma / trace
    eye = torch.eye(len(sigma), dtype=x.dtype, device=x.device)
    projection = 1.5 * eye - 0.5 * sigma
    for _ in range(iterations - 1):
        cubed = projection @ projection @ projection
        projection = torch.addmm(projection, cubed, sigma, beta=1.5, alpha=-0.5)
    white = projection @ x if len(x) <= x.size(1) else x @ projection
    return white * trace.rsqrt()
