"""Benchmark configs of classification: names, numbers, data, one step."""

import copy
import re
from functools import cache
from pathlib import Path

import fake_data
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.evaluation import SingleLabelMetric
from mmpretrain.registry import DATASETS, MODELS
from repository import REPOSITORY

from mmentropy.checks.config_parts import is_bgr
from mmentropy.evaluation import eval_datasets
from mmentropy.models.linear_head import BatchNormLinearClsHead

ROOT = REPOSITORY / 'configs' / 'benchmarks'
FEATURES, LINEAR, SEMI, TRANSFER = [
    sorted(path.relative_to(ROOT) for path in (ROOT / folder).glob('*.py'))
    for folder in ('features', 'linear', 'semi_supervised', 'transfer')
]
TRAINED = LINEAR + SEMI + TRANSFER
NAME = re.compile(
    r'(?:\w+_)?(?P<backbone>r50|vits)_(?P<gpus>\d+)xb'
    r'(?P<batch>\d+)_(?P<length>\d+)(?P<unit>[ei])_'
    r'(?P<data>\w+)'
)
# Of MEC's table 8, in its order; the third is the mean over the classes.
CLASSES = dict(
    food101=101,
    cifar10=10,
    cifar100=100,
    sun397=397,
    cars=196,
    aircraft=100,
    voc07=20,
    dtd=47,
    pets=37,
    caltech101=102,
    flowers102=102,
)
CLASS_MEAN = ('aircraft', 'pets', 'caltech101', 'flowers102')


@cache
def load(path):
    return Config.fromfile(ROOT / path)


def data_of(path):
    return NAME.fullmatch(path.stem)['data']


@pytest.fixture(scope='module', autouse=True)
def scope():
    init_default_scope('mmpretrain')


@pytest.fixture(scope='module')
def fake(tmp_path_factory):
    """Configs of generated data sets, each written once."""
    root, made = tmp_path_factory.mktemp('data'), {}

    def at(cfg):
        cfg = copy.deepcopy(cfg.to_dict())
        kind = cfg['type'], cfg.get('split')
        if kind not in made:
            made[kind] = fake_data.make(cfg, root)
        found = copy.deepcopy(made[kind])
        inner = cfg.get('dataset', cfg)['pipeline']
        found.get('dataset', found)['pipeline'] = inner
        return found

    with fake_data.any_checksum():
        yield at


# ------------------------------------------------------------------ numbers


def test_all_benchmarks_are_there():
    assert [p.stem for p in FEATURES] == sorted([*CLASSES, 'in1k'])
    assert [data_of(p) for p in TRANSFER] == sorted(CLASSES)
    assert [data_of(p) for p in SEMI] == ['in1k_10p', 'in1k_1p']
    assert len(LINEAR) == 2


@pytest.mark.slow
@pytest.mark.parametrize('path', TRAINED, ids=str)
def test_name_batch_and_schedule(path):
    cfg, name = load(path), NAME.fullmatch(path.stem)
    batch, length = int(name['batch']), int(name['length'])
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == batch * int(name['gpus'])
    assert cfg.custom_imports.imports == ['mmentropy']
    (schedule,) = cfg.param_scheduler
    assert schedule.end == length
    if name['unit'] == 'e':
        assert cfg.train_cfg.max_epochs == length
        assert length % cfg.train_cfg.val_interval == 0
    else:
        assert cfg.train_cfg.max_iters == length
        assert cfg.train_cfg.val_interval == length
        assert not schedule.by_epoch and not cfg.log_processor.by_epoch
        assert not cfg.default_hooks.checkpoint.by_epoch
    assert cfg.model.backbone.init_cfg == dict(type='PretrainedBackbone', checkpoint=None)
    assert cfg.data_preprocessor.to_rgb
    assert cfg.test_dataloader == cfg.val_dataloader
    assert cfg.test_evaluator == cfg.val_evaluator


@pytest.mark.slow
@pytest.mark.parametrize(
    'path, optimizer',
    [
        (
            'linear/r50_8xb512_100e_in1k.py',
            dict(type='LARS', lr=0.48, momentum=0.9, weight_decay=0, eta=1e-3),
        ),
        (
            'linear/vits_8xb512_100e_in1k.py',
            dict(type='LARS', lr=0.48, momentum=0.9, weight_decay=0, eta=1e-3),
        ),
        (
            'semi_supervised/r50_8xb128_50e_in1k_1p.py',
            dict(type='SGD', lr=0.2, momentum=0.9, weight_decay=0),
        ),
        (
            'semi_supervised/r50_8xb128_50e_in1k_10p.py',
            dict(type='SGD', lr=0.2, momentum=0.9, weight_decay=0),
        ),
    ],
)
def test_optimiser_is_that_of_the_paper(path, optimizer):
    found = load(Path(path)).optim_wrapper.optimizer.to_dict()
    assert found == pytest.approx(optimizer)


