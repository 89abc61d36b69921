"""What a config says to an evaluation: data sets, preprocessor, backbone, order of colours."""

import copy
import logging

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger, print_log
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from torch import nn

from mmentropy.checks.arguments import DICT, require
from mmentropy.checks.config_parts import innermost_dataset, kind_of, preprocessor_of

# Wrappers of a data set that give some of its rows several times.
REPEATING = ('RepeatDataset', 'ClassBalancedDataset')


def eval_datasets(cfg: Config) -> tuple[dict, dict]:
    """Return the configs of the labelled train and test data sets of a config.

    They are ``eval_datasets = dict(train=..., test=...)``. Without it they are those of the train
    and test loaders, both with the test pipeline, which is logged. A
    ``LabelSubset`` of the train loader keeps its rows, wrappers that repeat rows are left out.

    Raises:
        ValueError: the config names neither.
    """
    named = cfg.get('eval_datasets')
    if named:
        require(DICT, eval_datasets=named)
        if set(named) != {'train', 'test'}:
            raise ValueError(f'eval_datasets must have train and test, got {", ".join(named)}')
        require(DICT, **{f'eval_datasets.{k}': v for k, v in named.items()})
        return named['train'], named['test']
    train = (cfg.get('train_dataloader') or {}).get('dataset')
    test = (cfg.get('test_dataloader') or {}).get('dataset')
    if not train or not test or 'pipeline' not in test:
        raise ValueError(
            'the config names no labelled data: add eval_datasets = dict(train=..., test=...)'
        )
    # Wrappers that repeat rows are left out, others stay, as they may choose the rows.
    train = copy.deepcopy(train)
    while kind_of(train) in REPEATING:
        train = train['dataset']
    innermost_dataset(train)['pipeline'] = test['pipeline']
    print_log(
        'the config has no eval_datasets: evaluating on train_dataloader.dataset with the test '
        'pipeline and on test_dataloader.dataset',
        logger='current',
    )
    return train, test


def build_data_preprocessor(cfg: Config) -> nn.Module:
    """Return the preprocessor that the Runner would give the config's model."""
    entry = dict(preprocessor_of(cfg))
    if 'mean' not in entry:
        print_log(
            'the config has no data_preprocessor with mean and std: pixels are not normalised',
            logger='current',
        )
    if 'type' not in entry and 'type' not in cfg.model:
        raise ValueError(
            'the config says neither how images are normalised nor which model it is of: pass one '
            'that has data_preprocessor = dict(type="ClsDataPreprocessor", mean=..., std=...)'
        )
    if 'type' not in entry:
        model = MODELS.get(cfg.model.type)
        if model is None:
            raise ValueError(f'model type {cfg.model.type} is not registered')
        kind = 'SelfSup' if issubclass(model, BaseSelfSupervisor) else 'Cls'
        entry['type'] = f'{kind}DataPreprocessor'
    return MODELS.build(entry)


def build_backbone(cfg: Config, seed: int = 0) -> nn.Module:
    """Return the config's backbone, freshly initialised, never pre-trained.

    The global random state is not touched.
    """
    entry = (cfg.get('model') or {}).get('backbone')
    if not entry:
        raise ValueError('the config has no model.backbone')
    entry = copy.deepcopy(entry)
    leave_fresh(entry)
    logger = MMLogger.get_current_instance()
    level = logger.level
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        backbone = MODELS.build(entry)
        # The log of the initialisation would have three lines per parameter.
        logger.setLevel(logging.WARNING)
        try:
            if hasattr(backbone, 'init_weights'):
                backbone.init_weights()
        finally:
            logger.setLevel(level)
    return backbone


def leave_fresh(entry: dict) -> None:
    """Take out of a network's config, and of those of its parts, what loads trained weights."""
    init_cfg = entry.get('init_cfg') or []
    inits = [init_cfg] if isinstance(init_cfg, dict) else init_cfg
    if any(item.get('type') in ('Pretrained', 'PretrainedBackbone') for item in inits):
        entry.pop('init_cfg')
    if entry.get('pretrained'):
        entry['pretrained'] = False
    for part in entry.values():
        if isinstance(part, dict):
            leave_fresh(part)
