"""The classifier of a linear probe."""

from typing import Any

from mmcv.cnn import build_norm_layer
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.registry import MODELS
from torch import Tensor

from mmentropy.checks.arguments import DICT, require


@MODELS.register_module()
class BatchNormLinearClsHead(LinearClsHead):
    """Linear classifier behind a batch norm without parameters.

    The norm evens out the scales of frozen features, so that one learning rate suits different
    backbones (MAE, arXiv:2111.06377, A.1;
    xinliu20/MEC@35045dc:benchmarks/linearprob/main_lincls.py).

    Args:
        norm_cfg: config of the batch norm, which by default spans the ranks.
        args: positional arguments of ``LinearClsHead``.
        kwargs: named arguments of ``LinearClsHead``.
    """

    def __init__(
        self, *args: Any, norm_cfg: dict = dict(type='GlobalBN', eps=1e-6), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        require(DICT, norm_cfg=norm_cfg)
        norm_cfg = dict(norm_cfg, affine=False)
        self.norm = build_norm_layer(norm_cfg, self.in_channels)[1]

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Features (N, C) of the last stage, normalised per channel."""
        return self.norm(super().pre_logits(feats))
