"""Heads: predictor or projectors, and the loss module.

A head's ``loss`` returns a dict of scalars: ``loss``, with gradient, and
metrics, whose names do not contain "loss".
"""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn


def mean_terms(terms: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of each key over dicts of scalars; only ``loss`` has gradient."""
    return {
        key: torch.stack([
            t[key] if key == 'loss' else t[key].detach() for t in terms
        ]).mean()
        for key in terms[0]
    }


@MODELS.register_module()
class MECHead(BaseModule):
    """Predictor and loss of MEC.

    Args:
        loss: Config of the loss module.
        predictor: Config of a neck (N, D) -> (N, D); None for a symmetric
            network.
    """

    def __init__(self, loss: dict, predictor: dict | None = None) -> None:
        super().__init__()
        self.loss_module = MODELS.build(loss)
        self.predictor = MODELS.build(predictor) if predictor else None

    def loss(self, z: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compare (N, D) projections with the detached (N, D) target."""
        if self.predictor is not None:
            z = self.predictor([z])[0]
        return self.loss_module.terms(z, target.detach())


@MODELS.register_module()
class ERHead(BaseModule):
    """Predictor, if any, and loss of ER.

    Args:
        loss: Config of the loss module.
        predictor: Config of a neck (N, D) -> (N, D) on the online branch,
            as in BYOL; None for SimCLR and DINO.
    """

    def __init__(self, loss: dict, predictor: dict | None = None) -> None:
        super().__init__()
        self.loss_module = MODELS.build(loss)
        self.predictor = MODELS.build(predictor) if predictor else None

    def loss(self,
             z1: Tensor,
             z2: Tensor,
             distill: bool = False) -> dict[str, Tensor]:
        """Compare (N, D) with (N, D), with a target if ``distill``."""
        if self.predictor is not None:
            z1 = self.predictor([z1])[0]
            if not distill:
                z2 = self.predictor([z2])[0]
        return self.loss_module(z1, z2, distill=distill)


@MODELS.register_module()
class MinEntHead(BaseModule):
    """Projectors to one or several sets of pseudo-classes, and the loss.

    Args:
        in_channels: Width of the pooled backbone feature.
        out_channels: Number of pseudo-classes, or a list of them, one per
            head; the loss is the mean over heads.
        loss: Config of the loss module.
        hid_channels: Width of the hidden layers.
        num_layers: Linear layers of a projector >= 2, with batch norm and
            ReLU between them.
        norm_cfg: Config of that batch norm.
    """

    def __init__(self,
                 in_channels: int,
                 out_channels: int | Sequence[int],
                 loss: dict,
                 hid_channels: int = 1024,
                 num_layers: int = 3,
                 norm_cfg: dict = dict(type='GlobalBN')) -> None:
        super().__init__()
        if isinstance(out_channels, int):
            out_channels = [out_channels]
        if not out_channels or min(out_channels) < 2:
            raise ValueError('out_channels must be one or several integers '
                             f'>= 2, got {out_channels}')
        if num_layers < 2:
            raise ValueError(f'num_layers must be >= 2, got {num_layers}')
        self.projectors = nn.ModuleList(
            MODELS.build(
                dict(
                    type='NonLinearNeck',
                    in_channels=in_channels,
                    hid_channels=hid_channels,
                    out_channels=width,
                    num_layers=num_layers,
                    with_bias=True,
                    with_last_bn=False,
                    with_last_bias=True,
                    with_avg_pool=False,
                    norm_cfg=norm_cfg)) for width in out_channels)
        self.loss_module = MODELS.build(loss)

    def loss(self, f1: Tensor, f2: Tensor) -> dict[str, Tensor]:
        """Compare the pooled features (N, C) of two views."""
        return mean_terms([
            self.loss_module.terms(projector([f1])[0],
                                   projector([f2])[0])
            for projector in self.projectors
        ])
