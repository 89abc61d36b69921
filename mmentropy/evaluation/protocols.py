"""Score a checkpoint by named protocols."""

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATASETS
from torch import nn
from torch.utils.data import Dataset

from mmentropy.checks.arguments import SEED, require
from mmentropy.checks.stored_types import any_types
from mmentropy.datasets import check_dataset
from mmentropy.evaluation.features import (
    Rows,
    collate,
    extract_features,
    pixel_features,
    preprocess,
)
from mmentropy.evaluation.finetune import finetune_accuracy
from mmentropy.evaluation.from_config import (
    build_backbone,
    build_data_preprocessor,
    eval_datasets,
)
from mmentropy.evaluation.knn import knn_accuracy
from mmentropy.evaluation.labelled import check_labelled
from mmentropy.evaluation.linear import WEIGHT_DECAYS, linear_probe
from mmentropy.evaluation.minent_linear import minent_linear_probe
from mmentropy.evaluation.scored import check_scored
from mmentropy.evaluation.svm import check_shots, low_shot, svm_score
from mmentropy.weights.backbone import load_backbone
from mmentropy.weights.reader import PathLike
from mmentropy.weights.stored_config import chosen_config

# The k of the protocols that compare with the nearest training rows.
NEIGHBOURS = dict(knn=20, knn200=200, knn5=5)
# Protocols on frozen features: (train, test, seed) -> percent, or percent by number of shots.
FROZEN: dict[str, Callable[[Rows, Rows, int], float | dict[int, float]]] = dict(
    knn=lambda train, test, seed: knn_accuracy(*train, *test, k=NEIGHBOURS['knn']),
    knn200=lambda train, test, seed: knn_accuracy(*train, *test, k=NEIGHBOURS['knn200']),
    knn5=lambda train, test, seed: knn_accuracy(
        *train, *test, k=NEIGHBOURS['knn5'], metric='euclidean'
    ),
    linear=lambda train, test, seed: linear_probe(*train, *test, seed=seed).accuracy,
    linear_wd=lambda train, test, seed: (
        linear_probe(*train, *test, weight_decays=WEIGHT_DECAYS, seed=seed).accuracy
    ),
    minent_linear=lambda train, test, seed: minent_linear_probe(*train, *test, seed=seed),
    lowshot=lambda train, test, seed: low_shot(*train, *test, seed=seed),
    svm=lambda train, test, seed: svm_score(*train, *test, seed=seed),
)
# Protocols that fine-tune the backbone, on this share of the labels.
FINE_TUNED = dict(semi1=0.01, semi10=0.1)
PROTOCOLS = (*FROZEN, *FINE_TUNED)


def parse_protocols(text: str) -> list[str]:
    """Return the names in a comma-separated list, checked against ``PROTOCOLS``."""
    names = [name.strip() for name in text.split(',') if name.strip()]
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown or not names:
        raise ValueError(
            f'unknown protocol {", ".join(unknown) or text!r}: choose from {", ".join(PROTOCOLS)}'
        )
    return names


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
    data: tuple[dict, dict] | None = None,
) -> dict[str, dict[str, float]]:
    """Return ``{row: {column: percent}}`` for a checkpoint's backbone and its baselines.

    The rows are 'checkpoint', 'random' and 'pixels'. A column is a protocol; 'lowshot' has one per
    k.

    Args:
        path: checkpoint of any mmpretrain backbone.
        cfg: default: the config stored in the checkpoint.
        protocols: names of ``PROTOCOLS``; on multi-label data 'svm' only.
        branch: 'student' or 'teacher'.
        random: also score the same backbone, freshly initialised.
        pixels: also score raw pixels, by the protocols that train no backbone.
        batch_size: images per step of feature extraction.
        num_workers: loader processes.
        device: where the backbone runs and features are scored.
        seed: seed of the fresh initialisation and of the protocols.
        data: configs of the labelled train and test data sets, which may name any type; default:
            those of the config, where a stored one may name registered types only.

    Raises:
        FileNotFoundError, IsADirectoryError, TypeError, ValueError: see the functions of this
            package and :mod:`mmentropy.weights.backbone`.
    """
    parse_protocols(','.join(protocols))
    require(SEED, seed=seed)
    if pixels and not set(protocols) & FROZEN.keys():
        raise ValueError(
            f'pixels have no backbone, which {" and ".join(protocols)} would train: add a protocol '
            'on frozen features, such as knn, or leave pixels out'
        )
    with chosen_config(path, cfg) as chosen:
        backbone = build_backbone(chosen, seed)
        # The checkpoint comes before the data: one that does not fit should not cost minutes.
        load_backbone(backbone, path, branch)
        evaluation = Evaluation(chosen, protocols, batch_size, num_workers, device, seed, data)
        results = dict(checkpoint=evaluation.scores(backbone))
        if random:
            results['random'] = evaluation.scores(build_backbone(chosen, seed))
        if pixels:
            results['pixels'] = evaluation.pixel_scores()
    return results


