"""All views of a batch of images, made at once on the device.

Images are (N, C, H, W) float in 0..255, colours in RGB; factors are (N,), one
per image. Unlike in Pillow, which rounds down after most steps, nothing is
rounded, save what torch resamples as uint8.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import get_rank
from mmengine.logging import MessageHub
from mmpretrain.models.utils import SelfSupDataPreprocessor
from mmpretrain.registry import MODELS
from torch import Generator, Tensor

from mmentropy.checks.arguments import DICT, INDEX, or_none, require, some

# Rec. 601, as in Pillow and torchvision.
LUMA = (0.299, 0.587, 0.114)
# Floats that stay in a core's cache: the CPU works through a batch in parts.
_CACHE = 2**18


def _triangle(x: Tensor) -> Tensor:
    return (1 - x).clamp(min=0)


def _cubic(x: Tensor) -> Tensor:
    # Keys with a = -0.5, Pillow's choice.
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


_FILTERS = dict(bilinear=_triangle, bicubic=_cubic)


def crop_weights(
    start: Tensor, length: Tensor, size: int, out: int, interpolation: str, antialias: bool
) -> Tensor:
    """Weights (N, out, size) that resize pixels ``start`` to their end.

    Those of Pillow's ``crop`` and ``resize`` along one side,
    python-pillow/Pillow@11.0.0:src/libImaging/Resample.c.

    Args:
        start: first pixel of the crop (N,).
        length: pixels of the crop (N,).
        size: pixels of the image.
        out: pixels to make of the crop.
        interpolation: 'bilinear' or 'bicubic'.
        antialias: widen the filter where the crop shrinks.
    """
    start, length = start[:, None, None], length[:, None, None]
    scale = length / out
    pixel = torch.arange(size, device=start.device) + 0.5
    target = torch.arange(out, device=start.device)[:, None] + 0.5
    distance = (pixel - start - target * scale).abs()
    if antialias:
        distance = distance / scale.clamp(min=1)
    inside = (pixel > start) & (pixel < start + length)
    weights = _FILTERS[interpolation](distance) * inside
    return weights / weights.sum(-1, keepdim=True)


def resized_crop(
    x: Tensor, boxes: Tensor, size: tuple[int, int], interpolation: str, antialias: bool = True
) -> Tensor:
    """Crops resized to (N, C, *size), as Pillow does it.

    A batch takes two products of matrices, a single image torch's own
    resampling, which is faster on photos and takes uint8 as well.

    Args:
        x: images, float or uint8.
        boxes: top, left, height and width of each crop (N, 4), whole numbers.
        size: height and width to make.
        interpolation: 'bilinear' or 'bicubic'.
        antialias: as in Pillow; False as in OpenCV.
    """
    if len(x) == 1:
        top, left, height, width = boxes[0].tolist()
        x = x[:, :, top : top + height, left : left + width]
        if x.is_cuda:
            x = x.float()
        x = F.interpolate(x, size, mode=interpolation, antialias=antialias)
        return x.float().clamp(0, 255)
    box = boxes.to(x.device, torch.float32)
    rows, columns = [
        crop_weights(box[:, i], box[:, i + 2], x.shape[i + 2], size[i], interpolation, antialias)
        for i in range(2)
    ]
    x = torch.bmm(x.float().flatten(1, 2), columns.mT)
    x = torch.matmul(rows[:, None], x.unflatten(1, (-1, rows.shape[2])))
    return x.clamp_(0, 255)


def _luma(x: Tensor, weights: Sequence[float] = LUMA) -> Tensor:
    """One channel (N, 1, H, W); of one channel itself."""
    if x.shape[1] == 1:
        return x
    red, green, blue = x.split(1, 1)
    return (red * weights[0]).add_(green, alpha=weights[1]).add_(blue, alpha=weights[2])


def _per_image(factor: Tensor) -> Tensor:
    return factor[:, None, None, None]


def adjust_brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Blend with black."""
    return (x * _per_image(factor)).clamp_(0, 255)


def adjust_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean of the gray image."""
    factor = _per_image(factor)
    mean = _luma(x).mean((2, 3), keepdim=True)
    return torch.addcmul(mean * (1 - factor), x, factor).clamp_(0, 255)


def adjust_saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Blend with the gray image; one channel stays as it is."""
    if x.shape[1] == 1:
        return x
    factor = _per_image(factor)
    return torch.addcmul(_luma(x) * (1 - factor), x, factor).clamp_(0, 255)


