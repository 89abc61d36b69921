"""An algorithm without target network and predictor, symmetric over any number of views.

VICReg, EMP-SSL, I-VNE+, FroSSL, MMCR, CorInfoMax, INTL and LeJEPA differ in their objective alone.
It is the head of this algorithm: a loss module that takes the projections of all views.
"""

from typing import Any

import torch
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from torch import Tensor

from mmentropy.checks.arguments import FLAG, require
from mmentropy.models.base import check_parts, check_views, mean_over_ranks


@MODELS.register_module()
class JointEmbedding(BaseSelfSupervisor):
    """Backbone and projector, trained by one objective of all views.

    Args:
        together: Views of one size pass the network as one batch, so that batch norm takes its
            statistics over all of them. If False, every view passes alone, with statistics of its
            own; the recipes follow the authors' code in this.
        kwargs: See ``BaseSelfSupervisor``; the neck projects, the head is a loss module that is
            called with the projections (N, D) of all views and returns a dict of scalars.
    """

    def __init__(self, together: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        require(FLAG, together=together)
        check_parts(self)
        self.together = together

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Return ``loss`` and the metrics of the objective.

        Args:
            inputs: Two or more views, each (N, C, H, W), of any sizes.
            data_samples: Unused.

        Raises:
            ValueError: Fewer than two views.
            FloatingPointError: A term is not finite.
        """
        check_views(self, inputs)
        z = self.projections(inputs)
        return mean_over_ranks(type(self.head).__name__, self.head(*z), z)

    def projections(self, views: list[Tensor]) -> list[Tensor]:
        """Projections (N, D) of views (N, C, H, W), in their order."""
        groups: dict[Any, list[int]] = {}
        for index, view in enumerate(views):
            groups.setdefault(view.shape if self.together else index, []).append(index)
        found: dict[int, Tensor] = {}
        for members in groups.values():
            # The views of an image are neighbours, so that a part of the rows has whole images.
            rows = torch.stack([views[i] for i in members], dim=1).flatten(0, 1)
            z = self.neck(self.backbone(rows))[0]
            found.update(zip(members, z.unflatten(0, (-1, len(members))).unbind(dim=1)))
        return [found[index] for index in range(len(views))]
