"""Backbones of configs that are filled from checkpoints."""

import pytest
import torch
from mmengine.model import BaseModule
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from small_backbones import SHAPE, VIT, small_resnet

import mmentropy  # noqa: F401, registers PretrainedBackbone

TEACHER = 'target_net.module.0.'


BACKBONES = dict(
    resnet=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8, zero_init_residual=True),
    bottleneck=dict(
        type='ResNet', depth=50, base_channels=4, stem_channels=4, zero_init_residual=True
    ),
    resnet_cifar=dict(type='ResNet_CIFAR', **SHAPE, zero_init_residual=True),
    vit=VIT,
    mocov3_vit=dict(VIT, type='MoCoV3ViT'),
    mixer=dict(
        type='MlpMixer',
        arch=dict(embed_dims=16, num_layers=2, tokens_mlp_dims=8, channels_mlp_dims=32),
        img_size=16,
        patch_size=4,
    ),
)


@pytest.fixture(params=BACKBONES)
def plain(request, tmp_path):
    """Return (config of a backbone, checkpoint, its weights, unlike any initial)."""
    cfg = BACKBONES[request.param]
    state = MODELS.build(cfg).state_dict()
    state = {
        k: torch.rand(v.shape) + 2 if v.is_floating_point() else v + 5 for k, v in state.items()
    }
    path = tmp_path / 'plain.pth'
    torch.save({f'backbone.{k}': v for k, v in state.items()}, path)
    return cfg, str(path), state


def initialised(cfg, *before, **kwargs):
    """Return an initialised classifier whose backbone has the config."""
    torch.manual_seed(1)
    init_cfg = dict(type='PretrainedBackbone', **kwargs)
    model = ImageClassifier(
        backbone=dict(cfg, init_cfg=[*before, init_cfg] if before else init_cfg),
        head=dict(type='LinearClsHead', num_classes=9, in_channels=8),
    )
    model.init_weights()
    return model


def assert_same(model, state):
    assert model.state_dict().keys() == state.keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key


@pytest.mark.slow
def test_initialiser_has_the_last_word(plain, records):
    """It wins over zero_init_residual, init_weights of submodules and of ViTs."""
    cfg, path, state = plain
    model = initialised(cfg, checkpoint=path)
    assert_same(model.backbone, state)
    # A part without a checkpoint is initialised as ever.
    assert model.head.fc.weight.std() < 0.02 and not model.head.fc.bias.any()
    (found,) = [r.getMessage() for r in records if 'keys match' in r.msg]
    assert found == (f'{path}: {len(state)} of {len(state)} keys match, 0 missing, 0 unexpected')
    model.backbone.init_weights()
    assert_same(model.backbone, state)
    # It also works without the model around it, and after other initialisers.
    bare = MODELS.build(dict(cfg, init_cfg=dict(type='PretrainedBackbone', checkpoint=path)))
    bare.init_weights()
    assert_same(bare, state)
    normal = dict(type='Normal', layer=['Conv2d', 'Linear'], std=1.0)
    assert_same(initialised(cfg, normal, checkpoint=path).backbone, state)


def test_initialiser_passes_its_arguments_on(tmp_path):
    cfg, path = BACKBONES['resnet_cifar'], tmp_path / 'both.pth'
    student, teacher = small_resnet().state_dict(), small_resnet().state_dict()
    torch.save(
        {f'backbone.{k}': v for k, v in student.items()}
        | {TEACHER + k: v for k, v in teacher.items()},
        path,
    )
    assert_same(initialised(cfg, checkpoint=path).backbone, student)
    assert_same(initialised(cfg, checkpoint=path, branch='teacher').backbone, teacher)
    del student['conv1.weight']
    torch.save(student, path)
    assert initialised(cfg, checkpoint=path)
    with pytest.raises(ValueError, match='119 of 120 keys match'):
        initialised(cfg, checkpoint=path, min_match=1.0)


def test_initialiser_leaves_missing_keys_to_the_model(tmp_path):
    """They are initialised as without a checkpoint, not as constructed."""
    key = 'layers.1.ffn.layers.0.0.bias'
    state = MODELS.build(VIT).state_dict()
    assert state.pop(key).abs().max() > 0.05
    torch.save(state, tmp_path / 'vit.pth')
    model = initialised(VIT, checkpoint=tmp_path / 'vit.pth')
    assert 0 < model.backbone.state_dict()[key].abs().max() < 1e-4


def test_initialiser_settles_modules_that_are_not_of_mmengine(tmp_path):
    """They do not keep in mind that they are initialised."""

    class Child(torch.nn.Linear):
        def init_weights(self):
            torch.nn.init.ones_(self.weight)

    class Parent(BaseModule):
        def __init__(self, init_cfg):
            super().__init__(init_cfg)
            self.child = Child(2, 2)

    state = Parent(None).state_dict()
    torch.save(state, tmp_path / 'parent.pth')
    model = Parent(dict(type='PretrainedBackbone', checkpoint=tmp_path / 'parent.pth'))
    model.init_weights()
    assert_same(model, state)


def test_initialiser_stops_without_a_checkpoint_that_fits(tmp_path):
    torch.save(small_resnet(depth=34).state_dict(), tmp_path / 'deep.pth')
    for path, kind, message in [
        (None, ValueError, 'cfg-options model.backbone.init_cfg.checkpoint='),
        ('', ValueError, 'of ResNet_CIFAR has no checkpoint'),
        ('no.pth', FileNotFoundError, 'checkpoint no.pth does not exist'),
        (tmp_path / 'deep.pth', ValueError, '120 of 216 keys match'),
    ]:
        with pytest.raises(kind, match=message) as error:
            initialised(BACKBONES['resnet_cifar'], checkpoint=path)
        assert '\n' not in str(error.value)