def adjust_hue(x: Tensor, factor: Tensor) -> Tensor:
    """Turn the hue by ``factor`` in -0.5..0.5 of a full turn, as HSV does.

    Value and saturation stay, so that a channel is the smallest one plus the
    chroma times a trapezium of the hue. One channel stays as it is.
    """
    if x.shape[1] == 1:
        return x
    red, green, blue = x.split(1, 1)
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = high - low
    unit = 1 / chroma.clamp(min=1e-6)
    hue = torch.where(
        high == red,
        (green - blue) * unit,
        torch.where(high == green, (blue - red) * unit + 2, (red - green) * unit + 4),
    )
    hue = hue.add_(_per_image(6 * factor))
    hue = hue.sub_((hue / 6).floor_(), alpha=6)
    result = torch.empty_like(x)
    for i, (centre, sign) in enumerate(((3, 1), (2, -1), (4, -1))):
        share = (hue - centre).abs_().mul_(sign).sub_(2 * sign - (sign > 0))
        torch.addcmul(low, share.clamp_(0, 1), chroma, out=result[:, i : i + 1])
    return result


def to_gray(x: Tensor, weights: Sequence[float] = LUMA) -> Tensor:
    """Every channel the weighted mean of all; one stays as it is."""
    if x.shape[1] == 1:
        return x
    return _luma(x, weights).repeat(1, x.shape[1], 1, 1)


def solarize(x: Tensor, threshold: float) -> Tensor:
    """Invert what rounds to ``threshold`` or more."""
    return torch.where(x < threshold - 0.5, x, 255 - x)


def blur_kernels(sigma: Tensor) -> Tensor:
    """Weights (N, taps) of Pillow's Gaussian blur, three boxes in a row.

    The boxes have the Gaussian's variance,
    python-pillow/Pillow@11.0.0:src/libImaging/BoxBlur.c.

    Args:
        sigma: Pillow's ``radius`` (N,), above 0.
    """
    square = sigma**2
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
    """Pillow's ``GaussianBlur(sigma)``; the border's pixels go on outside."""
    kernels = blur_kernels(sigma).to(x)
    reach = kernels.shape[1] // 2
    taps = [_per_image(tap) for tap in kernels.unbind(1)]
    x = F.pad(x, (reach,) * 4, mode='replicate')
    for dim in (3, 2):
        size = x.shape[dim] - 2 * reach
        blurred = x.narrow(dim, reach, size) * taps[reach]
        for i in range(reach):
            # Kernels are symmetric.
            pair = x.narrow(dim, i, size) + x.narrow(dim, 2 * reach - i, size)
            blurred.addcmul_(pair, taps[i])
        x = blurred
    return x


