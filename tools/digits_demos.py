"""Write data sets of handwritten digits to try detection and tracking; nothing is downloaded.

python tools/digits_demos.py coco mot davis

coco:  canvases in COCO's layout, 300 to train on and 100 to test on, in data/digits_coco
mot:   20 sequences of 60 frames in MOTChallenge's layout, in data/digits_mot
davis: 20 clips of 20 frames in the layout of DAVIS-2017, in data/digits_davis

The digits are scikit-learn's. Those of its test split, which pre-training on Digits never sees,
are in all but the canvases to train on. The files are the same at each run, up to the encoders of
images.
"""

import argparse

from cli import Parser, errors_in_one_line

DEMOS = ('coco', 'mot', 'davis')


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('demos', nargs='+', choices=DEMOS, help='which to write')
    parser.add_argument('--out', default='data', help='folder to write into, default: data')
    return parser.parse_args()


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from mmentropy.datasets import Digits
from mmentropy.evaluation.davis import save_ids
from mmentropy.weights.files import whole_folder

# Images (8, 8) uint8 with their labels.
Samples = list[tuple[np.ndarray, int]]

# Ink is brighter than this, the noisy ground darker.
INK = 80
# Sides of canvases and of frames, and ranges of the sides of digits on them, in pixels.
CANVAS, CANVAS_DIGITS = 64, (12, 24)
FRAME, FRAME_DIGITS = 96, (20, 30)
# Range of the speed of a digit along each axis, in pixels per frame.
SPEEDS = (-3.0, 3.0)
# The detector of the digits misses those that are covered by more than a quarter and one in ten
# of the others, and is wrong by about a pixel.
VISIBLE = 0.75
MISSED = 0.1
JITTER = 1.0


# -- Drawing -----------------------------------------------------------------


def digits_of(split: str) -> Samples:
    """Return scikit-learn's digits, 'train' or 'test'."""
    return [(row['img'], row['gt_label']) for row in Digits(split).load_data_list()]


def draw_digit(
    digits: Samples, rng: np.random.Generator, sides: tuple[int, int]
) -> tuple[np.ndarray, int]:
    """Draw one of the digits at a size in a range; return (side, side) uint8 and its label."""
    image, label = digits[rng.integers(len(digits))]
    side = int(rng.integers(sides[0], sides[1] + 1))
    large = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(large), label


