"""Backbones out to, and in from, the real models of other libraries."""

import copy
import functools
import json
import os
import runpy
import sys

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from exported import (
    BACKBONES,
    TINY_VIT,
    built,
    loaded,
    output,
    read,
    refused,
    saved,
    shaken,
    with_teacher,
)
from mmengine.config import Config
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import nn

import mmentropy  # noqa: F401, registers GlobalBN
from mmentropy.weights.backbone import load_backbone
from mmentropy.weights.layouts import (
    convert,
    export_backbone,
    import_backbone,
    sha256,
)
from mmentropy.weights.stored_config import config_of


@pytest.mark.parametrize(
    'name, target, suffix',
    [
        ('r18', 'torchvision', 'pth'),
        ('r18', 'timm', 'safetensors'),
        ('r50', 'torchvision', 'safetensors'),
        ('r50', 'timm', 'pth'),
        ('vit_s', 'timm', 'safetensors'),
        ('tiny', 'timm', 'pth'),
    ],
)
def test_real_models_compute_the_same(tmp_path, name, target, suffix):
    """Loaded as printed; and back again, bit by bit."""
    net, out = built(name), tmp_path / f'out.{suffix}'
    path = saved(net, tmp_path / 'epoch_1.pth', BACKBONES[name])
    line = export_backbone(path, target, out, metrics=dict(knn=98.4))
    expected, found = output(net), output(loaded(line))
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)

    weights, meta = read(out)
    assert meta['sha256'] == sha256(weights)
    assert json.loads(meta['metrics']) == dict(knn=98.4)
    assert (meta['target'], meta['branch']) == (target, 'student')
    assert Config.fromstring(meta['cfg'], '.py').model.backbone.to_dict() == BACKBONES[name]

    back = tmp_path / 'back.pth'
    import_backbone(out, back)
    again = MODELS.build(config_of(back).model.backbone)
    assert load_backbone(again, back, min_match=1.0) == []
    for key, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def test_vit_b_computes_the_same():
    """Without files, which are large."""
    net = built('vit_b')
    other = timm.create_model('vit_base_patch16_224', img_size=32, num_classes=0)
    other.load_state_dict(convert(net, 'timm'))
    torch.testing.assert_close(output(other.eval()), output(net), atol=1e-5, rtol=0)


def test_teacher_is_the_other_branch(tmp_path):
    net, out = built('tiny'), tmp_path / 'out.pth'
    path = with_teacher(net, tmp_path / 'epoch_1.pth', TINY_VIT)
    export_backbone(path, 'timm', out, branch='teacher')
    weights, meta = read(out)
    assert meta['branch'] == 'teacher'
    assert torch.equal(weights['norm.weight'], -net.ln1.weight)


def test_mmdet_loads_every_key(tmp_path):
    import mmdet.models  # noqa: F401

    net, out = built('r18'), tmp_path / 'out.pth'
    path = saved(net, tmp_path / 'epoch_1.pth', BACKBONES['r18'])
    line = export_backbone(path, 'mmdet', out)
    init_cfg = eval(line.removeprefix('init_cfg='))
    other = mmdet.models.ResNet(18, out_indices=(3,), init_cfg=init_cfg)
    BaseModule.init_weights(other)
    other.eval()
    torch.testing.assert_close(output(other), output(net), atol=1e-5, rtol=0)
    assert config_of(out).model.backbone.to_dict() == BACKBONES['r18']


def test_mmpretrain_gets_any_backbone(tmp_path):
    entry = BACKBONES['r18s']
    net, out = built('r18s'), tmp_path / 'out.pth'
    path = saved(net, tmp_path / 'epoch_1.pth', entry)
    line = export_backbone(path, 'mmpretrain', out)
    other = MODELS.build(dict(entry, init_cfg=eval(line.removeprefix('init_cfg='))))
    other.init_weights()
    for key, value in other.state_dict().items():
        assert torch.equal(value, net.state_dict()[key]), key


