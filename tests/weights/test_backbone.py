"""The weights of backbones in checkpoints, and loading them."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from small_backbones import VIT, small_resnet

from mmentropy.weights.backbone import backbone_state_dict, load_backbone

TEACHER = 'target_net.module.0.'


@pytest.mark.slow
def test_branches_of_a_real_checkpoint(trained):
    path, runner = trained
    student = backbone_state_dict(path)
    teacher = backbone_state_dict(path, 'teacher')
    expected = runner.model.backbone.state_dict()
    assert student.keys() == teacher.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(student[key], value)
        assert torch.equal(teacher[key], runner.model.state_dict()[TEACHER + key])
    assert not torch.equal(student['conv1.weight'], teacher['conv1.weight'])


def test_load_backbone_loads_every_key(trained):
    path, runner = trained
    for branch in ('student', 'teacher'):
        model = small_resnet()
        assert load_backbone(model, path, branch) == []
        expected = backbone_state_dict(path, branch)
        for key, value in model.state_dict().items():
            assert torch.equal(value, expected[key])


def test_plain_state_dict_is_a_student(tmp_path):
    model, path = small_resnet(), tmp_path / 'plain.pth'
    for content in (model.state_dict(), dict(state_dict=model.state_dict())):
        torch.save(content, path)
        assert backbone_state_dict(path).keys() == model.state_dict().keys()
        with pytest.raises(ValueError, match='has no teacher: none of 120'):
            backbone_state_dict(path, 'teacher')
    with pytest.raises(ValueError, match='branch must be one of'):
        backbone_state_dict(path, 'ema')


def test_missing_keys_above_the_threshold_are_logged(tmp_path, records):
    model, path = small_resnet(), tmp_path / 'plain.pth'
    state = small_resnet().state_dict()
    del state['conv1.weight']
    state['fc.weight'] = torch.zeros(10, 64)
    state['fc.bias'] = torch.zeros(10)
    torch.save(state, path)
    before = model.conv1.weight.clone()
    assert load_backbone(model, path) == ['conv1.weight']
    (out,) = [r.getMessage() for r in records if r.levelname == 'WARNING']
    assert '119 of 122 keys match, 1 missing, 2 unexpected' in out
    assert "['conv1.weight']" in out and "['fc.weight', 'fc.bias']" in out
    assert torch.equal(model.conv1.weight, before)
    assert torch.equal(model.layer1[0].conv1.weight, state['layer1.0.conv1.weight'])
    with pytest.raises(ValueError, match='119 of 122 keys match'):
        load_backbone(model, path, min_match=1.0)
    with pytest.raises(ValueError, match='min_match'):
        load_backbone(model, path, min_match=0.0)


@pytest.mark.parametrize(
    'change, cause',
    [
        (
            lambda: {f'module.{k}': v for k, v in small_resnet().state_dict().items()},
            "0 of 240 .* conv1.weight.* module.conv1.weight.*adds 'module.'",
        ),
        (
            lambda: small_resnet(base_channels=16).state_dict(),
            r'other shapes .*\(16, 8, 3, 3\) instead of \(8, 8, 3, 3\)',
        ),
        (
            lambda: small_resnet(depth=34).state_dict(),
            '120 of 216 keys match, 120 expected.* 216 found.*wrong depth',
        ),
        (lambda: dict(foo=torch.zeros(3)), 'another architecture'),
    ],
)
def test_too_few_matches_load_nothing(tmp_path, change, cause):
    path = tmp_path / 'other.pth'
    torch.save(change(), path)
    model = small_resnet()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=cause) as error:
        load_backbone(model, path)
    assert '\n' not in str(error.value)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize(
    'theirs, ours, message',
    [
        (
            dict(type='ResNet_CIFAR'),
            dict(type='ResNet'),
            r'conv1.weight is \(8, 3, 3, 3\) instead of \(8, 3, 7, 7\); .* stem.*ResNet_CIFAR',
        ),
        (
            dict(type='ResNet', in_channels=1),
            dict(type='ResNet'),
            r'conv1.weight is \(8, 1, 7, 7\) instead of \(8, 3, 7, 7\); .* in_channels=1',
        ),
        (dict(VIT, patch_size=8, img_size=32), VIT, r'projection.weight is .* patch_size'),
    ],
)
@pytest.mark.parametrize('min_match', [0.95, 0.1])
def test_a_weight_of_another_shape_is_never_left_random(theirs, ours, message, min_match, tmp_path):
    path = tmp_path / 'other.pth'
    shape = dict(depth=18, stem_channels=8, base_channels=8)
    theirs, ours = (dict(shape, **c) if 'arch' not in c else c for c in (theirs, ours))
    torch.save(MODELS.build(theirs).state_dict(), path)
    model = MODELS.build(ours)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=message) as error:
        load_backbone(model, path, min_match=min_match)
    assert '\n' not in str(error.value) and 'of pre-training' in str(error.value)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


def test_missing_prefix_is_named(tmp_path):
    path = tmp_path / 'bare.pth'
    torch.save(small_resnet().state_dict(), path)
    whole = torch.nn.ModuleDict(dict(net=small_resnet()))
    with pytest.raises(ValueError, match=r"lacks 'net\.'"):
        load_backbone(whole, path)


def test_a_checkpoint_without_weights_says_what_it_has(tmp_path):
    torch.save(dict(epoch=3), tmp_path / 'weightless')
    with pytest.raises(ValueError, match='no weights; its keys are epoch'):
        backbone_state_dict(tmp_path / 'weightless')


def vit_checkpoint(folder, tokens=17):
    state = dict(MODELS.build(VIT).state_dict())
    state['pos_embed'] = torch.randn(1, tokens, 16)
    torch.save(state, folder / 'vit.pth')
    return folder / 'vit.pth', state['pos_embed']


def matches(records):
    """Return the records about loading."""
    return [r for r in records if 'keys match' in r.getMessage()]


@pytest.mark.parametrize('kind', ['VisionTransformer', 'MoCoV3ViT'])
@pytest.mark.parametrize('size, grid', [(32, (8, 8)), ((8, 24), (2, 6))])
def test_position_embedding_of_another_size(kind, size, grid, tmp_path, records):
    path, embedding = vit_checkpoint(tmp_path)
    init = dict(type='PretrainedBackbone', checkpoint=str(path))
    model = MODELS.build(dict(VIT, type=kind, img_size=size, init_cfg=init))
    model.init_weights()
    rows = embedding[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    rows = F.interpolate(rows, size=grid, mode='bicubic')
    expected = torch.cat([embedding[:, :1], rows.flatten(2).mT], 1)
    assert torch.equal(model.pos_embed, expected)
    (record,) = matches(records)
    assert record.levelname == 'INFO'
    count = grid[0] * grid[1] + 1
    assert f'pos_embed resized from (1, 17, 16) to (1, {count}, 16)' in record.getMessage()


def test_position_embedding_that_is_no_grid(tmp_path):
    path, _ = vit_checkpoint(tmp_path, tokens=20)
    model = MODELS.build(dict(VIT, img_size=32))
    before = model.pos_embed.clone()
    with pytest.raises(ValueError) as error:
        load_backbone(model, path)
    assert r'(1, 20, 16) cannot be brought to (1, 65, 16)' in str(error.value)
    assert '\n' not in str(error.value)
    assert torch.equal(before, model.pos_embed)


def test_position_embedding_of_the_same_size(tmp_path, records):
    path, embedding = vit_checkpoint(tmp_path)
    model = MODELS.build(VIT)
    load_backbone(model, path)
    assert torch.equal(model.pos_embed, embedding)
    assert 'resized' not in matches(records)[0].getMessage()
