"""Clips of handwritten digits that move, whose every pixel is labelled; nothing is downloaded."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from mmentropy.checks.arguments import COUNT, one_of, require
from mmentropy.datasets import Digits
from mmentropy.evaluation.davis import save_ids
from mmentropy.weights.files import whole_folder

# Side of a frame and range of the sides of digits, in pixels; range of speeds along each axis, in
# pixels per frame.
SIZE = 96
SIDES = (20, 30)
SPEEDS = (-3.0, 3.0)


def digits_of(split: str) -> list[tuple[np.ndarray, int]]:
    """Return images (8, 8) uint8 and labels of scikit-learn's digits, 'train' or 'test'.

    Pre-training never sees those of 'test'.
    """
    return [(row['img'], row['gt_label']) for row in Digits(split).load_data_list()]


def draw_clip(
    digits: list[tuple[np.ndarray, int]],
    rng: np.random.Generator,
    frames: int,
    objects: int = 3,
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Draw digits that fly over a noisy ground and bounce off its borders.

    In the first frame they lie apart; later they may cover each other, the one with the larger id
    on top. The ground is drawn anew in each frame.

    Args:
        digits: images (8, 8) uint8 and labels to draw from.
        rng: the clip depends on it, the digits and the numbers alone.
        frames: their number T, > 0.
        objects: 1 to 4.

    Returns:
        Images (T, 96, 96) uint8; ids (T, 96, 96) uint8 of the pixels that are seen, 0 for ground
        and 1..objects; the labels of the digits.

    Raises:
        ValueError: no frame, or another number of objects.
    """
    require(COUNT, frames=frames)
    require(one_of(range(1, 5)), objects=objects)
    drawn, labels = [], []
    for _ in range(objects):
        image, label = digits[rng.integers(len(digits))]
        side = int(rng.integers(SIDES[0], SIDES[1] + 1))
        large = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
        drawn.append(np.asarray(large))
        labels.append(label)
    sides = [len(digit) for digit in drawn]
    starts = _apart(sides, rng)
    speeds = rng.uniform(*SPEEDS, (objects, 2))
    images = rng.normal(40, 12, (frames, SIZE, SIZE))
    ids = np.zeros((frames, SIZE, SIZE), np.uint8)
    for t in range(frames):
        for i, digit in enumerate(drawn):
            y, x = _bounced(starts[i] + t * speeds[i], SIZE - sides[i])
            window = np.s_[t, y : y + sides[i], x : x + sides[i]]
            seen = digit > 80
            images[window][seen] = digit[seen]
            ids[window][seen] = i + 1
    return images.clip(0, 255).astype(np.uint8), ids, labels


def write_davis(root: str | os.PathLike, clips: int, frames: int) -> Path:
    """Write clips of digits in DAVIS's layout, unless they are there.

    Clip i depends on i and the number of frames alone, and shows digits of 'test'.

    Args:
        root: the clips come into ``root/{clips}x{frames}``.
        clips: how many, > 0.
        frames: number of frames of each clip, > 0.

    Returns:
        The folder, with JPEGImages/480p, Annotations/480p and ImageSets/2017/val.txt.

    Raises:
        ValueError: no clip or no frame.
    """
    require(COUNT, clips=clips)
    folder = Path(root) / f'{clips}x{frames}'
    if folder.exists():
        return folder
    digits = digits_of('test')
    names = [f'digits{i:03}' for i in range(clips)]
    with whole_folder(folder) as aside:
        for i, name in enumerate(names):
            images, ids, _ = draw_clip(digits, np.random.default_rng((2, i)), frames)
            _write_clip(aside, name, images, ids)
        split = aside / 'ImageSets/2017/val.txt'
        split.parent.mkdir(parents=True)
        split.write_text('\n'.join(names) + '\n')
    return folder


def _write_clip(root: Path, name: str, images: np.ndarray, ids: np.ndarray) -> None:
    pictures = root / 'JPEGImages/480p' / name
    masks = root / 'Annotations/480p' / name
    for folder in (pictures, masks):
        folder.mkdir(parents=True)
    for t, (image, mask) in enumerate(zip(images, ids, strict=True)):
        Image.fromarray(image).save(pictures / f'{t:05}.jpg', quality=95)
        save_ids(masks / f'{t:05}.png', mask)


def _apart(sides: list[int], rng: np.random.Generator) -> np.ndarray:
    """Draw the corners (objects, 2) of squares that do not overlap."""
    while True:
        corners = np.stack([rng.integers(0, SIZE - s + 1, 2) for s in sides])
        taken = np.zeros((SIZE, SIZE), int)
        for (y, x), side in zip(corners, sides, strict=True):
            taken[y : y + side, x : x + side] += 1
        if taken.max() == 1:
            return corners


def _bounced(position: np.ndarray, last: int) -> np.ndarray:
    """Fold a straight path into 0..last, rounded."""
    return np.rint(last - abs(position % (2 * last) - last)).astype(int)