@pytest.mark.parametrize(
    'entry, target, message',
    [
        (BACKBONES['r18s'], 'timm', r'conv1.weight is \(8, 3, 3, 3\) instead'),
        (BACKBONES['r18s'], 'mmdet', 'use --to mmpretrain'),
        (
            dict(type='ResNet_CIFAR', depth=18),
            'torchvision',
            r'\(64, 3, 3, 3\) instead of \(64, 3, 7, 7\)',
        ),
        (
            dict(
                type='ResNet',
                depth=18,
                num_stages=3,
                strides=(1, 2, 2),
                dilations=(1, 1, 1),
                out_indices=(2,),
            ),
            'timm',
            'layer4.0.conv1.weight is missing',
        ),
        (dict(type='ResNet', depth=18, in_channels=1), 'timm', r'\(64, 1, 7, 7'),
        (dict(type='ResNetV1d', depth=18), 'timm', 'no such ResNetV1d'),
        (
            dict(type='ResNet', depth=18, norm_cfg=dict(type='GN', num_groups=8)),
            'timm',
            'bn1.weight is missing',
        ),
        # What only the outputs tell.
        (dict(type='ResNet', depth=18, strides=(1, 2, 2, 1)), 'timm', 'outputs'),
        (
            dict(type='ResNet', depth=18, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
            'mmdet',
            'outputs',
        ),
        (
            dict(type='ResNet', depth=18, norm_cfg=dict(type='BN', eps=1e-3)),
            'torchvision',
            'outputs',
        ),
        (dict(type='ResNet', depth=50, style='caffe'), 'timm', 'outputs'),
        (dict(TINY_VIT, norm_cfg=dict(type='LN', eps=1e-5)), 'timm', 'outputs'),
        (dict(TINY_VIT, final_norm=False), 'timm', 'ln1.weight is missing'),
        (dict(TINY_VIT, pre_norm=True), 'timm', 'projection.bias is missing'),
        (dict(TINY_VIT, qkv_bias=False), 'timm', 'qkv.bias is missing'),
        (dict(TINY_VIT, out_type='avg_featmap'), 'timm', 'ln2.weight is unexp'),
        (dict(TINY_VIT, layer_scale_init_value=0.1), 'timm', 'unexpected'),
        (TINY_VIT, 'torchvision', 'torchvision gets a ResNet'),
        (TINY_VIT, 'mmdet', 'mmdet gets a ResNet, not VisionTransformer'),
        (
            dict(
                type='MlpMixer',
                arch=dict(embed_dims=16, num_layers=1, tokens_mlp_dims=8, channels_mlp_dims=32),
                img_size=16,
                patch_size=4,
            ),
            'timm',
            'not MlpMixer: use --to mmpretrain',
        ),
    ],
)
def test_what_the_target_cannot_hold_is_refused(entry, target, message):
    net = MODELS.build(entry)
    refused(lambda: convert(net, target), ValueError, message)


def test_outputs_of_other_layers_are_no_hindrance():
    entry = dict(type='ResNet', depth=18, out_indices=(0, 2), norm_eval=True)
    net = MODELS.build(entry)
    assert convert(net, 'timm').keys() == net.state_dict().keys()
    net = MODELS.build(dict(TINY_VIT, out_type='featmap', out_indices=[0, 1]))
    assert 'blocks.1.mlp.fc2.bias' in convert(net, 'timm')


def test_wrong_arguments_of_export(tmp_path, monkeypatch):
    net = built('tiny')
    path = saved(net, tmp_path / 'epoch_1.pth', TINY_VIT)
    bare = tmp_path / 'bare.pth'
    torch.save(net.state_dict(), bare)
    deep = Config(
        dict(model=dict(backbone=dict(TINY_VIT, arch=dict(TINY_VIT['arch'], num_layers=3))))
    )
    out = tmp_path / 'out.pth'
    for call, kind, message in [
        (dict(target='keras'), ValueError, "one of .* got 'keras'"),
        (dict(out=tmp_path / 'out.pt'), ValueError, r'\*.pth or \*.safet'),
        (
            dict(target='mmpretrain', out=tmp_path / 'o.safetensors'),
            ValueError,
            r'mmpretrain is written to a file \*.pth',
        ),
        (dict(out=tmp_path / 'no' / 'out.pth'), ValueError, 'no folder'),
        (dict(out=path), ValueError, 'is the checkpoint itself'),
        (dict(path=tmp_path / 'no.pth'), FileNotFoundError, 'not exist'),
        (dict(path=bare), ValueError, 'holds no config'),
        (dict(path=bare, cfg=Config({})), ValueError, 'no model.backbone'),
        (dict(path=bare, branch='teacher', cfg=config_of(path)), ValueError, 'has no teacher'),
        (dict(cfg=deep), ValueError, '30 of 42 keys match'),
    ]:
        call = dict(dict(path=path, target='timm', out=out), **call)
        refused(lambda call=call: export_backbone(**call), kind, message)
        assert not out.exists()
    # A path that is read is never written.
    assert len(read(path)[0]) == len(net.state_dict())
    export_backbone(bare, 'timm', out, cfg=config_of(path))
    monkeypatch.setitem(sys.modules, 'safetensors', None)
    out = tmp_path / 'out.safetensors'
    refused(lambda: export_backbone(path, 'timm', out), ImportError, 'pip install safetensors', out)


class Official(nn.Module):
    """Encoders named as in the official codes, with heads in the way."""

    def __init__(self, **encoders):
        super().__init__()
        for name, encoder in encoders.items():
            setattr(self, name, encoder)
        self.predictor = nn.Linear(4, 4)


@functools.cache
def new_resnet():
    return torchvision.models.resnet18()


def resnet():
    net = shaken(copy.deepcopy(new_resnet()))
    for value in net.parameters():
        value.data.mul_(torch.rand(()) + 0.5)
    net.fc = nn.Sequential(nn.Linear(512, 4), nn.BatchNorm1d(4))
    return net


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
    net = copy.deepcopy(net)
    for head in ('fc', 'head'):
        if hasattr(net, head):
            setattr(net, head, nn.Identity())
    return net


def wrapped(*names):
    """A state dict of DDP with two encoders, and these."""
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


def moco_v3_vit():
    # 12 heads, unlike the other ViTs of this width.
    nets = [vit(embed_dim=384, depth=1, num_heads=12) for _ in range(2)]
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


def plain_torchvision():
    net = torchvision.models.resnet50()
    return net.state_dict(), shaken(net), None


def plain_timm():
    net = vit(embed_dim=128, num_heads=2)
    return net.state_dict(), net, None


@pytest.mark.parametrize(
    'layout, name',
    [
        (mec, 'MEC, {}, ResNet-18; 120 tensors taken, 136 left'),
        (simsiam, 'SimSiam, {}, ResNet-18; 120 tensors taken, 9 left'),
        (moco, 'MoCo v1 or v2, {}, ResNet-18'),
        (moco_v3_resnet, 'MoCo v3, {}, ResNet-18'),
        (moco_v3_vit, 'MoCo v3, {}, ViT of 1 blocks of 384, 12 heads assumed'),
        (byol, 'BYOL, {}, ResNet-18'),
        (byol_pytorch, 'BYOL, {}, ResNet-18'),
        (byol_sequential, 'BYOL, {}, ResNet-18'),
        (vicreg, 'Barlow Twins or VICReg, {}, ResNet-18'),
        (mmselfsup, 'mmpretrain or mmselfsup, {}, ResNet-18'),
        (mmpretrain_moco_v3, 'mmpretrain or mmselfsup, {}, ResNet-18'),
        (plain_torchvision, 'a bare backbone, {}, ResNet-50'),
        (plain_timm, 'a bare backbone, {}, ViT of 2 blocks of 128, 2 heads'),
    ],
)
def test_official_layouts(tmp_path, layout, name):
    """The same outputs, loaded strictly; each branch its own."""
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


def test_imported_backbones_are_exported(tmp_path):
    """The config that import writes is enough for export."""
    net = vit()
    torch.save(net.state_dict(), tmp_path / 'timm.pth')
    import_backbone(tmp_path / 'timm.pth', tmp_path / 'ours.pth')
    line = export_backbone(tmp_path / 'ours.pth', 'timm', tmp_path / 'b.pth')
    torch.testing.assert_close(output(loaded(line)), output(bare(net)), atol=1e-5, rtol=0)


def without(state, *starts):
    return {k: v for k, v in state.items() if not k.startswith(starts)}


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda s: {f'trunk.{k}': v for k, v in s.items()},
            r'no known layout: its first keys are trunk.conv1.weight, .*'
            r'MEC \(encoder.\*\).*MoCo v3 \(base_encoder.\*\)',
        ),
        (lambda s: {}, 'no known layout: its first keys are none'),
        (
            lambda s: without(s, 'layer3.', 'layer4.'),
            r'\(2, 2, 0, 0\) blocks, which is no ResNet of depth 18, 34',
        ),
        (lambda s: without(s, 'layer1.', 'layer2.'), 'blocks, which is no ResNet'),
        (lambda s: without(s, 'layer2.1.'), 'blocks, which is no ResNet'),
        (
            lambda s: without(s, 'layer2.0.bn2.running_var'),
            'no plain ResNet-18: layer2.0.bn2.running_var is missing',
        ),
        (lambda s: without(s, 'layer1.0.conv1.weight'), 'is incomplete: layer1.0'),
        (lambda s: dict(s, **{'layer2.0.extra': torch.zeros(1)}), 'layer2.0.extra is unexpected'),
        (
            lambda s: dict(s, **{'layer5.0.conv1.weight': torch.zeros(1)}),
            'layer5.0.conv1.weight is unexpected',
        ),
        (
            lambda s: dict(s, **{'layer2.0.conv1.weight': torch.zeros(9, 64, 3, 3)}),
            r'is \(9, 64, 3, 3\) instead of \(128, 64, 3, 3\)',
        ),
        (
            lambda s: dict(s, **{'conv1.weight': torch.zeros(64)}),
            r'conv1.weight is \(64,\), which are not 4 dimensions',
        ),
    ],
)
def test_what_is_no_resnet_is_refused(tmp_path, change, message):
    path, out = tmp_path / 'other.pth', tmp_path / 'out.pth'
    torch.save(change(new_resnet().state_dict()), path)
    refused(lambda: import_backbone(path, out), ValueError, message, out)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda s: without(s, 'blocks.0.'), 'is incomplete|is missing'),
        (lambda s: without(s, 'cls_token'), 'cls_token is missing'),
        (lambda s: without(s, 'pos_embed'), 'incomplete: pos_embed is missing'),
        (lambda s: dict(s, pos_embed=torch.zeros(1, 16, 64)), 'pos_embed is'),
        (lambda s: dict(s, dist_token=torch.zeros(1)), 'dist_token is unexp'),
    ],
)
def test_what_is_no_vit_is_refused(tmp_path, change, message):
    path, out = tmp_path / 'other.pth', tmp_path / 'out.pth'
    torch.save(change(vit().state_dict()), path)
    refused(lambda: import_backbone(path, out), ValueError, message, out)