def test_labelled_subsets_of_imagenet():
    for path in SEMI:
        dataset = load(path).train_dataloader.dataset
        percent = path.stem.split('_')[-1][:-1]
        assert dataset.type == 'LabelSubset'
        assert dataset.names == f'data/imagenet/{percent}percent.txt'
        assert dataset.dataset.split == 'train'


# --------------------------------------------------------------------- data


@pytest.mark.slow
@pytest.mark.parametrize('path', FEATURES, ids=str)
def test_features_hold_labelled_data_only(path, fake):
    cfg = load(path)
    assert {*cfg.keys()} <= {'eval_datasets', 'eval_pipeline', 'load', 'crop', 'pack'}
    train, test = eval_datasets(cfg)
    assert train.split != test.split and train.type == test.type
    assert train.pipeline == test.pipeline
    # Files and what is made of arrays come in the same order.
    assert is_bgr(train) and is_bgr(test)
    dataset = DATASETS.build(fake(test))
    inputs, sample = dataset[1].values()
    assert inputs.shape == (3, 224, 224) and inputs.dtype == torch.uint8
    assert sample.gt_label.tolist() == [1]
    if path.stem == 'voc07':
        assert sample.gt_label_difficult == [2]
    if path.stem.startswith('cifar'):
        plain = DATASETS.build(fake(Config(dict(test, pipeline=[]))))[1]
        loaded = DATASETS.build(fake(Config(dict(test, pipeline=cfg.load))))[1]
        assert np.array_equal(loaded['img'], plain['img'][..., ::-1])


@pytest.mark.slow
@pytest.mark.parametrize('path', TRANSFER, ids=str)
def test_transfer_trains_on_the_data_of_its_features(path, fake):
    cfg, name = load(path), data_of(path)
    features = load(Path('features', f'{name}.py'))
    train, test = eval_datasets(features)
    assert dict(cfg.train_dataloader.dataset, pipeline=0) == dict(train, pipeline=0)
    assert cfg.val_dataloader.dataset == test
    assert is_bgr(cfg.train_dataloader.dataset)
    assert cfg.model.head.num_classes == CLASSES[name]
    classes = DATASETS.build(fake(test)).CLASSES
    assert classes is None or len(classes) == CLASSES[name]
    metric = cfg.val_evaluator
    if name in CLASS_MEAN:
        assert metric.type == 'SingleLabelMetric'
        assert metric['items'] == ['recall'] and metric.thrs is None
    else:
        assert metric.type == ('VOC07AveragePrecision' if name == 'voc07' else 'Accuracy')


def test_recall_is_the_mean_accuracy_of_the_classes():
    labels = torch.tensor([0] * 8 + [1] * 2)
    predictions = torch.tensor([0] * 6 + [1] * 3 + [0])
    _, recall, _, _ = SingleLabelMetric.calculate(predictions, labels, num_classes=2)
    assert recall.item() == pytest.approx(100 * (6 / 8 + 1 / 2) / 2)


# ----------------------------------------------------------------- training


def small(path, folder):
    """The config with a tiny backbone and a checkpoint, and its weights."""
    cfg = copy.deepcopy(load(path))
    backbone = cfg.model.backbone
    if backbone.type == 'ResNet':
        backbone.update(depth=18, base_channels=8, stem_channels=8)
        cfg.model.head.in_channels = 64
    else:
        # 10 of 12 layers less.
        backbone.update(
            frozen_stages=backbone.frozen_stages - 10,
            img_size=64,
            arch=dict(embed_dims=48, num_layers=2, num_heads=4, feedforward_channels=96),
        )
        cfg.model.head.in_channels = 48
    cfg.model.data_preprocessor = cfg.data_preprocessor
    # Unlike any initial weights; means and variances, too.
    state = {
        k: v + 0.1 * torch.rand(v.shape) if v.is_floating_point() else v + 7
        for k, v in MODELS.build(backbone).state_dict().items()
    }
    torch.save({f'backbone.{k}': v for k, v in state.items()}, folder / 'pretrained.pth')
    # As on the command line.
    cfg.merge_from_dict({'model.backbone.init_cfg.checkpoint': str(folder / 'pretrained.pth')})
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        dataset = loader.dataset
        for step in dataset.get('dataset', dataset).pipeline:
            for key in ('scale', 'crop_size'):
                if key in step:
                    step[key] = 64
    cfg.test_dataloader = cfg.val_dataloader
    return cfg, state


def assert_same(model, state):
    assert model.state_dict().keys() == state.keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key


