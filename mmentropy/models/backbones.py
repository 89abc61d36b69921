"""The ResNet of small images that mmpretrain lacks."""

import torch.nn.functional as F
from mmpretrain.models.backbones import ResNet_CIFAR
from mmpretrain.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class ResNet_CIFAR_Pool(ResNet_CIFAR):
    """``ResNet_CIFAR`` with the max-pooling of the stem, for 64 pixels."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (N, C, H, W) to maps of the stages in ``out_indices``."""
        x = self.relu(self.norm1(self.conv1(x)))
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        outputs = []
        for i, name in enumerate(self.res_layers):
            x = getattr(self, name)(x)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)
