"""What the checkpoint of a run makes of images."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import FUNCTIONS, init_default_scope
from mmengine.utils import import_modules_from_strings
from mmpretrain.registry import DATASETS
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from mmentropy.datasets import check_dataset
from mmentropy.engine.hooks.entropy_monitor import evenly, two_views
from mmentropy.engine.hooks.knn import random_state_kept
from mmentropy.evaluation import (
    build_backbone,
    build_data_preprocessor,
    eval_datasets,
    extract_features,
    knn_predict,
    linear_probe,
)
from mmentropy.evaluation.features import collate, preprocess
from mmentropy.report.runs import Run, one_line
from mmentropy.weights.backbone import load_backbone

# Images that are measured at most, evenly spaced, and that are on the map.
BANK, TEST, MAP = 10_000, 2_000, 500
# Of the vote.
NEIGHBOURS = 20
QUERIES, SHOWN = 8, 6
# Sides of pictures in pixels, at most.
THUMB, VIEW = 32, 96


@dataclass
class Picture:
    """An image as a data URI."""

    uri: str
    width: int
    height: int


@dataclass
class Neighbours:
    """A test image and its nearest training images."""

    query: Picture
    label: int
    predicted: int
    found: list[tuple[Picture, int]]


@dataclass
class Features:
    """Measurements of a frozen backbone; accuracies in percent.

    Rows of ``points``, ``labels``, ``predicted`` and the tiles of ``sprite``
    are the same test images.
    """

    knn: float
    linear: float
    rows: str
    classes: list[str]
    # (N, 2) in 0..1.
    points: np.ndarray
    labels: list[int]
    predicted: list[int]
    sprite: Picture
    columns: int
    neighbours: list[Neighbours]


class Measured(NamedTuple):
    """What was found of a run; a text says why there is nothing."""

    features: Features | str
    views: list[list[Picture]] | str
    checkpoint: str


def checkpoint_of(run: Run, name: str | None = None) -> Path:
    """The checkpoint of that name, or the newest.

    Raises:
        FileNotFoundError: there is none.
    """
    if name:
        path = run.path / name
        if not path.exists():
            raise FileNotFoundError(f'{path} does not exist')
        return path
    pointer = run.path / 'last_checkpoint'
    if pointer.exists():
        # By name: the folder may have been moved.
        path = run.path / Path(pointer.read_text().strip()).name
        if path.is_file():
            return path
    found = [*run.path.glob('epoch_*.pth'), *run.path.glob('iter_*.pth')]
    if not found:
        raise FileNotFoundError('no checkpoint in the work directory; set default_hooks.checkpoint')
    return max(found, key=lambda file: int(''.join(filter(str.isdigit, file.stem)) or 0))


def prepare(run: Run) -> Config:
    """The config, with what it registers imported.

    Raises:
        ValueError: there is none.
        ImportError: a module of ``custom_imports`` is not installed.
    """
    if run.config is None:
        raise ValueError('the work directory holds no config')
    init_default_scope(run.config.get('default_scope') or 'mmpretrain')
    if run.config.get('custom_imports'):
        import_modules_from_strings(**run.config.custom_imports)
    return run.config


def measure(run: Run, checkpoint: Path) -> Features:
    """KNN, linear probe, map and neighbours on the config's labelled data.

    Raises:
        OSError, ValueError, ...: whatever a config, a checkpoint or a data
            set can be wrong in; one line each.
    """
    cfg = prepare(run)
    entries = eval_datasets(cfg)
    for entry in entries:
        check_dataset(entry)
    backbone = build_backbone(cfg)
    load_backbone(backbone, checkpoint)
    preprocessor = build_data_preprocessor(cfg)
    full = [DATASETS.build(entry) for entry in entries]
    sets = [Subset(data, evenly(len(data), most)) for data, most in zip(full, (BANK, TEST))]
    with random_state_kept():
        torch.manual_seed(0)
        (bank, bank_y), (test, test_y) = [
            extract_features(backbone, data, preprocessor) for data in sets
        ]
        if bank_y.dim() > 1:
            raise ValueError(
                'images with several labels are not mapped; measure with tools/evaluate.py'
            )
        predicted = knn_predict(bank, bank_y, test, min(NEIGHBOURS, len(bank)))
        linear = linear_probe(bank, bank_y, test, test_y).accuracy
    rows = evenly(len(test), MAP)
    tiles = [as_picture(image, THUMB) for image in seen(sets[1], rows, preprocessor)]
    sprite, columns = sprite_of(tiles)
    names = full[1].metainfo.get('classes') or ()
    count = int(max(bank_y.max(), test_y.max())) + 1
    return Features(
        knn=100 * float((predicted == test_y).double().mean()),
        linear=linear,
        rows=', '.join(
            f'{len(part):,} of {len(whole):,} {kind} images'
            if len(part) < len(whole)
            else f'{len(whole):,} {kind} images'
            for part, whole, kind in zip(sets, full, ('training', 'test'))
        ),
        classes=[*map(str, names)] if len(names) >= count else [*map(str, range(count))],
        points=tsne(test[rows]),
        labels=test_y[rows].tolist(),
        predicted=predicted[rows].tolist(),
        sprite=sprite,
        columns=columns,
        neighbours=nearest(sets, (bank, bank_y), (test, test_y), predicted, preprocessor),
    )


def tsne(features: Tensor) -> np.ndarray:
    """A map (N, 2) in 0..1 of the rows' directions, N >= 3."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    z = F.normalize(features, dim=1).numpy()
    perplexity = min(30.0, (len(z) - 1) / 3)
    # Threads cost more than they give for so few rows.
    with threadpool_limits(1):
        points = TSNE(init='pca', random_state=0, perplexity=perplexity).fit_transform(z)
    points = points - points.min(axis=0)
    return points / points.max(axis=0).clip(1e-9)


