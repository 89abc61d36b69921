"""Decodes images with the channels and the depth that they have in their files."""

import io

import cv2
import numpy as np
import tifffile
from PIL import Image

# TIFF and BigTIFF, of either order of bytes.
TIFF_STARTS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
DEPTHS = (np.uint8, np.uint16)
# The tag of EXIF that says how an image is turned.
ORIENTATION = 0x0112


def decode_any_depth(content: bytes, image: Image.Image | None) -> np.ndarray:
    """Return pixels (H, W) or (H, W, C) of 8 or 16 bits, the channels in the order of the file.

    Args:
        content: the file.
        image: what Pillow knows by the header; None for a TIFF.

    Raises:
        OSError, ValueError: the file has other pixels, or cannot be decoded.
    """
    img = decode_tiff(content) if image is None else decode_by_opencv(content, image)
    if img.dtype.type not in DEPTHS:
        known = ' and '.join(depth.__name__ for depth in DEPTHS)
        raise OSError(f'pixels of {img.dtype}; known are {known}')
    return img


def decode_by_opencv(content: bytes, image: Image.Image) -> np.ndarray:
    """Return the pixels of PNG, JPEG, WebP, BMP and PNM; EXIF turns those without alpha."""
    alpha = image.mode.endswith(('A', 'a')) or 'transparency' in image.info
    flags = cv2.IMREAD_UNCHANGED if alpha else cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
    if image.format == 'WEBP':
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    img = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if img is None:
        raise OSError('OpenCV cannot decode it')
    if image.format == 'WEBP' and not alpha:
        img = turned_by_exif(img, image)
    if img.ndim == 2:
        return img
    # OpenCV gives BGR, and gray images with alpha as BGRA.
    if image.mode in ('LA', 'La'):
        return np.ascontiguousarray(img[..., [0, 3]])
    return cv2.cvtColor(img, cv2.COLOR_BGR2RGB if img.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def turned_by_exif(img: np.ndarray, image: Image.Image) -> np.ndarray:
    """Return pixels that lie as in their file turned as its EXIF says.

    OpenCV turns no WebP up to 4.12, and other versions may.
    """
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    # Damaged EXIF raises errors of many types, and OpenCV takes no notice of it.
    except Exception:
        return img
    if orientation in (5, 6, 7, 8):
        img = img.swapaxes(0, 1)
    # Rows, then columns, from the last one on.
    if orientation in (3, 4, 7, 8):
        img = img[::-1]
    if orientation in (2, 3, 6, 7):
        img = img[:, ::-1]
    return np.ascontiguousarray(img)


def decode_tiff(content: bytes) -> np.ndarray:
    """Return the first image of a TIFF, whose bands lie by pixel, by plane or by page."""
    # Files that this one may name are not opened.
    with tifffile.TiffFile(io.BytesIO(content), _multifile=False) as file:
        series = file.series[0]
        # Axes of length 1 are no bands. Which of them tifffile leaves out depends on its version.
        kept = [(n, axis) for n, axis in zip(series.shape, series.axes) if n > 1 or axis in 'YX']
        shape, axes = zip(*kept)
        bands = [axis for axis in axes if axis not in 'YX']
        if not {'Y', 'X'} <= {*axes} or len(bands) > 1:
            raise OSError(f'a TIFF of shape {shape}, which is no image of several bands')
        # As large as the largest photo.
        limit, size = 6 * (Image.MAX_IMAGE_PIXELS or np.inf), series.nbytes
        if size > limit:
            raise OSError(f'{size} bytes of pixels exceed the limit of {limit}')
        if series.keyframe.photometric == tifffile.PHOTOMETRIC.PALETTE:
            raise OSError("a palette, which color_type='color' decodes")
        img = series.asarray().reshape(shape)
    return np.ascontiguousarray(np.moveaxis(img, axes.index(bands[0]), -1) if bands else img)