@dataclass
class Evaluation:
    """The protocols, and the data of a config that they score backbones by.

    The arguments are those of :func:`evaluate_checkpoint`.

    Raises:
        FileNotFoundError: files of a data set are missing.
        ValueError: see :func:`.check_labelled` and :func:`.check_scored`; too few training rows.
    """

    cfg: Config
    protocols: Sequence[str]
    batch_size: int = 256
    num_workers: int = 0
    device: str | torch.device = 'cpu'
    seed: int = 0
    data: tuple[dict, dict] | None = None

    def __post_init__(self) -> None:
        # mmengine's preprocessor knows its device only if it is moved itself, and not as a child.
        self.preprocessor = build_data_preprocessor(self.cfg).to(self.device)
        self.configs = self.data or eval_datasets(self.cfg)
        trained = (self.cfg.get('train_dataloader') or {}).get('dataset')
        check_dataset(self.configs)
        self.datasets = [*map(self._build, self.configs)]
        for dataset, entry in zip(self.datasets, self.configs):
            check_labelled(dataset, entry, trained, self.protocols, self.preprocessor)
        check_scored(*self.datasets)
        self._check_training_rows()
        self.subsets = {name: self._share(name) for name in self.protocols if name in FINE_TUNED}

    def scores(self, backbone: nn.Module) -> dict[str, float]:
        """Return the scores of a backbone in percent, by column, the fine-tuned last."""
        # Images of other channels are told of both data sets before the work on the first.
        for dataset in self.datasets:
            inputs, samples = collate([dataset[0]], type(dataset).__name__)
            preprocess(inputs, samples, self.preprocessor, backbone)
        # Convolutions are faster in this layout, which their outputs have, too.
        backbone.to(self.device).to(memory_format=torch.channels_last)

        def extract(dataset: Dataset) -> Rows:
            return extract_features(
                backbone, dataset, self.preprocessor, self.batch_size, num_workers=self.num_workers
            )

        scores = self._frozen_scores(extract)
        for name, subset in self.subsets.items():
            scores[name] = finetune_accuracy(
                copy.deepcopy(backbone),
                self.preprocessor,
                subset,
                self.datasets[1],
                num_workers=self.num_workers,
                seed=self.seed,
            )
        return scores

    def pixel_scores(self) -> dict[str, float]:
        """Return the scores of raw pixels in percent, by column; nothing is fine-tuned."""
        return self._frozen_scores(
            lambda dataset: pixel_features(dataset, self.batch_size, self.num_workers)
        )

    def _frozen_scores(self, extract: Callable[[Dataset], Rows]) -> dict[str, float]:
        frozen = [name for name in self.protocols if name in FROZEN]
        if not frozen:
            return {}
        rows = map(extract, self.datasets)
        train, test = [(x.to(self.device), y.to(self.device)) for x, y in rows]
        scores: dict[str, float] = {}
        for name in frozen:
            result = FROZEN[name](train, test, self.seed)
            if isinstance(result, dict):
                scores |= {f'{name}{shots}': score for shots, score in result.items()}
            else:
                scores[name] = result
        return scores

    def _check_training_rows(self) -> None:
        """Raise for too few training rows before a score is computed that the error would lose."""
        train = self.datasets[0]
        for name in self.protocols:
            if NEIGHBOURS.get(name, 1) > len(train):
                raise ValueError(
                    f'{name}: k must be in 1..{len(train)} (the training rows), '
                    f'got {NEIGHBOURS[name]}'
                )
        if 'lowshot' in self.protocols and hasattr(train, 'get_gt_labels'):
            check_shots(train.get_gt_labels())

    def _build(self, entry: dict) -> BaseDataset:
        """Build a data set, of any types if the user has named it."""
        with any_types() if self.data else nullcontext():
            return DATASETS.build(entry)

    def _share(self, name: str) -> BaseDataset:
        """Return the labelled images that a fine-tuned protocol trains on."""
        subset = dict(type='LabelSubset', fraction=FINE_TUNED[name], seed=self.seed)
        return self._build(dict(subset, dataset=self.configs[0]))
