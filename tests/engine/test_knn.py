"""KNNHook measures and does not disturb."""

import json
import logging
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from mmpretrain.models import ResNet_CIFAR, SelfSupDataPreprocessor
from mmpretrain.registry import DATASETS, TRANSFORMS
from ranks import on_ranks

from mmentropy.engine.hooks.knn_during_training import KNNHook
from mmentropy.evaluation import extract_features, knn_accuracy

BACKBONE = dict(depth=18, base_channels=8, stem_channels=8, in_channels=1)
PACK = dict(type='PackInputs')


@TRANSFORMS.register_module()
class DrawRandomNumbers(BaseTransform):
    """Advances every generator that a data set could use."""

    def transform(self, results):
        random.random(), np.random.rand(), torch.rand(1)
        return results


@TRANSFORMS.register_module()
class PythonRandomRoll(BaseTransform):
    """mmpretrain's transforms draw from numpy only."""

    def transform(self, results):
        results['img'] = np.roll(results['img'], random.randrange(8))
        return results


def digits(split, size):
    return dict(
        type='Digits', split=split, indices=size, pipeline=[dict(type='DrawRandomNumbers'), PACK]
    )


def hook(**kwargs):
    return dict(
        type='KNNHook',
        **{**dict(train=digits('train', 100), test=digits('test', 50), k=5, interval=1), **kwargs},
    )


def train(work_dir, name, *hooks, by_epoch=True):
    """Two epochs, or six iterations, of mmpretrain's SimSiam."""
    norm = dict(type='BN1d')
    view = [
        dict(type='RandomCrop', crop_size=8, padding=1),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PythonRandomRoll'),
    ]
    length = dict(max_epochs=2) if by_epoch else dict(max_iters=6)
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            work_dir=str(work_dir / name),
            experiment_name=f'{name}_{work_dir.name}',
            randomness=dict(seed=1),
            model=dict(
                type='SimSiam',
                backbone=dict(type='ResNet_CIFAR', drop_path_rate=0.2, **BACKBONE),
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
                sampler=dict(
                    type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=True
                ),
                collate_fn=dict(type='default_collate'),
                dataset=dict(
                    type='Digits',
                    indices=96,
                    pipeline=[dict(type='MultiView', num_views=[2], transforms=[view]), PACK],
                ),
            ),
            train_cfg=dict(by_epoch=by_epoch, **length),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            default_hooks=dict(checkpoint=None),
            visualizer=dict(
                type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
            ),
            custom_hooks=list(hooks),
        )
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.mark.slow
def test_eval_datasets_are_the_default():
    """Each of train and test can be given or left to the config."""
    cfg = Config(dict(eval_datasets=dict(train=digits('train', 30), test=digits('test', 20))))
    runner = SimpleNamespace(train_loop=None, cfg=cfg, hooks=[])
    for given, sizes in [({}, [30, 20]), (dict(train=digits('train', 40)), [40, 20])]:
        knn = KNNHook(k=5, **given)
        knn.before_train(runner)
        assert [len(dataset) for dataset in knn.datasets] == sizes
    with pytest.raises(ValueError, match='names no labelled data'):
        KNNHook(k=5).before_train(
            SimpleNamespace(train_loop=None, cfg=Config(dict(model=dict())), hooks=[])
        )


def logged(runner):
    """(step, top-1) of each line that the visualizer wrote."""
    (file,) = Path(runner.work_dir).rglob('scalars.json')
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [(line['step'], line['knn/top1']) for line in lines if 'knn/top1' in line]


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    """Weights after training without the hook, by ``by_epoch``."""
    folder = tmp_path_factory.mktemp('plain')
    return {
        by_epoch: train(folder, f'plain_{by_epoch}', by_epoch=by_epoch).model.state_dict()
        for by_epoch in (True, False)
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    'by_epoch, interval, steps',
    [
        (True, 1, [1, 2]),
        (True, 5, [2]),
        (False, 2, [2, 4, 6]),
        (False, 4, [4, 6]),
    ],
)
def test_hook_measures_and_leaves_training_alone(tmp_path, plain, by_epoch, interval, steps):
    runner = train(
        tmp_path,
        f'hook_{by_epoch}_{interval}',
        hook(interval=interval, by_epoch=by_epoch),
        by_epoch=by_epoch,
    )
    for key, value in runner.model.state_dict().items():
        assert torch.equal(value, plain[by_epoch][key]), key

    data = []
    for split, size in (('train', 100), ('test', 50)):
        data += extract_features(runner.model, digits(split, size))
    top1 = knn_accuracy(*data, k=5)
    found = logged(runner)
    assert [step for step, _ in found] == steps
    assert found[-1][1] == pytest.approx(top1, abs=1e-9)
    history = MessageHub.get_instance(runner.experiment_name).get_scalar('val/knn_top1')
    assert history.data[0].tolist() == [value for _, value in found]
    (log,) = Path(runner.work_dir).rglob('*.log')
    unit = 'epoch' if by_epoch else 'iteration'
    line = f'kNN after {unit} {steps[-1]}: top-1 {top1:.2f} % (cosine, k=5, '
    assert log.read_text().count(line + '100 + 50 rows') == 1


