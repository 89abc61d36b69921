r"""Extreme multi-patch self-supervised learning (EMP-SSL), arXiv 2304.03977.

.. math:: L = -\frac{1}{V} \sum_v \left[ \lambda \, \overline{\cos}(Z_v, \bar Z) + R(Z_v) \right],
          \quad R(Z) = \frac{1}{2} \log\det\left(I + \frac{D}{N \epsilon} Z^\top Z\right)

The rows of Z are projections of unit length, one matrix for each of V crops of N images, and the
rows of their mean are the targets of all crops. R is the coding rate of the rows of all ranks.

Source:
    arXiv 2304.03977; tsb0601/EMP-SSL@8fc3758:main.py#L78-L102, #L164, loss.py#L76-L91.
"""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor

from mmentropy.checks.arguments import NOT_NEGATIVE, POSITIVE, require
from mmentropy.checks.tensors import check_projections
from mmentropy.distributed import gather
from mmentropy.functional.coding import coding_rate
from mmentropy.functional.sphere import unit_rows
from mmentropy.models.base import in_full_precision


@MODELS.register_module()
class EMPSSLLoss(BaseModule):
    """The loss of EMP-SSL, the head of a ``JointEmbedding``.

    Args:
        invariance: lambda >= 0.
        rate: Weight >= 0 of the coding rate; with 0 the network collapses.
        eps: Distortion of the rate, > 0.
    """

    def __init__(self, invariance: float = 200.0, rate: float = 1.0, eps: float = 0.2) -> None:
        super().__init__()
        require(NOT_NEGATIVE, invariance=invariance, rate=rate)
        require(POSITIVE, eps=eps)
        self.invariance = invariance
        self.rate = rate
        self.eps = eps

    @in_full_precision
    def forward(self, *views: Tensor) -> dict[str, Tensor]:
        """Compare the views of a batch with their mean.

        Args:
            views: Two or more tensors (N, D) of local rows of any length; gradient flows into all.

        Returns:
            Scalars: ``loss``, with gradient; without it ``similarity``, the mean cosine in [-1, 1],
            and ``coding_rate`` in nats, means over views.

        Raises:
            ValueError: Fewer than two views, or shapes differ.
        """
        check_projections(views)
        rows = [unit_rows(z) for z in views]
        # The mean of z_v m / |m| over views v, where m is the mean of z_v, is |m|.
        mean = torch.stack(rows).mean(dim=0)
        similarity = torch.linalg.vector_norm(mean, dim=1).mean()
        rate = torch.stack([coding_rate(gather(z), self.eps) for z in rows]).mean()
        return dict(
            loss=-self.invariance * similarity - self.rate * rate,
            similarity=similarity.detach(),
            coding_rate=rate.detach(),
        )