def draw_ground(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw float64 noise around grey level 40."""
    return rng.normal(40, 12, shape)


def draw_canvas(
    digits: Samples, rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[int, np.ndarray]]]:
    """Draw one canvas (64, 64) uint8; return it and label and mask (64, 64) of each digit.

    There are 2 to 4 digits, whose squares touch at most; one that does not fit after some tries
    is left out, the first always fits.
    """
    canvas = draw_ground(rng, (CANVAS, CANVAS)).clip(0, 255)
    taken = np.zeros((CANVAS, CANVAS), bool)
    objects = []
    for _ in range(rng.integers(2, 5)):
        digit, label = draw_digit(digits, rng, CANVAS_DIGITS)
        side = len(digit)
        for _ in range(20):
            y, x = rng.integers(0, CANVAS - side + 1, 2)
            window = np.s_[y : y + side, x : x + side]
            if not taken[window].any():
                break
        else:
            continue
        taken[window] = True
        canvas[window] = np.maximum(canvas[window], digit)
        mask = np.zeros((CANVAS, CANVAS), bool)
        mask[window] = digit > INK
        objects.append((label, mask))
    return canvas.astype(np.uint8), objects


def draw_clip(
    digits: Samples, rng: np.random.Generator, frames: int, objects: int
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Draw digits that fly over a noisy ground and bounce off its borders.

    In the first frame they lie apart; later they may cover each other, the one with the larger id
    on top. The ground is drawn anew in each frame.

    Args:
        digits: images and labels to draw from.
        rng: the clip depends on it, the digits and the numbers alone.
        frames: their number T.
        objects: 1 to 4; more may find no place.

    Returns:
        Images (T, 96, 96) uint8; ids (T, 96, 96) uint8 of the pixels that are seen, 0 for ground
        and 1..objects; the labels of the digits.
    """
    drawn, labels = zip(*(draw_digit(digits, rng, FRAME_DIGITS) for _ in range(objects)))
    sides = [len(digit) for digit in drawn]
    starts = places_apart(sides, rng)
    speeds = rng.uniform(*SPEEDS, (objects, 2))
    images = draw_ground(rng, (frames, FRAME, FRAME))
    ids = np.zeros((frames, FRAME, FRAME), np.uint8)
    for t in range(frames):
        for i, digit in enumerate(drawn):
            y, x = bounced(starts[i] + t * speeds[i], FRAME - sides[i])
            window = np.s_[t, y : y + sides[i], x : x + sides[i]]
            seen = digit > INK
            images[window][seen] = digit[seen]
            ids[window][seen] = i + 1
    return images.clip(0, 255).astype(np.uint8), ids, list(labels)


def places_apart(sides: list[int], rng: np.random.Generator) -> np.ndarray:
    """Draw the corners (objects, 2) of squares in a frame that do not overlap."""
    while True:
        corners = np.stack([rng.integers(0, FRAME - side + 1, 2) for side in sides])
        taken = np.zeros((FRAME, FRAME), int)
        for (y, x), side in zip(corners, sides, strict=True):
            taken[y : y + side, x : x + side] += 1
        if taken.max() == 1:
            return corners


def bounced(position: np.ndarray, last: int) -> np.ndarray:
    """Fold a straight path into 0..last, rounded."""
    return np.rint(last - abs(position % (2 * last) - last)).astype(int)


# -- COCO --------------------------------------------------------------------


def write_coco(folder: Path, images: dict[str, int]) -> None:
    """Write canvases and where their digits are, category ids 1..10 for 0..9.

    Image i depends on the split and i alone.

    Args:
        folder: gets ``{split}/*.png`` and ``annotations/instances_{split}.json``.
        images: how many for each split, 'train' or 'val'.
    """
    (folder / 'annotations').mkdir(parents=True)
    for split, count in images.items():
        digits = digits_of('train' if split == 'train' else 'test')
        seed = 0 if split == 'train' else 1
        content: dict[str, list] = dict(
            images=[], annotations=[], categories=[dict(id=i + 1, name=str(i)) for i in range(10)]
        )
        (folder / split).mkdir()
        for i in range(count):
            canvas, objects = draw_canvas(digits, np.random.default_rng((seed, i)))
            file = f'{i:05}.png'
            Image.fromarray(canvas).save(folder / split / file)
            content['images'].append(dict(id=i, file_name=file, height=CANVAS, width=CANVAS))
            for label, mask in objects:
                number = len(content['annotations']) + 1
                content['annotations'].append(
                    dict(id=number, image_id=i, category_id=label + 1, **annotation_of(mask))
                )
        path = folder / f'annotations/instances_{split}.json'
        path.write_text(json.dumps(content))


def annotation_of(mask: np.ndarray) -> dict:
    """Return what COCO says of an object with a mask (H, W) of bools."""
    # It comes with mmdet, which the other demonstrations do not need.
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return dict(
        iscrowd=0,
        area=int(mask.sum()),
        bbox=coco_mask.toBbox(rle).tolist(),
        segmentation=dict(size=rle['size'], counts=rle['counts'].decode()),
    )


# -- MOTChallenge ------------------------------------------------------------


def write_mot(folder: Path, clips: int, frames: int) -> None:
    """Write sequences of four digits, with boxes of the pixels that are seen.

    Clip i depends on i and the number of frames alone. ``det.txt`` holds the boxes as the
    detector of the digits finds them, see the constants of this file.
    """
    digits = digits_of('test')
    for i in range(clips):
        rng = np.random.default_rng((3, i))
        images, ids, _ = draw_clip(digits, rng, frames, objects=4)
        sequence = folder / f'digits{i:03}'
        for name in ('img1', 'gt', 'det'):
            (sequence / name).mkdir(parents=True)
        for t, image in enumerate(images, 1):
            Image.fromarray(image).save(sequence / f'img1/{t:06}.png')
        (sequence / 'seqinfo.ini').write_text(
            f'[Sequence]\nname={sequence.name}\nimDir=img1\nframeRate=30\n'
            f'seqLength={frames}\nimWidth={FRAME}\nimHeight={FRAME}\nimExt=.png\n'
        )
        truth = boxes_of(ids)
        seen = (truth[:, 8] >= VISIBLE) & (rng.random(len(truth)) >= MISSED)
        found = truth[seen, :7]
        found[:, 1] = -1
        found[:, 2:6] += rng.normal(0, JITTER, (len(found), 4))
        for name, rows in (('gt/gt.txt', truth), ('det/det.txt', found)):
            np.savetxt(sequence / name, rows, fmt='%.6g', delimiter=',')


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


# -- DAVIS -------------------------------------------------------------------


def write_davis(folder: Path, clips: int, frames: int) -> None:
    """Write clips of three digits, whose every pixel is labelled.

    Clip i depends on i and the number of frames alone.

    Args:
        folder: gets ``JPEGImages/480p``, ``Annotations/480p`` and ``ImageSets/2017/val.txt``.
        clips: how many.
        frames: number of frames of each clip.
    """
    digits = digits_of('test')
    names = [f'digits{i:03}' for i in range(clips)]
    for i, name in enumerate(names):
        images, ids, _ = draw_clip(digits, np.random.default_rng((2, i)), frames, objects=3)
        pictures, masks = (folder / f'{kind}/480p/{name}' for kind in ('JPEGImages', 'Annotations'))
        pictures.mkdir(parents=True)
        masks.mkdir(parents=True)
        for t, (image, mask) in enumerate(zip(images, ids, strict=True)):
            Image.fromarray(image).save(pictures / f'{t:05}.jpg', quality=95)
            save_ids(masks / f'{t:05}.png', mask)
    split = folder / 'ImageSets/2017/val.txt'
    split.parent.mkdir(parents=True)
    split.write_text('\n'.join(names) + '\n')


WRITERS: dict[str, Callable[[Path], None]] = dict(
    coco=lambda folder: write_coco(folder, dict(train=300, val=100)),
    mot=lambda folder: write_mot(folder, clips=20, frames=60),
    davis=lambda folder: write_davis(folder, clips=20, frames=20),
)


def main() -> None:
    args = parse_args()
    folders = {demo: Path(args.out, f'digits_{demo}') for demo in args.demos}
    for folder in folders.values():
        if folder.exists():
            raise FileExistsError(f'{folder} exists: remove it to have it written anew')
    for demo, folder in folders.items():
        with whole_folder(folder) as aside:
            WRITERS[demo](aside)
        print(f'wrote {folder}')


if __name__ == '__main__':
    with errors_in_one_line():
        main()
