"""Appearance for mmdet's trackers of the SORT family, by a frozen backbone."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor

from mmentropy.checks.config_parts import kind_of
from mmentropy.evaluation.features import backbone_features


@MODELS.register_module()
class FrozenReID(BaseModule):
    """Embed boxes by the pooled features of a frozen backbone.

    It takes the place of mmdet's BaseReID, which needs a trained head, as ``reid`` of DeepSORT and
    StrongSORT. The backbone is initialised here: mmengine does so only before training, and a
    tracker is never trained.

    Args:
        backbone: config of a backbone, whose last output is taken. Its ``init_cfg``, or one of them
            in a list, names the checkpoint; None, or another initialiser, means random weights.

    Raises:
        ValueError: no checkpoint named; one that does not fit.
        FileNotFoundError, IsADirectoryError: there is no such file.
    """

    # The trackers ask for this in frames without boxes.
    head = SimpleNamespace(out_channels=0)

    def __init__(self, backbone: dict) -> None:
        super().__init__()
        init_cfg = backbone.get('init_cfg', {})
        inits = init_cfg if isinstance(init_cfg, list) else [init_cfg]
        if init_cfg is not None and (not init_cfg or any(map(_lacks_checkpoint, inits))):
            raise ValueError(
                'FrozenReID has no checkpoint: add --cfg-options '
                'model.reid.backbone.init_cfg.checkpoint=PATH'
            )
        self.backbone = MODELS.build(backbone)
        self.backbone.init_weights()
        self.eval()

    def train(self, mode: bool = True) -> 'FrozenReID':
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, inputs: Tensor, mode: str = 'tensor') -> Tensor:
        """Return embeddings (N, C) of length 1 of normalised crops (N, 3, H, W), without gradient.

        They have length 1 because SORTTracker takes Euclidean distances to the mean of a track.
        The trackers ask for the mode 'tensor' alone.
        """
        return F.normalize(backbone_features(self.backbone, inputs))


def _lacks_checkpoint(init_cfg: dict) -> bool:
    """Return whether an initialiser loads a checkpoint and names none."""
    return 'Pretrained' in kind_of(init_cfg) and not init_cfg.get('checkpoint')
