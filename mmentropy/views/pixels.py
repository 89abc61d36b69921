"""Colour, blur and rotation of a whole batch of images at once.

Images are (N, C, H, W) float in 0..255 with colours in RGB; factors are (N,), one per image.
Pillow rounds down after most steps; these functions round nothing. Of more than three channels the
first three are the colours, and what changes colours leaves the others as they are.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Weights of red, green and blue in gray by Rec. 601, as in Pillow and torchvision.
LUMA = (0.299, 0.587, 0.114)


def on_colours(adjust: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a function of colours work on the first three channels where there are more."""

    @wraps(adjust)
    def on_first_three(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if x.shape[1] <= 3:
            return adjust(x, *args, **kwargs)
        return torch.cat([adjust(x[:, :3], *args, **kwargs), x[:, 3:]], 1)

    return on_first_three


def luma(x: Tensor, weights: Sequence[float] = LUMA) -> Tensor:
    """Return the weighted mean (N, 1, H, W) of three channels, or the mean of one or two."""
    if x.shape[1] < 3:
        return x.mean(1, keepdim=True)
    red, green, blue = x.split(1, 1)
    return (red * weights[0]).add_(green, alpha=weights[1]).add_(blue, alpha=weights[2])


def per_image(factor: Tensor) -> Tensor:
    """Return factors (N,) as (N, 1, 1, 1), which broadcasts with images."""
    return factor[:, None, None, None]


def mirror(x: Tensor) -> Tensor:
    """Mirror left to right."""
    return x.flip(-1)


@on_colours
def adjust_brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Blend the images with black."""
    return (x * per_image(factor)).clamp_(0, 255)


@on_colours
def adjust_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Blend each image with the mean of its gray image."""
    factor = per_image(factor)
    mean = luma(x).mean((2, 3), keepdim=True)
    return torch.addcmul(mean * (1 - factor), x, factor).clamp_(0, 255)


@on_colours
def adjust_saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Blend each image with its gray image; one or two channels stay as they are."""
    if x.shape[1] < 3:
        return x
    factor = per_image(factor)
    return torch.addcmul(luma(x) * (1 - factor), x, factor).clamp_(0, 255)


@on_colours
def adjust_hue(x: Tensor, factor: Tensor) -> Tensor:
    """Turn the hue by ``factor``, in -0.5..0.5 of a full turn; one or two channels stay.

    Saturation and value in the sense of HSV stay the same.
    """
    if x.shape[1] < 3:
        return x
    red, green, blue = x.split(1, 1)
    highest = torch.maximum(torch.maximum(red, green), blue)
    lowest = torch.minimum(torch.minimum(red, green), blue)
    chroma = highest - lowest
    unit = 1 / chroma.clamp(min=1e-6)
    hue = torch.where(highest == green, (blue - red) * unit + 2, (red - green) * unit + 4)
    hue = torch.where(highest == red, (green - blue) * unit, hue)
    hue = hue.add_(per_image(6 * factor))
    hue = hue.sub_((hue / 6).floor_(), alpha=6)
    # A channel is the lowest one plus a share of the chroma. Along the circle of hues from 0 to 6,
    # with red at 0, green at 2 and blue at 4, the share is 1 within 1 of the channel's own hue
    # and falls to 0 at a distance of 2.
    shares = (
        (hue - 3).abs_().sub_(1),
        (hue - 2).abs_().neg_().add_(2),
        (hue - 4).abs_().neg_().add_(2),
    )
    result = torch.empty_like(x)
    for channel, share in enumerate(shares):
        torch.addcmul(lowest, share.clamp_(0, 1), chroma, out=result[:, channel : channel + 1])
    return result


@on_colours
def to_gray(x: Tensor, weights: Sequence[float] = LUMA) -> Tensor:
    """Set every channel to the weighted mean of all; one or two channels stay as they are."""
    if x.shape[1] < 3:
        return x
    return luma(x, weights).repeat(1, x.shape[1], 1, 1)


def solarize(x: Tensor, threshold: float) -> Tensor:
    """Invert the pixels that round to ``threshold`` or more."""
    return torch.where(x < threshold - 0.5, x, 255 - x)


def blur_kernels(sigma: Tensor) -> Tensor:
    """Return the weights (N, taps) of Pillow's Gaussian blur, which is three boxes in a row.

    The boxes together have the variance of the Gaussian
    (python-pillow/Pillow@11.0.0:src/libImaging/BoxBlur.c). Pillow calls ``sigma`` (N,) radius.
    """
    square = sigma**2
    # A box has weight 1 up to this distance from its centre, and ``part`` at the next one.
    whole = ((4 * square + 1).sqrt() / 2 - 0.5).floor()
    part = (2 * whole + 1) * (whole * (whole + 1) - square) / (2 * square - 6 * (whole + 1) ** 2)
    reach = int(whole.max()) + 1
    tap = torch.arange(-reach, reach + 1, device=sigma.device).abs()
    whole, part = whole[:, None], part[:, None]
    box = torch.where(tap <= whole, 1.0, torch.where(tap == whole + 1, part, 0.0))
    box = box / box.sum(1, keepdim=True)
    kernel = box[None]
    for _ in range(2):
        kernel = F.conv1d(kernel, box[:, None], padding=2 * reach, groups=len(box))
    return kernel[0]


def gaussian_blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Blur as Pillow's ``GaussianBlur(sigma)``; outside, the pixels of the border go on."""
    kernels = blur_kernels(sigma).to(x)
    reach = kernels.shape[1] // 2
    taps = [per_image(tap) for tap in kernels.unbind(1)]
    x = F.pad(x, (reach,) * 4, mode='replicate')
    for dim in (3, 2):
        size = x.shape[dim] - 2 * reach
        blurred = x.narrow(dim, reach, size) * taps[reach]
        for i in range(reach):
            # Kernels are symmetric: two pixels share a weight.
            pair = x.narrow(dim, i, size) + x.narrow(dim, 2 * reach - i, size)
            blurred.addcmul_(pair, taps[i])
        x = blurred
    return x


def rotate(x: Tensor, degrees: Tensor, fill: float = 0.0) -> Tensor:
    """Turn the images clockwise about their centre, bilinear, with ``fill`` outside."""
    height, width = x.shape[2:]
    angle = torch.deg2rad(degrees)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # The matrices (N, 2, 3) say where a pixel comes from, in coordinates -1..1 along each side.
    rows = [cos, sin * height / width, zero, -sin * width / height, cos, zero]
    matrices = torch.stack(rows, 1).view(-1, 2, 3)
    grid = F.affine_grid(matrices, list(x.shape), align_corners=False)
    return F.grid_sample(x - fill, grid, align_corners=False) + fill
