"""Neck with prototypes, for objectives on the simplex."""

import torch
import torch.nn.functional as torch_f
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mmentropy.checks.arguments import COUNT, DICT, require


@MODELS.register_module()
class PrototypeNeck(BaseModule):
    """A projector followed by cosine similarities to learnt prototypes.

    Args:
        projector: Config of a neck whose output is (N, D).
        in_channels: D, the width of that output.
        num_prototypes: K.

    Source:
        The last layer of DINO's head, arXiv 2104.14294, its weight norm
        fixed to 1.
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
        z = torch_f.normalize(self.projector(x)[0], dim=1)
        return (z @ torch_f.normalize(self.prototypes, dim=1).T,)
