"""Random transforms of a batch: ``draw`` what differs by image, then ``apply`` it.

Everything is drawn on the CPU and for the whole batch, so that the views are the same on every
device and however the batch is divided. ``draw`` takes a generator and the heights and widths of N
images (N, 2), ``apply`` the images (N, C, H, W) and what was drawn. The random crop is in
``random_crop.py``, the arithmetic in ``pixels.py``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from mmentropy.views.pixels import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation

# It takes images and their factors, and returns images.
Adjust = Callable[..., Tensor]
# The draws of a transform, one tensor (N, ...) for each argument of its ``apply``, by name.
Draws = dict[str, Tensor]


def uniform(rng: Generator, shape: Sequence[int], low: float, high: float) -> Tensor:
    """Draw uniformly in double precision, on the CPU."""
    draws = torch.rand(*shape, generator=rng, dtype=torch.float64)
    return low + (high - low) * draws


def apply_where(x: Tensor, on: Tensor, adjust: Adjust, *factors: Tensor) -> Tensor:
    """Adjust the images (N, C, H, W) that are ``on``, in place unless all are.

    ``on`` and the factors that ``adjust`` takes are (N,), on the CPU.
    """
    if on.all():
        return adjust(x, *[factor.to(x) for factor in factors])
    rows = on.nonzero().squeeze(1)
    if len(rows):
        there = rows.to(x.device)
        x[there] = adjust(x[there], *[factor[rows].to(x) for factor in factors])
    return x


class ToRGB:
    """Turns BGR into RGB; nothing is random."""

    def draw(self, rng: Generator, sizes: Tensor) -> Draws:
        return {}

    def apply(self, x: Tensor) -> Tensor:
        return x.flip(1)


@dataclass
class Sometimes:
    """Adjusts a share ``prob`` of the images, all in the same way or each by a factor.

    Args:
        span: least and greatest factor, between which they are uniform; None if there are none.
        negative: the share of factors that change their sign.
        base: is added after that; 1 makes a factor of a difference.
    """

    prob: float
    adjust: Adjust
    span: tuple[float, float] | None = None
    negative: float = 0.0
    base: float = 0.0

    def draw(self, rng: Generator, sizes: Tensor) -> Draws:
        count = sizes.shape[:1]
        draws = dict(on=uniform(rng, count, 0, 1) < self.prob)
        if self.span:
            factor = uniform(rng, count, *self.span)
            sign = uniform(rng, count, 0, 1) < self.negative
            draws['factor'] = self.base + torch.where(sign, -factor, factor)
        return draws

    def apply(self, x: Tensor, on: Tensor, **factors: Tensor) -> Tensor:
        return apply_where(x, on, self.adjust, *factors.values())


JITTER = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


@dataclass
class ColorJitter:
    """Adjusts brightness, contrast, saturation and hue, for each image in an order of its own.

    Args:
        prob: share of the images that are adjusted.
        spans: least and greatest factor of each of the four; None leaves one out.
    """

    prob: float
    spans: tuple[tuple[float, float] | None, ...]

    def draw(self, rng: Generator, sizes: Tensor) -> Draws:
        count = len(sizes)
        on = uniform(rng, (count,), 0, 1) < self.prob
        order = uniform(rng, (count, 4), 0, 1).argsort(1)
        factors = [uniform(rng, (count,), *(span or (0, 0))) for span in self.spans]
        return dict(on=on, order=order, factors=torch.stack(factors, 1))

    def apply(self, x: Tensor, on: Tensor, order: Tensor, factors: Tensor) -> Tensor:
        for place in order.unbind(1):
            # A photo goes alone, so that most adjustments are those of no image.
            for i in set(place[on].tolist()):
                if self.spans[i] is not None:
                    x = apply_where(x, on & (place == i), JITTER[i], factors[:, i])
        return x
