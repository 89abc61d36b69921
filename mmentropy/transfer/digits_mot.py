"""Sequences of flying digits in the layout of MOTChallenge; nothing is downloaded."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.registry import DATASETS
from PIL import Image

from mmentropy.checks.arguments import COUNT, require
from mmentropy.evaluation.moving_digits import SIZE, digits_of, draw_clip
from mmentropy.transfer.mot_challenge import DET_COLUMNS, MOTSequences
from mmentropy.weights.files import whole_folder

OBJECTS = 4
# The detector of the digits misses those that are covered by more than a quarter and one in ten
# of the others, and is wrong by about a pixel.
VISIBLE = 0.75
MISSED = 0.1
JITTER = 1.0


@DATASETS.register_module()
class DigitsMOT(MOTSequences):
    """Sequences of four flying digits.

    Args:
        data_root: folder, written on first use by :func:`write_digits_mot`.
        clips: how many.
        frames: number of frames of each clip.
        kwargs: arguments of :class:`MOTSequences`.
    """

    def __init__(self, data_root: str, clips: int, frames: int, **kwargs: Any) -> None:
        folder = write_digits_mot(data_root, clips, frames)
        super().__init__(data_root=str(folder), **kwargs)


def write_digits_mot(root: str | os.PathLike, clips: int, frames: int) -> Path:
    """Write clips of digits in the layout of MOTChallenge, unless they are there.

    Clip i depends on i and the number of frames alone, and shows four digits that pre-training
    never saw. Boxes are those of the pixels that are seen. ``det.txt`` holds them as the detector
    of the digits finds them, see the constants of this file.

    Args:
        root: the sequences come into ``root/{clips}x{frames}``.
        clips: how many, > 0.
        frames: number of frames of each clip, > 0.

    Returns:
        The folder of the sequences.

    Raises:
        ValueError: no clip or no frame.
    """
    require(COUNT, clips=clips)
    folder = Path(root) / f'{clips}x{frames}'
    if folder.exists():
        return folder
    digits = digits_of('test')
    with whole_folder(folder) as aside:
        for i in range(clips):
            rng = np.random.default_rng((3, i))
            images, ids, _ = draw_clip(digits, rng, frames, OBJECTS)
            _write_sequence(aside / f'digits{i:03}', images, ids, rng)
    return folder


def _write_sequence(
    folder: Path, images: np.ndarray, ids: np.ndarray, rng: np.random.Generator
) -> None:
    for name in ('img1', 'gt', 'det'):
        (folder / name).mkdir(parents=True)
    for t, image in enumerate(images, 1):
        Image.fromarray(image).save(folder / f'img1/{t:06}.png')
    (folder / 'seqinfo.ini').write_text(
        f'[Sequence]\nname={folder.name}\nimDir=img1\nframeRate=30\n'
        f'seqLength={len(images)}\nimWidth={SIZE}\nimHeight={SIZE}\nimExt=.png\n'
    )
    truth = boxes_of(ids)
    seen = (truth[:, 8] >= VISIBLE) & (rng.random(len(truth)) >= MISSED)
    found = truth[seen, :DET_COLUMNS]
    found[:, 1] = -1
    found[:, 2:6] += rng.normal(0, JITTER, (len(found), 4))
    for name, rows in (('gt/gt.txt', truth), ('det/det.txt', found)):
        lines = (','.join(f'{value:.6g}' for value in row) for row in rows)
        (folder / name).write_text(''.join(f'{line}\n' for line in lines))


def boxes_of(ids: np.ndarray) -> np.ndarray:
    """Return rows of ``gt.txt`` (N, 9) for pixels (T, H, W) of objects 1, 2, ...

    Visibility is the share of the most pixels that the object ever shows.
    """
    most = {i: (ids == i).sum((1, 2)).max() for i in range(1, int(ids.max()) + 1)}
    rows = []
    for t, frame in enumerate(ids, 1):
        for i, whole in most.items():
            ys, xs = np.nonzero(frame == i)
            if len(ys):
                box = xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1
                rows.append([t, i, *box, 1, 1, len(ys) / whole])
    return np.array(rows, float)