class Harmful:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_damaged_and_harmful_files(tmp_path):
    net, out, marker = vit(), tmp_path / 'out.pth', tmp_path / 'marker'
    good = tmp_path / 'good.safetensors'
    safetensors.torch.save_file(net.state_dict(), good)
    import_backbone(good, out)
    out.unlink()
    torch.save(net.state_dict(), tmp_path / 'good.pth')
    for suffix in ('pth', 'safetensors'):
        whole = (tmp_path / f'good.{suffix}').read_bytes()
        for content in (whole[: len(whole) // 2], b'not a file\n', b''):
            path = tmp_path / f'bad.{suffix}'
            path.write_bytes(content)
            refused(
                lambda path=path: import_backbone(path, out),
                ValueError,
                'no checkpoint of torch|no file of safetensors',
                out,
            )
        refused(
            lambda path=path: import_backbone(f'no.{path.suffix}', out),
            FileNotFoundError,
            'does not exist',
            out,
        )
    for suffix in ('pth', 'safetensors'):
        path = tmp_path / f'harmful.{suffix}'
        torch.save(dict(net.state_dict(), hook=Harmful(marker)), path)
        refused(
            lambda path=path: import_backbone(path, out),
            ValueError,
            'it holds posix.mkdir|no file of safetensors',
            out,
        )
    assert not marker.exists()
    # The file does what it says where it is trusted.
    torch.load(tmp_path / 'harmful.pth', weights_only=False)
    assert marker.exists()
    for call, message in [
        (dict(out=tmp_path / 'out.safetensors'), r'written to a file \*.pth'),
        (dict(out=tmp_path / 'no' / 'out.pth'), 'no folder .* write out.pth'),
        (dict(path=tmp_path / 'good.pth', out=tmp_path / 'good.pth'), 'is the checkpoint itself'),
        (dict(out=out, branch='ema'), "'student' or 'teacher', got 'ema'"),
    ]:
        call = dict(dict(path=good), **call)
        refused(lambda call=call: import_backbone(**call), ValueError, message, out)


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_changed_exports_are_noticed(tmp_path, suffix):
    path = saved(built('tiny'), tmp_path / 'epoch_1.pth', TINY_VIT)
    file, out = tmp_path / f'out.{suffix}', tmp_path / 'back.pth'
    export_backbone(path, 'timm', file)
    weights, meta = read(file)
    weights['blocks.1.mlp.fc2.bias'][3] += 1e-6
    if suffix == 'pth':
        torch.save(dict(state_dict=weights, meta=meta), file)
    else:
        safetensors.torch.save_file(weights, file, meta)
    refused(lambda: import_backbone(file, out), ValueError, 'was changed: .*sha256', out)


def test_sha256_is_of_names_types_shapes_and_values():
    value = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    digest = sha256(dict(a=value, b=value))
    assert digest == sha256(dict(b=value, a=value))
    assert digest == sha256(dict(a=value.t().contiguous().t(), b=value))
    for other in (
        dict(a=value),
        dict(a=value, c=value),
        dict(a=value.view(4), b=value),
        dict(a=value.view(torch.int32), b=value),
        dict(a=value.t(), b=value),
    ):
        assert sha256(other) != digest
    assert sha256(dict(a=torch.ones((), dtype=torch.bfloat16)))


def test_commands(tmp_path, monkeypatch, capsys):

    def run(tool, *args):
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
        runpy.run_path(f'tools/{tool}', run_name='__main__')
        return capsys.readouterr().out

    path = with_teacher(built('tiny'), tmp_path / 'epoch_1.pth', TINY_VIT)
    metrics, out = tmp_path / 'results.json', tmp_path / 'out.safetensors'
    metrics.write_text('{"checkpoint": {"knn": 98.4}}')
    config = tmp_path / 'config.py'
    config.write_text(f'model = dict(backbone={TINY_VIT!r})\n')
    line = run(
        'export.py',
        path,
        '--to',
        'timm',
        '--out',
        out,
        '--branch',
        'teacher',
        '--metrics',
        metrics,
        '--config',
        config,
    )
    assert loaded(line.strip())
    meta = read(out)[1]
    assert meta['branch'] == 'teacher' and '98.4' in meta['metrics']
    assert 'ViT of 2 blocks' in run('import_official.py', out, '--out', tmp_path / 'back.pth')
    metrics.write_text('98.4 %')
    for args, message in [
        (
            ('export.py', path, '--to', 'timm', '--out', out, '--metrics', metrics),
            'error: --metrics: .* is no JSON',
        ),
        (
            ('export.py', path, '--to', 'mmdet', '--out', tmp_path / 'a.pth'),
            'error: mmdet gets a ResNet',
        ),
        (
            ('import_official.py', metrics, '--out', tmp_path / 'a.pth'),
            'error: .* is no checkpoint of torch',
        ),
    ]:
        with pytest.raises(SystemExit, match=message) as error:
            run(*args)
        assert '\n' not in str(error.value)
