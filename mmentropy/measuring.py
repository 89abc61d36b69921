"""The commands ``embed`` and ``evaluate`` as functions, for notebooks and programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config

from mmentropy.evaluation import eval_datasets, evaluate_checkpoint
from mmentropy.evaluation.embed_folder import embed_checkpoint
from mmentropy.weights.reader import PathLike
from mmentropy.weights.zoo import checkpoint_file


class Embedded(NamedTuple):
    """Features (N, D) float32 of N images, their paths (N,) below the folder, and what has no row.

    ``unreadable`` are path and reason of each file that could not be read.
    """

    features: np.ndarray
    paths: np.ndarray
    unreadable: list[tuple[str, str]]


def embed(
    checkpoint: PathLike,
    folder: PathLike,
    out: PathLike = 'features.npz',
    size: int | None = None,
    thumbnails: int = 0,
    batch_size: int = 256,
    workers: int = 0,
) -> Embedded:
    """Return the features of all images in a folder and below, which are also written to a file.

    Args:
        checkpoint: a file, ``zoo://NAME``, or the name of a model of mmpretrain, whose weights are
            downloaded.
        folder: a folder of images, flat or nested.
        out: the .npz that is written, with ``features`` (N, D) float32, ``paths`` (N,) below the
            folder, sorted, and ``folder``.
        size: side in pixels to which images are resized and cropped; default: that with which the
            checkpoint was trained.
        thumbnails: side in pixels of small images (N, side, side, 3) uint8 that are written, too;
            0 writes none.
        batch_size: images of a step.
        workers: loader processes.

    Returns:
        Features, paths and the files that could not be read.

    Raises:
        FileNotFoundError, ValueError, OSError: see :func:`.embed_checkpoint`, or ``out``
            is no .npz.
    """
    if Path(out).suffix != '.npz':
        raise ValueError(f'out: must end in .npz, got {out}')
    unreadable = embed_checkpoint(
        checkpoint_file(checkpoint),
        folder,
        out,
        size=size,
        thumbnails=thumbnails,
        batch_size=batch_size,
        num_workers=workers,
    )
    with np.load(out) as found:
        return Embedded(found['features'], found['paths'], unreadable)


def evaluate(
    checkpoint: PathLike,
    protocols: Sequence[str] = ('knn', 'linear'),
    data: PathLike | None = None,
    random: bool = False,
    pixels: bool = False,
    branch: str = 'student',
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Return the scores of a checkpoint's backbone in percent, ``{row: {protocol: percent}}``.

    Args:
        checkpoint: a file with its config, as training writes it, or ``zoo://NAME``.
        protocols: 'knn', 'linear' or other names of ``mmentropy evaluate -h``.
        data: a config whose labelled data sets are taken; default: those of the checkpoint.
        random: score the same backbone with fresh weights, too.
        pixels: score raw pixels, too.
        branch: 'student', or 'teacher' for the EMA network of methods that have one.
        seed: seed of the fresh weights and of the protocols.

    Raises:
        FileNotFoundError, TypeError, ValueError: see :func:`.evaluate_checkpoint`.
    """
    named = eval_datasets(Config.fromfile(data)) if data else None
    return evaluate_checkpoint(
        checkpoint_file(checkpoint),
        None,
        protocols,
        branch,
        random,
        pixels,
        device='cuda' if torch.cuda.is_available() else 'cpu',
        seed=seed,
        data=named,
    )
