r"""Variance, invariance and covariance (VICReg), arXiv 2105.04906.

.. math:: L = \lambda \, \mathrm{mse}(Z, Z') + \frac{\mu}{2} (v(Z) + v(Z')) + \nu (c(Z) + c(Z'))

v is how far the standard deviations of the columns are below 1, c the sum of the squared
off-diagonal covariances divided by D. Statistics are those of the rows of all ranks. Of more than
two views the loss is the mean over their pairs.

Source:
    arXiv 2105.04906; facebookresearch/vicreg@4e12602:main_vicreg.py#L194-L219, which
    halves the variance term.
"""

from itertools import combinations

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor

from mmentropy.checks.arguments import NOT_NEGATIVE, require
from mmentropy.checks.tensors import check_projections
from mmentropy.distributed import gather
from mmentropy.functional.covariance import variance_and_covariance
from mmentropy.models.base import in_full_precision


@MODELS.register_module()
class VICRegLoss(BaseModule):
    """The loss of VICReg, the head of a ``JointEmbedding``.

    Args:
        invariance: lambda >= 0.
        variance: mu >= 0; with 0 and ``covariance=0`` the network collapses.
        covariance: nu >= 0.
    """

    def __init__(
        self, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
    ) -> None:
        super().__init__()
        require(NOT_NEGATIVE, invariance=invariance, variance=variance, covariance=covariance)
        self.invariance = invariance
        self.variance = variance
        self.covariance = covariance

    @in_full_precision
    def forward(self, *views: Tensor) -> dict[str, Tensor]:
        """Compare the views of a batch.

        Args:
            views: Two or more tensors (N, D) of local rows; gradient flows into all of them.

        Returns:
            Scalars: ``loss``, with gradient; without it ``invariance``, the mean squared difference
            of views, ``variance``, v in [0, 1], and ``covariance``, c >= 0 up to rounding, means
            over views.

        Raises:
            ValueError: Fewer than two views, shapes differ, or there is a single row in all.
        """
        check_projections(views)
        invariance = torch.stack([F.mse_loss(a, b) for a, b in combinations(views, 2)]).mean()
        spreads = [variance_and_covariance(gather(z)) for z in views]
        variance, covariance = (torch.stack(terms).mean() for terms in zip(*spreads, strict=True))
        loss = (
            self.invariance * invariance
            + self.variance * variance
            # It is summed over both views.
            + 2 * self.covariance * covariance
        )
        terms = dict(invariance=invariance, variance=variance, covariance=covariance)
        return dict(loss=loss, **{name: term.detach() for name, term in terms.items()})
