"""The central square of an image against Pillow."""

import numpy as np
import pytest
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from mmentropy.views.central_square import CentralSquare


def by_pillow(img, side):
    """Cut and resize each channel on its own, that of uint16 in float32."""
    height, width = img.shape[:2]
    short = min(height, width)
    left, top = (width - short) // 2, (height - short) // 2
    channels = [
        Image.fromarray(channel if img.dtype == np.uint8 else channel.astype(np.float32))
        .crop((left, top, left + short, top + short))
        .resize((side, side), Image.Resampling.BILINEAR)
        for channel in np.moveaxis(np.atleast_3d(img), 2, 0)
    ]
    return np.stack(channels, 2).reshape(side, side, *img.shape[2:])


@pytest.mark.parametrize('shape', [(40, 57), (57, 40, 1), (45, 45, 3), (40, 81, 6)], ids=str)
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16], ids=['uint8', 'uint16'])
@pytest.mark.parametrize('side', [12, 64])
def test_any_depth_and_channels(shape, dtype, side):
    img = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype)
    img.flags.writeable = False
    results = CentralSquare(side)(dict(img=img, img_shape=shape[:2]))
    assert results['img'].dtype == dtype and results['img_shape'] == (side, side)
    # Both round 8 bits after rows and after columns, but not with the same weights.
    assert np.abs(results['img'] - by_pillow(img, side).astype(float)).max() <= 1


def test_the_side_is_a_number():
    with pytest.raises(ValueError, match='side'):
        TRANSFORMS.build(dict(type='CentralSquare', side=0))
