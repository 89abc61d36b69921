"""The hue jitter of mmcv with numpy 2.

Host: mmcv and mmcv-lite 2.1.0, which turn the hue by ``numpy.uint8(hue_factor * 255)``. numpy 2
refuses negative numbers there, which numpy 1 took modulo 256. onedl-mmcv 2.3.6 takes them so
itself, and nothing changes there. It can go when no mmcv 2.1 is served.
"""

from functools import wraps

import mmcv
from mmcv.image import photometric
from numpy import ndarray


class _Turn(float):
    """A hue factor whose multiples are whole numbers modulo 256."""

    def __mul__(self, steps: float) -> int:  # type: ignore[override]
        return int(float(self) * steps) % 256


def turn_hue_backwards() -> None:
    """Let ``mmcv.adjust_hue`` take negative factors with any numpy."""
    adjust_hue = photometric.adjust_hue

    @wraps(adjust_hue)
    def adjust(img: ndarray, hue_factor: float, backend: str | None = None) -> ndarray:
        return adjust_hue(img, _Turn(hue_factor), backend)

    for module in (mmcv, mmcv.image, photometric):
        module.adjust_hue = adjust
