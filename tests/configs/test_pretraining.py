"""Every shipped config: its name, its numbers, its full model, one step."""

import copy
import re
from functools import cache, partial
from pathlib import Path

import fake_data
import pytest
import torch
import yaml
from forked import python
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from repository import REPOSITORY

from mmentropy.datasets import check_data

ROOT = REPOSITORY / 'configs'
CONFIGS = sorted(
    path.relative_to(ROOT) for path in ROOT.rglob('*.py') if '_base_' not in path.parts
)
# Those of mmdet and mmseg have tests of their own.
ELSEWHERE = {'detection', 'segmentation', 'tracking'}
# configs/benchmarks/features hold data sets only.
TRAINED = [path for path in CONFIGS if not {'features', *ELSEWHERE} & set(path.parts)]
PRETRAINED = [path for path in TRAINED if path.parts[0] != 'benchmarks']
NAME = re.compile(
    r'(?:(?P<variant>\w+)_)?(?P<backbone>r18s|r18|r50|vits|vitb|vitl|vit-tiny)_(?P<gpus>\d+)'
    r'xb(?P<batch>\d+)_(?P<epochs>\d+)e_(?P<data>\w+)'
)
DATA = dict(
    digits='Digits',
    fashion_mnist='LocalFashionMNIST',
    cifar10='LocalCIFAR10',
    cifar100='LocalCIFAR100',
    stl10='STL10',
    tiny_imagenet='TinyImageNet',
    imagenet100='ImageNet100',
    places365='ClassFolders',
    in1k='ImageNet1k',
    folder='ImageFolder',
    bands='ImageFolder',
)
# Learning rate at batch 256, by data set and optimiser, where it is linear in
# the batch.
BASE_LR = {
    ('in1k', 'SGD'): 0.5,
    ('in1k', 'LARS'): 0.3,
    ('in1k', 'AdamW'): 1.5e-4,
    ('places365', 'SGD'): 0.5,
    ('folder', 'SGD'): 0.5,
    ('bands', 'SGD'): 0.5,
    ('cifar10', 'SGD'): 0.03,
}


@cache
def load(path):
    return Config.fromfile(ROOT / path)


def parsed(path):
    name = NAME.fullmatch(path.stem)
    assert name, 'not {variant_}{backbone}_{gpus}xb{batch}_{epochs}e_{data}'
    return name


def encoders(model):
    """The backbone, or those of the two parts of an image."""
    return model.backbone.get('encoders', [model.backbone])


def test_there_are_configs():
    folders = {path.parts[0] for path in CONFIGS}
    assert folders == {'baselines', 'benchmarks', 'er', 'family', 'mec', 'minent'}
    assert len(PRETRAINED) > 120


@pytest.mark.slow
@pytest.mark.parametrize('path', PRETRAINED, ids=str)
def test_name_and_numbers(path):
    cfg, name = load(path), parsed(path)
    batch, epochs = int(name['batch']), int(name['epochs'])
    # The learning rate is that of a step, which several iterations may share.
    total = batch * int(name['gpus']) * cfg.optim_wrapper.get('accumulative_counts', 1)
    optimizer = cfg.optim_wrapper.optimizer
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == total
    assert cfg.get('gpus', 1) * cfg.get('batch_size') == total
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.get('max_epochs', epochs) == epochs
    assert cfg.train_dataloader.dataset.type == DATA[name['data']]
    assert cfg.train_dataloader.drop_last
    assert cfg.custom_imports.imports == ['mmentropy']
    assert cfg.data_preprocessor.mean
    assert cfg.get('eval_datasets') or name['data'] in ('folder', 'bands')
    key = name['data'], optimizer.type
    if name['variant'] == 'minent_sgd':
        assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (0.01, 0.9, 5e-4)
    elif key in BASE_LR and path.parts[0] != 'family':
        assert optimizer.lr == pytest.approx(BASE_LR[key] * total / 256)
    backbone = encoders(cfg.model)[0]
    if name['backbone'].startswith('vit'):
        archs = {'vits': 'mocov3-small', 'vitb': 'base', 'vitl': 'large', 'vit-tiny': 'deit-tiny'}
        assert backbone.arch == archs[name['backbone']]
    else:
        assert backbone.depth == int(name['backbone'].strip('rs'))
        assert ('base_channels' in backbone) == name['backbone'].endswith('s')
    # The code's 10 epochs, on ImageNet.
    loss = cfg.model.head.get('loss', {})
    if loss.get('type') == 'MECLoss' and name['data'] == 'in1k':
        assert loss.warmup * epochs == pytest.approx(10)


@pytest.mark.parametrize('path', PRETRAINED, ids=str)
def test_schedule_ends_with_training(path):
    cfg, epochs = load(path), int(parsed(path)['epochs'])
    begins = {s.get('begin', 0) for s in cfg.param_scheduler}
    # mmengine lets a schedule without an end run to that of training.
    ends = {s.get('end', epochs) for s in cfg.param_scheduler if s.get('by_epoch', True)}
    assert max(ends) == epochs
    assert not any('T_max' in s for s in cfg.param_scheduler)
    assert begins <= ends | {0}
    for s in cfg.param_scheduler:
        if s.type == 'MultiStepLR':
            assert s.milestones == [epochs - 50, epochs - 25]


