r"""Self-distillation with prototypes (DINO), arXiv 2104.14294.

.. math:: L = -\frac{1}{N} \sum_i \sum_k t_{ik} \log s_{ik}, \quad
          s = \mathrm{softmax}(z / \tau_s), \quad
          t = \mathrm{softmax}((z' - c) / \tau_t)

z are cosine similarities to K prototypes, by the student for one view and by its moving average,
the teacher, for another (z'). The centre c is a running mean of z'. This is the baseline of
DINO+ER, and with ``ERLoss`` on the simplex in its head DINO+ER itself.

Source:
    arXiv 2104.14294; facebookresearch/dino@04c0ad9:main_dino.py.
"""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import get_world_size
from mmengine.model import BaseModule
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mmentropy.checks.arguments import BELOW_ONE, COUNT, DICT, POSITIVE, or_none, require
from mmentropy.checks.tensors import check_pair
from mmentropy.distributed import all_sum
from mmentropy.functional.simplex import discrete_entropy, soft_cross_entropy
from mmentropy.models.base import (
    SHARE_OF_TRAINING,
    at_least_float32,
    ema_of,
    in_full_precision,
    mean_over_pairs,
    mean_over_ranks,
    project,
    target_projections,
    warmed_up,
)
from mmentropy.models.optimizer_steps import iterations_in_a_step


@MODELS.register_module()
class DINOLoss(BaseModule):
    """Cross-entropy of the student's assignments with the teacher's.

    Args:
        temperature: Divides the student's logits, > 0.
        target_temperature: Divides the teacher's, > 0.
        warmup: Share of training, in [0, 1], over which the latter rises linearly to its value.
        warmup_target_temperature: Where it starts.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        target_temperature: float = 0.04,
        warmup: float = 0.0,
        warmup_target_temperature: float = 0.04,
    ) -> None:
        super().__init__()
        require(
            POSITIVE,
            temperature=temperature,
            target_temperature=target_temperature,
            warmup_target_temperature=warmup_target_temperature,
        )
        require(SHARE_OF_TRAINING, warmup=warmup)
        self.temperature = temperature
        self.target_temperature = target_temperature
        self.warmup = warmup
        self.warmup_target_temperature = warmup_target_temperature

    @in_full_precision
    def forward(self, z: Tensor, target: Tensor, distill: bool = True) -> dict[str, Tensor]:
        """Compare (N, K) local rows with their targets, which are detached.

        Returns:
            Scalars ``loss`` and ``reconstruction``, which are equal, and ``entropy`` of the mean
            assignment of the ``z`` of all ranks, without gradient; in nats.

        Raises:
            ValueError: Shapes differ, or not ``distill``.
        """
        if not distill:
            raise ValueError(
                'DINOLoss compares with a target network: use it in DINO, or ERLoss here'
            )
        check_pair(z=z, target=target)
        sharpening = warmed_up(self.warmup_target_temperature, self.target_temperature, self.warmup)
        targets = (target.detach() / sharpening).softmax(dim=1)
        loss, assigned = soft_cross_entropy(z, targets, self.temperature)
        assigned = all_sum(assigned.detach()) / get_world_size()
        return dict(
            loss=loss,
            entropy=discrete_entropy(assigned),
            reconstruction=loss.detach(),
        )


@MODELS.register_module()
class PrototypeNeck(BaseModule):
    """A projector followed by cosine similarities to learnt prototypes.

    Args:
        projector: Config of a neck whose output is (N, D).
        in_channels: D, the width of that output.
        num_prototypes: K.

    Source:
        The last layer of DINO's head, arXiv 2104.14294, its weight norm fixed to 1.
    """

    def __init__(self, projector: dict, in_channels: int, num_prototypes: int) -> None:
        super().__init__()
        require(DICT, projector=projector)
        require(COUNT, in_channels=in_channels, num_prototypes=num_prototypes)
        self.num_prototypes = num_prototypes
        self.projector = MODELS.build(projector)
        self.prototypes = nn.Parameter(torch.empty(num_prototypes, in_channels))
        nn.init.trunc_normal_(self.prototypes, std=0.02)

    def forward(self, x: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Feature maps to a 1-tuple of (N, K) cosines in [-1, 1]."""
        z = F.normalize(self.projector(x)[0], dim=1)
        return (z @ F.normalize(self.prototypes, dim=1).T,)


@MODELS.register_module()
class DINO(BaseSelfSupervisor):
    """Self-distillation with prototypes.

    Online assignments of all views against the targets of the two global ones. The head is a
    ``PredictorHead`` with ``DINOLoss`` or ``ERLoss``.

    Args:
        base_momentum: See :class:`~mmentropy.models.mec.MEC`; not None.
        center_momentum: Momentum, in [0, 1), of the running mean of the targets' logits over all
            ranks, which is subtracted from them, for a step of the optimiser; 0.9 in the paper.
            None: no centring, with which ``DINOLoss`` collapses.
        kwargs: See ``BaseSelfSupervisor``; the neck is a ``PrototypeNeck``.
    """

    def __init__(
        self, base_momentum: float = 0.004, center_momentum: float | None = 0.9, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        require(or_none(BELOW_ONE), center_momentum=center_momentum)
        self.target_net = ema_of(self, base_momentum, needed=True)
        self.center_momentum = center_momentum
        if center_momentum is not None:
            self.center: Tensor
            self.register_buffer('center', torch.zeros(self.neck.num_prototypes))

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Return ``loss``, ``entropy`` and ``reconstruction`` of a batch.

        Args:
            inputs: Two global views, then any number of local crops, each (N, C, H, W).
            data_samples: Unused.

        Raises:
            ValueError: Fewer than two views.
            FloatingPointError: A term is not finite.
        """
        z = project(self, inputs)
        targets = self._centred(target_projections(self, inputs[:2]))
        terms = mean_over_pairs(self.head, z, targets, distill=True)
        return mean_over_ranks('DINO', terms, z + targets)

    @torch.no_grad()
    def _centred(self, targets: list[Tensor]) -> list[Tensor]:
        """The targets minus the centre, which in training then moves towards their mean."""
        if self.center_momentum is None:
            return targets
        targets = [at_least_float32(t) for t in targets]
        centred = [t - self.center for t in targets]
        if self.training:
            mean = torch.stack([t.mean(0) for t in targets]).mean(0)
            mean = all_sum(mean) / get_world_size()
            # The iterations of one step together forget as much as one iteration alone would.
            kept = self.center_momentum ** (1 / iterations_in_a_step())
            self.center.lerp_(mean, 1 - kept)
        return centred
