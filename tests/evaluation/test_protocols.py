"""Protocols by name, and the tool that scores checkpoints by them."""

import copy
import json
import re
import runpy
import sys

import fake_data
import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import (
    ResNet_CIFAR,
    SelfSupDataPreprocessor,
)
from mmpretrain.registry import DATASETS
from repository import REPOSITORY
from small_images import MODEL, NORM, PACK, Images, digits_config, tiny_resnet

from mmentropy.evaluation import (
    build_backbone,
    extract_features,
    finetune_accuracy,
    knn_accuracy,
    linear_probe,
    low_shot,
    minent_linear_probe,
    parse_protocols,
    protocols,
    svm_score,
)

TOOL = REPOSITORY / 'tools' / 'evaluate.py'


def test_parse_protocols_lists_the_choices():
    assert parse_protocols('knn, linear') == ['knn', 'linear']
    for text in ('knn,tsne', ''):
        with pytest.raises(ValueError, match='choose from knn, knn200, knn5'):
            parse_protocols(text)


def run_tool(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['evaluate.py', *map(str, args)])
    try:
        runpy.run_path(str(TOOL), run_name='__main__')
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.fixture
def checkpoint(tmp_path):
    weights = tiny_resnet(5).state_dict()
    state = {f'backbone.{k}': v for k, v in weights.items()}
    path = tmp_path / 'model.pth'
    torch.save(dict(state_dict=state, meta=dict(cfg=digits_config().pretty_text)), path)
    return path


@pytest.mark.parametrize(
    'late, rows, message',
    [
        ('knn200', 150, r'knn200: k must be in 1..150 \(the training rows\), got 200'),
        ('lowshot', 60, 'training rows, fewer than 16 shots'),
    ],
)
def test_too_few_rows_are_told_before_a_score_is_computed(late, rows, message):
    """An error of a later protocol would lose the scores of the earlier ones."""
    cfg = digits_config()
    cfg.eval_datasets.train.indices = rows
    with pytest.raises(ValueError, match=message):
        protocols.Evaluation(cfg, ['knn', late])
    protocols.Evaluation(cfg, ['knn'])


def test_convolutions_run_in_channels_last():
    backbone, seen = tiny_resnet(5), []

    def note(module, args, out):
        seen.append(out.is_contiguous(memory_format=torch.channels_last))

    backbone.layer1.register_forward_hook(note)
    protocols.Evaluation(digits_config(), ['knn']).scores(backbone)
    assert seen and all(seen)


@pytest.mark.slow
def test_tool_scores_checkpoint_and_baselines(checkpoint, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'results.json'
    assert (
        run_tool(
            monkeypatch,
            checkpoint,
            '--protocols',
            'knn,knn5,linear',
            '--random',
            '--pixels',
            '--out',
            out,
        )
        == 0
    )
    results = json.loads(out.read_text())
    assert list(results) == ['checkpoint', 'random', 'pixels']
    assert all(list(r) == ['knn', 'knn5', 'linear'] for r in results.values())
    printed = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in printed[-3:]]
    assert {row[0]: [float(v) for v in row[1:]] for row in rows} == {
        name: [round(v, 2) for v in scores.values()] for name, scores in results.items()
    }
    assert len({len(line) for line in printed[-4:]}) == 1

    # The same by hand.
    data = []
    for split in ('train', 'test'):
        data += extract_features(
            tiny_resnet(5),
            dict(type='Digits', split=split, indices=200, pipeline=PACK),
            SelfSupDataPreprocessor(**NORM),
        )
    assert results['checkpoint'] == pytest.approx(
        dict(
            knn=knn_accuracy(*data),
            knn5=knn_accuracy(*data, k=5, metric='euclidean'),
            linear=linear_probe(*data).accuracy,
        ),
        abs=1e-6,
    )
    assert results['random'] != results['checkpoint']


ALL = 'knn,knn200,knn5,linear,minent_linear,lowshot,svm,semi1,semi10'