def test_variants_are_what_their_names_say():
    values = dict(
        distortion=lambda m: m.head.loss.distortion,
        order=lambda m: m.head.loss.taylor_order,
        ema=lambda m: 1 - (m.base_momentum or 1),
        proj=lambda m: m.neck.out_channels,
    )
    seen = set()
    for path in PRETRAINED:
        variant = parsed(path)['variant'] or ''
        model = load(path).model
        for name, value in values.items():
            found = re.search(rf'{name}(\d+)', variant)
            if found:
                seen.add(name)
                # 09 is 0.9, 025 is 0.25, 4 is 4.
                digits = found[1]
                number = float(f'{digits[0]}.{digits[1:]}' if digits[0] == '0' else digits)
                assert value(model) == pytest.approx(number), path
        for norm in ('softmax', 'l2', 'none'):
            if variant == f'minent_{norm}':
                seen.add(norm)
                assert model.head.loss.norm == norm, path
        if variant == 'minent_onehead':
            seen.add('onehead')
            assert model.head.out_channels == 128, path
        if path.parts[0] == 'er':
            loss = 'sphere' if 'dino' not in variant else 'simplex'
            assert model.head.loss.type == 'ERLoss'
            assert variant == 'er_entrec_disc' or (model.head.loss.support == loss), path
    assert seen == {*values, 'softmax', 'l2', 'none', 'onehead'}


def test_er_recipes_keep_the_budget_of_their_baselines():
    pairs = 0
    for path in PRETRAINED:
        baseline = Path('baselines', path.name.removeprefix('er_'))
        if path.parts[0] != 'er' or baseline not in PRETRAINED:
            continue
        pairs += 1
        ours, theirs = load(path), load(baseline)
        for key in ('train_dataloader', 'train_cfg', 'param_scheduler', 'data_preprocessor'):
            assert ours[key] == theirs[key], (path, key)
        assert ours.model.backbone == theirs.model.backbone
        assert ours.model.neck == theirs.model.neck
        assert ours.model.get('base_momentum') == theirs.model.get('base_momentum')
    assert pairs > 12


@pytest.mark.slow
@pytest.mark.parametrize('path', TRAINED, ids=str)
def test_full_model_builds(path, monkeypatch):
    """Of shapes and arguments alone, without memory or initialisation."""
    init_default_scope('mmpretrain')
    cfg = copy.deepcopy(load(path).model)
    # mmpretrain's ResNet reads its drop path rates from a tensor.
    monkeypatch.setattr(torch, 'linspace', partial(torch.linspace, device='cpu'))
    # The encoders of 'lab' have one and two of the three channels.
    lab = cfg.backbone.get('split') == 'lab'
    channels = 3 if lab else encoders(cfg)[0].get('in_channels', 3)
    with torch.device('meta'):
        model = MODELS.build(cfg)
        z = model.backbone(torch.empty(2, channels, 224, 224))
        if model.with_neck:
            z = model.neck([z] if cfg.neck.type == 'SwAVNeck' else z)[0]
        if getattr(model.head, 'projectors', None):
            model.head.projectors(z)
        if getattr(model.head, 'predictor', None):
            assert model.head.predictor([z])[0].shape == z.shape


WIDTH, OUT = 32, 16
# The input of these is a projection.
PROJECTED = ('PrototypeNeck', 'LatentCrossCorrelationHead', 'ClusterHead', 'CorInfoMaxLoss')


def shrink(node, features):
    """The same structure, narrow and shallow, in place.

    Args:
        node: A config or a part of it.
        features: Channels that the shrunk backbone gives.
    """
    if isinstance(node, (list, tuple)):
        for item in node:
            shrink(item, features)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key in ('scale', 'size', 'crop_size') and isinstance(value, int):
            node[key] = min(value, 32)
        elif key == 'hid_channels':
            node[key] = WIDTH
        elif key == 'out_channels':
            node[key] = OUT if isinstance(value, int) else [OUT] * len(value)
        elif key in ('num_prototypes', 'feat_dim'):
            node[key] = OUT
        elif key == 'in_channels':
            # So is that of a predictor.
            pooled = node.get('type') in PROJECTED or not node.get('with_avg_pool', True)
            node[key] = OUT if pooled else features
        else:
            shrink(value, features)


def small(cfg):
    """A copy of the config that steps in a second."""
    cfg = copy.deepcopy(cfg)
    backbone = cfg.model.pop('backbone')
    parts = backbone.get('encoders', [backbone])
    if parts[0].type.startswith('ResNet'):
        for part in parts:
            part.update(depth=18, base_channels=8, stem_channels=8)
        stages = parts[0].get('num_stages', 4)
        features = 8 * 2 ** (stages - 1)
        shrink(cfg.model, features)
    else:
        features = 48
        backbone.update(
            img_size=32,
            arch=dict(embed_dims=features, num_layers=2, num_heads=4, feedforward_channels=96),
        )
        shrink(cfg.model, features)
        # The class token is not pooled.
        cfg.model.neck.in_channels = features
    cfg.model.backbone = backbone
    shrink(cfg.train_dataloader, features)
    shrink(cfg.data_preprocessor, features)
    return cfg


