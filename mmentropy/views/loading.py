"""Loads image files, and carries whole images of any sizes to where views are made in batch."""

import io
from collections.abc import Sequence
from contextlib import suppress
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
from mmentropy.views.any_depth import TIFF_STARTS, decode_any_depth, turned_by_exif

# A file of the most pixels that are accepted is smaller.
MOST_BYTES = 2**30
# Factors by which the decoder of JPEGs can shrink, and the names that OpenCV has for them.
REDUCTIONS = {
    name: {n: getattr(cv2, f'IMREAD_REDUCED_{name.upper()}_{n}') for n in (2, 4, 8)}
    for name in ('color', 'grayscale')
}
COLOR_TYPES = (*REDUCTIONS, 'unchanged')
JPEG_START, JPEG_END = b'\xff\xd8', b'\xff\xd9'


@TRANSFORMS.register_module()
class CheckedLoadImageFromFile(BaseTransform):
    """Loads images, and refuses files that are not whole images.

    Unlike mmcv's ``LoadImageFromFile`` it refuses a file whose header is of none of ``FORMATS``,
    pipes and devices, files above 1 GiB, a JPEG without its end, which some versions of OpenCV fill
    up, and more than 179 million pixels, twice ``PIL.Image.MAX_IMAGE_PIXELS``, before they take up
    memory. Gray images of 16 bits keep their upper 8, where Pillow would clip; those of 32 have
    no known range and are refused. Reading the header takes 20 microseconds, 2 % of the decoding of
    a photo of 500 x 375.

    Args:
        imdecode_backend: 'cv2' or 'pillow'; 'unchanged' has decoders of its own.
        backend_args: arguments of ``mmengine.fileio.get``.
        color_type: 'color' gives uint8 BGR, 'grayscale' uint8 (H, W). 'unchanged' keeps the
            channels, in the order of the file, and the depth, uint8 or uint16.

    Raises:
        ValueError: ``imdecode_backend`` or ``color_type`` is something else.
        OSError: on reading, the file is missing or not such an image; one line with its path.
    """

    def __init__(
        self,
        imdecode_backend: str = 'cv2',
        backend_args: dict | None = None,
        color_type: str = 'color',
    ) -> None:
        require(one_of(('cv2', 'pillow')), imdecode_backend=imdecode_backend)
        require(one_of(COLOR_TYPES), color_type=color_type)
        self.imdecode_backend = imdecode_backend
        self.backend_args = backend_args
        self.color_type = color_type

    def transform(self, results: dict) -> dict:
        """Add ``img``, (H, W, C) or, of one channel, (H, W)."""
        path = results['img_path']
        try:
            content = read(path, self.backend_args)
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
        """Return the pixels of a file."""
        if not content:
            raise OSError('the file is empty')
        unchanged = self.color_type == 'unchanged'
        # Pillow does not know TIFFs of other channels than those of colours.
        if unchanged and content.startswith(TIFF_STARTS):
            return decode_any_depth(content, None)
        image = checked_header(content)
        return decode_any_depth(content, image) if unchanged else self.decode_8_bits(content, image)

    def decode_8_bits(self, content: bytes, image: Image.Image) -> np.ndarray:
        """Return uint8 BGR or gray pixels."""
        if image.mode == 'F' or image.mode == 'I' and image.format == 'TIFF':
            raise OSError('pixels of 32 bits')
        factor, kind = self.reduction(image), self.color_type
        if self.imdecode_backend == 'cv2':
            webp = image.format == 'WEBP'
            plain = f'{kind}_ignore_orientation' if webp else kind
            flag = REDUCTIONS[kind].get(factor, plain)
            img = mmcv.imfrombytes(content, flag=flag, backend='cv2')
            if img is None:
                raise OSError('OpenCV cannot decode it')
            return turned_by_exif(img, image) if webp else img
        if image.mode.startswith('I'):
            wide = np.asarray(ImageOps.exif_transpose(image)) >> 8
            gray = wide.astype(np.uint8)
            return gray if kind == 'grayscale' else np.repeat(gray[..., None], 3, -1)
        if factor == 1:
            return mmcv.imfrombytes(content, flag=kind, backend='pillow')
        width, height = image.size
        mode = 'L' if kind == 'grayscale' else 'RGB'
        image.draft(mode, (width // factor, height // factor))
        pixels = np.asarray(ImageOps.exif_transpose(image).convert(mode))
        return pixels[..., ::-1] if mode == 'RGB' else pixels

    def reduction(self, image: Image.Image) -> int:
        """Return 1, 2, 4 or 8, by which the sides of the image may be divided."""
        return 1


def read(path: str, backend_args: dict | None) -> bytes:
    """Return what is in a file.

    Raises:
        OSError: there is no such file, or it is a pipe, a device or too large.
    """
    # A local file is read without asking mmengine's table of stores, which takes longer than
    # reading a small image.
    if backend_args is not None or '://' in str(path):
        return fileio.get(path, backend_args=backend_args)
    # If there is no such file, the message of open is the shorter one.
    with suppress(FileNotFoundError):
        size_of(path, MOST_BYTES)
    with open(path, 'rb') as file:
        return file.read()


def checked_header(content: bytes) -> Image.Image:
    """Return what Pillow reads of a file up to its pixels.

    Raises:
        OSError: its format is not known, or it is a JPEG without its end.
    """
    file = io.BytesIO(content)
    try:
        # Pillow runs other programs for some formats.
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        if content.startswith(TIFF_STARTS):
            raise OSError("a TIFF of other channels, which color_type='unchanged' loads") from None
        raise OSError('not a whole image of a known format') from None
    # Pillow has read up to the pixels; thumbnails, which have an end too, come before them.
    if content.startswith(JPEG_START) and content.rfind(JPEG_END, file.tell()) < 0:
        raise OSError('the file is truncated')
    return image


@TRANSFORMS.register_module()
class ReducedLoadImageFromFile(CheckedLoadImageFromFile):
    """Loads images, large JPEGs at 1/2, 1/4 or 1/8 of their size.

    The decoder makes the smaller image from fewer coefficients in less time. It does so only where
    no crop is then enlarged that was not before: the crop with the smallest share,
    ``crop_ratio_range[0]``, and the most extreme ratio still has ``size`` pixels along its short
    side. That asks for ``size**2 * r / crop_ratio_range[0]`` pixels, where r is the long side of
    that crop over its short side: 0.33 million for views of 224 that are cropped from 20 % of the
    image on. The distribution of crops, which are drawn relative to the image, stays the same up to
    the rounding to whole pixels.

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
        extreme = max(*aspect_ratio_range, 1 / min(aspect_ratio_range))
        self.needed = size**2 * extreme / crop_ratio_range[0]

    def reduction(self, image: Image.Image) -> int:
        if image.format != 'JPEG':
            return 1
        width, height = image.size
        fits = [f for f in (2, 4, 8) if width * height / f**2 >= self.needed]
        return max(fits, default=1)


@TRANSFORMS.register_module()
class PackImage(BaseTransform):
    """Ends a pipeline for ``collate_images``: the pixels stay, labels do not."""

    def transform(self, results: dict) -> dict:
        """Return ``dict(inputs)``, uint8 or uint16 (H, W, C)."""
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
