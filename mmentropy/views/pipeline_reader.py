"""Reads the views of mmpretrain's pipelines as transforms of whole batches.

A reader below takes the arguments of mmpretrain's or torchvision's transform, with its defaults.
It raises TypeError for what the batched form cannot do, as Python does for an unknown argument.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from mmentropy.views import pixels
from mmentropy.views.random_crop import FILTERS, RandomResizedCrop
from mmentropy.views.transforms import ColorJitter, Sometimes, ToRGB

Transform = RandomResizedCrop | ColorJitter | Sometimes | ToRGB


def read_views(pipeline: Sequence[dict], bgr: bool) -> list[list[Transform]]:
    """Return the transforms of each view of the pipeline's ``MultiView``.

    With ``bgr`` the images are BGR, and so are the weights of RandomGrayscale.

    Raises:
        ValueError: there is not one MultiView, or :func:`read_transform` refuses a transform.
    """
    multi_views = [step for step in pipeline if step['type'] == 'MultiView']
    if len(multi_views) != 1:
        names = [step['type'] for step in pipeline]
        raise ValueError(f'BatchViews needs a pipeline with one MultiView, got {names}')
    counts = multi_views[0]['num_views']
    counts = [counts] if isinstance(counts, int) else counts
    views = []
    for count, configs in zip(counts, multi_views[0]['transforms'], strict=True):
        views += [_read_view(configs, bgr)] * count
    return views


def _read_view(configs: Sequence[dict], bgr: bool) -> list[Transform]:
    transforms: list[Transform] = []
    for cfg in configs:
        # These two change the container of the pixels only.
        if cfg['type'] in ('PILToNumpy', 'NumpyToPIL'):
            continue
        if bgr and cfg['type'] == 'RandomGrayscale' and 'channel_weights' in cfg:
            # By then the images are RGB.
            cfg = dict(cfg, channel_weights=cfg['channel_weights'][::-1])
        transform = read_transform(cfg)
        if getattr(transform, 'prob', 1) > 0:
            transforms.append(transform)
    if bgr:
        # The order of colours is changed after a crop that comes first: a crop is smaller.
        crop_first = bool(transforms) and isinstance(transforms[0], RandomResizedCrop)
        transforms.insert(int(crop_first), ToRGB())
    return transforms


def read_transform(cfg: dict) -> Transform:
    """Return the batched form of a transform's config.

    Raises:
        ValueError: it is not known, or not with these arguments.
    """
    arguments = dict(cfg)
    name = arguments.pop('type')
    # Base configs of mmpretrain leave their scope.
    arguments.pop('_scope_', None)
    if name not in READERS:
        raise ValueError(
            f'BatchViews does not know {name}: it knows {", ".join(READERS)}; '
            'leave other views to MultiView in the loader'
        )
    try:
        return READERS[name](**arguments)
    except (TypeError, AttributeError) as error:
        raise ValueError(f'BatchViews cannot do {cfg}: {error}') from None


def read_crop(
    scale: int | Sequence[int],
    crop_ratio_range: Sequence[float] = (0.08, 1.0),
    aspect_ratio_range: Sequence[float] = (3 / 4, 4 / 3),
    max_attempts: int = 10,
    interpolation: str = 'bilinear',
    backend: str = 'cv2',
) -> RandomResizedCrop:
    known = list(FILTERS) if backend == 'pillow' else ['bilinear']
    if interpolation not in known:
        raise TypeError(f'interpolation must be one of {known}')
    size = (scale, scale) if isinstance(scale, int) else (scale[0], scale[1])
    how = max_attempts, interpolation, backend == 'pillow'
    return RandomResizedCrop(size, tuple(crop_ratio_range), tuple(aspect_ratio_range), *how)


def read_torchvision_crop(
    size: int | Sequence[int],
    scale: Sequence[float] = (0.08, 1.0),
    ratio: Sequence[float] = (3 / 4, 4 / 3),
    interpolation: str = 'bilinear',
) -> RandomResizedCrop:
    return read_crop(size, scale, ratio, 10, interpolation, 'pillow')


def read_flip(prob: float, direction: str = 'horizontal') -> Sometimes:
    if direction != 'horizontal' or not isinstance(prob, (int, float)):
        raise TypeError('only one prob, of horizontal flips, is known')
    return Sometimes(prob, pixels.mirror)


def read_jitter(
    brightness: float | Sequence[float] = 0.0,
    contrast: float | Sequence[float] = 0.0,
    saturation: float | Sequence[float] = 0.0,
    hue: float | Sequence[float] = 0.0,
    backend: str = 'pillow',
) -> ColorJitter:
    spans = [_factors(value, 1.0) for value in (brightness, contrast, saturation)]
    return ColorJitter(1.0, (*spans, _factors(hue, 0.0)))


def _factors(value: float | Sequence[float], centre: float) -> tuple[float, float] | None:
    """Return the least and greatest factor of ColorJitter, None if it does nothing."""
    if isinstance(value, (int, float)):
        value = centre - value, centre + value
    low, high = (max(v, 0.0) if centre else v for v in value)
    return None if low == high == centre else (low, high)


def read_gray(
    prob: float = 0.1,
    keep_channels: bool = False,
    channel_weights: Sequence[float] = (1.0, 1.0, 1.0),
) -> Sometimes:
    if not keep_channels:
        raise TypeError('keep_channels must be True')
    weights = tuple(w / sum(channel_weights) for w in channel_weights)
    return Sometimes(prob, partial(pixels.to_gray, weights=weights))


def _magnitudes(
    magnitude_range: Sequence[float],
    magnitude_std: str,
    magnitude_level: float = 10,
    total_level: float = 10,
) -> tuple[float, float]:
    """Return the range of mmpretrain's magnitudes, which are uniform up to the level."""
    if magnitude_std != 'inf':
        raise TypeError("magnitude_std must be 'inf'")
    low, high = magnitude_range
    return low, low + (high - low) * magnitude_level / total_level