@pytest.fixture(scope='module')
def fake(tmp_path_factory):
    """Configs of generated data sets, each written once."""
    root, made = tmp_path_factory.mktemp('data'), {}

    def at(cfg):
        cfg = copy.deepcopy(cfg)
        key = cfg.type, cfg.get('pipeline', [{}])[0].get('color_type')
        if key not in made:
            made[key] = fake_data.make(cfg.to_dict(), root)
        for name in ('data_root', 'names'):
            if name in made[key]:
                cfg[name] = made[key][name]
        return cfg

    return at


def count_of_views(path):
    """Of the family by the paper, of others eight in a multi-crop."""
    stem = path.stem
    if path.parts[0] == 'family':
        counts = {'emp_ssl_r18_': 20, 'emp_ssl_': 4, 'ivne_r50_': 6, 'lejepa_vitl_': 8}
        counts |= {'simdino_vitb_': 12, 'simdino_onecard_': 12, 'simdino_vit-tiny_': 6}
        return next((n for start, n in counts.items() if stem.startswith(start)), 2)
    local = 'multicrop' in stem or 'dino_' in stem and parsed(path)['data'] == 'in1k'
    return 8 if local else 2


@pytest.mark.slow
@pytest.mark.parametrize('path', PRETRAINED, ids=str)
def test_one_step(path, fake):
    """Two views of the config's own pipeline, its optimiser."""
    init_default_scope('mmpretrain')
    hub = MessageHub.get_current_instance()
    hub.update_info('max_iters', 10)
    hub.update_info('iter', 0)
    cfg = small(load(path))
    loader = cfg.train_dataloader
    # INTL computes its trade-off from them, which for fewer would be negative.
    rows = 8 if 'intl_' in path.stem else 4
    loader.update(
        dataset=fake(loader.dataset), batch_size=rows, num_workers=0, persistent_workers=False
    )
    with fake_data.any_checksum():
        data = next(iter(Runner.build_dataloader(loader, seed=0)))
    views = data['inputs']
    fast = cfg.data_preprocessor.type == 'BatchViews'
    if fast:
        bands = parsed(path)['data'] == 'bands'
        assert views.dtype == (torch.uint16 if bands else torch.uint8)
        assert len(data['shapes']) == rows
        views = MODELS.build(cfg.data_preprocessor)(data, True)['inputs']
    assert len(views) == count_of_views(path)
    assert fast or views[0].dtype == torch.uint8
    assert not torch.equal(views[0], views[1])
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    if cfg.model.type == 'DeepCluster':
        # ClusterHook gives them.
        model.labels = torch.arange(10_000) % 5
    optim = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {k: v.detach().clone() for k, v in model.named_parameters()}
    terms = model(**model.data_preprocessor(data, True), mode='loss')
    loss, _ = model.parse_losses(terms)
    assert torch.isfinite(loss)
    optim.backward(loss)
    trained = {k: p for k, p in model.named_parameters() if p.requires_grad}
    assert {k for k, p in trained.items() if p.grad is None} == set()
    optim.step()
    moved = {k for k, p in trained.items() if not torch.equal(p, before[k])}
    assert len(moved) > len(trained) / 2
    assert all(
        torch.equal(p, before[k])
        for k, p in model.named_parameters()
        if k not in trained and not k.startswith(('target_net', 'encoder_k', 'momentum_encoder'))
    )


@pytest.mark.slow
def test_missing_data_is_explained(tmp_path, monkeypatch):
    """Folder, layout and docs, for all data that is not downloaded."""
    monkeypatch.chdir(tmp_path)
    fetched = {'Digits', 'LocalFashionMNIST', 'LocalCIFAR10', 'LocalCIFAR100'}
    explained = set()
    for path in CONFIGS:
        if ELSEWHERE & set(path.parts):
            continue
        cfg = load(path)
        data = cfg.get('train_dataloader', cfg.get('eval_datasets'))
        data = data.get('dataset', data.get('train'))
        kind = data.get('dataset', data).type
        if kind in fetched or kind in ('CIFAR10', 'CIFAR100'):
            continue
        with pytest.raises(FileNotFoundError) as raised:
            check_data(cfg)
        message = str(raised.value)
        assert str(tmp_path / 'data') in message, path
        assert 'docs/data.md#' in message and '\n' not in message, path
        explained.add(kind)
    assert len(explained) > 12


@pytest.mark.slow
def test_metafiles_and_tables_are_up_to_date():
    done = python(ROOT.parent / 'tools/model_index.py', '--check')
    assert done.returncode == 0, done.stderr
    index = yaml.safe_load((ROOT.parent / 'model-index.yml').read_text())
    named = {
        entry['Config']
        for path in index['Import']
        for entry in yaml.safe_load((ROOT.parent / path).read_text())['Models']
    }
    assert named == {f'configs/{path}' for path in PRETRAINED}
