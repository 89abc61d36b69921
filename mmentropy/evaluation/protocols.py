"""Score a checkpoint by named protocols."""

import copy
import logging
from collections.abc import Callable, Sequence

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger, print_log
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.registry import DATASETS, MODELS
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmentropy.checks.arguments import DICT, require
from mmentropy.datasets import check_dataset
from mmentropy.evaluation.features import (
    collate,
    extract_features,
    multi_label_classes,
    pixel_features,
    preprocess,
)
from mmentropy.evaluation.finetune import finetune_accuracy
from mmentropy.evaluation.knn import knn_accuracy
from mmentropy.evaluation.linear import WEIGHT_DECAYS, linear_probe, minent_linear_probe
from mmentropy.evaluation.svm import low_shot, svm_score
from mmentropy.weights.backbone import config_of, load_backbone
from mmentropy.weights.reader import PathLike

Rows = tuple[Tensor, Tensor]


def _knn(train: Rows, test: Rows, seed: int) -> float:
    return knn_accuracy(*train, *test, k=20, metric='cosine')


def _knn200(train: Rows, test: Rows, seed: int) -> float:
    return knn_accuracy(*train, *test, k=200, metric='cosine')


def _knn5(train: Rows, test: Rows, seed: int) -> float:
    return knn_accuracy(*train, *test, k=5, metric='euclidean')


def _linear(train: Rows, test: Rows, seed: int) -> float:
    return linear_probe(*train, *test, seed=seed).accuracy


def _linear_wd(train: Rows, test: Rows, seed: int) -> float:
    return linear_probe(*train, *test, weight_decays=WEIGHT_DECAYS, seed=seed).accuracy


def _minent_linear(train: Rows, test: Rows, seed: int) -> float:
    return minent_linear_probe(*train, *test, seed=seed)


def _lowshot(train: Rows, test: Rows, seed: int) -> dict[str, float]:
    scores = low_shot(*train, *test, seed=seed)
    return {f'lowshot{k}': score for k, score in scores.items()}


def _svm(train: Rows, test: Rows, seed: int) -> float:
    return svm_score(*train, *test, seed=seed)


# On frozen features: (train, test, seed) -> percent, or percent by column.
_FROZEN = dict(
    knn=_knn,
    knn200=_knn200,
    knn5=_knn5,
    linear=_linear,
    linear_wd=_linear_wd,
    minent_linear=_minent_linear,
    lowshot=_lowshot,
    svm=_svm,
)
# Fine-tuned on this share of the labels.
_TUNED = dict(semi1=0.01, semi10=0.1)
_MULTI_LABEL = ('svm',)
PROTOCOLS = (*_FROZEN, *_TUNED)


def parse_protocols(text: str) -> list[str]:
    """Names in a comma-separated list, checked against ``PROTOCOLS``."""
    names = [name.strip() for name in text.split(',') if name.strip()]
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown or not names:
        raise ValueError(
            f'unknown protocol {", ".join(unknown) or text!r}: choose from {", ".join(PROTOCOLS)}'
        )
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
    train = copy.deepcopy(train)
    # RepeatDataset and the like would count rows several times.
    while 'dataset' in train:
        train = train['dataset']
    train['pipeline'] = test['pipeline']
    print_log(
        'the config has no eval_datasets: evaluating on '
        'train_dataloader.dataset with the test pipeline and on '
        'test_dataloader.dataset',
        logger='current',
    )
    return train, test