@pytest.mark.slow
def test_tool_scores_by_every_protocol(checkpoint, tmp_path, monkeypatch, capsys):
    """Each column is what its function gives, the fine-tuned come last."""
    # Few draws and steps.
    monkeypatch.setattr(low_shot, '__defaults__', ((1, 2), 2, 0))
    monkeypatch.setattr(finetune_accuracy, '__defaults__', (3, 8, 0.05, 1, 0, 0))
    out = tmp_path / 'results.json'
    option = '--cfg-options', 'eval_datasets.train.indices=400'
    assert (
        run_tool(
            monkeypatch,
            checkpoint,
            '--protocols',
            ALL,
            '--pixels',
            '--random',
            '--seed',
            2,
            '--out',
            out,
            *option,
        )
        == 0
    )
    results = json.loads(out.read_text())
    columns = ALL.replace('lowshot', 'lowshot1,lowshot2').split(',')
    assert list(results['checkpoint']) == list(results['random']) == columns
    assert list(results['pixels']) == columns[:-2]
    printed = capsys.readouterr().out.splitlines()
    assert printed[-4].split() == columns
    assert printed[-1].split()[-2:] == ['-', '-']
    assert len({len(line) for line in printed[-4:]}) == 1
    train, test = [
        dict(type='Digits', split=split, indices=indices, pipeline=PACK)
        for split, indices in (('train', 400), ('test', 200))
    ]
    norm = SelfSupDataPreprocessor(**NORM)
    for row, backbone in [
        ('checkpoint', tiny_resnet(5)),
        ('random', build_backbone(digits_config(), 2)),
    ]:
        data = []
        for dataset in (train, test):
            data += extract_features(backbone, dataset, norm)
        expected = dict(
            knn200=knn_accuracy(*data, k=200),
            minent_linear=minent_linear_probe(*data, seed=2),
            svm=svm_score(*data, seed=2),
        )
        for k, value in low_shot(*data, seed=2).items():
            expected[f'lowshot{k}'] = value
        for name, fraction in (('semi1', 0.01), ('semi10', 0.1)):
            few = DATASETS.build(dict(type='LabelSubset', dataset=train, fraction=fraction, seed=2))
            expected[name] = finetune_accuracy(
                copy.deepcopy(backbone), norm, few, DATASETS.build(test), seed=2
            )
        found = {name: results[row][name] for name in expected}
        assert found == pytest.approx(expected, abs=1e-6), row
    # 1 % of 40 rows a class are 2 % of them.
    for name, fraction in protocols.FINE_TUNED.items():
        assert name == f'semi{100 * fraction:.0f}'


DATASETS.register_module('Colours', module=lambda: Images(3, shape=lambda i: (3, 16, 16)))


DATASETS.register_module('Unlabelled', module=lambda: Images(3, unlabelled=range(3)))


@pytest.mark.slow
def test_tool_takes_the_data_of_another_config(checkpoint, tmp_path, monkeypatch):
    """Its labelled data sets, and nothing else of it."""
    data, out = tmp_path / 'data.py', tmp_path / 'results.json'
    train, test = [
        dict(type='Digits', split=split, indices=60, pipeline=PACK) for split in ('train', 'test')
    ]
    Config(
        dict(
            model=dict(type='Nothing'),
            data_preprocessor=dict(mean=[0.0], std=[1.0]),
            eval_datasets=dict(train=train, test=test),
        )
    ).dump(data)
    assert (
        run_tool(monkeypatch, checkpoint, '--protocols', 'knn', '--out', out, '--data', data) == 0
    )
    pairs = []
    for dataset in (train, test):
        pairs += extract_features(tiny_resnet(5), dataset, SelfSupDataPreprocessor(**NORM))
    assert json.loads(out.read_text()) == dict(
        checkpoint=dict(knn=pytest.approx(knn_accuracy(*pairs)))
    )
    # Options change the data that was taken.
    code = run_tool(
        monkeypatch, checkpoint, '--data', data, '--cfg-options', 'eval_datasets.test.split=val'
    )
    assert "'val'" in code
    # Before anything is computed.
    monkeypatch.setattr(protocols, 'extract_features', None)
    for entry, message in [
        (
            dict(type='DTD', data_root='nowhere', split='test'),
            'DTD in .*nowhere: the folder is missing',
        ),
        (dict(type='Colours'), 'images have 3 channels, but .* on 1'),
    ]:
        Config(dict(eval_datasets=dict(train=train, test=entry))).dump(data)
        code = run_tool(monkeypatch, checkpoint, '--data', data)
        assert re.search(message, code) and '\n' not in code


