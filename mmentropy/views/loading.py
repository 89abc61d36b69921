"""Loads image files, and carries whole images of any sizes to where views are made in batch."""

import io
import os.path as osp
from collections.abc import Sequence
from typing import Any

import cv2
import mmcv
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmengine.registry import FUNCTIONS
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from mmentropy.checks.arguments import COUNT, POSITIVE, one_of, require, some
from mmentropy.checks.files import size_of
from mmentropy.datasets.image_folder import FORMATS
from mmentropy.datasets.unreadable_images import cannot_read

# A file of the most pixels that are accepted is smaller.
MOST_BYTES = 2**30
# Factors by which the decoder of JPEGs can shrink, and the names that OpenCV has for them.
REDUCTIONS = {factor: getattr(cv2, f'IMREAD_REDUCED_COLOR_{factor}') for factor in (2, 4, 8)}
JPEG_START, JPEG_END = b'\xff\xd8', b'\xff\xd9'


@TRANSFORMS.register_module()
class CheckedLoadImageFromFile(BaseTransform):
    """Loads BGR images, and refuses files that are not whole images.

    Unlike mmcv's ``LoadImageFromFile`` it refuses a file whose header is of none of ``FORMATS``,
    pipes and devices, files above 1 GiB, a JPEG without its end, which some versions of OpenCV fill
    up, and more than 179 million pixels, twice ``PIL.Image.MAX_IMAGE_PIXELS``, before they take up
    memory. Gray images of 16 bits keep their upper 8, where Pillow would clip; those of 32 have
    no known range and are refused. Reading the header takes 20 microseconds, 2 % of the decoding of
    a photo of 500 x 375.

    Args:
        imdecode_backend: 'cv2' or 'pillow'.
        backend_args: arguments of ``mmengine.fileio.get``.

    Raises:
        ValueError: ``imdecode_backend`` is something else.
        OSError: on reading, the file is missing or not such an image; one line with its path.
    """

    def __init__(self, imdecode_backend: str = 'cv2', backend_args: dict | None = None) -> None:
        require(one_of(('cv2', 'pillow')), imdecode_backend=imdecode_backend)
        self.imdecode_backend = imdecode_backend
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Add ``img``, uint8 BGR (H, W, 3)."""
        path = results['img_path']
        try:
            # A missing file is named by the reader, and other stores are asked by it alone.
            if self.backend_args is None and osp.exists(path):
                size_of(path, MOST_BYTES)
            content = fileio.get(path, backend_args=self.backend_args)
        except OSError as error:
            raise cannot_read(path, error) from error
        try:
            img = self.decode(content)
        # Decoders raise errors of many types.
        except Exception as error:
            raise cannot_read(path, error) from error
        results['img'] = img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        return results

    def decode(self, content: bytes) -> np.ndarray:
        """Return the pixels of a file, uint8 BGR (H, W, 3)."""
        if not content:
            raise OSError('the file is empty')
        file = io.BytesIO(content)
        try:
            # This reads the header only. Pillow runs other programs for some formats.
            image = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError:
            raise OSError('not a whole image of a known format') from None
        # Pillow has read up to the pixels; thumbnails, which have an end too, come before them.
        if content.startswith(JPEG_START) and content.rfind(JPEG_END, file.tell()) < 0:
            raise OSError('the file is truncated')
        if image.mode == 'F' or image.mode == 'I' and image.format == 'TIFF':
            raise OSError('pixels of 32 bits')
        factor = self.reduction(image)
        if self.imdecode_backend == 'cv2':
            img = mmcv.imfrombytes(content, flag=REDUCTIONS.get(factor, 'color'), backend='cv2')
            if img is None:
                raise OSError('OpenCV cannot decode it')
            return img
        if image.mode.startswith('I'):
            gray = np.asarray(ImageOps.exif_transpose(image)) >> 8
            return np.repeat(gray.astype(np.uint8)[..., None], 3, -1)
        if factor == 1:
            return mmcv.imfrombytes(content, backend='pillow')
        width, height = image.size
        image.draft('RGB', (width // factor, height // factor))
        rgb = ImageOps.exif_transpose(image).convert('RGB')
        return np.asarray(rgb)[..., ::-1]

    def reduction(self, image: Image.Image) -> int:
        """Return 1, 2, 4 or 8, by which the sides of the image may be divided."""
        return 1


@TRANSFORMS.register_module()
class ReducedLoadImageFromFile(CheckedLoadImageFromFile):
    """Loads BGR images, large JPEGs at 1/2, 1/4 or 1/8 of their size.

    The decoder makes the smaller image from fewer coefficients in less time. It does so only where
    no crop is then enlarged that was not before: the crop with the smallest share,
    ``crop_ratio_range[0]``, and the most extreme ratio still has ``size`` pixels along its short
    side. That asks for ``size**2 * max(aspect_ratio_range) / crop_ratio_range[0]`` pixels: 0.33
    million for views of 224 that are cropped from 20 % of the image on. The distribution of crops,
    which are drawn relative to the image, stays the same up to the rounding to whole pixels.

    Args:
        size: side of the views.
        crop_ratio_range: that of the views' RandomResizedCrop.
        aspect_ratio_range: that of the views' RandomResizedCrop.
        kwargs: see :class:`CheckedLoadImageFromFile`, also for errors.
    """

    def __init__(
        self,
        size: int,
        crop_ratio_range: Sequence[float] = (0.08, 1.0),
        aspect_ratio_range: Sequence[float] = (3 / 4, 4 / 3),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require(COUNT, size=size)
        require(some(POSITIVE), crop_ratio_range=crop_ratio_range)
        require(some(POSITIVE), aspect_ratio_range=aspect_ratio_range)
        self.needed = size**2 * max(aspect_ratio_range) / crop_ratio_range[0]

    def reduction(self, image: Image.Image) -> int:
        if image.format != 'JPEG':
            return 1
        width, height = image.size
        fits = [f for f in REDUCTIONS if width * height / f**2 >= self.needed]
        return max(fits, default=1)


@TRANSFORMS.register_module()
class PackImage(BaseTransform):
    """Ends a pipeline for ``collate_images``: the pixels stay, labels do not."""

    def transform(self, results: dict) -> dict:
        """Return ``dict(inputs)``, uint8 (H, W, C)."""
        # Pillow's pixels are read-only: they are copied.
        img = np.require(results['img'], requirements=['C', 'W'])
        return dict(inputs=torch.from_numpy(np.atleast_3d(img)))


@FUNCTIONS.register_module()
def collate_images(batch: Sequence[dict]) -> dict[str, Tensor]:
    """Put what ``PackImage`` gives for images of any sizes into one tensor, to travel as a whole.

    Returns:
        ``inputs``, all pixels in a row, and ``shapes`` (N, 3), height, width and channels of each
        image. :func:`unpack_images` reverses it.
    """
    images = [item['inputs'] for item in batch]
    return dict(
        inputs=torch.cat([image.flatten() for image in images]),
        shapes=torch.tensor([image.shape for image in images]),
    )


def unpack_images(pixels: Tensor, shapes: Tensor | None) -> Tensor | list[Tensor]:
    """Return the images that ``collate_images`` packed, a list of (C, H, W) if sizes differ.

    Without ``shapes`` the ``pixels`` are a batch (N, C, H, W) already.
    """
    if shapes is None:
        return pixels
    if (shapes == shapes[0]).all():
        return pixels.view(-1, *shapes[0].tolist()).permute(0, 3, 1, 2)
    return [
        image.view(shape).permute(2, 0, 1)
        for image, shape in zip(pixels.split(shapes.prod(1).tolist()), shapes.tolist())
    ]
