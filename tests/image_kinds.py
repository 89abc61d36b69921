"""Image files of every kind, good and bad, all of the same 60 x 40 pixels."""

import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

RAMP = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8) * 2


RGB = np.stack([RAMP, 255 - RAMP, RAMP // 2], -1)


GRAY = np.stack([RAMP] * 3, -1)


PHOTO = Image.fromarray(RGB)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def by_opencv(suffix: str, array: np.ndarray) -> bytes:
    return cv2.imencode(suffix, array[..., ::-1] if array.ndim == 3 else array)[1].tobytes()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    return exif


def bomb(width: int, height: int) -> bytes:
    """A PNG of a kilobyte that says it has so many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
        )

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(bytes(10**6)))
        + chunk(b'IEND', b'')
    )


def thumbnailed() -> bytes:
    """A JPEG with a whole JPEG inside of its head."""
    inner = encoded(PHOTO.resize((6, 4)), 'JPEG')
    assert inner.endswith(b'\xff\xd9')
    segment = b'Exif\0\0' + inner
    photo = encoded(PHOTO, 'JPEG', quality=95)
    return photo[:2] + b'\xff\xe1' + struct.pack('>H', len(segment) + 2) + segment + photo[2:]


# Images of 16 bits have the same pixels in their upper bits, and others in the lower.
WIDE = 256 * RGB.astype(np.uint16) + RGB[::-1]


# Content, what to see, how far off it may be.
GOOD = {
    'rgb.png': (encoded(PHOTO, 'PNG'), RGB, 0),
    'rgb.webp': (encoded(PHOTO, 'WEBP', lossless=True), RGB, 0),
    'rgb.ppm': (encoded(PHOTO, 'PPM'), RGB, 0),
    'jpeg_named.png': (encoded(PHOTO, 'JPEG', quality=95), RGB, 2),
    'progressive.jpg': (encoded(PHOTO, 'JPEG', quality=95, progressive=True), RGB, 2),
    'thumbnail.jpg': (thumbnailed(), RGB, 2),
    'junk_behind.jpg': (encoded(PHOTO, 'JPEG', quality=95) + b'junk' * 99, RGB, 2),
    'pixel.png': (encoded(PHOTO.crop((7, 9, 8, 10)), 'PNG'), RGB[9:10, 7:8], 0),
    'pixel.jpg': (encoded(PHOTO.crop((7, 9, 8, 10)), 'JPEG'), RGB[9:10, 7:8], 3),
    'row.png': (encoded(PHOTO.crop((0, 0, 60, 1)), 'PNG'), RGB[:1], 0),
    'gray.png': (encoded(Image.fromarray(RAMP), 'PNG'), GRAY, 0),
    'gray.jpg': (encoded(Image.fromarray(RAMP), 'JPEG', quality=95), GRAY, 2),
    'rgba.png': (encoded(PHOTO.convert('RGBA'), 'PNG'), RGB, 0),
    'gray_alpha.png': (encoded(Image.fromarray(RAMP).convert('LA'), 'PNG'), GRAY, 0),
    'palette.png': (encoded(PHOTO.quantize(256), 'PNG'), RGB, 6),
    'cmyk.jpg': (encoded(PHOTO.convert('CMYK'), 'JPEG', quality=95), RGB, 3),
    'cmyk.tif': (encoded(PHOTO.convert('CMYK'), 'TIFF'), RGB, 1),
    'wide.png': (by_opencv('.png', WIDE), RGB, 1),
    'wide.ppm': (by_opencv('.ppm', WIDE), RGB, 1),
    'wide_gray.png': (by_opencv('.png', WIDE[..., 0]), GRAY, 1),
    'wide_gray.tif': (by_opencv('.tif', WIDE[..., 0]), GRAY, 1),
    'wide_gray.pgm': (by_opencv('.pgm', WIDE[..., 0]), GRAY, 1),
    'exif.jpg': (encoded(PHOTO, 'JPEG', quality=95, exif=turned()), np.rot90(RGB, -1), 2),
    'exif.png': (encoded(PHOTO, 'PNG', exif=turned()), np.rot90(RGB, -1), 0),
}


JPEG = encoded(PHOTO, 'JPEG', quality=95)


PNG = GOOD['rgb.png'][0]


# Content and, in part, the reason that is reported.
BAD = {
    'empty.jpg': (b'', 'the file is empty'),
    'text.jpg': (b'<html>\nnot\tfound</html>', 'known format'),
    'header.jpg': (JPEG[:20], ''),
    'half.jpg': (JPEG[:-99], 'truncated'),
    'no_end.jpg': (JPEG[:-2], 'truncated'),
    'cut_thumbnail.jpg': (thumbnailed()[:-50], 'truncated'),
    'corrupt.jpg': (bytes(200) + JPEG[200:], 'known format'),
    'half.png': (PNG[: len(PNG) // 2], ''),
    'half.webp': (GOOD['rgb.webp'][0][:-40], ''),
    'half.ppm': (GOOD['rgb.ppm'][0][:-999], ''),
    'bomb.png': (bomb(20_000, 20_000), 'exceeds limit'),
    'float.tif': (by_opencv('.tif', RAMP.astype(np.float32)), '32 bits'),
}


MIXED = np.array(
    [
        'tab\tand line\nbreak.jpg',
        'spaces in  it.jpg',
        'Grüße 图片 🙂.jpg',
        os.fsdecode(b'latin \xfc\xff.jpg'),
        'quote \' and ".jpg',
        'back\\slash.jpg',
    ]
)


def lay(root: Path, files: dict[str, bytes]) -> None:
    """Write files by their paths below a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
