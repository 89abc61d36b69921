"""Checkpoints named as in the official codes."""

import copy

import pytest
import torch
import torchvision
from exported import bare, new_resnet, output, refused, shaken, vit
from mmpretrain.registry import MODELS
from torch import nn

from mmentropy.weights.backbone import load_backbone
from mmentropy.weights.import_official import import_backbone
from mmentropy.weights.key_tables import TIMM_VIT, renamed
from mmentropy.weights.stored_config import config_of


class Official(nn.Module):
    """Encoders are named as in the official codes, and heads are in the way."""

    def __init__(self, **encoders):
        super().__init__()
        for name, encoder in encoders.items():
            setattr(self, name, encoder)
        self.predictor = nn.Linear(4, 4)


def resnet():
    net = shaken(copy.deepcopy(new_resnet()))
    for value in net.parameters():
        value.data.mul_(torch.rand(()) + 0.5)
    net.fc = nn.Sequential(nn.Linear(512, 4), nn.BatchNorm1d(4))
    return net


def wrapped(*names):
    """Return a state dict of DDP with encoders of these names, and the encoders."""
    nets = [resnet() for _ in names]
    model = Official(**dict(zip(names, nets, strict=True)))
    return nn.ModuleDict(dict(module=model)).state_dict(), *nets


def mec():
    return wrapped('encoder', 'teacher')


def simsiam():
    return *wrapped('encoder'), None


def moco():
    return wrapped('encoder_q', 'encoder_k')


def moco_v3_resnet():
    return wrapped('base_encoder', 'momentum_encoder')


def small_vits():
    """Two ViT-S of MoCo v3, which have 12 heads, unlike other ViTs of this width."""
    return [vit(embed_dim=384, depth=1, num_heads=12) for _ in range(2)]


def mec_vit():
    nets = small_vits()
    return Official(encoder=nets[0], teacher=nets[1]).state_dict(), *nets


def moco_v3_vit():
    nets = small_vits()
    model = Official(base_encoder=nets[0], momentum_encoder=nets[1])
    return nn.ModuleDict(dict(module=model)).state_dict(), *nets


def byol():
    return wrapped('online_encoder', 'target_encoder')


def byol_pytorch():
    nets = [resnet(), resnet()]
    nested = [nn.ModuleDict(dict(net=net, projector=nn.Linear(4, 4))) for net in nets]
    model = Official(net=nets[0], online_encoder=nested[0], target_encoder=nested[1])
    return model.state_dict(), *nets


def byol_sequential():
    nets = [resnet(), resnet()]
    model = Official(
        online_encoder=nn.Sequential(nets[0], nn.Linear(4, 4)),
        target_encoder=nn.Sequential(nets[1], nn.Linear(4, 4)),
    )
    return model.state_dict(), *nets


def vicreg():
    net = resnet()
    model = Official(backbone=bare(net), projector=nn.Linear(4, 4))
    return nn.ModuleDict(dict(module=model)).state_dict(), net, None


def mmselfsup():
    nets = [resnet(), resnet()]
    model = Official(
        backbone=bare(nets[0]),
        neck=nn.Linear(4, 4),
        target_net=nn.Sequential(bare(nets[1]), nn.Linear(4, 4)),
    )
    return model.state_dict(), *nets


def mmpretrain_moco_v3():
    nets = [resnet(), resnet()]
    ema = nn.ModuleDict(dict(module=nn.Sequential(bare(nets[1]))))
    model = Official(backbone=bare(nets[0]), momentum_encoder=ema)
    return model.state_dict(), *nets


def mmpretrain_moco_v3_vit():
    nets = small_vits()
    ours = {theirs: name for name, theirs in TIMM_VIT.items()}
    state = {}
    for prefix, net in zip(('backbone.', 'momentum_encoder.module.0.'), nets):
        state |= {prefix + k: v for k, v in renamed(bare(net).state_dict(), ours).items()}
    return state, *nets


def plain_torchvision():
    net = torchvision.models.resnet50()
    return net.state_dict(), shaken(net), None


def plain_timm():
    net = vit(embed_dim=128, num_heads=2)
    return net.state_dict(), net, None


@pytest.mark.slow
@pytest.mark.parametrize(
    'layout, name',
    [
        (mec, 'MEC, {}, ResNet-18; 120 tensors taken, 136 left'),
        (mec_vit, 'MEC, {}, ViT of 1 blocks of 384, 12 heads assumed'),
        (simsiam, 'SimSiam, {}, ResNet-18; 120 tensors taken, 9 left'),
        (moco, 'MoCo v1 or v2, {}, ResNet-18'),
        (moco_v3_resnet, 'MoCo v3, {}, ResNet-18'),
        (moco_v3_vit, 'MoCo v3, {}, ViT of 1 blocks of 384, 12 heads assumed'),
        (byol, 'BYOL, {}, ResNet-18'),
        (byol_pytorch, 'BYOL, {}, ResNet-18'),
        (byol_sequential, 'BYOL, {}, ResNet-18'),
        (vicreg, 'Barlow Twins or VICReg, {}, ResNet-18'),
        (mmselfsup, 'mmpretrain or mmselfsup, {}, ResNet-18'),
        (
            mmpretrain_moco_v3_vit,
            'MoCo v3 of mmpretrain or mmselfsup, {}, ViT of 1 blocks of 384, 12',
        ),
        (mmpretrain_moco_v3, 'MoCo v3 of mmpretrain or mmselfsup, {}, ResNet-18'),
        (plain_torchvision, 'a bare backbone, {}, ResNet-50'),
        (plain_timm, 'a bare backbone, {}, ViT of 2 blocks of 128, 2 heads'),
    ],
)
def test_official_layouts(tmp_path, layout, name):
    """Each branch is loaded strictly and computes the same as its original."""
    state, student, teacher = layout()
    path, out = tmp_path / 'official.pth.tar', tmp_path / 'out.pth'
    where = 'model' if layout is vicreg else 'state_dict'
    torch.save({where: state, 'epoch': 3, 'arch': 'resnet18'}, path)
    for branch, net in dict(student=student, teacher=teacher).items():
        if net is None:
            refused(
                lambda: import_backbone(path, out, 'teacher'), ValueError, 'has no teacher', out
            )
            continue
        report = import_backbone(path, out, branch)
        assert name.format(branch) in report
        other = MODELS.build(config_of(out).model.backbone)
        assert load_backbone(other, out, min_match=1.0) == []
        other.eval()
        expected = output(bare(net).eval())
        assert expected.std() > 0.01
        torch.testing.assert_close(output(other), expected, atol=1e-5, rtol=0)
        out.unlink()
