"""The rules by which the settings of a run on a folder of images are chosen."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import PurePath

SIDES = (32, 64, 96, 128, 160, 224)
SPLITS = {'train', 'training', 'val', 'valid', 'validation', 'test', 'testing', 'unlabeled'}
MOST_EPOCHS = 300
# The neighbours of kNN. Fewer images are no bank for it.
NEIGHBOURS = 20
MOST_HELD_OUT = 2000


def choose_color_type(kinds: Counter[tuple[int, str]]) -> str:
    """Return how images of these channels and depths are loaded, see :func:`look`."""
    if len(kinds) == 1:
        ((channels, depth),) = kinds
        return 'color' if depth == 'uint8' and channels <= 4 else 'unchanged'
    return 'color'


def choose_classes(files: Sequence[str]) -> tuple[str, ...]:
    """Return the folders of classes: two or more that hold all images, and are no splits."""
    parts = [PurePath(file).parts for file in files]
    folders = {first for first, *rest in parts if rest}
    split = {name.lower() for name in folders} <= SPLITS
    if len(folders) < 2 or split or any(len(part) < 2 for part in parts):
        return ()
    return tuple(sorted(folders))


def choose_held_out(
    files: Sequence[str],
    classes: Sequence[str],
    readable: Callable[[str], bool] = lambda file: True,
) -> list[str]:
    """Return files to measure on: every tenth image of each class, or fewer, about 2,000 in all.

    In place of one that is not ``readable`` the next of its class is taken. There are none unless
    they are of two classes or more, and 20 images are left as neighbours. A class of no more images
    than half of such a step, five of ten, gives none.
    """
    step = max(10, -(-len(files) // MOST_HELD_OUT))
    own: dict[str, list[str]] = {name: [] for name in classes}
    for file in files if classes else ():
        own[PurePath(file).parts[0]].append(file)
    held = {
        name: [
            file
            for first in range(step // 2, len(images), step)
            for file in islice(filter(readable, images[first : first + step]), 1)
        ]
        for name, images in own.items()
    }
    found = [file for name in classes for file in held[name]]
    several = sum(map(bool, held.values())) > 1
    return found if several and len(files) - len(found) >= NEIGHBOURS else []


def choose_side(side: int, gpu: bool) -> int:
    """Return the side of the views in pixels.

    It is the largest of 32, 64, 96, 128, 160 and 224 that is not above the median of the shorter
    sides; without a GPU 64 at most.
    """
    most = 224 if gpu else 64
    return max((known for known in SIDES if known <= min(side, most)), default=SIDES[0])


def choose_batch(images: int, gpu: bool) -> int:
    """Return the batch: 64, on a GPU 256, but a power of two and half of the images at most."""
    most = min(256 if gpu else 64, images // 2)
    return 1 << (most.bit_length() - 1)


def choose_epochs(images: int, batch: int, seconds: float, minutes: float) -> int:
    """Return the epochs that fit a time, 1 to 300, with a tenth of it left for measuring.

    Args:
        images: that are trained on.
        batch: of one iteration; the last of an epoch is left out if it is not whole.
        seconds: that an iteration takes.
        minutes: that training may take.
    """
    fitting = int(0.9 * 60 * minutes / (seconds * (images // batch)))
    return min(max(fitting, 1), MOST_EPOCHS)


def choose_lr(optimizer: dict, batch: int) -> float:
    """Return a recipe's learning rate at 64 images for another batch.

    It follows the batch for SGD, and its square root for the others, which normalise gradients.
    """
    ratio = batch / 64
    power = 1.0 if optimizer['type'] == 'SGD' else 0.5
    return float(f'{optimizer["lr"] * ratio**power:.3g}')


def schedule(epochs: int) -> list[dict]:
    """Return a warm-up of a tenth of the epochs, from 10 of them on, and a cosine."""
    warmup = epochs // 10
    cosine = dict(type='CosineAnnealingLR', begin=warmup, convert_to_iter_based=True)
    linear = dict(type='LinearLR', start_factor=0.01, end=warmup, convert_to_iter_based=True)
    return [linear, cosine] if warmup else [cosine]
