"""The random resized crop of a view: where it lies, and how it is resized."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from mmentropy.views.transforms import Draws, uniform


def triangle_filter(x: Tensor) -> Tensor:
    """Return the weight of a pixel at distance ``x`` in bilinear resampling."""
    return (1 - x).clamp(min=0)


def cubic_filter(x: Tensor) -> Tensor:
    """Return the weight of a pixel at distance ``x`` in bicubic resampling (Keys, a = -0.5)."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


FILTERS = dict(bilinear=triangle_filter, bicubic=cubic_filter)


@dataclass
class RandomResizedCrop:
    """Random resized crop, as in torchvision and mmpretrain.

    The first of ``attempts`` draws of area and ratio that fits is taken, and if none fits, the
    largest central crop with a ratio in range.

    Args:
        size: height and width of the view.
        scale: least and greatest share of the image's area.
        ratio: least and greatest width / height.
        attempts: number of draws.
        interpolation: see :func:`resized_crop`, also for ``antialias``.
    """

    size: tuple[int, int]
    scale: tuple[float, ...]
    ratio: tuple[float, ...]
    attempts: int
    interpolation: str
    antialias: bool

    def draw(self, rng: Generator, sizes: Tensor) -> Draws:
        """Draw ``boxes`` (N, 4) int64: top, left, height and width."""
        shape = len(sizes), self.attempts
        height, width = sizes.double().T[..., None]
        least, greatest = self.ratio
        area = uniform(rng, shape, *self.scale) * height * width
        ratio = uniform(rng, shape, math.log(least), math.log(greatest)).exp()
        h, w = (area / ratio).sqrt().round(), (area * ratio).sqrt().round()
        fits = (h > 0) & (h <= height) & (w > 0) & (w <= width)
        first = fits.int().argmax(1, keepdim=True)
        found = fits.gather(1, first)
        whole = width / height
        central_h = torch.where(whole < least, width / least, height).round()
        central_w = torch.where(whole > greatest, height * greatest, width).round()
        h = torch.where(found, h.gather(1, first), central_h)
        w = torch.where(found, w.gather(1, first), central_w)
        place_y, place_x = uniform(rng, (2, len(sizes), 1), 0, 1)
        top = torch.where(found, place_y * (height - h + 1), (height - h) / 2).floor()
        left = torch.where(found, place_x * (width - w + 1), (width - w) / 2).floor()
        return dict(boxes=torch.cat([top, left, h, w], 1).long())

    def apply(self, x: Tensor, boxes: Tensor) -> Tensor:
        return resized_crop(x, boxes, self.size, self.interpolation, self.antialias)


def resized_crop(
    x: Tensor, boxes: Tensor, size: tuple[int, int], interpolation: str, antialias: bool = True
) -> Tensor:
    """Return crops resized to (N, C, *size) as Pillow does it, float in 0..255.

    A batch takes two products of matrices. A single image takes torch's own resampling, which is
    faster on photos, takes uint8 as well, and then rounds.

    Args:
        x: images (N, C, H, W), float or uint8.
        boxes: top, left, height and width of each crop (N, 4), whole numbers.
        interpolation: 'bilinear' or 'bicubic'.
        antialias: True widens the filter where the crop shrinks, as Pillow does; False does not,
            as OpenCV.
    """
    if len(x) == 1:
        top, left, height, width = boxes[0].tolist()
        x = x[:, :, top : top + height, left : left + width]
        if x.is_cuda:
            x = x.float()
        x = F.interpolate(x, size, mode=interpolation, antialias=antialias)
        return x.float().clamp(0, 255)
    tops, lefts, heights, widths = boxes.to(x.device, torch.float32).T
    how = interpolation, antialias
    rows = crop_weights(tops, heights, x.shape[2], size[0], *how)
    columns = crop_weights(lefts, widths, x.shape[3], size[1], *how)
    x = torch.bmm(x.float().flatten(1, 2), columns.mT)
    x = torch.matmul(rows[:, None], x.unflatten(1, (-1, rows.shape[2])))
    return x.clamp_(0, 255)


def crop_weights(
    start: Tensor, length: Tensor, size: int, out: int, interpolation: str, antialias: bool
) -> Tensor:
    """Return weights (N, out, size) that crop and resize one side of ``size`` pixels to ``out``.

    They are those of Pillow's ``crop`` and ``resize``
    (python-pillow/Pillow@11.0.0:src/libImaging/Resample.c). ``start`` and ``length`` (N,) are the
    first pixel and the number of pixels of each crop.
    """
    start, length = start[:, None, None], length[:, None, None]
    scale = length / out
    pixel = torch.arange(size, device=start.device) + 0.5
    target = torch.arange(out, device=start.device)[:, None] + 0.5
    distance = (pixel - start - target * scale).abs()
    if antialias:
        distance = distance / scale.clamp(min=1)
    inside = (pixel > start) & (pixel < start + length)
    weights = FILTERS[interpolation](distance) * inside
    return weights / weights.sum(-1, keepdim=True)
