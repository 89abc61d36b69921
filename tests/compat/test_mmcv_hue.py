"""The hue jitter of mmcv with numpy 2."""

import cv2
import mmcv
import numpy as np
import pytest
from mmcv.image import photometric

from mmentropy.compat.mmcv_hue import turn_hue_backwards


def turned(image, steps):
    """The image as BGR with its hue turned by ``steps`` of 256."""
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV_FULL)
    hsv[..., 0] += np.uint8(steps % 256)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL)


@pytest.mark.parametrize('factor, steps', [(-0.5, -127), (-0.1, -25), (0, 0), (0.1, 25)])
def test_hue_turns_either_way(factor, steps):
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    for adjust in (mmcv.adjust_hue, mmcv.image.adjust_hue, photometric.adjust_hue):
        np.testing.assert_array_equal(adjust(image, factor, 'cv2'), turned(image, steps))
    assert mmcv.adjust_hue(image, factor, 'pillow').shape == image.shape
    with pytest.raises(ValueError, match='-0.6 is not in'):
        mmcv.adjust_hue(image, -0.6)


def test_mmcv_2_1(monkeypatch):
    """Its product of factor and 255 goes to numpy as it is."""
    for module in (mmcv, mmcv.image, photometric):
        monkeypatch.setattr(module, 'adjust_hue', lambda img, f, backend: np.uint8(f * 255))
    turn_hue_backwards()
    for factor, steps in ((-0.1, 231), (0.1, 25), (0, 0)):
        assert mmcv.adjust_hue(None, factor) == mmcv.image.adjust_hue(None, factor) == steps
