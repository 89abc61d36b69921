r"""SimDINO: self-distillation without prototypes, centring and temperatures, arXiv 2502.10385.

.. math:: L = -c \, \overline{\cos}_{i \neq j}(t_i, s_j)
          - \frac{1}{G} \sum_g \frac{N + D}{N D} R(S_g), \quad
          R(S) = \frac{1}{2} \log\det\left(I + \frac{D}{N \epsilon} S^\top S\right)

s and t are projections of unit length by the student and by its moving average, the teacher. The
mean cosine is that of every view with the G = 2 global views of the teacher but itself. The coding
rate R of the student's global views keeps features from collapsing; its rows are those of all
ranks. The authors' default divides the product of a rank's own rows by the number of all rows, so
that it depends on the number of GPUs; ours does not.

Source:
    arXiv 2502.10385; RobinWu218/SimDINO@8149fc4:simdino/main_dino.py#L497-L559,
    simdinov2/loss/dino_clstoken_loss.py#L88-L160.
"""

from typing import Any

import torch
from mmengine.model import BaseModule
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from torch import Tensor

from mmentropy.checks.arguments import FLAG, NOT_NEGATIVE, POSITIVE, require
from mmentropy.checks.tensors import check_projections
from mmentropy.distributed import gather
from mmentropy.functional.coding import coding_rate
from mmentropy.functional.sphere import unit_rows
from mmentropy.models.base import (
    ema_of,
    in_full_precision,
    mean_over_ranks,
    project,
    target_projections,
)


@MODELS.register_module()
class SimDINOLoss(BaseModule):
    """The loss of SimDINO, the head of a ``SimDINO``.

    Args:
        invariance: c >= 0.
        rate: Weight >= 0 of the coding rate; with 0 the network collapses.
        eps: Distortion of the rate, > 0; 0.05 in the configs of both versions, 0.5 the default of
            the first version's class.
        with_teacher: Take the rate of the mean of student and teacher, which is not made unit
            again (``expa_type=1``). The commands of both versions do; False is the default of the
            first version's class.
    """

    def __init__(
        self,
        invariance: float = 1.0,
        rate: float = 1.0,
        eps: float = 0.05,
        with_teacher: bool = False,
    ) -> None:
        super().__init__()
        require(NOT_NEGATIVE, invariance=invariance, rate=rate)
        require(POSITIVE, eps=eps)
        require(FLAG, with_teacher=with_teacher)
        self.invariance = invariance
        self.rate = rate
        self.eps = eps
        self.with_teacher = with_teacher

    @in_full_precision
    def forward(self, *views: Tensor, teachers: int = 2) -> dict[str, Tensor]:
        """Compare the views of the student with those of the teacher.

        Args:
            views: Tensors (N, D) of local rows of any length: the student's views, those that the
                teacher saw before the others, then the teacher's, which are detached.
            teachers: How many are the teacher's.

        Returns:
            Scalars: ``loss``, with gradient; without it ``similarity``, the mean cosine in [-1, 1],
            and ``coding_rate``, (N + D) / (N D) R, the mean over global views.

        Raises:
            ValueError: Fewer than two views, or shapes differ.
        """
        check_projections(views)
        rows = [unit_rows(z) for z in views]
        students, targets = rows[:-teachers], [t.detach() for t in rows[-teachers:]]
        similarity = torch.stack(
            [
                (t * s).sum(dim=1).mean()
                for i, t in enumerate(targets)
                for j, s in enumerate(students)
                if i != j
            ]
        ).mean()
        rate = torch.stack([self.scaled_rate(s, t) for s, t in zip(students, targets)]).mean()
        return dict(
            loss=-self.invariance * similarity - self.rate * rate,
            similarity=similarity.detach(),
            coding_rate=rate.detach(),
        )

    def scaled_rate(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(N + D) / (N D) R of a view, of the rows of all ranks."""
        rows = gather((student + teacher) / 2 if self.with_teacher else student)
        n, d = rows.shape
        return (n + d) / (n * d) * coding_rate(rows, self.eps)


@MODELS.register_module()
class SimDINO(BaseSelfSupervisor):
    """Self-distillation with a coding rate in place of prototypes.

    Student projections of all views against the teacher's of the two global ones. The neck
    projects; rows are made unit by the loss.

    Args:
        base_momentum: See :class:`~mmentropy.models.mec.MEC`; 0.004 in the first version, 0.1 in
            the configs of the second; not None.
        kwargs: See ``BaseSelfSupervisor``; the head is a ``SimDINOLoss``.
    """

    def __init__(self, base_momentum: float = 0.004, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_net = ema_of(self, base_momentum, needed=True)

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Return ``loss``, ``similarity`` and ``coding_rate`` of a batch.

        Args:
            inputs: Two global views, then any number of local crops, each (N, C, H, W).
            data_samples: Unused.

        Raises:
            ValueError: Fewer than two views.
            FloatingPointError: A term is not finite.
        """
        z = project(self, inputs)
        targets = target_projections(self, inputs[:2])
        terms = self.head(*z, *targets, teachers=len(targets))
        return mean_over_ranks('SimDINO', terms, z + targets)
