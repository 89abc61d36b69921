"""Loaders that refuse what is no whole image."""

import io
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_kinds import (
    BAD,
    GOOD,
    PHOTO,
    RGB,
    bomb,
    encoded,
)
from messages import one_line
from mmengine.fileio import LocalBackend, backends
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS
from PIL import EpsImagePlugin, Image


@pytest.fixture(autouse=True)
def _own_run(monkeypatch):
    """No run but those of the test."""
    init_default_scope('mmpretrain')
    monkeypatch.setattr(MMLogger, '_instance_dict', type(MMLogger._instance_dict)())


def loaders(**kwargs) -> list:
    """All loaders of our configs; the last one reduces these images."""
    cfgs = [
        dict(type='CheckedLoadImageFromFile', imdecode_backend=backend)
        for backend in ('cv2', 'pillow')
    ]
    cfgs += [
        dict(cfg, type='ReducedLoadImageFromFile', size=size) for cfg in cfgs for size in (224, 4)
    ]
    return [TRANSFORMS.build(dict(cfg, **kwargs)) for cfg in cfgs]


@pytest.mark.parametrize('name', GOOD)
def test_good_images(name, tmp_path):
    content, expected, error = GOOD[name]
    (tmp_path / name).write_bytes(content)
    for load in loaders():
        results = load(dict(img_path=str(tmp_path / name)))
        image = results['img']
        assert image.dtype == np.uint8 and image.shape[2] == 3
        assert results['img_shape'] == image.shape[:2]
        if image.shape == expected.shape:
            off = np.abs(image[..., ::-1].astype(int) - expected)
        else:  # reduced, from the 4 x 4 pixels that are needed
            assert getattr(load, 'needed', 1e9) < 300 and name != 'pixel.jpg'
            small = cv2.resize(expected, image.shape[1::-1], interpolation=cv2.INTER_AREA)
            off = np.abs(image[..., ::-1].astype(int) - small)
            error = max(error, 8)
        assert off.mean() <= error, load.imdecode_backend


@pytest.mark.parametrize('name', BAD)
def test_bad_images_raise(name, tmp_path):
    content, why = BAD[name]
    path = str(tmp_path / name)
    Path(path).write_bytes(content)
    for load in loaders():
        with pytest.raises(OSError, match='cannot read image ') as e:
            load(dict(img_path=path))
        text = str(e.value)
        assert repr(path) in text and why in text and '\n' not in text
        assert text.endswith(': repair, replace or delete it')
        assert '0x' not in text  # no address of an object


def test_missing_files_raise(tmp_path):
    for load in loaders():
        with pytest.raises(OSError, match='No such file .*: repair') as e:
            load(dict(img_path=f'{tmp_path}/new\nline.png'))
        assert '\n' not in str(e.value)
        with pytest.raises(OSError, match='directory'):
            load(dict(img_path=str(tmp_path)))


@pytest.mark.parametrize('name', ['bomb.png', 'bomb.jpg', 'bomb.tif'])
def test_bombs_are_not_decoded(name, tmp_path, monkeypatch):
    """20,000 x 10,000 pixels; 13,377 x 13,377 are not too many."""
    path = tmp_path / name
    if name == 'bomb.png':
        small, large = bomb(13_377, 13_377), bomb(20_000, 10_000)
    else:
        kind = dict(jpg='JPEG', tif='TIFF')[name[-3:]]
        file = encoded(PHOTO, kind)
        if kind == 'JPEG':
            at = file.index(b'\xff\xc0') + 5
            small, large = (
                file[:at] + struct.pack('>HH', *size) + file[at + 4 :]
                for size in ((13_377, 13_377), (10_000, 20_000))
            )
        else:

            def sized(width, height):
                from PIL.TiffImagePlugin import ImageFileDirectory_v2

                tags = ImageFileDirectory_v2()
                tags[256], tags[257] = width, height
                image = PHOTO.copy()
                content = bytearray(encoded(image, 'TIFF'))
                with Image.open(io.BytesIO(content)) as tif:
                    start = tif.tag_v2._offset
                count = struct.unpack('<H', content[start : start + 2])[0]
                for i in range(count):
                    at = start + 2 + 12 * i
                    tag = struct.unpack('<H', content[at : at + 2])[0]
                    if tag in (256, 257):
                        value = width if tag == 256 else height
                        content[at + 2 : at + 12] = struct.pack('<HII', 4, 1, value)
                return bytes(content)

            small, large = sized(13_377, 13_377), sized(20_000, 10_000)

    def decoder(*args, **kwargs):
        raise OSError('decoded')

    monkeypatch.setattr('mmcv.imfrombytes', decoder)
    for load in loaders()[:2]:
        path.write_bytes(small)
        with pytest.warns(Image.DecompressionBombWarning):
            with pytest.raises(OSError, match='decoded'):
                load(dict(img_path=str(path)))
        path.write_bytes(large)
        with pytest.raises(OSError, match='200000000 pixels.* exceeds limit'):
            load(dict(img_path=str(path)))


EPS = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n'


def test_no_image_starts_ghostscript(tmp_path, monkeypatch):
    program, canary = tmp_path / 'gs', tmp_path / 'canary'
    program.write_text(f'#!/bin/sh\ntouch {canary}\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    (tmp_path / 'photo.jpg').write_bytes(EPS)
    results = dict(img_path=str(tmp_path / 'photo.jpg'))
    host = TRANSFORMS.build(dict(type='LoadImageFromFile', imdecode_backend='pillow'))
    for load in [*loaders(), host]:
        with pytest.raises(OSError):
            load(results)
    assert not canary.exists()
    # Pillow would have done so.
    monkeypatch.setattr(EpsImagePlugin, 'gs_binary', None)
    with pytest.raises(OSError):
        host(results)
    assert canary.exists()


def test_what_is_no_file_is_not_read(tmp_path):
    huge = tmp_path / 'huge.jpg'
    huge.touch()
    os.truncate(huge, 6_000_000_000)
    (tmp_path / 'device.jpg').symlink_to('/dev/zero')
    os.mkfifo(tmp_path / 'pipe.jpg')
    for name, reason in dict(
        huge='more than the 1,073,741,824 that are read',
        device='is a pipe, a device or a socket',
        pipe='is a pipe, a device or a socket',
    ).items():
        for load in loaders():
            with pytest.raises(OSError, match=reason) as error:
                load(dict(img_path=str(tmp_path / f'{name}.jpg')))
            one_line(error)


def test_a_prefix_names_the_store_of_a_file(monkeypatch):
    class Store(LocalBackend):
        def get(self, filepath):
            assert filepath == 'shelf://photo'
            return encoded(PHOTO, 'PNG')

    monkeypatch.setitem(backends.prefix_to_backends, 'shelf', Store)
    for load in loaders()[:2]:
        np.testing.assert_array_equal(load(dict(img_path='shelf://photo'))['img'], RGB[..., ::-1])
