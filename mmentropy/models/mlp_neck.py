"""A projector without batch norm: that of DINO and SimDINO, with GELU, and of CorInfoMax."""

from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mmentropy.checks.arguments import COUNT, FLAG, SEVERAL, require

TRUNCATED_NORMAL = dict(type='TruncNormal', layer='Linear', std=0.02)


@MODELS.register_module()
class MLPNeck(BaseModule):
    """Linear layers with an activation between two of them, and no norm.

    mmpretrain's ``NonLinearNeck`` has a batch norm behind each layer and ReLU.

    Args:
        in_channels: Width of the features.
        hid_channels: Width of the hidden layers.
        out_channels: D.
        num_layers: Number of linear layers >= 2.
        act_cfg: Config of the activation.
        with_last_bias: Let the last layer have a bias; all others have.
        with_avg_pool: Average feature maps (N, C, H, W); if False, features are (N, C), as the
            class token of a transformer.
        init_cfg: A truncated normal of 0.02, as in the code of DINO; None for torch's own.

    Source:
        RobinWu218/SimDINO@8149fc4:simdino/vision_transformer.py#L255-L291 (``DINOHead``);
        serdarozsoy/corinfomax-ssl@c0b917e:cifars-tiny/model_base_resnet.py.
    """

    def __init__(
        self,
        in_channels: int,
        hid_channels: int,
        out_channels: int,
        num_layers: int = 3,
        act_cfg: dict[str, Any] = dict(type='GELU'),
        with_last_bias: bool = True,
        with_avg_pool: bool = True,
        init_cfg: dict | None = TRUNCATED_NORMAL,
    ) -> None:
        super().__init__(init_cfg)
        require(
            COUNT, in_channels=in_channels, hid_channels=hid_channels, out_channels=out_channels
        )
        require(SEVERAL, num_layers=num_layers)
        require(FLAG, with_last_bias=with_last_bias, with_avg_pool=with_avg_pool)
        self.with_avg_pool = with_avg_pool
        widths = [in_channels, *[hid_channels] * (num_layers - 1)]
        layers: list[nn.Module] = []
        for ins, outs in zip(widths, widths[1:]):
            layers += [nn.Linear(ins, outs), MODELS.build(act_cfg)]
        self.layers = nn.Sequential(
            *layers, nn.Linear(hid_channels, out_channels, bias=with_last_bias)
        )

    def forward(self, x: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Feature maps, or class tokens, to a 1-tuple of projections (N, D)."""
        features = F.adaptive_avg_pool2d(x[-1], 1) if self.with_avg_pool else x[-1]
        return (self.layers(features.flatten(1)),)