def test_data_of_a_config_that_a_user_names_may_be_of_any_type(checkpoint, tmp_path, monkeypatch):
    """The stored config may not, which asks for the same."""
    (tmp_path / 'own_data.py').write_text(
        'from mmentropy.datasets import Digits\n\n\nclass OwnDigits(Digits):\n    pass\n'
    )
    # The tool adds the folder of the config to it.
    monkeypatch.setattr(sys, 'path', [*sys.path])
    own = dict(type='own_data.OwnDigits', indices=60, pipeline=PACK)
    sets = {split: dict(own, split=split) for split in ('train', 'test')}
    data = tmp_path / 'data.py'
    Config(dict(eval_datasets=sets)).dump(data)
    monkeypatch.setattr(protocols, 'finetune_accuracy', lambda *_, **__: 0.0)
    assert run_tool(monkeypatch, checkpoint, '--protocols', 'knn,semi10', '--data', data) == 0
    assert 'own_data' in sys.modules
    saved = torch.load(checkpoint)
    saved['meta']['cfg'] = digits_config(eval_datasets=sets).pretty_text
    torch.save(saved, checkpoint)
    assert 'refused: a stored config has the type' in run_tool(monkeypatch, checkpoint)


@pytest.mark.slow
def test_tool_scores_multi_label_data_by_svm_only(tmp_path, monkeypatch):
    entry = dict(
        type='VOC',
        data_root='',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(16, 16)),
            dict(type='PackInputs', meta_keys=('gt_label_difficult',)),
        ],
    )
    train = fake_data.make(dict(entry, split='trainval'), tmp_path)
    config, out = tmp_path / 'config.py', tmp_path / 'results.json'
    model = dict(MODEL, backbone=dict(MODEL['backbone'], in_channels=3))
    Config(
        dict(
            model=model,
            data_preprocessor=dict(mean=[0.0] * 3, std=[1.0] * 3),
            train_dataloader=dict(dataset=dict(dataset=train)),
            eval_datasets=dict(train=train, test=dict(train, split='test')),
        )
    ).dump(config)
    torch.manual_seed(5)
    backbone = ResNet_CIFAR(depth=18, base_channels=8, stem_channels=8)
    torch.save(backbone.state_dict(), tmp_path / 'colour.pth')
    args = tmp_path / 'colour.pth', '--config', config, '--out', out
    assert run_tool(monkeypatch, *args, '--protocols', 'svm', '--pixels') == 0
    results = json.loads(out.read_text())
    assert list(results) == ['checkpoint', 'pixels']
    assert all(0 < row['svm'] <= 100 for row in results.values())

    # Before anything is computed, in one line.
    def fail(*args, **kwargs):
        raise AssertionError('computed')

    monkeypatch.setattr(protocols, 'extract_features', fail)
    for names in ('svm,knn', 'lowshot', 'semi1'):
        code = run_tool(monkeypatch, *args, '--protocols', names)
        assert code == (
            'error: data set VOC has several labels per image, '
            f'which {names.split(",")[-1]} cannot score: choose '
            'svm'
        )
    # Files are BGR until they are turned.
    cfg = Config.fromfile(config)
    to_rgb = dict(type='NumpyToPIL', to_rgb=True)
    to_bgr = dict(type='PILToNumpy', to_bgr=True)
    cfg.eval_datasets.train.pipeline[2:2] = [to_rgb, to_bgr]
    cfg.eval_datasets.test.pipeline[2:2] = [to_rgb]
    cfg.dump(config)
    code = run_tool(monkeypatch, *args, '--protocols', 'svm')
    assert code == (
        'error: data set VOC gives RGB, but the network is '
        'trained on BGR: convert in its pipeline, as by '
        'NumpyToPIL and PILToNumpy'
    )
    cfg.eval_datasets.test.pipeline[3:3] = [to_bgr]
    cfg.dump(config)
    with pytest.raises(AssertionError, match='computed'):
        protocols.evaluate_checkpoint(args[0], cfg, ['svm'])


