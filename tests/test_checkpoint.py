"""Reading backbones and configs out of checkpoints."""
import logging
import os
import pickle
import zipfile

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer, MMLogger
from mmengine.runner import Runner
from mmpretrain.models import ResNet_CIFAR

import mmentropy  # noqa: F401, registers Digits
from mmentropy.checkpoint import backbone_state_dict, config_of, load_backbone

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
                    norm_cfg=norm),
                head=dict(
                    type='LatentPredictHead',
                    loss=dict(type='CosineSimilarityLoss'),
                    predictor=dict(
                        type='NonLinearNeck',
                        in_channels=16,
                        hid_channels=32,
                        out_channels=16,
                        with_avg_pool=False,
                        norm_cfg=norm))),
            data_preprocessor=dict(mean=[100.], std=[50.]),
            train_dataloader=dict(
                batch_size=32,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='default_collate'),
                dataset=dict(
                    type='Digits',
                    indices=64,
                    pipeline=[
                        dict(
                            type='MultiView',
                            num_views=[2],
                            transforms=[view]),
                        dict(type='PackInputs')
                    ])),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=.1))))
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
        assert torch.equal(
            teacher[key], runner.model.state_dict()[TEACHER + key])
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


def test_missing_keys_above_the_threshold_are_logged(tmp_path):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    MMLogger.get_current_instance().addHandler(handler)
    model, path = backbone(), tmp_path / 'plain.pth'
    state = backbone().state_dict()
    del state['conv1.weight']
    state['fc.weight'] = torch.zeros(10, 64)
    torch.save(state, path)
    before = model.conv1.weight.clone()
    assert load_backbone(model, path) == ['conv1.weight']
    MMLogger.get_current_instance().removeHandler(handler)
    (out,) = [r.getMessage() for r in records if r.levelname == 'WARNING']
    assert '119 of 121 keys match' in out
    assert "['conv1.weight']" in out and "['fc.weight']" in out
    assert torch.equal(model.conv1.weight, before)
    assert torch.equal(model.layer1[0].conv1.weight,
                       state['layer1.0.conv1.weight'])
    with pytest.raises(ValueError, match='119 of 121 keys match'):
        load_backbone(model, path, min_match=1.)
    with pytest.raises(ValueError, match='min_match'):
        load_backbone(model, path, min_match=0.)


@pytest.mark.parametrize('change, cause', [
    (lambda: {f'module.{k}': v
              for k, v in backbone().state_dict().items()},
     "0 of 240 .* conv1.weight.* module.conv1.weight.*adds 'module.'"),
    (lambda: backbone(base_channels=16).state_dict(),
     r'other shapes .*\(16, 8, 3, 3\) instead of \(8, 8, 3, 3\)'),
    (lambda: backbone(depth=34).state_dict(),
     '120 of 216 keys match, 120 expected.* 216 found.*wrong depth'),
    (lambda: dict(foo=torch.zeros(3)), 'another architecture'),
])
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


def test_config_of_a_real_checkpoint(trained):
    path, runner = trained
    cfg = config_of(path)
    assert isinstance(cfg, Config)
    assert cfg.to_dict() == runner.cfg.to_dict()


@pytest.mark.parametrize('text, message', [
    (None, 'holds no config'),
    ('import os', 'no assignment'),
    ('a = open("x")', 'malformed'),
    ('a = dict(b=[__import__("os").getcwd()])', 'malformed'),
    ('a = dict(**globals())', 'malformed'),
    ('a = dict(**{"b": 1})', 'malformed'),
    ('a = (', 'never closed'),
    ('a.b = 1', 'Name|id'),
])
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
        return os.mkdir, (str(self.marker), )


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
        name, = [n for n in file.namelist() if n.endswith('data.pkl')]
        assert b'HistoryBuffer' in file.read(name)
    monkeypatch.setattr(HistoryBuffer, '__setstate__', fail)
    assert backbone_state_dict(path)


def test_reading_leaves_the_safe_globals_alone(trained):
    torch.serialization.add_safe_globals([HistoryBuffer])
    before = set(torch.serialization.get_safe_globals())
    backbone_state_dict(trained[0])
    assert set(torch.serialization.get_safe_globals()) == before


def test_checkpoint_written_with_numpy_1(trained, tmp_path):
    path = rewritten(
        trained[0], tmp_path / 'old.pth',
        lambda data: data.replace(b'numpy._core.', b'numpy.core.'))
    assert len(backbone_state_dict(path)) == 120


def test_unreadable_files_are_named_in_one_line(trained, tmp_path):
    whole = trained[0].read_bytes()
    files = dict(
        text=b'not a checkpoint\n',
        empty=b'',
        truncated=whole[:len(whole) // 2],
        pickled=pickle.dumps([1, 2], protocol=2))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f'{name} is no checkpoint|'
                           f'{name} holds a list') as error:
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
