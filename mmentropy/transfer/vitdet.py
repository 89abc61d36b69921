"""A plain ViT as the backbone of a detector, as in ViTDet."""

from collections.abc import Callable, Sequence
from functools import partial

import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from mmpretrain.models.utils import LayerNorm2d
from torch import Tensor, nn


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Five scales, each from the last map of a plain ViT and from it alone.

    Source: arXiv 2203.16527, section 3, and
    facebookresearch/detectron2@02b5c4e2:detectron2/modeling/backbone/vit.py, SimpleFeaturePyramid.
    mmdet has it in its folder of projects, which is not installed.

    Args:
        in_channels: channels C of the map, a multiple of 4.
        out_channels: channels of every scale.
        init_cfg: see mmengine's BaseModule.

    Raises:
        ValueError: in_channels is no multiple of 4; in forward, there is not one map (N, C, H, W).
    """

    def __init__(
        self, in_channels: int, out_channels: int = 256, init_cfg: dict | list[dict] | None = None
    ) -> None:
        super().__init__(init_cfg)
        if in_channels % 4:
            raise ValueError(
                f'in_channels of SimpleFeaturePyramid must be a multiple of 4, got {in_channels}'
            )
        half, quarter = in_channels // 2, in_channels // 4
        double = partial(nn.ConvTranspose2d, kernel_size=2, stride=2)
        norm = LayerNorm2d(half, eps=1e-6)
        scales: list[tuple[list[nn.Module], int]] = [
            ([double(in_channels, half), norm, nn.GELU(), double(half, quarter)], quarter),
            ([double(in_channels, half)], half),
            ([], in_channels),
            ([nn.MaxPool2d(2)], in_channels),
        ]
        self.scales = nn.ModuleList(
            nn.Sequential(
                *resize, _conv(channels, out_channels, 1), _conv(out_channels, out_channels, 3)
            )
            for resize, channels in scales
        )

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Make five maps of one (N, C, H, W) of stride 16, H and W even.

        Their strides are 4, 8, 16, 32 and 64: (N, out_channels, 4H, 4W) to (.., H / 2, W / 2),
        and every other row and column of that.
        """
        if len(inputs) != 1 or inputs[0].ndim != 4:
            raise ValueError(
                'SimpleFeaturePyramid takes one map (N, C, H, W), got '
                f'{[tuple(x.shape) for x in inputs]}: give the backbone '
                "out_type='featmap' and out_indices=-1"
            )
        outs = [scale(inputs[0]) for scale in self.scales]
        return *outs, F.max_pool2d(outs[-1], 1, stride=2)


def _conv(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
        LayerNorm2d(out_channels, eps=1e-6),
    )


# This is mmengine's root registry, so that every OpenMMLab scope finds the constructor.
@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class BackboneLayerDecay(LearningRateDecayOptimWrapperConstructor):
    """Learning rates that fall from layer to layer of ``model.backbone``.

    This is mmpretrain's constructor, for models that are not its classifiers. A backbone of L
    layers has rate lr * decay**(L - i) in its layer i, counted from 0, and lr * decay**(L + 1) in
    what precedes them; all the rest of the model has lr. Its ``paramwise_cfg`` is the same.

    Raises:
        ValueError: the backbone does not know the depth of its parameters.
    """

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        get_layer_depth: Callable | None = None,
    ) -> None:
        """Add parameters as mmpretrain's method; ``module`` is the whole model at first."""
        if get_layer_depth is None:
            backbone = getattr(module, 'backbone', None)
            depth = getattr(backbone, 'get_layer_depth', None)
            if depth is None:
                raise ValueError(
                    f'BackboneLayerDecay: the backbone of {type(module).__name__}, '
                    f"{type(backbone).__name__}, has no get_layer_depth: take one of mmpretrain's "
                    'ViTs, or leave out optim_wrapper.constructor'
                )
            get_layer_depth = partial(depth, prefix='backbone.')
        super().add_params(params, module, prefix, get_layer_depth)