@pytest.mark.slow
def test_tool_takes_a_config_and_options(checkpoint, tmp_path, monkeypatch):
    bare = tmp_path / 'bare.pth'
    torch.save(tiny_resnet(5).state_dict(), bare)
    config = tmp_path / 'config.py'
    digits_config().dump(config)
    out = tmp_path / 'results.json'
    args = ('--protocols', 'knn', '--out', out)
    assert run_tool(monkeypatch, checkpoint, *args) == 0
    expected = json.loads(out.read_text())
    assert run_tool(monkeypatch, bare, '--config', config, *args) == 0
    assert json.loads(out.read_text()) == expected
    assert (
        run_tool(monkeypatch, checkpoint, *args, '--cfg-options', 'eval_datasets.train.indices=50')
        == 0
    )
    assert json.loads(out.read_text()) != expected

    seen = []

    def spy(*args, num_workers):
        seen.append((args[3], num_workers))
        return extract_features(*args)

    monkeypatch.setattr(protocols, 'extract_features', spy)
    assert run_tool(monkeypatch, checkpoint, *args, '--batch-size', 90, '--workers', 2) == 0
    assert seen == [(90, 2)] * 2


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(protocols=['semi1', 'semi10'], pixels=True), 'pixels have no backbone, .* semi10'),
        (dict(protocols=['lowshot'], seed=-1), r'seed must be an integer in 0\.\.4294967295'),
    ],
)
def test_arguments_are_checked_before_the_checkpoint_is_read(options, message):
    with pytest.raises(ValueError, match=message) as error:
        protocols.evaluate_checkpoint('nowhere.pth', **options)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('key', ['eval_dataset.test.split', 'modle.backbone.depth'])
def test_an_option_that_nobody_reads_is_refused(checkpoint, monkeypatch, key):
    code = run_tool(monkeypatch, checkpoint, '--cfg-options', f'{key}=train')
    name = {'eval_dataset': 'eval_datasets', 'modle': 'model'}[key.partition('.')[0]]
    assert code == f'error: {key.partition(".")[0]}: did you mean {name!r}?'


@pytest.mark.slow
def test_tool_fails_in_one_line(checkpoint, tmp_path, monkeypatch):
    bare = tmp_path / 'bare.pth'
    torch.save(tiny_resnet().state_dict(), bare)
    option = '--cfg-options'
    unlabelled, empty = tmp_path / 'unlabelled.py', tmp_path / 'empty.py'
    dataset = dict(type='Unlabelled')
    Config(dict(eval_datasets=dict(train=dataset, test=dataset))).dump(unlabelled)
    empty.write_text('batch_size = 1\n')
    for args, message in [
        (['nowhere.pth'], 'does not exist'),
        ([tmp_path], 'is a directory'),
        ([bare], 'holds no config'),
        ([checkpoint, '--protocols', 'tsne'], 'knn, knn200, knn5, linear'),
        ([checkpoint, '--branch', 'teacher'], 'no teacher'),
        ([checkpoint, '--out', tmp_path / 'no' / 'r.json'], 'no folder'),
        ([checkpoint, '--config', 'nowhere.py'], 'nowhere.py'),
        ([checkpoint, option, 'model.backbone.depth=34'], 'wrong depth'),
        ([checkpoint, option, 'model.backbone.type=ResNeXtra'], 'ResNeXtra'),
        ([checkpoint, option, 'model.type=Foo'], 'Foo'),
        ([checkpoint, option, 'eval_datasets.test.split=val'], "'val'"),
        ([checkpoint, option, 'eval_datasets.train.indices=5'], 'k must be'),
        (
            [checkpoint, '--protocols', 'lowshot', option, 'eval_datasets.train.indices=60'],
            'rows, fewer than 16 shots',
        ),
        ([checkpoint, '--data', 'nowhere.py'], 'nowhere.py'),
        (
            [checkpoint, '--data', unlabelled, '--protocols', 'semi1'],
            'data set Images lacks labels',
        ),
        ([checkpoint, '--data', empty], 'eval_datasets = dict'),
    ]:
        code = run_tool(monkeypatch, *args)
        assert isinstance(code, str) and code.startswith('error: '), args
        assert message in code and '\n' not in code, code
