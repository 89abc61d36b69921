"""Every shipped config: it loads, its name is right, its model steps."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

ROOT = Path(__file__).parent.parent / 'configs'
CONFIGS = sorted(
    path.relative_to(ROOT) for path in ROOT.rglob('*.py')
    if '_base_' not in path.parts)
NAME = re.compile(r'(?:\w+_)?r(?P<depth>\d+)(?P<small>s?)_(?P<gpus>\d+)xb'
                  r'(?P<batch>\d+)_(?P<epochs>\d+)e_(?P<data>\w+)')
DATA = dict(
    digits='Digits',
    fashion_mnist='LocalFashionMNIST',
    cifar10='LocalCIFAR10',
    in1k='ImageNet',
    folder='ImageFolder')


def test_there_are_configs():
    assert {path.parts[0] for path in CONFIGS} == {
        'baselines', 'er', 'mec', 'minent'
    }


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_config(path):
    cfg = Config.fromfile(ROOT / path)
    name = NAME.fullmatch(path.stem)
    assert name, 'not {variant_}{backbone}_{gpus}xb{batch}_{epochs}e_{data}'
    batch, gpus = int(name['batch']), int(name['gpus'])
    epochs = int(name['epochs'])
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == batch * gpus
    assert cfg.train_cfg.max_epochs == epochs
    assert max(s['end'] for s in cfg.param_scheduler) == epochs
    assert cfg.train_dataloader.dataset.type == DATA[name['data']]
    assert cfg.model.backbone.depth == int(name['depth'])
    assert cfg.custom_imports.imports == ['mmentropy']
    assert cfg.data_preprocessor.mean
    assert cfg.train_dataloader.drop_last
    assert ('base_channels' in cfg.model.backbone) == bool(name['small'])
    assert cfg.get('eval_datasets') or name['data'] == 'folder'

    init_default_scope('mmpretrain')
    MessageHub.get_current_instance().update_info('max_iters', 10)
    MessageHub.get_current_instance().update_info('iter', 0)
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model)
    size = 64 if name['data'] in ('in1k', 'folder') else 16
    channels = len(cfg.data_preprocessor.mean)
    views = [torch.randint(0, 256, (4, channels, size, size))] * 2
    data = model.data_preprocessor(dict(inputs=views, data_samples=[]))
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None for p in model.parameters()
               if p.requires_grad)
