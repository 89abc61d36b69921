"""The ResNet of small images that mmpretrain lacks."""

from mmpretrain.models.backbones import ResNet, ResNet_CIFAR
from mmpretrain.registry import MODELS
from torch import nn


@MODELS.register_module()
class ResNet_CIFAR_Pool(ResNet_CIFAR):
    """``ResNet_CIFAR`` with the max-pooling of the stem, for 64 pixels.

    Images (N, C, H, W) become maps of the stages in ``out_indices``.
    """

    # It is that of ``ResNet_CIFAR`` with ``maxpool`` after the stem.
    forward = ResNet.forward

    def _make_stem_layer(self, in_channels: int, base_channels: int) -> None:
        super()._make_stem_layer(in_channels, base_channels)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
