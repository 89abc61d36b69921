"""Reading backbones and configs out of checkpoints."""

import logging
import os
import pickle
import zipfile

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer, MMLogger
from mmengine.model import BaseModule
from mmengine.runner import Runner
from mmpretrain.models import ImageClassifier, ResNet_CIFAR
from mmpretrain.registry import MODELS

import mmentropy  # noqa: F401, registers Digits
from mmentropy.weights.backbone import (
    backbone_state_dict,
    config_of,
    load_backbone,
)

SHAPE = dict(depth=18, base_channels=8, stem_channels=8, in_channels=1)
TEACHER = 'target_net.module.0.'


def backbone(**kwargs):
    return ResNet_CIFAR(**{**SHAPE, **kwargs})


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """(checkpoint, runner) of one epoch of mmpretrain's BYOL."""
    work_dir = tmp_path_factory.mktemp('byol')
    norm = dict(type='BN1d')
    view = [dict(type='RandomCrop', crop_size=8, padding=1)]
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            work_dir=str(work_dir),
            experiment_name='checkpoint_test',
            model=dict(
                type='BYOL',
                backbone=dict(type='ResNet_CIFAR', **SHAPE),
                neck=dict(
                    type='NonLinearNeck',
                    in_channels=64,
                    hid_channels=32,
                    out_channels=16,
                    norm_cfg=norm,
                ),
                head=dict(
                    type='LatentPredictHead',
                    loss=dict(type='CosineSimilarityLoss'),
                    predictor=dict(
                        type='NonLinearNeck',
                        in_channels=16,
                        hid_channels=32,
                        out_channels=16,
                        with_avg_pool=False,
                        norm_cfg=norm,
                    ),
                ),
            ),
            data_preprocessor=dict(mean=[100.0], std=[50.0]),
            train_dataloader=dict(
                batch_size=32,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='default_collate'),
                dataset=dict(
                    type='Digits',
                    indices=64,
                    pipeline=[
                        dict(type='MultiView', num_views=[2], transforms=[view]),
                        dict(type='PackInputs'),
                    ],
                ),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        )
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    return work_dir / 'epoch_1.pth', runner


