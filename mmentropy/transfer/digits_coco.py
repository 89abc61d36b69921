"""Detection of several handwritten digits on a canvas, in COCO's layout; nothing is downloaded."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from PIL import Image
from pycocotools import mask as coco_mask

from mmentropy.checks.arguments import COUNT, one_of, require
from mmentropy.evaluation.moving_digits import digits_of
from mmentropy.weights.files import whole_folder

SIZE = 64
# The digits of scikit-learn that are drawn, and the seed.
SPLITS = dict(train=('train', 0), val=('test', 1))


@DATASETS.register_module()
class DigitsCoco(CocoDataset):
    """Detection and segmentation of digits.

    Args:
        data_root: folder, written on first use by :func:`write_digits_coco`.
        split: 'train' or 'val'.
        images: how many.
        kwargs: arguments of :class:`mmdet.datasets.CocoDataset`.
    """

    METAINFO = dict(
        classes=tuple('0123456789'),
        palette=[(37 * i % 256, 97 * i % 256, 197 * i % 256) for i in range(1, 11)],
    )

    def __init__(self, data_root: str, split: str, images: int, **kwargs: Any) -> None:
        annotations = write_digits_coco(data_root, split, images)
        super().__init__(
            data_root=data_root,
            ann_file=str(annotations.relative_to(data_root)),
            data_prefix=dict(img=f'{split}_{images}/'),
            **kwargs,
        )


def write_digits_coco(root: str | os.PathLike, split: str, images: int) -> Path:
    """Write a split in COCO's layout, unless it is there.

    Image i is 64 x 64 grayscale with 2 to 4 of scikit-learn's digits, 12 to 24 pixels wide, on a
    noisy ground. It depends on split and i alone; val draws on digits that pre-training never saw.

    Args:
        root: ``root/{split}_{images}/*.png`` and ``root/annotations/{split}_{images}.json``.
        split: 'train' or 'val'.
        images: how many, > 0.

    Returns:
        The annotation file, category ids 1..10 for 0..9.

    Raises:
        ValueError: unknown split or number of images.
    """
    require(one_of(SPLITS), split=split)
    require(COUNT, images=images)
    root = Path(root)
    name = f'{split}_{images}'
    annotations = root / 'annotations' / f'{name}.json'
    if annotations.exists():
        return annotations
    annotations.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(root / name) as aside:
        content = _draw_split(aside, *SPLITS[split], images)
        # A run that was killed before it wrote the annotations leaves images.
        shutil.rmtree(root / name, ignore_errors=True)
    part = annotations.with_suffix(f'.{os.getpid()}')
    part.write_text(json.dumps(content))
    os.replace(part, annotations)
    return annotations


def _draw_split(folder: Path, digits_split: str, seed: int, images: int) -> dict:
    digits = digits_of(digits_split)
    content: dict[str, list] = dict(
        images=[], annotations=[], categories=[dict(id=i + 1, name=str(i)) for i in range(10)]
    )
    for i in range(images):
        canvas, objects = draw_canvas(digits, np.random.default_rng((seed, i)))
        file = f'{i:05}.png'
        Image.fromarray(canvas).save(folder / file)
        content['images'].append(dict(id=i, file_name=file, height=SIZE, width=SIZE))
        for label, mask in objects:
            rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            content['annotations'].append(
                dict(
                    id=len(content['annotations']) + 1,
                    image_id=i,
                    category_id=label + 1,
                    iscrowd=0,
                    area=int(mask.sum()),
                    bbox=coco_mask.toBbox(rle).tolist(),
                    segmentation=dict(size=rle['size'], counts=rle['counts'].decode()),
                )
            )
    return content


def draw_canvas(
    digits: list[tuple[np.ndarray, int]], rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[int, np.ndarray]]]:
    """Draw one canvas (64, 64) uint8; return it and label and mask (64, 64) of each object.

    Boxes of digits touch at most; what does not fit after some tries is left out, the first
    always fits.
    """
    canvas = rng.normal(40, 12, (SIZE, SIZE)).clip(0, 255)
    taken = np.zeros((SIZE, SIZE), bool)
    objects = []
    for _ in range(rng.integers(2, 5)):
        image, label = digits[rng.integers(len(digits))]
        side = int(rng.integers(12, 25))
        for _ in range(20):
            y, x = rng.integers(0, SIZE - side + 1, 2)
            window = np.s_[y : y + side, x : x + side]
            if not taken[window].any():
                break
        else:
            continue
        taken[window] = True
        large = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
        drawn = np.asarray(large, float)
        canvas[window] = np.maximum(canvas[window], drawn)
        mask = np.zeros((SIZE, SIZE), bool)
        mask[window] = drawn > 80
        objects.append((label, mask))
    return canvas.astype(np.uint8), objects
