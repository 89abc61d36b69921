r"""LeJEPA: views agree, and their features are made standard normal (SIGReg), arXiv 2511.08544.

.. math:: L = \frac{1 - \lambda}{V} \sum_v \mathrm{mse}\left(Z_v, \frac{1}{G} \sum_{g \le G} Z_g
          \right) + \frac{\lambda}{V} \sum_v \mathrm{SIGReg}(Z_v)

The first G of V views are global. SIGReg projects the rows of all ranks onto K random directions,
new ones in each iteration, and is the mean of the statistics of Epps and Pulley
(:mod:`mmentropy.functional.normality`). Nothing is normalised, and there are no negatives.

Source:
    arXiv 2511.08544; nothing is taken from rbalestr-lab/lejepa, whose licence is CC BY-NC.
"""

import torch
from mmengine.dist import get_world_size
from mmengine.logging import MessageHub
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor

from mmentropy.checks.arguments import COUNT, INDEX, SEVERAL, SHARE, require
from mmentropy.checks.tensors import check_projections
from mmentropy.distributed import all_sum
from mmentropy.functional.normality import characteristic, epps_pulley, random_directions
from mmentropy.models.base import in_full_precision
from mmentropy.views.preprocessor import seed_of


@MODELS.register_module()
class LeJEPALoss(BaseModule):
    """The loss of LeJEPA, the head of a ``JointEmbedding``.

    The directions depend on the seed and the iteration only: they are the same on all ranks and in
    a resumed run. In eval mode, in which a loss is validated, and outside of a Runner's training,
    where nothing counts iterations, they stay.

    Args:
        weight: lambda in [0, 1], 0.02 to 0.05 in the paper; with 0 the network collapses.
        directions: K, 256 to 1024 in the paper.
        knots: Number of knots >= 2 of the integral.
        global_views: G >= 1; the views from there on are compared, and are no targets.
        seed: That of the directions.
    """

    def __init__(
        self,
        weight: float = 0.05,
        directions: int = 1024,
        knots: int = 17,
        global_views: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require(SHARE, weight=weight)
        require(COUNT, directions=directions, global_views=global_views)
        require(SEVERAL, knots=knots)
        require(INDEX, seed=seed)
        self.weight = weight
        self.directions = directions
        self.knots = knots
        self.global_views = global_views
        self.seed = seed

    @in_full_precision
    def forward(self, *views: Tensor) -> dict[str, Tensor]:
        """Compare the views of a batch with the mean of the global ones.

        Args:
            views: Two or more tensors (N, D) of local rows; gradient flows into all.

        Returns:
            Scalars: ``loss``, with gradient; without it ``invariance``, the mean squared difference
            from the mean, and ``sigreg`` >= 0, about 1 for rows that are standard normal.

        Raises:
            ValueError: Fewer than two views, or shapes differ.
        """
        check_projections(views)
        z = torch.stack(views)
        center = z[: self.global_views].mean(dim=0)
        invariance = (z - center).square().mean()
        directions = self.drawn_directions(z)
        sigreg = torch.stack([self.sigreg(view, directions) for view in views]).mean()
        return dict(
            loss=(1 - self.weight) * invariance + self.weight * sigreg,
            invariance=invariance.detach(),
            sigreg=sigreg.detach(),
        )

    def drawn_directions(self, z: Tensor) -> Tensor:
        """Unit columns (D, K) of this iteration for D channels, the same on all ranks.

        In eval mode they are those of the first iteration.
        """
        counted = MessageHub.get_current_instance().get_info('iter') if self.training else None
        iteration = counted or 0
        seed = seed_of(self.seed, iteration)
        return random_directions(z.size(-1), self.directions, seed).to(z)

    def sigreg(self, z: Tensor, directions: Tensor) -> Tensor:
        """Mean statistic along directions (D, K) of local rows (N, D) and those of other ranks."""
        means = characteristic(z @ directions, self.knots)
        world = get_world_size()
        return epps_pulley(all_sum(means) / world, len(z) * world)
