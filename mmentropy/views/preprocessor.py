"""Data preprocessors: statistics of any channels, and all views of a batch made on the device."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.logging import MessageHub
from mmpretrain.models.utils import SelfSupDataPreprocessor
from mmpretrain.registry import MODELS
from torch import Generator, Tensor

from mmentropy.checks.arguments import DICT, INDEX, NUMBER, POSITIVE, or_none, require, some
from mmentropy.views.loading import unpack_images
from mmentropy.views.pipeline_reader import Transform, read_views
from mmentropy.views.random_crop import RandomResizedCrop
from mmentropy.views.transforms import Draws

# The CPU works through a batch in chunks of so many floats, which stay in the cache of a core.
CACHED_FLOATS = 2**18

# Transforms work in 0..255. Pixels of 16 bits are divided by this for them, and multiplied after.
UNIT = 65535 / 255

# A transform and what it drew for all images of the batch.
Step = tuple[Transform, Draws]


@MODELS.register_module()
class PerChannelPreprocessor(SelfSupDataPreprocessor):
    """``SelfSupDataPreprocessor`` with a mean and a deviation of any number of channels.

    Args:
        mean: of each channel, or one of all of them, in the units of the files: 0..255 for images
            of 8 bits, 0..65535 for those of 16. Default: pixels are not normalised.
        std: likewise, above 0.
        kwargs: ``to_rgb`` and others of the host.

    Raises:
        ValueError: mean and std have different lengths, or ``to_rgb`` is set for other than three
            channels; on a call, images of other channels.
    """

    def __init__(
        self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        require(or_none(some(NUMBER)), mean=mean)
        require(or_none(some(POSITIVE)), std=std)
        lengths = [len(values or ()) for values in (mean, std)]
        if lengths[0] != lengths[1]:
            raise ValueError(
                f'mean and std must be of one length, got {lengths[0]} and {lengths[1]}'
            )
        if self._channel_conversion and lengths[0] not in (0, 1, 3):
            raise ValueError(f'to_rgb needs 3 channels, got a mean of {lengths[0]}')
        self._enable_normalize = mean is not None
        for name, values in dict(mean=mean, std=std).items():
            if values is not None:
                self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Return the images (N, C, H, W), float and normalised, or a list of views of them."""
        inputs = data['inputs']
        for view in inputs if isinstance(inputs, (list, tuple)) else [inputs]:
            self.check_channels(view.shape[1])
        # The host unpacks the dict by position.
        batch = dict(inputs=inputs, data_samples=data.get('data_samples'))
        return super().forward(batch, training)

    def check_channels(self, channels: int) -> None:
        """Raise ValueError if images have other channels than the statistics."""
        known = len(self.mean) if self._enable_normalize else 1
        if known not in (1, channels) or self._channel_conversion and channels != 3:
            needed = 3 if self._channel_conversion else known
            raise ValueError(
                f'the images have {channels} channels, but the data preprocessor is made for '
                f'{needed} (mean, to_rgb): see docs/data.md#any-channels-and-depths'
            )


