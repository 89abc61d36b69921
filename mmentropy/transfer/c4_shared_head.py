"""C5 of a pre-trained ResNet as the head of a C4 detector."""

from typing import Any

from mmcv.cnn import build_norm_layer
from mmdet.models.backbones import ResNet
from mmdet.models.roi_heads.shared_heads import ResLayer
from mmdet.registry import MODELS
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor

from mmentropy.weights.backbone import load_backbone
from mmentropy.weights.pretrained_backbone import PretrainedBackbone
from mmentropy.weights.reader import PathLike


@MODELS.register_module()
class ResLayerWithNorm(ResLayer):
    """A stage of ResNet and one more norm, as in MoCo.

    It is mmpretrain's ResLayerExtraNorm, which is None where mmpretrain's models were imported
    before mmentropy.

    Args:
        depth: depth of the ResNet.
        kwargs: arguments of mmdet's ResLayer, which takes stage 3, C5, by default.
    """

    def __init__(self, depth: int, **kwargs: Any) -> None:
        super().__init__(depth, **kwargs)
        block, _ = ResNet.arch_settings[depth]
        channels = 64 * 2**self.stage * block.expansion
        self.norm = build_norm_layer(self.norm_cfg, channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, 2C, H / 2, W / 2) for C5."""
        return self.norm(super().forward(x))


@WEIGHT_INITIALIZERS.register_module()
class PretrainedC5(PretrainedBackbone):
    """Initialise a C4 detector's shared head with C5 of a backbone.

    It loads all of ``layer4.*``; the norm that follows C5 keeps its initial values. Arguments and
    errors are those of :class:`mmentropy.weights.pretrained_backbone.PretrainedBackbone`, where
    ``min_match`` is a share of the keys of C5.
    """

    def __init__(
        self, checkpoint: PathLike | None = None, branch: str = 'student', min_match: float = 1.0
    ) -> None:
        super().__init__(checkpoint, branch, min_match)

    def __call__(self, module: ResLayer) -> None:
        if not self.checkpoint:
            raise ValueError(
                f'PretrainedC5 of {type(module).__name__} has no checkpoint: '
                "add to --cfg-options, beside the backbone's, "
                'model.roi_head.shared_head.init_cfg.checkpoint=PATH'
            )
        super().__call__(module)

    def load(self, module: ResLayer, path: PathLike) -> None:
        """Load the weights of this stage of a ResNet from a file."""
        part = f'layer{module.stage + 1}.'
        load_backbone(module, path, self.branch, self.min_match, part)
