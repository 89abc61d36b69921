"""The backbones that mmpretrain lacks."""

import torch
import torch.nn.functional as F
from mmpretrain.models.backbones import ResNet_CIFAR

from mmentropy.models import ResNet_CIFAR_Pool


def test_a_resnet_of_small_images_with_pooling():
    """It has the weights of one without, and pools after the stem."""
    shape = dict(depth=18, stem_channels=4, base_channels=4, out_indices=(0, 3))
    pooling, plain = ResNet_CIFAR_Pool(**shape), ResNet_CIFAR(**shape)
    plain.load_state_dict(pooling.state_dict())
    x = torch.randn(2, 3, 32, 32)
    found = pooling(x)
    x = F.max_pool2d(plain.relu(plain.norm1(plain.conv1(x))), kernel_size=3, stride=2, padding=1)
    first = plain.layer1(x)
    last = plain.layer4(plain.layer3(plain.layer2(first)))
    assert torch.equal(found[0], first) and torch.equal(found[1], last)
