"""Mean and deviation of the pixels of images, by channel."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from mmentropy.views.loading import CheckedLoadImageFromFile

# Numbers of 64 bits are made of so many pixels at once: of a whole large photo they take gigabytes.
PIXELS_AT_ONCE = 2**22


class ChannelStatistics(NamedTuple):
    """What a loader gives of some files.

    ``mean`` and ``std`` are those of all pixels, of each channel (C,), in the units of the files.
    ``sides`` are the shortest and the longest side of an image in pixels, and ``unreadable`` says
    of each file that could not be read why.
    """

    images: int
    depth: str
    sides: tuple[int, int]
    mean: np.ndarray
    std: np.ndarray
    unreadable: list[str]

    def for_config(self, bgr: bool) -> tuple[list[float], list[float]]:
        """Return mean and deviation as a config has them: rounded, and as RGB if these are BGR."""
        order = -1 if bgr else 1
        mean, std = ([round(float(v), 3) for v in part[::order]] for part in (self.mean, self.std))
        return mean, std


def channel_statistics(paths: Iterable[str], load: CheckedLoadImageFromFile) -> ChannelStatistics:
    """Return the statistics of image files.

    Raises:
        ValueError: no file can be read, files differ in channels or depth, or a channel has the
            same value everywhere.
    """
    first, unreadable, sides = '', [], set[int]()
    kind: tuple[int, str] | None = None
    count, pixels, total, squares = 0, 0, np.zeros(1), np.zeros(1)
    for path in paths:
        try:
            img = np.atleast_3d(load.transform(dict(img_path=path))['img'])
        except OSError as error:
            unreadable.append(str(error))
            continue
        found = img.shape[2], img.dtype.name
        if kind is None:
            first, kind = path, found
        if found != kind:
            raise ValueError(
                f'{first} has {kind[0]} channels of {kind[1]}, and {path} {found[0]} of '
                f"{found[1]}: color_type='color' or 'grayscale' makes them alike"
            )
        count, sides = count + 1, sides | {*img.shape[:2]}
        values = img.reshape(-1, found[0])
        for part in np.array_split(values, 1 + len(values) // PIXELS_AT_ONCE):
            rows = part.astype(np.float64)
            pixels += len(rows)
            total, squares = total + rows.sum(0), squares + (rows**2).sum(0)
    if kind is None:
        raise ValueError(
            f'no image can be read: {unreadable[0] if unreadable else "there is none"}'
        )
    mean = total / pixels
    std = np.sqrt((squares / pixels - mean**2).clip(0))
    for channel in np.flatnonzero(std < 1e-6 * mean.clip(1)):
        raise ValueError(
            f'channel {channel + 1} of {kind[0]} is {mean[channel]:g} everywhere: leave it out; '
            "color_type='color' leaves alpha out"
        )
    return ChannelStatistics(count, kind[1], (min(sides), max(sides)), mean, std, unreadable)
