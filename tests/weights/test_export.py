"""Backbones out to the real models of other libraries."""

import errno
import json
import os
import sys

import pytest
import timm
import torch
from exported import (
    BACKBONES,
    IMAGE,
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

import mmentropy  # noqa: F401, registers GlobalBN
from mmentropy.weights.backbone import load_backbone
from mmentropy.weights.exchange_files import sha256
from mmentropy.weights.export import convert, export_backbone
from mmentropy.weights.import_official import import_backbone
from mmentropy.weights.stored_config import config_of


@pytest.mark.slow
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
    """They are loaded as printed, and come back bit by bit."""
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


@pytest.mark.slow
def test_vit_b_computes_the_same():
    """There are no files here, because they would be large."""
    net = built('vit_b')
    other = timm.create_model('vit_base_patch16_224', img_size=32, num_classes=0)
    other.load_state_dict(convert(net, 'timm'))
    torch.testing.assert_close(output(other.eval()), output(net), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    'entry, height, width',
    [(BACKBONES['r18'], 96, 96), (dict(TINY_VIT, img_size=(40, 48)), 40, 48)],
)
def test_images_that_the_network_saw_are_told(tmp_path, entry, height, width):
    """They have the side of its training views for a ResNet, and its own size for a ViT."""
    path = saved(shaken(MODELS.build(entry)), tmp_path / 'epoch_1.pth', entry)
    file = torch.load(path, weights_only=True)
    crop = dict(type='MultiView', transforms=[[dict(type='RandomResizedCrop', scale=96)]])
    dataset = dict(type='RepeatDataset', dataset=dict(pipeline=[crop]))
    colours = dict(mean=[51.0, 102.0, 153.0], std=[25.5, 51.0, 76.5], to_rgb=True)
    file['meta']['cfg'] += f'train_dataloader = {dict(dataset=dataset)}\n'
    file['meta']['cfg'] += f'data_preprocessor = {colours}\n'
    torch.save(file, path)

    images = loaded(export_backbone(path, 'timm', tmp_path / 'timm.pth')).pretrained_cfg
    assert images['input_size'] == (3, height, width)
    assert (images['mean'], images['std']) == ((0.2, 0.4, 0.6), (0.1, 0.2, 0.3))
    export_backbone(path, 'huggingface', tmp_path / 'folder')
    images = json.loads((tmp_path / 'folder/preprocessor_config.json').read_text())
    assert images['crop_size'] == dict(height=height, width=width)
    assert images['size'] == dict(shortest_edge=width)
    if entry['type'] == 'ResNet':
        line = export_backbone(path, 'torchvision', tmp_path / 'torchvision.pth')
        assert line.endswith(
            '# of 96 x 96 RGB images in [0, 1], '
            'normalised by mean (0.2, 0.4, 0.6) and std (0.1, 0.2, 0.3)'
        )


def trained_on_bgr(name, folder):
    """Return a network and its checkpoint, whose config gives it BGR images as they are loaded."""
    net = built(name)
    path = saved(net, folder / 'epoch_1.pth', BACKBONES[name])
    file = torch.load(path, weights_only=True)
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    file['meta']['cfg'] += f'train_dataloader = dict(dataset={dict(pipeline=pipeline)})\n'
    colours = dict(mean=[51.0, 102.0, 153.0], std=[25.5, 51.0, 76.5])
    file['meta']['cfg'] += f'data_preprocessor = {colours}\n'
    torch.save(file, path)
    return net, path


@pytest.mark.parametrize('name', ['r18', 'tiny'])
def test_a_network_of_bgr_images_becomes_one_of_rgb_images(tmp_path, name):
    net, path = trained_on_bgr(name, tmp_path)
    line = export_backbone(path, 'timm', tmp_path / 'timm.pth')
    exported, rgb = loaded(line), IMAGE
    with torch.no_grad():
        expected, found = net(rgb.flip(1))[-1], exported(rgb)
    expected = expected.mean((2, 3)) if expected.ndim == 4 else expected
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    mean, std = (0.6, 0.4, 0.2), (0.3, 0.2, 0.1)
    assert (exported.pretrained_cfg['mean'], exported.pretrained_cfg['std']) == (mean, std)
    weights, meta = read(tmp_path / 'timm.pth')
    assert meta['sha256'] == sha256(weights)
    images = Config.fromstring(meta['cfg'], '.py').data_preprocessor
    assert images == dict(mean=[153.0, 102.0, 51.0], std=[76.5, 51.0, 25.5], to_rgb=True)

    export_backbone(path, 'huggingface', tmp_path / 'folder')
    images = json.loads((tmp_path / 'folder/preprocessor_config.json').read_text())
    assert (images['image_mean'], images['image_std']) == ([*mean], [*std])
    export_backbone(path, 'mmpretrain', tmp_path / 'ours.pth')
    for key, value in read(tmp_path / 'ours.pth')[0].items():
        assert torch.equal(value, net.state_dict()[key.removeprefix('backbone.')]), key


def test_torchvision_is_told_the_statistics_of_rgb_images(tmp_path):
    net, path = trained_on_bgr('r18', tmp_path)
    line = export_backbone(path, 'torchvision', tmp_path / 'a.pth')
    assert line.endswith(
        'RGB images in [0, 1], normalised by mean (0.6, 0.4, 0.2) and std (0.3, 0.2, 0.1)'
    )
    assert torch.equal(loaded(line).conv1.weight, net.conv1.weight.flip(1))
    # The preprocessor of this config turns them to RGB itself.
    file = torch.load(path, weights_only=True)
    file['meta']['cfg'] += 'data_preprocessor = dict(mean=[51.0], std=[25.5], to_rgb=True)\n'
    torch.save(file, path)
    line = export_backbone(path, 'torchvision', tmp_path / 'a.pth')
    assert torch.equal(loaded(line).conv1.weight, net.conv1.weight)


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
        # Only the outputs tell these from the plain ones.
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


def test_an_export_draws_nothing_from_global_generators(monkeypatch):
    net = MODELS.build(dict(type='ResNet', depth=18))
    monkeypatch.setattr(torch.cuda, 'manual_seed_all', lambda seed: pytest.fail('GPUs are seeded'))
    state = torch.get_rng_state()
    convert(net, 'timm')
    assert torch.equal(torch.get_rng_state(), state)


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


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
def test_an_earlier_export_outlives_a_full_disk(tmp_path, monkeypatch, ending):
    """It is whole after a failure, of which the message names the file."""
    path, out = saved(built('tiny'), tmp_path / 'epoch_1.pth', TINY_VIT), tmp_path / f'out.{ending}'
    export_backbone(path, 'timm', out)
    before = out.read_bytes()

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, 'fsync', full)
        with pytest.raises(OSError, match='No space left'):
            export_backbone(path, 'timm', out)
    assert out.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ['epoch_1.pth', out.name]