def rewritten(source, target, change):
    """Copy a torch file, its pickle passed through ``change``."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w') as new:
        for item in old.infolist():
            data = old.read(item)
            if item.filename.endswith('data.pkl'):
                data = change(data)
            new.writestr(item, data)
    return target


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
        model = backbone()
        assert load_backbone(model, path, branch) == []
        expected = backbone_state_dict(path, branch)
        for key, value in model.state_dict().items():
            assert torch.equal(value, expected[key])


def test_plain_state_dict_is_a_student(tmp_path):
    model, path = backbone(), tmp_path / 'plain.pth'
    for content in (model.state_dict(), dict(state_dict=model.state_dict())):
        torch.save(content, path)
        assert backbone_state_dict(path).keys() == model.state_dict().keys()
        with pytest.raises(ValueError, match='has no teacher: none of 120'):
            backbone_state_dict(path, 'teacher')
    with pytest.raises(ValueError, match='branch must be one of'):
        backbone_state_dict(path, 'ema')


@pytest.fixture
def records():
    """What is logged in a test."""
    found = []
    handler = logging.Handler()
    handler.emit = found.append
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


def test_missing_keys_above_the_threshold_are_logged(tmp_path, records):
    model, path = backbone(), tmp_path / 'plain.pth'
    state = backbone().state_dict()
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
            lambda: {f'module.{k}': v for k, v in backbone().state_dict().items()},
            "0 of 240 .* conv1.weight.* module.conv1.weight.*adds 'module.'",
        ),
        (
            lambda: backbone(base_channels=16).state_dict(),
            r'other shapes .*\(16, 8, 3, 3\) instead of \(8, 8, 3, 3\)',
        ),
        (
            lambda: backbone(depth=34).state_dict(),
            '120 of 216 keys match, 120 expected.* 216 found.*wrong depth',
        ),
        (lambda: dict(foo=torch.zeros(3)), 'another architecture'),
    ],
)
def test_too_few_matches_load_nothing(tmp_path, change, cause):
    path = tmp_path / 'other.pth'
    torch.save(change(), path)
    model = backbone()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=cause) as error:
        load_backbone(model, path)
    assert '\n' not in str(error.value)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


def test_missing_prefix_is_named(tmp_path):
    path = tmp_path / 'bare.pth'
    torch.save(backbone().state_dict(), path)
    whole = torch.nn.ModuleDict(dict(net=backbone()))
    with pytest.raises(ValueError, match=r"lacks 'net\.'"):
        load_backbone(whole, path)


VIT = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
    img_size=16,
    patch_size=4,
)
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
    """(config of a backbone, checkpoint, its weights, unlike any initial)."""
    cfg = BACKBONES[request.param]
    state = MODELS.build(cfg).state_dict()
    state = {
        k: torch.rand(v.shape) + 2 if v.is_floating_point() else v + 5 for k, v in state.items()
    }
    path = tmp_path / 'plain.pth'
    torch.save({f'backbone.{k}': v for k, v in state.items()}, path)
    return cfg, str(path), state


def initialised(cfg, *before, **kwargs):
    """A classifier whose backbone has the config, initialised."""
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


def test_initialiser_has_the_last_word(plain, records):
    """Over zero_init_residual, init_weights of submodules and of ViTs."""
    cfg, path, state = plain
    model = initialised(cfg, checkpoint=path)
    assert_same(model.backbone, state)
    # What has no checkpoint is initialised as ever.
    assert model.head.fc.weight.std() < 0.02 and not model.head.fc.bias.any()
    (found,) = [r.getMessage() for r in records if 'keys match' in r.msg]
    assert found == (f'{path}: {len(state)} of {len(state)} keys match, 0 missing, 0 unexpected')
    model.backbone.init_weights()
    assert_same(model.backbone, state)
    # Without the model around it, and after other initialisers.
    bare = MODELS.build(dict(cfg, init_cfg=dict(type='PretrainedBackbone', checkpoint=path)))
    bare.init_weights()
    assert_same(bare, state)
    normal = dict(type='Normal', layer=['Conv2d', 'Linear'], std=1.0)
    assert_same(initialised(cfg, normal, checkpoint=path).backbone, state)


def test_initialiser_passes_its_arguments_on(tmp_path):
    cfg, path = BACKBONES['resnet_cifar'], tmp_path / 'both.pth'
    student, teacher = backbone().state_dict(), backbone().state_dict()
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
    torch.save(backbone(depth=34).state_dict(), tmp_path / 'deep.pth')
    for path, kind, message in [
        (None, ValueError, 'cfg-options model.backbone.init_cfg.checkpoint='),
        ('', ValueError, 'of ResNet_CIFAR has no checkpoint'),
        ('no.pth', FileNotFoundError, 'checkpoint no.pth does not exist'),
        (tmp_path / 'deep.pth', ValueError, '120 of 216 keys match'),
    ]:
        with pytest.raises(kind, match=message) as error:
            initialised(BACKBONES['resnet_cifar'], checkpoint=path)
        assert '\n' not in str(error.value)


def test_config_of_a_real_checkpoint(trained):
    path, runner = trained
    cfg = config_of(path)
    assert isinstance(cfg, Config)
    assert cfg.to_dict() == runner.cfg.to_dict()


@pytest.mark.parametrize(
    'text, message',
    [
        (None, 'holds no config'),
        ('import os', 'no assignment'),
        ('a = open("x")', 'malformed'),
        ('a = dict(b=[__import__("os").getcwd()])', 'malformed'),
        ('a = dict(**globals())', 'malformed'),
        ('a = dict(**{"b": 1})', 'malformed'),
        ('a = (', 'never closed'),
        ('a.b = 1', 'Name|id'),
    ],
)
def test_config_with_code_is_not_run(tmp_path, text, message):
    path = tmp_path / 'code.pth'
    torch.save(dict(state_dict={}, meta=dict(cfg=text)), path)
    with pytest.raises(ValueError, match=message) as error:
        config_of(path)
    assert '\n' not in str(error.value)


def test_config_imports_what_it_names(tmp_path):
    path = tmp_path / 'imports.pth'
    text = "custom_imports = dict(imports=['no_such_module_here'])\n"
    torch.save(dict(meta=dict(cfg=text)), path)
    with pytest.raises(ImportError, match='no_such_module_here'):
        config_of(path)


class Harmful:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_harmful_pickle_is_refused_and_not_run(tmp_path):
    path, marker = tmp_path / 'harmful.pth', tmp_path / 'marker'
    content = dict(state_dict=backbone().state_dict(), meta=Harmful(marker))
    torch.save(content, path)
    with pytest.raises(ValueError, match='refused: it holds posix.mkdir') as e:
        backbone_state_dict(path)
    assert '\n' not in str(e.value) and not marker.exists()
    # The file does what it says where it is trusted.
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_reading_calls_nothing_of_mmengine(trained, tmp_path, monkeypatch):
    """HistoryBuffer would put methods from the file into the class."""
    path, _ = trained

    def fail(*args):
        raise AssertionError('called')

    with zipfile.ZipFile(path) as file:
        (name,) = [n for n in file.namelist() if n.endswith('data.pkl')]
        assert b'HistoryBuffer' in file.read(name)
    monkeypatch.setattr(HistoryBuffer, '__setstate__', fail)
    assert backbone_state_dict(path)


def test_reading_leaves_the_safe_globals_alone(trained, monkeypatch):
    """And takes none of them for its own, which do nothing."""
    known, load = torch.serialization.get_safe_globals(), torch.load
    during = []

    def watched(*args, **kwargs):
        during.extend(torch.serialization.get_safe_globals())
        return load(*args, **kwargs)

    monkeypatch.setattr(torch, 'load', watched)
    torch.serialization.add_safe_globals([HistoryBuffer])
    try:
        before = set(torch.serialization.get_safe_globals())
        backbone_state_dict(trained[0])
        assert set(torch.serialization.get_safe_globals()) == before
        assert during and HistoryBuffer not in during
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(known)


def test_checkpoint_written_with_numpy_1(trained, tmp_path):
    path = rewritten(
        trained[0], tmp_path / 'old.pth', lambda data: data.replace(b'numpy._core.', b'numpy.core.')
    )
    assert len(backbone_state_dict(path)) == 120


def test_unreadable_files_are_named_in_one_line(trained, tmp_path):
    whole = trained[0].read_bytes()
    files = dict(
        text=b'not a checkpoint\n',
        empty=b'',
        truncated=whole[: len(whole) // 2],
        pickled=pickle.dumps([1, 2], protocol=2),
    )
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(
            ValueError, match=f'{name} is no checkpoint|{name} holds a list'
        ) as error:
            backbone_state_dict(tmp_path / name)
        assert '\n' not in str(error.value)
    torch.save([1, 2], tmp_path / 'list')
    torch.save(dict(epoch=3), tmp_path / 'weightless')
    for name, kind, message in [
        ('list', ValueError, 'holds a list'),
        ('weightless', ValueError, 'no weights; its keys are epoch'),
        ('absent', FileNotFoundError, 'absent does not exist'),
        ('.', IsADirectoryError, 'is a directory'),
    ]:
        with pytest.raises(kind, match=message):
            backbone_state_dict(tmp_path / name)


VIT = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
    img_size=16,
    patch_size=4,
)


@pytest.fixture
def messages():
    """(level, text) of what is logged about loading."""
    found = []
    handler = logging.Handler()
    handler.emit = found.append
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield lambda: [(r.levelname, r.getMessage()) for r in found if 'keys match' in r.getMessage()]
    logger.removeHandler(handler)


def vit_checkpoint(folder, tokens=17):
    state = dict(MODELS.build(VIT).state_dict())
    state['pos_embed'] = torch.randn(1, tokens, 16)
    torch.save(state, folder / 'vit.pth')
    return folder / 'vit.pth', state['pos_embed']


@pytest.mark.parametrize('kind', ['VisionTransformer', 'MoCoV3ViT'])
@pytest.mark.parametrize('size, grid', [(32, (8, 8)), ((8, 24), (2, 6))])
def test_position_embedding_of_another_size(kind, size, grid, tmp_path, messages):
    path, embedding = vit_checkpoint(tmp_path)
    init = dict(type='PretrainedBackbone', checkpoint=str(path))
    model = MODELS.build(dict(VIT, type=kind, img_size=size, init_cfg=init))
    model.init_weights()
    rows = embedding[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    rows = torch.nn.functional.interpolate(rows, size=grid, mode='bicubic')
    expected = torch.cat([embedding[:, :1], rows.flatten(2).mT], 1)
    assert torch.equal(model.pos_embed, expected)
    ((level, text),) = messages()
    assert level == 'INFO'
    count = grid[0] * grid[1] + 1
    assert f'pos_embed resized from (1, 17, 16) to (1, {count}, 16)' in text


def test_position_embedding_that_is_no_grid(tmp_path):
    path, _ = vit_checkpoint(tmp_path, tokens=20)
    model = MODELS.build(dict(VIT, img_size=32))
    before = model.pos_embed.clone()
    with pytest.raises(ValueError) as error:
        load_backbone(model, path)
    assert r'(1, 20, 16) cannot be brought to (1, 65, 16)' in str(error.value)
    assert '\n' not in str(error.value)
    assert torch.equal(before, model.pos_embed)


def test_position_embedding_of_the_same_size(tmp_path, messages):
    path, embedding = vit_checkpoint(tmp_path)
    model = MODELS.build(VIT)
    load_backbone(model, path)
    assert torch.equal(model.pos_embed, embedding)
    assert 'resized' not in messages()[0][1]
