"""A map and neighbours of images without labels: of a run on a folder, or of a file of features."""

import os.path as osp
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmpretrain.registry import DATASETS
from PIL import Image
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits
from torch import Tensor

from mmentropy.datasets.unreadable_images import reason
from mmentropy.engine.monitored_features import evenly
from mmentropy.evaluation.embed_folder import thumbnail
from mmentropy.evaluation.embedding_file import Embedding
from mmentropy.evaluation.file_encoder import checkpoint_encoder
from mmentropy.evaluation.neighbours import nearest_rows
from mmentropy.report.pictures import Picture
from mmentropy.views.loading import CheckedLoadImageFromFile

# Images on the map, evenly spaced, and images whose neighbours are shown, at most.
MAP, QUERIES, NEIGHBOURS = 500, 8, 6


class Named(NamedTuple):
    """An image with its path and, of a neighbour, its cosine."""

    picture: Picture
    path: str
    cosine: float = 1.0


class Unlabelled(NamedTuple):
    """What is shown of features without labels.

    ``name`` is that of the checkpoint or file, and ``images`` how many it has. ``points`` (N, 2)
    in 0..1 are places on the map of ``tiles``. Each row of ``neighbours`` begins with the image
    whose neighbours follow, nearest first.
    """

    name: str
    images: int
    points: np.ndarray
    tiles: list[Named]
    neighbours: list[list[Named]]


def unlabelled(
    name: str, features: np.ndarray, paths: list[str], picture: Callable[[int], Picture]
) -> Unlabelled:
    """Return what is shown of features (N, D), of which ``picture`` shows a row.

    Raises:
        ValueError: there are fewer than three images.
    """
    if len(features) < 3:
        raise ValueError(f'a map needs 3 images, and there are {len(features)}')
    rows, queries = evenly(len(features), MAP), evenly(len(features), QUERIES)
    cosines, near = nearest_rows(features, features[queries], NEIGHBOURS + 1)
    neighbours = []
    for query, values, found in zip(queries, cosines.tolist(), near.tolist()):
        others = [(i, value) for i, value in zip(found, values) if i != query][:NEIGHBOURS]
        neighbours.append(
            [Named(picture(i), paths[i], value) for i, value in [(query, 1.0), *others]]
        )
    return Unlabelled(
        name,
        len(features),
        tsne(torch.from_numpy(features[rows])),
        [Named(picture(row), paths[row]) for row in rows],
        neighbours,
    )


def of_embedding(found: Embedding, name: str) -> Unlabelled:
    """Return what is shown of a file of features; without thumbnails the files are read.

    Raises:
        OSError: a file cannot be read any more, or is not an image of colours.
    """
    load = CheckedLoadImageFromFile()

    def picture(row: int) -> Picture:
        if found.thumbnails is not None:
            return encoded_rgb(found.thumbnails[row])
        path = osp.join(found.folder, found.paths[row])
        try:
            pixels = load.transform(dict(img_path=path))['img']
        except OSError as error:
            raise OSError(
                f'{path} cannot be shown ({reason(error)}): embed again with --thumbnails 32'
            ) from error
        return encoded_rgb(pixels[..., ::-1])

    return unlabelled(name, found.features, found.paths, picture)


def of_folder(cfg: Config, checkpoint: Path) -> Unlabelled:
    """Return what is shown of the training images of a run on a folder, evenly spaced.

    It can raise anything, as :func:`mmentropy.report.measured.measure_run`.
    """
    encoder = checkpoint_encoder(checkpoint, cfg)
    images = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[]))
    features, tiles, paths = [], [], []
    for row in evenly(len(images), MAP):
        path = images.get_data_info(row)['img_path']
        # Training has counted and named the files that cannot be read.
        with suppress(OSError):
            pixels = encoder.pixels(path)
            features.append(encoder.features(pixels[None]).numpy()[0])
            tiles.append(encoded_rgb(thumbnail(pixels, encoder, side=64)))
            paths.append(osp.relpath(path, images.img_prefix))
    return unlabelled(checkpoint.name, np.stack(features), paths, tiles.__getitem__)


def encoded_rgb(pixels: np.ndarray) -> Picture:
    """Return RGB pixels (H, W, 3) uint8 as a picture, shrunk if it is large."""
    return Picture.of(Image.fromarray(np.ascontiguousarray(pixels)), side=96)


def tsne(features: Tensor) -> np.ndarray:
    """A map (N, 2) in 0..1 of the directions of features (N, D), N >= 3."""
    z = F.normalize(features, dim=1).numpy()
    perplexity = min(30.0, (len(z) - 1) / 3)
    # Threads cost more than they give for so few rows.
    with threadpool_limits(1):
        points = TSNE(init='pca', random_state=0, perplexity=perplexity).fit_transform(z)
    points = points - points.min(axis=0)
    return points / points.max(axis=0).clip(1e-9)
