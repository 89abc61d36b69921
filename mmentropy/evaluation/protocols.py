"""Score a checkpoint by named protocols."""
import copy
import logging
from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger, print_log
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.registry import DATASETS, MODELS
from torch import Tensor, nn

from mmentropy.checkpoint import PathLike, config_of, load_backbone

from .features import extract_features, pixel_features
from .knn import knn_accuracy
from .linear import linear_probe


def _knn(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor],
         seed: int) -> float:
    return knn_accuracy(*train, *test, k=20, metric='cosine')


def _knn5(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor],
          seed: int) -> float:
    return knn_accuracy(*train, *test, k=5, metric='euclidean')


def _linear(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor],
            seed: int) -> float:
    return linear_probe(*train, *test, seed=seed).accuracy


# (train, test, seed) -> top-1 in percent, features and labels of each set.
PROTOCOLS = dict(knn=_knn, knn5=_knn5, linear=_linear)


def parse_protocols(text: str) -> list[str]:
    """Names in a comma-separated list, checked against ``PROTOCOLS``."""
    names = [name.strip() for name in text.split(',') if name.strip()]
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown or not names:
        raise ValueError(f'unknown protocol {", ".join(unknown) or text!r}: '
                         f'choose from {", ".join(PROTOCOLS)}')
    return names


def eval_datasets(cfg: Config) -> tuple[dict, dict]:
    """Configs of the labelled train and test data sets of a config.

    ``eval_datasets = dict(train=..., test=...)``, or, logged, those of the
    train and test loaders, both with the test pipeline.

    Raises:
        ValueError: the config names neither.
    """
    if cfg.get('eval_datasets'):
        named = cfg.eval_datasets
        if set(named) != {'train', 'test'}:
            raise ValueError('eval_datasets must have train and test, got '
                             f'{", ".join(named)}')
        return named['train'], named['test']
    train = (cfg.get('train_dataloader') or {}).get('dataset')
    test = (cfg.get('test_dataloader') or {}).get('dataset')
    if not train or not test or 'pipeline' not in test:
        raise ValueError('the config names no labelled data: add '
                         'eval_datasets = dict(train=..., test=...)')
    train = copy.deepcopy(train)
    # RepeatDataset and the like would count rows several times.
    while 'dataset' in train:
        train = train['dataset']
    train['pipeline'] = test['pipeline']
    print_log(
        'the config has no eval_datasets: evaluating on '
        'train_dataloader.dataset with the test pipeline and on '
        'test_dataloader.dataset',
        logger='current')
    return train, test


def build_data_preprocessor(cfg: Config) -> nn.Module:
    """The preprocessor that the Runner would give the config's model."""
    # The Runner, too, lets the model's own entry win.
    entry = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    if not entry or 'mean' not in entry:
        print_log(
            'the config has no data_preprocessor with mean and std: pixels '
            'are not normalised',
            logger='current')
    entry = dict(entry or {})
    if 'type' not in entry:
        model = MODELS.get(cfg.model.type)
        if model is None:
            raise ValueError(f'model type {cfg.model.type} is not registered')
        entry['type'] = ('SelfSupDataPreprocessor' if issubclass(
            model, BaseSelfSupervisor) else 'ClsDataPreprocessor')
    return MODELS.build(entry)


def build_backbone(cfg: Config, seed: int = 0) -> nn.Module:
    """The config's backbone, freshly initialised, never pre-trained.

    The global random state is not touched.
    """
    entry = (cfg.get('model') or {}).get('backbone')
    if not entry:
        raise ValueError('the config has no model.backbone')
    entry = copy.deepcopy(entry)
    init_cfg = entry.get('init_cfg') or []
    if isinstance(init_cfg, dict):
        init_cfg = [init_cfg]
    if any(item.get('type') == 'Pretrained' for item in init_cfg):
        entry.pop('init_cfg')
    if entry.get('pretrained'):
        entry['pretrained'] = False
    logger = MMLogger.get_current_instance()
    level = logger.level
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = MODELS.build(entry)
        if hasattr(backbone, 'init_weights'):
            # It logs three lines per parameter.
            logger.setLevel(logging.WARNING)
            try:
                backbone.init_weights()
            finally:
                logger.setLevel(level)
    return backbone


def evaluate_checkpoint(
    path: PathLike,
    cfg: Config | None = None,
    protocols: Sequence[str] = ('knn', 'linear'),
    branch: str = 'student',
    random: bool = False,
    pixels: bool = False,
    batch_size: int = 256,
    num_workers: int = 0,
    device: str | torch.device = 'cpu',
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Top-1 accuracies of a checkpoint's backbone and of its baselines.

    Args:
        path: checkpoint of any mmpretrain backbone.
        cfg: default: the config stored in the checkpoint.
        protocols: keys of ``PROTOCOLS``.
        branch: 'student' or 'teacher'.
        random: also the same backbone, freshly initialised.
        pixels: also raw pixels.
        batch_size: images per step.
        num_workers: loader processes.
        device: where features are computed and scored.
        seed: of the fresh initialisation and of the linear probe.

    Returns:
        ``{row: {protocol: percent}}`` with the rows 'checkpoint', 'random'
        and 'pixels'.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: see the functions
            of this package and :mod:`mmentropy.checkpoint`.
    """
    parse_protocols(','.join(protocols))
    cfg = config_of(path) if cfg is None else cfg
    backbone = build_backbone(cfg, seed)
    # Before the data: a checkpoint that does not fit should not cost minutes.
    load_backbone(backbone, path, branch)
    preprocessor = build_data_preprocessor(cfg)
    datasets = [DATASETS.build(entry) for entry in eval_datasets(cfg)]

    def score(features: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
        train, test = [[x.to(device) for x in pair] for pair in features]
        return {name: PROTOCOLS[name](train, test, seed) for name in protocols}

    def score_backbone(backbone: nn.Module) -> dict[str, float]:
        return score([
            extract_features(backbone, dataset, preprocessor, batch_size,
                             device, num_workers) for dataset in datasets
        ])

    results = dict(checkpoint=score_backbone(backbone))
    if random:
        results['random'] = score_backbone(build_backbone(cfg, seed))
    if pixels:
        results['pixels'] = score([
            pixel_features(dataset, batch_size, num_workers)
            for dataset in datasets
        ])
    return results
