"""Small backbones, whose weights tests write into checkpoints."""

from mmpretrain.models import ResNet_CIFAR

SHAPE = dict(depth=18, base_channels=8, stem_channels=8, in_channels=1)
VIT = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
    img_size=16,
    patch_size=4,
)


def small_resnet(**kwargs):
    return ResNet_CIFAR(**{**SHAPE, **kwargs})