@MODELS.register_module()
class BatchViews(PerChannelPreprocessor):
    """Makes the views of a pipeline's ``MultiView`` for a whole batch.

    The loader only decodes: its pipeline is the same without ``MultiView``, and its ``collate_fn``
    is ``collate_images``. In training every image gets parameters of its own, from mmpretrain's
    distributions; otherwise this is ``PerChannelPreprocessor``. Where images differ in size, each
    goes alone through the transforms up to the crop.

    Images have 8 or 16 bits and any number of channels. Of more than three, colours and gray change
    the first three; of two, brightness and contrast change both. Arguments in units of pixels, such
    as the threshold of Solarize, are of 8 bits: at 16 bits they are multiplied by 257.

    All draws are made on the CPU by a generator seeded with the seed, the rank and the iteration,
    so they are the same on every device, and a resumed run goes on as the unbroken one. The
    iteration is the Runner's; calls within one iteration, or without a Runner, are counted.

    Args:
        pipeline: that of the data set, with one ``MultiView`` whose transforms
            :func:`read_transform` knows.
        seed: seed of the draws. Default: that of torch, which the Runner sets.
        kwargs: ``mean``, ``std`` and ``to_rgb`` of ``PerChannelPreprocessor``. With ``to_rgb``
            the images are BGR, as mmpretrain's transforms then take them, else RGB.

    Raises:
        ValueError: a transform is not known; in training, the images are not uint8 or uint16
            (N, C, H, W) or what ``collate_images`` makes.
    """

    def __init__(self, pipeline: Sequence[dict], seed: int | None = None, **kwargs: Any) -> None:
        require(or_none(INDEX), seed=seed)
        require(some(DICT), pipeline=pipeline)
        super().__init__(**kwargs)
        if kwargs.get('rgb_to_bgr'):
            raise ValueError('BatchViews works in RGB: convert by to_rgb=True, or not at all')
        self.seed = seed
        self.views = read_views(pipeline, self._channel_conversion)
        self._iteration: int | None = None
        self._calls = -1
        self._repeats: tuple[int, ...] | None = None

    def repeat_draws(self, *key: int) -> None:
        """Let the draws of the calls from now on depend on ``key`` and their number alone."""
        self._repeats, self._calls = key, -1

    def forward(self, data: dict, training: bool = False) -> dict:
        """Return the views in training, a list of (N, C, H, W) float; else see the base class.

        ``data`` has ``inputs`` uint8 or uint16 (N, C, H, W), or is what ``collate_images`` makes.
        """
        if not training:
            return super().forward(data, training)
        inputs = data['inputs']
        if not isinstance(inputs, Tensor) or inputs.dtype not in (torch.uint8, torch.uint16):
            raise ValueError(
                'BatchViews needs one image of 8 or 16 bits each: take MultiView out of '
                "the loader's pipeline, end it in PackImage and set "
                "collate_fn=dict(type='collate_images')"
            )
        images = unpack_images(self.cast_data(inputs), data.get('shapes'))
        for image in images if isinstance(images, list) else images[:1]:
            self.check_channels(len(image))
        rng = Generator().manual_seed(self._next_seed())
        # mmengine prepares data under the autocast of training, which would round pixels.
        with torch.autocast(images[0].device.type, enabled=False):
            views = [self._view(transforms, images, rng) for transforms in self.views]
        return dict(inputs=views, data_samples=data.get('data_samples'))

    def _next_seed(self) -> int:
        if self._repeats is not None:
            self._calls += 1
            return seed_of(*self._repeats, self._calls)
        iteration = MessageHub.get_current_instance().get_info('iter')
        self._calls = self._calls + 1 if iteration == self._iteration else 0
        self._iteration = iteration
        seed = torch.initial_seed() if self.seed is None else self.seed
        return seed_of(seed, get_rank(), iteration or 0, self._calls)

    def _view(
        self, transforms: list[Transform], images: Tensor | list[Tensor], rng: Generator
    ) -> Tensor:
        """Return one view of each image (N, C, H, W), float and normalised."""
        sizes = torch.tensor([image.shape[-2:] for image in images])
        steps = [(transform, transform.draw(rng, sizes)) for transform in transforms]
        unit = UNIT if images[0].dtype == torch.uint16 else 1.0
        if isinstance(images, list):
            images, steps = crop_one_by_one(images, steps)
        chunk = len(images) if images.is_cuda else images_in_cache(images, steps)
        views = []
        for first in range(0, len(images), chunk):
            rows = slice(first, first + chunk)
            x = apply_steps(steps, images[rows], rows)
            if unit != 1:
                x = x * unit
            if self._enable_normalize:
                x = (x - self.mean) / self.std
            views.append(x)
        return torch.cat(views)


def seed_of(*key: int) -> int:
    """Return a seed of torch for some numbers."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)
    return int(state[0]) >> 1


def apply_steps(steps: Sequence[Step], x: Tensor, rows: slice) -> Tensor:
    """Return the images ``rows`` of a batch ``x`` after all steps, (N, C, H, W) float in 0..255."""
    if x.dtype == torch.uint16:
        x = x.float() / UNIT
    for transform, draws in steps:
        # The crop takes uint8; the others need floats, and write into this copy.
        if not isinstance(transform, RandomResizedCrop):
            x = x.float()
        x = transform.apply(x, **{name: drawn[rows] for name, drawn in draws.items()})
    return x.float()


def crop_one_by_one(images: list[Tensor], steps: list[Step]) -> tuple[Tensor, list[Step]]:
    """Take images of different sizes (C, H, W) through the steps up to the first crop.

    Returns:
        The images (N, C, H, W), now of one size, and the steps that are left.

    Raises:
        ValueError: the sizes differ still, as there is no crop.
    """
    ends = [i for i, (step, _) in enumerate(steps, 1) if isinstance(step, RandomResizedCrop)]
    count = ends[0] if ends else len(steps)
    head, tail = steps[:count], steps[count:]
    crops = [apply_steps(head, image[None], slice(i, i + 1)) for i, image in enumerate(images)]
    if len({crop.shape for crop in crops}) > 1:
        raise ValueError(
            'BatchViews: images of different sizes need a RandomResizedCrop in every view'
        )
    return torch.cat(crops), tail


def images_in_cache(images: Tensor, steps: list[Step]) -> int:
    """Return how many images, before and after the crop, stay in the cache of a core."""
    crops = [step.size for step, _ in steps if isinstance(step, RandomResizedCrop)]
    pixels = max(images[0, 0].numel(), *(height * width for height, width in crops), 0)
    return max(1, CACHED_FLOATS // (images.shape[1] * pixels))
