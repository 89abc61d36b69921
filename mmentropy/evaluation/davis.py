"""DAVIS-2017: its files, and the measures of its benchmark.

The measures are those of davisvideochallenge/davis2017-evaluation@ac7c43f for
the semi-supervised task, written from the papers, 1704.00675 and Perazzi et
al., CVPR 2016.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

# The id of pixels that belong to nothing.
VOID = 255
# How far a boundary may be off, as a share of the image's diagonal.
BOUND = 0.008


class Clip(NamedTuple):
    """A sequence: its name, its frames, and a file of ids for each."""

    name: str
    images: list[Path]
    masks: list[Path]


class Measures(NamedTuple):
    """Mean, recall and decay over the frames of a clip, in 0..1.

    Recall is the share of frames above one half; decay is the mean of the first quarter of the
    frames minus that of the last.
    """

    mean: float
    recall: float
    decay: float


class Scores(NamedTuple):
    """Region similarity J and boundary accuracy F of an object."""

    j: Measures
    f: Measures


def read_davis(root: str | os.PathLike) -> list[Clip]:
    """Return the clips of the validation set, in the order of its list.

    Args:
        root: has ``ImageSets/2017/val.txt``, ``JPEGImages/480p/NAME/*.jpg`` and
            ``Annotations/480p/NAME/*.png``, one for each frame.

    Raises:
        FileNotFoundError: a part of this is missing.
        ValueError: the list is empty, or a clip cannot be scored: it is too short, or its first
            mask shows no object.
    """
    root = Path(root)
    split = root / 'ImageSets/2017/val.txt'
    for path in (split, root / 'JPEGImages/480p', root / 'Annotations/480p'):
        if not path.exists():
            raise FileNotFoundError(
                f'{path} is missing: the folder must be that of DAVIS-2017 '
                'trainval at 480p, with ImageSets, JPEGImages and Annotations'
            )
    clips = [_clip(root, name) for name in split.read_text().split()]
    if not clips:
        raise ValueError(f'{split} names no sequence')
    return clips


def _clip(root: Path, name: str) -> Clip:
    folder = root / 'JPEGImages/480p' / name
    images = sorted(folder.glob('*.jpg'))
    if not images:
        raise FileNotFoundError(f'sequence {name} has no frames: no *.jpg in {folder}')
    if len(images) < 3:
        raise ValueError(
            f'sequence {name} has {len(images)} frames in {folder}: '
            'the first and last are not scored, so it needs 3'
        )
    masks = [root / 'Annotations/480p' / name / f'{image.stem}.png' for image in images]
    missing = [mask for mask in masks if not mask.exists()]
    if missing:
        raise FileNotFoundError(
            f'sequence {name} lacks {len(missing)} of {len(masks)} annotations, e.g. {missing[0]}'
        )
    if not read_ids(masks[0], frame_size(images[0])).any():
        raise ValueError(
            f'sequence {name} shows no object in its first mask, {masks[0]}: mend it, or take the '
            'sequence out of val.txt'
        )
    return Clip(name, images, masks)


def frame_size(path: Path) -> tuple[int, int]:
    """Return height and width of a frame, which is a JPEG."""
    with Image.open(path, formats=['JPEG']) as image:
        return image.size[::-1]


def read_ids(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Return the ids (H, W) uint8 of an indexed PNG; void becomes ground, as officially.

    Raises:
        ValueError: no indexed image, or its height and width are not ``size``.
    """
    with Image.open(path, formats=['PNG']) as image:
        if image.mode not in ('P', 'L'):
            raise ValueError(
                f'{path} is {image.mode}, not an indexed image: '
                'its pixels must be the ids of the objects'
            )
        ids = np.array(image)
    if ids.shape != size:
        raise ValueError(
            f'{path} is {ids.shape[1]} x {ids.shape[0]}, its frame {size[1]} x {size[0]}'
        )
    ids[ids == VOID] = 0
    return ids


def save_ids(path: str | os.PathLike, ids: np.ndarray) -> None:
    """Write ids (H, W) uint8 as an indexed PNG in the colours of DAVIS."""
    image = Image.fromarray(ids)
    image.putpalette(PALETTE.tobytes())
    image.save(path)


def score_clip(truth: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> list[Scores]:
    """Return the scores of the objects of a clip.

    Args:
        truth: ids (H, W) of each frame, at least 3. The objects are 1 to the largest id of the
            first frame, which was given; it and the last are not scored.
        found: ids likewise; an id that the first frame lacks counts as ground.

    Raises:
        ValueError: numbers or sizes of frames differ, fewer than 3 frames, no object.
    """
    if len(truth) != len(found) or len(truth) < 3:
        raise ValueError(
            f'{len(found)} frames cannot be scored against {len(truth)}: '
            'both must be the same, at least 3'
        )
    objects = int(truth[0].max())
    if not objects:
        raise ValueError('the first frame shows no object')
    scores = []
    for i in range(1, objects + 1):
        masks = [(t == i, f == i) for t, f in zip(truth[1:-1], found[1:-1])]
        scores.append(Scores(*(_measures([f(*m) for m in masks]) for f in (region, boundary))))
    return scores


def region(truth: np.ndarray, found: np.ndarray) -> float:
    """Return J, the intersection over union of two masks (H, W); 1 if both are empty."""
    union = (truth | found).sum()
    return float((truth & found).sum() / union) if union else 1.0


def boundary(truth: np.ndarray, found: np.ndarray) -> float:
    """Return F, the agreement of the boundaries of two masks (H, W), in 0..1.

    It is the harmonic mean of the shares of each boundary that lie within ``BOUND`` of the other;
    1 if both masks have none.

    Raises:
        ValueError: the masks differ in size.
    """
    if truth.shape != found.shape:
        raise ValueError(f'masks of {truth.shape} and {found.shape} cannot be compared')
    edges = [_edges(truth), _edges(found)]
    if not edges[0].any() or not edges[1].any():
        # Without boundaries in both nothing is wrong, without one in either nothing is right.
        return float(edges[0].any() == edges[1].any())
    radius = math.ceil(BOUND * math.hypot(*truth.shape))
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.uint8)
    near = [cv2.dilate(e.astype(np.uint8), disk).astype(bool) for e in edges]
    recall, precision = near[1][edges[0]].mean(), near[0][edges[1]].mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _edges(mask: np.ndarray) -> np.ndarray:
    """Return the pixels (H, W) that differ from the one to the right, below or both."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode='edge')
    return (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (mask != padded[1:, 1:])


def _measures(frames: Sequence[float]) -> Measures:
    values = np.asarray(frames)
    # Neighbouring quarters of the clip share a frame.
    last = len(values) - 1
    first_end, last_start = (math.floor(q * last + 0.5 + 1e-9) for q in (0.25, 0.75))
    decay = values[: first_end + 1].mean() - values[last_start:].mean()
    return Measures(float(values.mean()), float((values > 0.5).mean()), float(decay))


# The colours (256, 3) that PASCAL VOC gives to ids: bits 0, 3 and 6 of an id, from the highest, are
# its red, and so on.
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, count=9, bitorder='little')
PALETTE = np.packbits(_BITS.reshape(256, 3, 3), axis=1)[:, 0]
