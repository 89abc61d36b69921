"""Backbones with random weights, to be exported from checkpoints or imported."""

import copy
import functools

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from mmpretrain.registry import MODELS
from torch import nn

import mmentropy  # noqa: F401, hosts are silent once it is imported

TINY_VIT = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
    img_size=32,
    patch_size=8,
)


BACKBONES = dict(
    r18=dict(type='ResNet', depth=18, norm_cfg=dict(type='GlobalBN')),
    r50=dict(type='ResNet', depth=50),
    vit_s=dict(type='MoCoV3ViT', arch='mocov3-small', img_size=32, patch_size=16),
    vit_b=dict(type='VisionTransformer', arch='base', img_size=32, patch_size=16),
    tiny=TINY_VIT,
    # It has three stages and the stem for small images.
    r18s=dict(
        type='ResNet_CIFAR',
        depth=18,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        stem_channels=8,
        base_channels=8,
    ),
)


IMAGE = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def shaken(net):
    """Give a network statistics, biases and tokens unlike those of the start."""
    for key, value in net.state_dict().items():
        if 'running_var' in key:
            value.uniform_(0.5, 1.5)
        elif 'num_batches' in key:
            value.fill_(7)
        elif 'running_mean' in key or value.ndim == 1:
            value.add_(torch.randn_like(value) * 0.1)
        elif key.endswith(('pos_embed', 'cls_token')):
            value.normal_(0, 0.1)
    net.eval()
    return net


def built(name):
    return shaken(MODELS.build(BACKBONES[name]))


def saved(net, path, entry, **more):
    """Write a checkpoint with a config, and return its path."""
    state = {f'backbone.{k}': v for k, v in net.state_dict().items()}
    torch.save(
        dict(state_dict=state | more, meta=dict(cfg=f'model = dict(backbone={entry!r})\n')), path
    )
    return path


def with_teacher(net, path, entry):
    """Write a checkpoint like ``saved``, with the negated weights as the teacher's."""
    ema = {f'target_net.module.0.{k}': -v for k, v in net.state_dict().items()}
    return saved(net, path, entry, **ema)


@functools.cache
def new_resnet():
    return torchvision.models.resnet18()


def vit(**kwargs):
    return shaken(
        timm.models.VisionTransformer(
            **{
                **dict(
                    img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=1, num_classes=5
                ),
                **kwargs,
            }
        )
    )


def bare(net):
    """Return a copy without the classifier."""
    net = copy.deepcopy(net)
    for head in ('fc', 'head'):
        if hasattr(net, head):
            setattr(net, head, nn.Identity())
    return net


def output(net):
    with torch.no_grad():
        out = net(IMAGE)
    out = out[-1] if isinstance(out, tuple) else out
    return out.mean((2, 3)) if out.ndim == 4 else out


def loaded(line):
    """Return the model that the printed line makes."""
    names = dict(torch=torch, torchvision=torchvision, timm=timm, safetensors=safetensors)
    if line.startswith('model ='):
        exec(line, names)
        return names['model'].eval()
    return eval(line, names).eval()


def read(path):
    """Return (weights, meta), read without the code under test."""
    if path.suffix == '.pth':
        file = torch.load(path, weights_only=True)
        return file['state_dict'], file['meta']
    with safetensors.safe_open(path, 'pt') as file:
        return {k: file.get_tensor(k) for k in file.keys()}, file.metadata()


def refused(call, kind, message, out=None):
    with pytest.raises(kind, match=message) as error:
        call()
    assert '\n' not in str(error.value)
    assert out is None or not out.exists()
