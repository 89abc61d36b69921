r"""Correlative information maximisation (CorInfoMax), arXiv 2209.07999.

.. math:: L = \alpha \, \mathrm{mse}(Z, Z') - \frac{1}{D} \left[
          \log\det(R + \epsilon I) + \log\det(R' + \epsilon I) \right]

R and R' are running covariances of the two views, updated by each batch before they are used, so
that gradient flows through the share of this batch:

.. math:: \mu \leftarrow l \mu + (1 - l) \bar z, \quad
          R \leftarrow l R + (1 - l) \frac{1}{N} \sum_i (z_i - \mu) (z_i - \mu)^\top

The rows are projections of unit length, those of all ranks. Of more than two views the loss is
the mean over their pairs.

Source:
    arXiv 2209.07999; serdarozsoy/corinfomax-ssl@c0b917e:cifars-tiny/loss.py#L7-L66.
"""

from itertools import combinations

import torch
import torch.nn.functional as F
from mmengine.dist import get_world_size
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor

from mmentropy.checks.arguments import BELOW_ONE, COUNT, NOT_NEGATIVE, POSITIVE, SEVERAL, require
from mmentropy.checks.tensors import check_projections
from mmentropy.distributed import all_sum
from mmentropy.functional.coding import half_log_det, second_moment
from mmentropy.functional.sphere import unit_rows
from mmentropy.models.base import in_full_precision


@MODELS.register_module()
class CorInfoMaxLoss(BaseModule):
    """The loss of CorInfoMax, the head of a ``JointEmbedding``.

    The running statistics are buffers in float64, in which the determinant is computed too. They
    move in training only, and are the same on all ranks.

    Args:
        in_channels: D.
        views: Number of views, each with statistics of its own.
        invariance: alpha >= 0; 250 for CIFAR-10, 1000 for CIFAR-100.
        spread: Weight >= 0 of the determinants; with 0 the network collapses.
        momentum: l in [0, 1), the share of the past in the running statistics.
        eps: Added to the eigenvalues, > 0.
    """

    mean: Tensor
    covariance: Tensor

    def __init__(
        self,
        in_channels: int,
        views: int = 2,
        invariance: float = 250.0,
        spread: float = 1.0,
        momentum: float = 0.01,
        eps: float = 1e-8,
    ) -> None:
        super().__init__()
        require(COUNT, in_channels=in_channels)
        require(SEVERAL, views=views)
        require(NOT_NEGATIVE, invariance=invariance, spread=spread)
        require(BELOW_ONE, momentum=momentum)
        require(POSITIVE, eps=eps)
        self.invariance = invariance
        self.spread = spread
        self.momentum = momentum
        self.eps = eps
        eye = torch.eye(in_channels, dtype=torch.float64)
        self.register_buffer('mean', torch.zeros(views, in_channels, dtype=torch.float64))
        self.register_buffer('covariance', eye.repeat(views, 1, 1))

    @in_full_precision
    def forward(self, *views: Tensor) -> dict[str, Tensor]:
        """Compare the views of a batch, and in training move the statistics.

        Args:
            views: Tensors (N, D) of local rows of any length, as many as there are statistics;
                gradient flows into all.

        Returns:
            Scalars: ``loss``, with gradient; without it ``invariance``, the mean squared difference
            of views, and ``log_det``, the mean over views of log det / D.

        Raises:
            ValueError: Another number of views or width, or shapes differ.
        """
        check_projections(views)
        expected, found = tuple(self.mean.shape), (len(views), views[0].size(1))
        if found != expected:
            raise ValueError(
                f'CorInfoMaxLoss keeps statistics of {expected[0]} views of width {expected[1]}, '
                f'got {found[0]} of width {found[1]}: set views and in_channels'
            )
        rows = [unit_rows(z) for z in views]
        invariance = torch.stack([F.mse_loss(a, b) for a, b in combinations(rows, 2)]).mean()
        log_dets = [self.log_det(index, z) for index, z in enumerate(rows)]
        log_det = torch.stack(log_dets).mean().to(invariance.dtype)
        return dict(
            # The determinants are summed over both views.
            loss=self.invariance * invariance - 2 * self.spread * log_det,
            invariance=invariance.detach(),
            log_det=log_det.detach(),
        )

    def log_det(self, view: int, z: Tensor) -> Tensor:
        """Log determinant of R + eps I, divided by D, in float64, after a view with rows (N, D)."""
        n, d = len(z) * get_world_size(), z.size(1)
        found = all_sum(z.sum(dim=0, dtype=torch.float64)) / n
        mean = self.mean[view].lerp(found, 1 - self.momentum)
        # In place, for a matrix of (D, D) is large.
        covariance = all_sum(second_moment(z.double() - mean)).mul_((1 - self.momentum) / n)
        covariance.add_(self.covariance[view], alpha=self.momentum)
        if self.training:
            self.mean[view] = mean.detach()
            self.covariance[view] = covariance.detach()
        return 2 / d * half_log_det(covariance, shift=self.eps)
