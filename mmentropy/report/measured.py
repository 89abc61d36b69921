"""Measure a run's checkpoint on images: accuracies, a map, neighbours, and the views."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from mmentropy.checks.config_parts import innermost_dataset
from mmentropy.checks.files import read_text
from mmentropy.checks.stored_types import registered_types_only
from mmentropy.datasets import check_dataset
from mmentropy.engine.monitored_features import evenly, held_out_config, two_views
from mmentropy.engine.random_state import random_state_kept
from mmentropy.evaluation import (
    build_backbone,
    build_data_preprocessor,
    extract_features,
    knn_predict,
    linear_probe,
)
from mmentropy.evaluation.features import Rows
from mmentropy.evaluation.knn import nearest
from mmentropy.evaluation.protocols import Evaluation
from mmentropy.report.pictures import Picture, encoded, pictures_of
from mmentropy.report.runs import Run, one_line
from mmentropy.report.unlabelled import MAP, NEIGHBOURS, QUERIES, Unlabelled, of_folder, tsne
from mmentropy.weights.backbone import load_backbone
from mmentropy.weights.stored_config import no_larger_networks, prepare_stored

# Training and test images, evenly spaced, at most.
BANK, TEST = 10_000, 2_000
# Neighbours that vote for the class of an image.
VOTERS = 20


class Neighbours(NamedTuple):
    """A test image, and its nearest training images with their classes."""

    query: Picture
    label: int
    predicted: int
    found: list[tuple[Picture, int]]


@dataclass
class Features:
    """Measurements of a frozen backbone, loaded from a file named ``checkpoint``.

    ``knn`` and ``linear`` are accuracies in percent, ``rows`` says of how many images, and
    ``classes`` are their names. ``points`` (N, 2) in 0..1 are places on the map of the test
    images with these ``labels``, classes ``predicted`` by kNN, and ``tiles``. ``neighbours``
    are those of the first test image of some classes.
    """

    checkpoint: str
    knn: float
    linear: float
    rows: str
    classes: list[str]
    points: np.ndarray
    labels: list[int]
    predicted: list[int]
    tiles: list[Picture]
    neighbours: list[Neighbours]

    def mistakes(self) -> int:
        """How many images on the map kNN takes for another class."""
        return sum(a != b for a, b in zip(self.labels, self.predicted))

    def class_counts(self) -> list[list[str]]:
        """Name, images on the map and mistakes of kNN, of every class on the map."""
        pairs = [*zip(self.labels, self.predicted)]
        return [
            [name, str(self.labels.count(i)), str(sum(a == i != b for a, b in pairs))]
            for i, name in enumerate(self.classes)
            if i in self.labels
        ]


class Measured(NamedTuple):
    """What was found of a run, or in place of features or views why there are none.

    The views of each of some images begin with the original, where it is known.
    """

    features: Features | Unlabelled | str
    views: list[list[Picture]] | str


def measured_runs(runs: Sequence[Run], checkpoint: str | None = None) -> dict[str, Measured]:
    """Measure every run at the checkpoint of that name, or else the newest; by its key."""
    found = {}
    for run in runs:
        results: list[Any] = []
        for measure in (partial(measure_run, run, checkpoint), partial(pictures_of_views, run)):
            # A config can be wrong in any way, and the curves alone are worth a page.
            try:
                with nullcontext() if run.trusted else registered_types_only():
                    results.append(measure())
            except Exception as error:
                results.append(one_line(error))
        found[run.key] = Measured(*results)
    return found


def checkpoint_of(run: Run, name: str | None = None) -> Path:
    """The checkpoint of that name, or the newest.

    Raises:
        FileNotFoundError: there is none.
    """
    if name is None:
        pointer = run.path / 'last_checkpoint'
        # It holds a whole path, and the work directory may have been moved.
        name = Path(read_text(pointer, 10_000).strip()).name if pointer.exists() else ''
        if not name or not (run.path / name).exists():
            saved = {file: step for file, step in run.checkpoints().items() if file[:4] != 'best'}
            if not saved:
                raise FileNotFoundError(
                    'no checkpoint in the work directory; set default_hooks.checkpoint'
                )
            name = max(saved, key=saved.__getitem__)
    if not (run.path / name).exists():
        raise FileNotFoundError(f'{run.path / name} does not exist')
    return run.path / name


def measure_run(run: Run, checkpoint: str | None = None) -> Features | Unlabelled:
    """Measure a checkpoint, see :func:`checkpoint_of`, on the labelled data of the run's config.

    Of a run on a folder without labelled data its training images are shown.

    It can raise anything, for a config, a checkpoint or a data set can be wrong in any way.
    """
    path = checkpoint_of(run, checkpoint)
    cfg = _prepared_config(run)
    trained = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    with nullcontext() if run.trusted else no_larger_networks(path):
        if not cfg.get('eval_datasets') and trained.get('type') == 'ImageFolder':
            return of_folder(cfg, path)
        backbone = build_backbone(cfg)
    load_backbone(backbone, path)
    # Its 'knn' would ask for as many training images as voters; below there may be fewer.
    evaluation = Evaluation(cfg, ['linear'])
    full, preprocessor = evaluation.datasets, evaluation.preprocessor
    sets = [Subset(data, evenly(len(data), most)) for data, most in zip(full, (BANK, TEST))]
    with random_state_kept():
        torch.manual_seed(0)
        bank, test = [extract_features(backbone, data, preprocessor) for data in sets]
        predicted = knn_predict(*bank, test[0], min(VOTERS, len(bank[0])))
        linear = linear_probe(*bank, *test).accuracy
    counts = []
    for used, whole, kind in zip(sets, full, ('training', 'test')):
        share = f'{len(used):,} of ' if len(used) < len(whole) else ''
        counts.append(f'{share}{len(whole):,} {kind} images')
    rows = evenly(len(sets[1]), MAP)
    names = full[1].metainfo.get('classes') or ()
    count = int(max(bank[1].max(), test[1].max())) + 1
    return Features(
        checkpoint=path.name,
        knn=100 * float((predicted == test[1]).double().mean()),
        linear=linear,
        rows=', '.join(counts),
        classes=[*map(str, names)] if len(names) >= count else [*map(str, range(count))],
        points=tsne(test[0][rows]),
        labels=test[1][rows].tolist(),
        predicted=predicted[rows].tolist(),
        tiles=pictures_of(sets[1], rows, preprocessor, side=32),
        neighbours=nearest_images(sets, bank, test, predicted, preprocessor),
    )


def nearest_images(
    sets: Sequence[Dataset], bank: Rows, test: Rows, predicted: Tensor, preprocessor: nn.Module
) -> list[Neighbours]:
    """The training images nearest by cosine to the first test image of some classes.

    ``sets`` are training and test set, ``bank`` and ``test`` their features (N, D) and classes
    (N,), and ``predicted`` the classes of the test set by kNN.
    """
    classes = test[1].unique().tolist()
    queries = [test[1].tolist().index(classes[i]) for i in evenly(len(classes), QUERIES)]
    norms = bank[0].norm(dim=1)
    _, found = nearest(test[0][queries], bank[0], norms, NEIGHBOURS, cosine=True)
    return [
        Neighbours(
            picture,
            int(test[1][row]),
            int(predicted[row]),
            [*zip(pictures_of(sets[0], near, preprocessor), bank[1][near].tolist())],
        )
        for picture, row, near in zip(
            pictures_of(sets[1], queries, preprocessor), queries, found.tolist()
        )
    ]


def pictures_of_views(run: Run) -> list[list[Picture]]:
    """Some images and their two views by the training pipeline, as the network sees them.

    The images are those of ``eval_datasets.test``, or else of the training set.

    Returns:
        For each image the original, where it is known, and its views.
    """
    cfg = _prepared_config(run)
    held_out = held_out_config(cfg)
    entry = held_out or innermost_dataset(cfg.train_dataloader)
    check_dataset(entry)
    preprocessor = build_data_preprocessor(cfg)
    # The images are loaded in this process, and only collated as in training.
    kept = ('batch_size', 'sampler', 'collate_fn')
    loader_cfg = {key: value for key, value in cfg.train_dataloader.items() if key in kept}
    loader = Runner.build_dataloader(dict(loader_cfg, dataset=entry), seed=0)
    rows = evenly(len(loader.dataset), QUERIES)
    with random_state_kept():
        views = two_views(loader.dataset, rows, loader.collate_fn, preprocessor)
    columns = [encoded(view, preprocessor) for view in views]
    if held_out:
        images = DATASETS.build(cfg.eval_datasets.test)
        columns.insert(0, pictures_of(images, rows, preprocessor))
    return [list(pictures) for pictures in zip(*columns)]


def _prepared_config(run: Run) -> Config:
    """The config of a run, after what its ``custom_imports`` name was imported."""
    if run.config is None:
        raise ValueError('the work directory holds no config that can be read')
    prepare_stored(run.config, run.trusted)
    init_default_scope(run.config.get('default_scope') or 'mmpretrain')
    return run.config