@pytest.mark.slow
def test_hook_builds_its_data_once(tmp_path, monkeypatch):
    built = []
    build = DATASETS.build
    monkeypatch.setattr(DATASETS, 'build', lambda cfg: built.append(cfg) or build(cfg))
    knn = KNNHook(digits('train', 100), digits('test', 50), interval=1)
    assert not built
    runner = SimpleNamespace(train_loop=None, cfg=Config(), hooks=[])
    knn.before_train(runner)
    knn.before_train(runner)
    assert [cfg['split'] for cfg in built] == ['train', 'test']


@pytest.mark.slow
def test_hook_refuses_before_the_first_step(tmp_path):
    for kwargs, message in [
        (dict(interval=0), 'interval'),
        (dict(metric='manhattan'), 'metric'),
        (dict(k=101), r'kNN: k must be in 1\.\.100'),
    ]:
        with pytest.raises(ValueError, match=message):
            train(tmp_path, f'refuse_{message[:3]}', hook(**kwargs))
    with pytest.raises(ValueError, match='set by_epoch=False'):
        train(tmp_path, 'refuse_iterations', hook(), by_epoch=False)


def tiny_model():
    torch.manual_seed(0)
    model = torch.nn.Module()
    model.backbone = ResNet_CIFAR(**BACKBONE)
    model.data_preprocessor = SelfSupDataPreprocessor([100.0], [50.0])
    return model


def fake_runner(model):
    seen = {}
    return seen, SimpleNamespace(
        model=model,
        train_loop=None,
        cfg=Config(),
        hooks=[],
        message_hub=SimpleNamespace(update_scalar=seen.__setitem__),
        visualizer=SimpleNamespace(add_scalar=lambda name, value, step: seen.update({name: value})),
        logger=logging.getLogger('test_hooks'),
        epoch=0,
        iter=0,
        max_epochs=1,
    )


def test_hook_measures_as_its_arguments_say(monkeypatch):
    given = {}

    def measured(model, train, test, loader, **knn):
        given.update(loader, **knn)
        return 50.0

    monkeypatch.setattr('mmentropy.engine.hooks.knn_during_training.model_knn', measured)
    options = dict(k=3, metric='euclidean', temperature=0.5, batch_size=7, num_workers=1)
    knn = KNNHook(**options)
    knn.datasets = [[0], [0]]
    _, runner = fake_runner(None)
    knn.after_train_epoch(runner)
    assert given == options


def test_rows_of_one_class_do_not_end_training(caplog):
    """An image that cannot be read is replaced, so that all may be of one class in the end."""
    seen, runner = fake_runner(tiny_model())
    knn = KNNHook(k=5)
    knn.datasets = [DATASETS.build(digits(*rows)) for rows in (('train', 100), ('test', 1))]
    with caplog.at_level(logging.WARNING):
        knn.after_train_epoch(runner)
    assert not seen
    assert 'no kNN after epoch 1: all test rows are of class' in caplog.text


def _hook_on_two_ranks(rank, world):
    seen, runner = fake_runner(MMDistributedDataParallel(tiny_model()))
    # 51 test rows: the ranks classify 26 and 25.
    knn = KNNHook(digits('train', 100), digits('test', 51), batch_size=16)
    knn.before_train(runner)
    knn.after_train_epoch(runner)
    return seen


@pytest.mark.slow
def test_hook_on_two_ranks_equals_one(tmp_path):
    results = on_ranks(_hook_on_two_ranks, 2, tmp_path)
    seen, runner = fake_runner(tiny_model())
    knn = KNNHook(digits('train', 100), digits('test', 51), batch_size=16)
    knn.before_train(runner)
    knn.after_train_epoch(runner)
    assert seen.keys() == {'knn/top1', 'val/knn_top1'}
    for found in results:
        assert found == pytest.approx(seen, abs=1e-9)
