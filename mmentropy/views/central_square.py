"""The central square of an image, resized."""

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

from mmentropy.checks.arguments import COUNT, require


@TRANSFORMS.register_module()
class CentralSquare(BaseTransform):
    """Cuts the central square out of an image of any depth and channels, and resizes it.

    A smaller image is made from all pixels of the larger one, as by Pillow, which knows no images
    of several bands or of 16 bits. OpenCV's bilinear filter skips pixels, so that photos get
    patterns.

    Args:
        side: of the square that is returned, in pixels.

    Raises:
        ValueError: ``side`` is no whole number above 0.
    """

    def __init__(self, side: int) -> None:
        require(COUNT, side=side)
        self.side = side

    def transform(self, results: dict) -> dict:
        """Replace ``img``, (H, W) or (H, W, C), by a square of the same type."""
        img = results['img']
        height, width = img.shape[:2]
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        # The copy is writable, which torch asks for, while pixels of Pillow are not.
        square = np.atleast_3d(img[top : top + short, left : left + short]).copy()
        pixels = torch.from_numpy(square).permute(2, 0, 1)[None]
        # torch resamples uint8, which is faster, and rounds then; it does not know uint16.
        pixels = pixels if img.dtype == np.uint8 else pixels.float()
        resized = F.interpolate(pixels, (self.side, self.side), mode='bilinear', antialias=True)
        whole = resized[0].permute(1, 2, 0).round().numpy().astype(img.dtype)
        results['img'] = whole.reshape(self.side, self.side, *img.shape[2:])
        results['img_shape'] = (self.side, self.side)
        return results