def read_rotation(
    prob: float = 0.5,
    random_negative_prob: float = 0.5,
    pad_val: float = 128,
    interpolation: str = 'nearest',
    **magnitudes: Any,
) -> Sometimes:
    if interpolation != 'bilinear':
        raise TypeError("interpolation must be 'bilinear'")
    turn = partial(pixels.rotate, fill=pad_val)
    return Sometimes(prob, turn, _magnitudes(**magnitudes), random_negative_prob)


def read_brightness(
    prob: float = 0.5, random_negative_prob: float = 0.5, **magnitudes: Any
) -> Sometimes:
    span = _magnitudes(**magnitudes)
    return Sometimes(prob, pixels.adjust_brightness, span, random_negative_prob, base=1.0)


def read_random_apply(transforms: dict | Sequence[dict], prob: float = 0.5) -> Any:
    transforms = [transforms] if isinstance(transforms, dict) else transforms
    if len(transforms) != 1:
        raise TypeError('only one transform inside is known')
    inner: Any = read_transform(transforms[0])
    return replace(inner, prob=prob * inner.prob)


READERS: dict[str, Callable[..., Transform]] = {
    'RandomResizedCrop': read_crop,
    'torchvision/RandomResizedCrop': read_torchvision_crop,
    'RandomFlip': read_flip,
    'torchvision/RandomHorizontalFlip': lambda p=0.5: Sometimes(p, pixels.mirror),
    'RandomApply': read_random_apply,
    'ColorJitter': read_jitter,
    'torchvision/ColorJitter': read_jitter,
    'RandomGrayscale': read_gray,
    'torchvision/RandomGrayscale': lambda p=0.1: Sometimes(p, pixels.to_gray),
    'GaussianBlur': lambda prob=0.5, **magnitudes: Sometimes(
        prob, pixels.gaussian_blur, _magnitudes(**magnitudes)
    ),
    'Solarize': lambda thr, prob=0.5: Sometimes(prob, partial(pixels.solarize, threshold=thr)),
    'Rotate': read_rotation,
    'Brightness': read_brightness,
}