@pytest.mark.slow
@pytest.mark.parametrize('path', TRAINED, ids=str)
def test_one_step(path, fake, tmp_path):
    """From the checkpoint; a frozen backbone stays as it was, bit by bit."""
    cfg, state = small(path, tmp_path)
    dataset = DATASETS.build(fake(cfg.train_dataloader.dataset))
    model = MODELS.build(cfg.model)
    model.init_weights()
    assert_same(model.backbone, state)
    optim = build_optim_wrapper(model, cfg.optim_wrapper)
    head = {k: v.clone() for k, v in model.head.state_dict().items()}
    model.train()
    data = pseudo_collate([dataset[i % len(dataset)] for i in range(4)])
    # Rows of one label have one gradient, which batch norm would take out.
    for label, sample in enumerate(data['data_samples']):
        sample.set_gt_label(label)
    losses = model.train_step(data, optim)
    assert all(torch.isfinite(value) for value in losses.values())
    for key, value in model.head.state_dict().items():
        assert not torch.equal(value, head[key]), key
    if path in LINEAR:
        assert isinstance(model.head, BatchNormLinearClsHead)
        assert_same(model.backbone, state)
        assert not any(p.requires_grad for p in model.backbone.parameters())
    else:
        moved = [
            not torch.equal(value, state[name]) for name, value in model.backbone.named_parameters()
        ]
        # Of the rest the step was below what float32 resolves.
        assert sum(moved) > 0.9 * len(moved)
        for name, value in model.backbone.named_buffers():
            assert not torch.equal(value, state[name]), name


class Watch(Hook):
    """Keeps the backbone's weights as training starts."""

    def before_train(self, runner):
        state = runner.model.backbone.state_dict()
        self.state = {k: v.clone() for k, v in state.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    'path, score',
    [
        ('linear/r50_8xb512_100e_in1k.py', 'accuracy/top5'),
        ('transfer/r50_1xb64_5000i_voc07.py', 'multi-label/mAP'),
        ('transfer/r50_1xb64_5000i_pets.py', 'single-label/recall'),
    ],
)
def test_training_and_validation_by_the_runner(path, score, fake, tmp_path):
    cfg, state = small(Path(path), tmp_path)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset = fake(loader.dataset)
        loader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.test_dataloader = cfg.val_dataloader
    length = 'max_iters' if 'max_iters' in cfg.train_cfg else 'max_epochs'
    cfg.train_cfg.update({length: 1, 'val_interval': 1})
    cfg.param_scheduler[0].end = 1
    cfg.default_hooks.checkpoint.interval = 1
    cfg.work_dir = str(tmp_path)
    cfg.experiment_name = path.replace('/', '_')
    cfg.log_level = 'ERROR'
    runner = Runner.from_cfg(cfg)
    watch = Watch()
    runner.register_hook(watch)
    runner.train()
    assert watch.state.keys() == state.keys()
    for key, value in watch.state.items():
        assert torch.equal(value, state[key]), key
    found = runner.message_hub.get_scalar(f'val/{score}').current()
    assert 0 <= found <= 100
    if path.startswith('linear'):
        assert_same(runner.model.backbone, state)


def test_head_is_linear_behind_plain_batch_norm():
    """Against torch's own, with statistics of the batch, then running ones."""
    head = BatchNormLinearClsHead(in_channels=6, num_classes=3)
    norm = torch.nn.BatchNorm1d(6, affine=False, eps=1e-6)
    assert [k for k, _ in head.named_parameters()] == ['fc.weight', 'fc.bias']
    # So small that eps counts.
    x = torch.randn(8, 6) * 1e-3 + 3
    for _ in range(3):
        torch.testing.assert_close(head((x,)), head.fc(norm(x)))
    head.eval()
    norm.eval()
    torch.testing.assert_close(head((x,)), head.fc(norm(x)))


def test_lars_is_larc_of_apex():
    """One step of LARC with trust_coefficient=0.001, clip=False, then SGD.

    NVIDIA/apex@0bfb830:apex/parallel/LARC.py, lines 78 to 97.
    """
    optimizer = load(Path('linear/r50_8xb512_100e_in1k.py')).optim_wrapper
    layer = torch.nn.Linear(5, 4)
    torch.nn.init.zeros_(layer.bias)
    optim = build_optim_wrapper(layer, optimizer)
    layer(torch.randn(7, 5)).square().sum().backward()
    before = [p.detach().clone() for p in layer.parameters()]
    expected = []
    for p in layer.parameters():
        norm, grad = p.detach().norm(), p.grad.norm()
        # The bias starts at zero: its gradient is taken as it is.
        rate = 0.001 * norm / (grad + 1e-8) if norm else 1.0
        expected.append(p.detach() - 0.48 * rate * p.grad)
    optim.step()
    for p, value, old in zip(layer.parameters(), expected, before):
        torch.testing.assert_close(p.detach(), value)
        assert not torch.equal(p.detach(), old)
