"""What is known of a folder of images before a run on it."""

import os
from collections import Counter
from pathlib import PurePath
from statistics import median
from typing import NamedTuple

from mmentropy.datasets import ImageFolder
from mmentropy.datasets.image_folder import EXTENSIONS
from mmentropy.datasets.image_listing import list_files
from mmentropy.engine.monitored_features import evenly
from mmentropy.pretraining.rules import choose_classes, choose_color_type
from mmentropy.views.loading import CheckedLoadImageFromFile, ReducedLoadImageFromFile
from mmentropy.views.statistics import channel_statistics

# The images that are looked at, evenly spaced in the folder.
LOOKED_AT = 300
FEWEST_IMAGES = 8
# Endings of other files that are named.
MOST_ENDINGS = 5


class Photos(NamedTuple):
    """What is known of a folder of images.

    ``files`` are paths below ``folder``; ``classes`` are the folders that hold all of them, empty
    if they are not one folder for each class. ``color_type`` is that of the loader, ``depth`` the
    name of the pixels' type; ``mean`` and ``std`` are in the units of the files, RGB for colours.
    ``side`` is the median of the shorter sides in pixels, ``sides`` are the shortest and the
    longest side of all. ``others`` says how many files of other endings there are, '' if none are.
    """

    folder: str
    files: list[str]
    classes: tuple[str, ...]
    color_type: str
    depth: str
    side: int
    sides: tuple[int, int]
    mean: list[float]
    std: list[float]
    others: str

    def readable(self, file: str) -> bool:
        """Return whether a file can be decoded, large JPEGs at a part of their size."""
        load = ReducedLoadImageFromFile(size=32, color_type=self.color_type)
        try:
            load.transform(dict(img_path=os.path.join(self.folder, file)))
        except OSError:
            return False
        return True


def look(folder: str) -> Photos:
    """Read some images of a folder, evenly spaced.

    Images of 8 bits and one to four channels are read as colours, and so is a mixture. Others, such
    as 16 bits or several bands, keep their channels and depth if all are alike.

    Raises:
        FileNotFoundError: there is no folder, or no image in it.
        ValueError: there are too few to compare, or more than 1 % (and five) of those looked at
            cannot be read; one line.
    """
    if not os.path.isdir(os.path.expanduser(folder)):
        raise FileNotFoundError(f'no folder {folder} of images')
    root = os.path.abspath(os.path.expanduser(folder))
    paths = image_paths(folder)
    if len(paths) < FEWEST_IMAGES:
        raise ValueError(
            f'{len(paths)} images in {folder}: the methods compare the images of a batch, and need '
            f'{FEWEST_IMAGES} at least; a trained backbone embeds a few: mmentropy embed'
        )
    some = [paths[row] for row in evenly(len(paths), LOOKED_AT)]
    kinds, sides = Counter[tuple[int, str]](), []
    load = CheckedLoadImageFromFile(color_type='unchanged')
    for path in some:
        try:
            img = load.transform(dict(img_path=path))['img']
        except OSError:
            # Some are read as colours only, such as palettes; statistics count the unreadable.
            continue
        sides.append(min(img.shape[:2]))
        kinds[img.shape[2] if img.ndim > 2 else 1, img.dtype.name] += 1
    color_type = choose_color_type(kinds)
    found = channel_statistics(some, CheckedLoadImageFromFile(color_type=color_type))
    bad = len(found.unreadable)
    if bad > max(5, len(some) / 100):
        raise ValueError(f'{bad} of {len(some)} images cannot be read: {found.unreadable[0]}')
    mean, std = found.for_config(bgr=color_type == 'color')
    files = [os.path.relpath(path, root) for path in paths]
    side = round(median(sides)) if sides else found.sides[0]
    classes = choose_classes(files)
    sizes, others = found.sides, other_files(folder)
    return Photos(root, files, classes, color_type, found.depth, side, sizes, mean, std, others)


def image_paths(folder: str) -> list[str]:
    """Return the paths of the images in a folder and below; FileNotFoundError if there is none."""
    try:
        dataset = ImageFolder(folder)
    except FileNotFoundError:
        endings, others = ' '.join(sorted(EXTENSIONS)), other_files(folder)
        instead = f', and found {others}' if others else ''
        raise FileNotFoundError(
            f'no images in {folder} and below: looked for {endings}{instead}'
        ) from None
    return [dataset.get_data_info(row)['img_path'] for row in range(len(dataset))]


def other_files(folder: str) -> str:
    """Return how many files in a folder and below have which other endings, '30 .heic, 1 .txt'."""
    names = map(PurePath, list_files(os.path.expanduser(folder)))
    endings = Counter(name.suffix.lower() or name.name for name in names)
    others = [(end, count) for end, count in endings.most_common() if end not in EXTENSIONS]
    more = f' and {len(others) - MOST_ENDINGS} more endings' if len(others) > MOST_ENDINGS else ''
    return ', '.join(f'{count:,} {end}' for end, count in others[:MOST_ENDINGS]) + more