def nearest(
    sets: Sequence[Dataset],
    bank: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    predicted: Tensor,
    preprocessor: nn.Module,
) -> list[Neighbours]:
    """The nearest by cosine of the first test image of some classes."""
    classes = test[1].unique().tolist()
    classes = [classes[i] for i in evenly(len(classes), QUERIES)]
    queries = [int((test[1] == c).nonzero()[0]) for c in classes]
    scores = F.normalize(test[0][queries]) @ F.normalize(bank[0]).T
    index = scores.topk(min(SHOWN, len(bank[0])), dim=1).indices
    found = []
    for row, near in zip(queries, index.tolist()):
        found.append(
            Neighbours(
                encoded(seen(sets[1], [row], preprocessor)[0]),
                int(test[1][row]),
                int(predicted[row]),
                list(zip(map(encoded, seen(sets[0], near, preprocessor)), bank[1][near].tolist())),
            )
        )
    return found


def views_of(run: Run) -> list[list[Picture]]:
    """Some images and their two views, as the network sees them.

    Images of ``eval_datasets.test``, or of the training set, by the training
    pipeline.

    Returns:
        Per image the original, where it is known, and the views.
    """
    cfg = prepare(run)
    loader = cfg.train_dataloader
    train = loader.dataset
    while 'dataset' in train:
        train = train['dataset']
    labelled = (cfg.get('eval_datasets') or {}).get('test')
    entry = dict(labelled, pipeline=train['pipeline']) if labelled else train
    check_dataset(entry)
    preprocessor = build_data_preprocessor(cfg)
    collate_cfg = dict(loader.get('collate_fn') or dict(type='pseudo_collate'))
    kind = collate_cfg.pop('type')
    merge = FUNCTIONS.get(kind) if isinstance(kind, str) else kind

    def collate_fn(items: list) -> Any:
        return merge(items, **collate_cfg)

    dataset = DATASETS.build(entry)
    rows = evenly(len(dataset), QUERIES)
    with random_state_kept():
        views = two_views(dataset, rows, collate_fn, preprocessor)
    shown = [[as_picture(image, VIEW) for image in restored(view, preprocessor)] for view in views]
    if labelled:
        plain = DATASETS.build(labelled)
        shown.insert(0, [as_picture(image, VIEW) for image in seen(plain, rows, preprocessor)])
    return [list(map(encoded_image, images)) for images in zip(*shown)]


# -- Pictures ----------------------------------------------------------------


def seen(dataset: Dataset, rows: Sequence[int], preprocessor: nn.Module) -> np.ndarray:
    """Images (N, H, W, C) uint8 as the network sees them, not normalised."""
    inputs, samples = collate([dataset[row] for row in rows], 'eval_datasets')
    return restored(preprocess(inputs, samples, preprocessor), preprocessor)


def restored(inputs: Tensor, preprocessor: nn.Module) -> np.ndarray:
    """Pixels (N, H, W, C) uint8 of what a preprocessor gave."""
    mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
    if isinstance(mean, Tensor) and isinstance(std, Tensor):
        inputs = inputs * std + mean
    return inputs.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def as_picture(pixels: np.ndarray, side: int) -> Image.Image:
    """Pixels (H, W, C) of 1 or 3 channels, shrunk to ``side`` if larger."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels[..., :3])
    image.thumbnail((side, side))
    return image


def encoded(pixels: np.ndarray) -> Picture:
    """A small picture of pixels (H, W, C)."""
    return encoded_image(as_picture(pixels, VIEW))


def encoded_image(image: Image.Image) -> Picture:
    """PNG where it is small, JPEG otherwise."""
    stream = io.BytesIO()
    kind = 'png' if min(image.size) <= THUMB else 'jpeg'
    image.save(stream, kind, **(dict(optimize=True) if kind == 'png' else dict(quality=82)))
    text = base64.b64encode(stream.getvalue()).decode()
    return Picture(f'data:image/{kind};base64,{text}', *image.size)


def sprite_of(tiles: Sequence[Image.Image]) -> tuple[Picture, int]:
    """All tiles in one picture, row by row, and its number of columns."""
    width = max(tile.width for tile in tiles)
    height = max(tile.height for tile in tiles)
    columns = min(25, len(tiles))
    sheet = Image.new(tiles[0].mode, (columns * width, -(-len(tiles) // columns) * height))
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i % columns * width, i // columns * height))
    # Colours of photos take much as PNG.
    kind = 'png' if tiles[0].mode == 'L' else 'jpeg'
    stream = io.BytesIO()
    sheet.save(stream, kind, **(dict(optimize=True) if kind == 'png' else dict(quality=80)))
    text = base64.b64encode(stream.getvalue()).decode()
    return Picture(f'data:image/{kind};base64,{text}', *sheet.size), columns


def measured_runs(runs: Sequence[Run], checkpoint: str | None = None) -> dict[str, Measured]:
    """Features and views of every run, by its key.

    Args:
        runs: At least one.
        checkpoint: see :func:`checkpoint_of`.
    """
    found = {}
    for run in runs:
        name = ''
        features: Features | str
        views: list[list[Picture]] | str
        # A config can be wrong in any way, and the curves are worth a page.
        try:
            path = checkpoint_of(run, checkpoint)
            name = path.name
            features = measure(run, path)
        except Exception as error:
            features = one_line(error)
        try:
            views = views_of(run)
        except Exception as error:
            views = one_line(error)
        found[run.key] = Measured(features, views, name)
    return found