def rotate(x: Tensor, degrees: Tensor, fill: float = 0.0) -> Tensor:
    """Turn clockwise about the centre, bilinear, ``fill`` outside."""
    height, width = x.shape[2:]
    angle = torch.deg2rad(degrees)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # Where a pixel comes from, in coordinates of -1..1 along each side.
    theta = torch.stack(
        [
            torch.stack([cos, sin * height / width, zero], 1),
            torch.stack([-sin * width / height, cos, zero], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x - fill, grid, align_corners=False) + fill


def uniform(rng: Generator, shape: Sequence[int], low: float, high: float) -> Tensor:
    """Uniform draws in double precision, on the CPU."""
    draws = torch.rand(*shape, generator=rng, dtype=torch.float64)
    return low + (high - low) * draws


Adjust = Callable[..., Tensor]
Draws = dict[str, Tensor]


def apply_where(x: Tensor, on: Tensor, adjust: Adjust, *factors: Tensor) -> Tensor:
    """``adjust`` the images that are ``on``, in place if not all are.

    Args:
        x: images.
        on: bool (N,), on the CPU.
        adjust: takes images and factors.
        factors: (N,) each, on the CPU.
    """
    if on.all():
        return adjust(x, *[factor.to(x) for factor in factors])
    rows = on.nonzero().squeeze(1)
    if len(rows):
        there = rows.to(x.device)
        x[there] = adjust(x[there], *[f[rows].to(x) for f in factors])
    return x


@dataclass
class Crop:
    """Random resized crop, as in torchvision and mmpretrain.

    Of ``attempts`` draws of area and ratio the first that fits is taken, and
    the largest central crop with a ratio in range if none does.
    """

    size: tuple[int, int]
    scale: tuple[float, ...]
    ratio: tuple[float, ...]
    attempts: int
    interpolation: str
    antialias: bool

    def draw(self, rng: Generator, sizes: Tensor) -> Draws:
        """``boxes`` (N, 4) int64 for heights and widths ``sizes`` (N, 2)."""
        shape = len(sizes), self.attempts
        height, width = sizes.double().T[..., None]
        smallest, largest = self.scale
        low, high = self.ratio
        area = uniform(rng, shape, smallest, largest) * height * width
        ratio = uniform(rng, shape, math.log(low), math.log(high)).exp()
        h, w = (area / ratio).sqrt().round(), (area * ratio).sqrt().round()
        fits = (h > 0) & (h <= height) & (w > 0) & (w <= width)
        first = fits.int().argmax(1, keepdim=True)
        found = fits.gather(1, first)
        whole = width / height
        h = torch.where(
            found, h.gather(1, first), torch.where(whole < low, width / low, height).round()
        )
        w = torch.where(
            found, w.gather(1, first), torch.where(whole > high, height * high, width).round()
        )
        place = uniform(rng, (2, len(sizes), 1), 0, 1)
        top, left = [
            torch.where(found, draws * (room + 1), room / 2).floor()
            for draws, room in zip(place, (height - h, width - w))
        ]
        return dict(boxes=torch.cat([top, left, h, w], 1).long())

    def apply(self, x: Tensor, boxes: Tensor) -> Tensor:
        return resized_crop(x, boxes, self.size, self.interpolation, self.antialias)


class ToRGB:
    """BGR to RGB."""

    def draw(self, rng: Generator, sizes: Tensor) -> Draws:
        return {}

    def apply(self, x: Tensor) -> Tensor:
        return x.flip(1)


@dataclass
class Sometimes:
    """Applied to a share ``prob`` of the images."""

    prob: float

    def draw(self, rng: Generator, sizes: Tensor) -> Draws:
        """``on`` (N,) bool, and the factors of the images."""
        count = len(sizes)
        on = uniform(rng, (count,), 0, 1) < self.prob
        return dict(on=on, **self.factors(rng, count))

    def factors(self, rng: Generator, count: int) -> Draws:
        """What differs from image to image."""
        return {}


@dataclass
class Flip(Sometimes):
    """Left to right."""

    def apply(self, x: Tensor, on: Tensor) -> Tensor:
        return apply_where(x, on, lambda x: x.flip(-1))


@dataclass
class Gray(Sometimes):
    """All channels alike; ``weights`` in RGB."""

    weights: tuple[float, ...]

    def apply(self, x: Tensor, on: Tensor) -> Tensor:
        return apply_where(x, on, lambda x: to_gray(x, self.weights))


@dataclass
class Solarize(Sometimes):
    threshold: float

    def apply(self, x: Tensor, on: Tensor) -> Tensor:
        return apply_where(x, on, lambda x: solarize(x, self.threshold))


@dataclass
class Ranged(Sometimes):
    """One factor, uniform in ``span``, turned by ``flip`` sometimes.

    ``base`` is added after the sign: 1 makes factors of differences.
    """

    adjust: Adjust
    span: tuple[float, float]
    negative: float = 0.0
    base: float = 0.0

    def factors(self, rng: Generator, count: int) -> Draws:
        factor = uniform(rng, (count,), *self.span)
        sign = uniform(rng, (count,), 0, 1) < self.negative
        return dict(factor=self.base + torch.where(sign, -factor, factor))

    def apply(self, x: Tensor, on: Tensor, factor: Tensor) -> Tensor:
        return apply_where(x, on, self.adjust, factor)


_JITTER = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


@dataclass
class Jitter(Sometimes):
    """Brightness, contrast, saturation and hue, in random order.

    ``spans`` of the four factors; None leaves one out.
    """

    spans: tuple[tuple[float, float] | None, ...]

    def factors(self, rng: Generator, count: int) -> Draws:
        order = uniform(rng, (count, 4), 0, 1).argsort(1)
        factors = [uniform(rng, (count,), *(span or (0, 0))) for span in self.spans]
        return dict(order=order, factors=torch.stack(factors, 1))

    def apply(self, x: Tensor, on: Tensor, order: Tensor, factors: Tensor) -> Tensor:
        for place in order.unbind(1):
            for i, adjust in enumerate(_JITTER):
                if self.spans[i] is not None:
                    x = apply_where(x, on & (place == i), adjust, factors[:, i])
        return x


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _span(value: float | Sequence[float], centre: float) -> tuple[float, float] | None:
    """Range of a factor of ColorJitter; None if it does nothing."""
    if isinstance(value, (int, float)):
        value = centre - value, centre + value
    low, high = (max(v, 0.0) if centre else v for v in value)
    return None if low == high == centre else (low, high)


def _magnitudes(
    magnitude_range: Sequence[float],
    magnitude_std: str,
    magnitude_level: float = 10,
    total_level: float = 10,
) -> tuple[float, float]:
    """Range of mmpretrain's magnitudes, uniform up to the level."""
    if magnitude_std != 'inf':
        raise TypeError("magnitude_std must be 'inf'")
    low, high = magnitude_range
    return low, low + (high - low) * magnitude_level / total_level


def _crop(
    scale: int | Sequence[int],
    crop_ratio_range: Sequence[float] = (0.08, 1.0),
    aspect_ratio_range: Sequence[float] = (3 / 4, 4 / 3),
    max_attempts: int = 10,
    interpolation: str = 'bilinear',
    backend: str = 'cv2',
) -> Crop:
    known = _FILTERS if backend == 'pillow' else ['bilinear']
    if interpolation not in known:
        raise TypeError(f'interpolation must be of {list(known)}')
    return Crop(
        _pair(scale),
        tuple(crop_ratio_range),
        tuple(aspect_ratio_range),
        max_attempts,
        interpolation,
        backend == 'pillow',
    )


def _tv_crop(
    size: int | Sequence[int],
    scale: Sequence[float] = (0.08, 1.0),
    ratio: Sequence[float] = (3 / 4, 4 / 3),
    interpolation: str = 'bilinear',
) -> Crop:
    return _crop(size, scale, ratio, 10, interpolation, 'pillow')


def _flip(prob: float, direction: str = 'horizontal') -> Flip:
    if direction != 'horizontal' or not isinstance(prob, (int, float)):
        raise TypeError('one horizontal prob is known only')
    return Flip(prob)


def _jitter(
    brightness: float | Sequence[float] = 0.0,
    contrast: float | Sequence[float] = 0.0,
    saturation: float | Sequence[float] = 0.0,
    hue: float | Sequence[float] = 0.0,
    backend: str = 'pillow',
) -> Jitter:
    spans = [_span(v, 1.0) for v in (brightness, contrast, saturation)]
    return Jitter(1.0, (*spans, _span(hue, 0.0)))


def _gray(
    prob: float = 0.1,
    keep_channels: bool = False,
    channel_weights: Sequence[float] = (1.0, 1.0, 1.0),
) -> Gray:
    if not keep_channels:
        raise TypeError('keep_channels must be True')
    return Gray(prob, tuple(w / sum(channel_weights) for w in channel_weights))


def _blur(prob: float = 0.5, **magnitudes: Any) -> Ranged:
    return Ranged(prob, gaussian_blur, _magnitudes(**magnitudes))


def _rotate(
    prob: float = 0.5,
    random_negative_prob: float = 0.5,
    pad_val: float = 128,
    interpolation: str = 'nearest',
    **magnitudes: Any,
) -> Ranged:
    if interpolation != 'bilinear':
        raise TypeError("interpolation must be 'bilinear'")
    return Ranged(
        prob, partial(rotate, fill=pad_val), _magnitudes(**magnitudes), random_negative_prob
    )


def _brightness(prob: float = 0.5, random_negative_prob: float = 0.5, **magnitudes: Any) -> Ranged:
    return Ranged(prob, adjust_brightness, _magnitudes(**magnitudes), random_negative_prob, 1.0)


def _apply(transforms: dict | Sequence[dict], prob: float = 0.5) -> Any:
    if isinstance(transforms, dict):
        transforms = [transforms]
    if len(transforms) != 1:
        raise TypeError('one transform inside is known only')
    inner = read_transform(transforms[0])
    return replace(inner, prob=prob * inner.prob)


_READERS: dict[str, Callable[..., Any]] = {
    'RandomResizedCrop': _crop,
    'torchvision/RandomResizedCrop': _tv_crop,
    'RandomFlip': _flip,
    'torchvision/RandomHorizontalFlip': lambda p=0.5: Flip(p),
    'RandomApply': _apply,
    'ColorJitter': _jitter,
    'torchvision/ColorJitter': _jitter,
    'RandomGrayscale': _gray,
    'torchvision/RandomGrayscale': lambda p=0.1: Gray(p, LUMA),
    'GaussianBlur': _blur,
    'Solarize': lambda thr, prob=0.5: Solarize(prob, thr),
    'Rotate': _rotate,
    'Brightness': _brightness,
}


def read_transform(cfg: dict) -> Any:
    """The batched form of a transform's config.

    Raises:
        ValueError: it is not known, or not with these arguments.
    """
    arguments = dict(cfg)
    name = arguments.pop('type')
    # Left by bases that are mmpretrain's.
    arguments.pop('_scope_', None)
    if name not in _READERS:
        raise ValueError(
            f'BatchViews does not know {name}: it knows '
            f'{", ".join(_READERS)}; leave other views to MultiView in the '
            'loader'
        )
    try:
        return _READERS[name](**arguments)
    except TypeError as error:
        raise ValueError(f'BatchViews cannot do {cfg}: {error}') from None


def read_views(pipeline: Sequence[dict], bgr: bool) -> list[list]:
    """The transforms of each view of the pipeline's ``MultiView``.

    Args:
        pipeline: of a data set.
        bgr: whether the images are, and what RandomGrayscale's weights are
            of then.
    """
    found = [step for step in pipeline if step['type'] == 'MultiView']
    if len(found) != 1:
        raise ValueError(
            'BatchViews needs a pipeline with one MultiView, '
            f'got {[step["type"] for step in pipeline]}'
        )
    counts = found[0]['num_views']
    if isinstance(counts, int):
        counts = [counts]
    views = []
    for count, transforms in zip(counts, found[0]['transforms'], strict=True):
        # These change the container of the pixels only.
        ops = [
            (cfg, read_transform(cfg))
            for cfg in transforms
            if cfg['type'] not in ('PILToNumpy', 'NumpyToPIL')
        ]
        for cfg, op in ops:
            if bgr and cfg['type'] == 'RandomGrayscale':
                op.weights = op.weights[::-1]
        used = [op for _, op in ops if getattr(op, 'prob', 1) > 0]
        if bgr:
            # A crop is smaller than the photo.
            used.insert(bool(used) and isinstance(used[0], Crop), ToRGB())
        views += [used] * count
    return views


@MODELS.register_module()
class BatchViews(SelfSupDataPreprocessor):
    """Makes the views of a pipeline's ``MultiView`` of a whole batch.

    The loader only decodes: its pipeline is the same without ``MultiView``,
    its ``collate_fn`` is ``collate_images``. In training every image gets
    parameters of its own, of mmpretrain's distributions; otherwise this is
    ``SelfSupDataPreprocessor``.

    All draws are made on the CPU by a generator seeded with the seed, the
    rank and the iteration, so they are the same on every device, and a
    resumed run goes on as the unbroken one. The iteration is the Runner's;
    calls within one iteration, or without a Runner, are counted.

    Args:
        pipeline: Of the data set, with one ``MultiView`` of transforms that
            :func:`read_transform` knows. What is before the crop runs image
            by image where sizes differ.
        seed: Of the draws. Default: that of torch, which the Runner sets.
        kwargs: ``mean``, ``std``, ``to_rgb`` of ``SelfSupDataPreprocessor``.
            mmpretrain's transforms take BGR with ``to_rgb``, RGB without.

    Raises:
        ValueError: A transform is not known; in training, the images are not
            uint8 (N, C, H, W) or what ``collate_images`` makes.
    """

    def __init__(self, pipeline: Sequence[dict], seed: int | None = None, **kwargs: Any) -> None:
        require(or_none(INDEX), seed=seed)
        require(some(DICT), pipeline=pipeline)
        super().__init__(**kwargs)
        if kwargs.get('rgb_to_bgr'):
            raise ValueError(
                'BatchViews works in RGB: convert the other way, to_rgb=True, or not at all'
            )
        self.seed = seed
        self.views = read_views(pipeline, self._channel_conversion)
        self._step: int | None = None
        self._calls = -1

    def forward(self, data: dict, training: bool = False) -> dict:
        """Views, a list of (N, C, H, W) float, in training; else see base.

        Args:
            data: ``inputs`` uint8 (N, C, H, W), or what ``collate_images``
                makes.
            training: Whether to make views.
        """
        if not training:
            return super().forward(data, training)
        inputs = data['inputs']
        if not isinstance(inputs, Tensor) or inputs.dtype != torch.uint8:
            raise ValueError(
                'BatchViews needs one uint8 image each: take MultiView out of '
                "the loader's pipeline, end it in PackImage and set "
                "collate_fn=dict(type='collate_images')"
            )
        images = unpack_images(self.cast_data(inputs), data.get('shapes'))
        rng = Generator().manual_seed(self._next_seed())
        return dict(
            inputs=[self._view(ops, images, rng) for ops in self.views],
            data_samples=data.get('data_samples'),
        )

    def _next_seed(self) -> int:
        step = MessageHub.get_current_instance().get_info('iter')
        self._calls = self._calls + 1 if step == self._step else 0
        self._step = step
        key = (
            torch.initial_seed() if self.seed is None else self.seed,
            get_rank(),
            step or 0,
            self._calls,
        )
        state = np.random.SeedSequence(key).generate_state(1, np.uint64)
        return int(state[0] >> 1)

    def _view(self, ops: list, images: Tensor | list[Tensor], rng: Generator) -> Tensor:
        sizes = torch.tensor([image.shape[-2:] for image in images])
        drawn = [op.draw(rng, sizes) for op in ops]
        if isinstance(images, list):
            # What comes after the crop is done for many images at once.
            count = 1 + next((i for i, op in enumerate(ops) if isinstance(op, Crop)), len(ops) - 1)
            crops = [
                _run(ops[:count], image[None], _rows(drawn[:count], i, i + 1))
                for i, image in enumerate(images)
            ]
            if len({crop.shape for crop in crops}) > 1:
                raise ValueError(
                    'BatchViews: images of different sizes need a RandomResizedCrop in every view'
                )
            images, ops, drawn = torch.cat(crops), ops[count:], drawn[count:]
        part = len(images)
        if not images.is_cuda:
            side = [op.size[0] * op.size[1] for op in ops if isinstance(op, Crop)]
            pixels = max(images[0, 0].numel(), *side, 0)
            part = max(1, _CACHE // (images.shape[1] * pixels))
        views = []
        for i in range(0, len(images), part):
            x = _run(ops, images[i : i + part], _rows(drawn, i, i + part))
            if self._enable_normalize:
                x = (x - self.mean) / self.std
            views.append(x)
        return torch.cat(views)


def _rows(drawn: list[Draws], start: int, stop: int) -> list[Draws]:
    return [{name: value[start:stop] for name, value in draws.items()} for draws in drawn]


def _run(ops: list, x: Tensor, drawn: list[Draws]) -> Tensor:
    for op, draws in zip(ops, drawn):
        # The crop takes uint8; the others write into their copy.
        if not isinstance(op, Crop):
            x = x.float()
        x = op.apply(x, **draws)
    return x.float()


def unpack_images(pixels: Tensor, shapes: Tensor | None) -> Tensor | list[Tensor]:
    """A batch (N, C, H, W), or a list (C, H, W) if sizes differ."""
    if shapes is None:
        return pixels
    if (shapes == shapes[0]).all():
        return pixels.view(-1, *shapes[0].tolist()).permute(0, 3, 1, 2)
    return [
        image.view(shape).permute(2, 0, 1)
        for image, shape in zip(pixels.split(shapes.prod(1).tolist()), shapes.tolist())
    ]