def build_data_preprocessor(cfg: Config) -> nn.Module:
    """The preprocessor that the Runner would give the config's model."""
    # The Runner, too, lets the model's own entry win.
    entry = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    if not entry or 'mean' not in entry:
        print_log(
            'the config has no data_preprocessor with mean and std: pixels are not normalised',
            logger='current',
        )
    entry = dict(entry or {})
    if 'type' not in entry:
        model = MODELS.get(cfg.model.type)
        if model is None:
            raise ValueError(f'model type {cfg.model.type} is not registered')
        entry['type'] = (
            'SelfSupDataPreprocessor'
            if issubclass(model, BaseSelfSupervisor)
            else 'ClsDataPreprocessor'
        )
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
    if any(item.get('type') in ('Pretrained', 'PretrainedBackbone') for item in init_cfg):
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
    """Scores of a checkpoint's backbone and of its baselines, in percent.

    Args:
        path: checkpoint of any mmpretrain backbone.
        cfg: default: the config stored in the checkpoint.
        protocols: of ``PROTOCOLS``; on multi-label data 'svm' only.
        branch: 'student' or 'teacher'.
        random: also the same backbone, freshly initialised.
        pixels: also raw pixels, where no backbone is trained.
        batch_size: images per step of feature extraction.
        num_workers: loader processes.
        device: where the backbone runs and features are scored.
        seed: of the fresh initialisation and of the protocols.

    Returns:
        ``{row: {column: percent}}`` with the rows 'checkpoint', 'random'
        and 'pixels'. A column is a protocol; 'lowshot' has one per k.

    Raises:
        FileNotFoundError, IsADirectoryError, TypeError, ValueError: see the
            functions of this package and :mod:`mmentropy.weights.backbone`.
    """
    parse_protocols(','.join(protocols))
    cfg = config_of(path) if cfg is None else cfg
    backbone = build_backbone(cfg, seed)
    # Before the data: a checkpoint that does not fit should not cost minutes.
    load_backbone(backbone, path, branch)
    preprocessor = build_data_preprocessor(cfg)
    entries = eval_datasets(cfg)
    datasets = []
    for entry in entries:
        check_dataset(entry)
        datasets.append(DATASETS.build(entry))
        _check_first(datasets[-1], preprocessor, protocols)
        _check_order(entry, cfg, len(getattr(preprocessor, 'mean', ())))

    def frozen(extract: Callable[[Dataset], Rows]) -> dict[str, float]:
        names = [name for name in protocols if name in _FROZEN]
        if not names:
            return {}
        train, test = [[x.to(device) for x in extract(dataset)] for dataset in datasets]
        scores = {}
        for name in names:
            result = _FROZEN[name](train, test, seed)
            scores.update(result if isinstance(result, dict) else {name: result})
        return scores

    def tuned(backbone: nn.Module) -> dict[str, float]:
        scores = {}
        for name in protocols:
            if name in _TUNED:
                few = DATASETS.build(
                    dict(type='LabelSubset', dataset=entries[0], fraction=_TUNED[name], seed=seed)
                )
                scores[name] = finetune_accuracy(
                    copy.deepcopy(backbone),
                    preprocessor,
                    few,
                    datasets[1],
                    num_workers=num_workers,
                    seed=seed,
                )
        return scores

    def both(backbone: nn.Module) -> dict[str, float]:
        backbone.to(device)
        return frozen(
            lambda dataset: extract_features(
                backbone, dataset, preprocessor, batch_size, num_workers=num_workers
            )
        ) | tuned(backbone)

    results = dict(checkpoint=both(backbone))
    if random:
        results['random'] = both(build_backbone(cfg, seed))
    if pixels:
        results['pixels'] = frozen(lambda dataset: pixel_features(dataset, batch_size, num_workers))
    return results


def _check_first(dataset: Dataset, preprocessor: nn.Module, protocols: Sequence[str]) -> None:
    """Refuse by its first row what would be refused minutes later."""
    name = f'data set {type(dataset).__name__}'
    wrong = [p for p in protocols if p not in _MULTI_LABEL]
    if multi_label_classes(dataset) and wrong:
        raise ValueError(
            f'{name} has several labels per image, which '
            f'{", ".join(wrong)} cannot score: choose '
            f'{", ".join(_MULTI_LABEL)}'
        )
    if len(dataset) == 0:
        raise ValueError(f'{name} is empty')
    inputs, samples = collate([dataset[0]], name)
    if getattr((samples or [None])[0], 'gt_label', None) is None:
        raise ValueError(f'{name} lacks labels (gt_label): name a labelled split')
    preprocess(inputs, samples, preprocessor)


def _check_order(dataset: dict, cfg: Config, channels: int) -> None:
    """Refuse colours in another order than in training: nothing else would."""
    trained = (cfg.get('train_dataloader') or {}).get('dataset')
    if trained and channels == 3 and is_bgr(dataset) != is_bgr(trained):
        orders = [('RGB', 'BGR')[is_bgr(d)] for d in (dataset, trained)]
        raise ValueError(
            f'data set {dataset["type"]} gives {orders[0]}, but the '
            f'checkpoint was trained on {orders[1]}: convert in its '
            'pipeline, as by NumpyToPIL and PILToNumpy'
        )


def is_bgr(dataset: dict) -> bool:
    """Whether a pipeline gives BGR, as files are loaded, not RGB."""
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    bgr = False
    for step in dataset.get('pipeline') or ():
        kind = getattr(step['type'], '__name__', step['type'])
        if kind.endswith('LoadImageFromFile') or step.get('to_bgr'):
            bgr = True
        elif step.get('to_rgb'):
            bgr = False
    return bgr
