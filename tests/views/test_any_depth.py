"""Images of any channels, of 8 and 16 bits: loaded as they are, and made into views."""

import io

import numpy as np
import pytest
import tifffile
import torch
from batch_views import CROP, FLIP
from image_kinds import GOOD, PHOTO, RAMP, RGB, WIDE, by_opencv, encoded, turned
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from mmentropy.views import BatchViews, PerChannelPreprocessor, pixels
from mmentropy.views.loading import collate_images

BANDS = np.stack([WIDE[..., 0] // (i + 1) for i in range(8)], -1)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


def tiff(array, **kwargs):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **dict(dict(photometric='minisblack'), **kwargs))
    return file.getvalue()


def planes(array):
    return np.moveaxis(array, -1, 0).copy()


FILES = {
    'bands.tif': (tiff(BANDS, planarconfig='contig'), BANDS),
    'planes.tif': (tiff(planes(BANDS), planarconfig='separate'), BANDS),
    'pages.tif': (tiff(planes(BANDS)), BANDS),
    'tiles.tif': (tiff(BANDS, planarconfig='contig', tile=(16, 16)), BANDS),
    'deflated.tif': (tiff(BANDS, planarconfig='contig', compression='deflate'), BANDS),
    'big_endian.tif': (tiff(BANDS, planarconfig='contig', byteorder='>'), BANDS),
    'bigtiff.tif': (tiff(BANDS, planarconfig='contig', bigtiff=True), BANDS),
    'two.tif': (tiff(BANDS[..., :2], planarconfig='contig'), BANDS[..., :2]),
    'four_bytes.tif': (tiff(RGB[..., [0, 1, 2, 0]], planarconfig='contig'), RGB[..., [0, 1, 2, 0]]),
    'colours.tif': (tiff(WIDE, photometric='rgb'), WIDE),
    'gray.tif': (tiff(WIDE[..., 0]), WIDE[..., 0]),
    'rgb.png': (encoded(PHOTO, 'PNG'), RGB),
    'wide.png': (by_opencv('.png', WIDE), WIDE),
    'wide_gray.png': (by_opencv('.png', WIDE[..., 0]), WIDE[..., 0]),
    'gray.png': (encoded(Image.fromarray(RAMP), 'PNG'), RAMP),
    'alpha.png': (
        encoded(Image.fromarray(np.dstack([RGB, RAMP])), 'PNG'),
        np.dstack([RGB, RAMP]),
    ),
    'gray_alpha.png': (
        encoded(Image.fromarray(np.dstack([RAMP, RAMP // 2])), 'PNG'),
        np.dstack([RAMP, RAMP // 2]),
    ),
    'transparent.png': (
        encoded(PHOTO, 'PNG', transparency=tuple(RGB[0, 0].tolist())),
        np.dstack([RGB, 255 * (RGB != RGB[0, 0]).any(-1).astype(np.uint8)]),
    ),
    'exif.png': (encoded(PHOTO, 'PNG', exif=turned()), np.rot90(RGB, -1)),
}


def load(path, **kwargs):
    cfg = dict(dict(type='CheckedLoadImageFromFile'), **kwargs)
    return TRANSFORMS.build(cfg)(dict(img_path=str(path)))['img']


@pytest.mark.parametrize('name', FILES)
def test_channels_and_depth_stay(name, tmp_path):
    content, expected = FILES[name]
    (tmp_path / name).write_bytes(content)
    found = load(tmp_path / name, color_type='unchanged')
    assert found.dtype == expected.dtype and found.dtype.isnative
    assert np.array_equal(found, expected)


@pytest.mark.parametrize('orientation', [*range(1, 10), None])
@pytest.mark.parametrize('color_type', ['color', 'grayscale', 'unchanged'])
@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_webp_is_turned_as_other_images(orientation, color_type, backend, tmp_path):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    PHOTO.save(tmp_path / 'a.webp', lossless=True, exif=exif)
    Image.fromarray(RGB).save(tmp_path / 'a.png', exif=exif)
    webp, png = (
        load(tmp_path / f'a.{kind}', color_type=color_type, imdecode_backend=backend)
        for kind in ('webp', 'png')
    )
    assert webp.shape == png.shape
    assert np.abs(webp.astype(int) - png).max() <= (1 if color_type == 'grayscale' else 0)


@pytest.mark.parametrize('color_type', ['color', 'unchanged'])
def test_webp_with_damaged_exif_is_loaded(color_type, tmp_path):
    PHOTO.save(tmp_path / 'a.webp', lossless=True, exif=b'Exif\0\0no tags')
    found = load(tmp_path / 'a.webp', color_type=color_type)
    assert np.array_equal(found, RGB[..., ::-1] if color_type == 'color' else RGB)


@pytest.mark.parametrize('name', GOOD)
@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_gray(name, backend, tmp_path):
    content, expected, error = GOOD[name]
    (tmp_path / name).write_bytes(content)
    gray = expected @ pixels.LUMA
    for kind in (dict(), dict(type='ReducedLoadImageFromFile', size=224)):
        found = load(tmp_path / name, imdecode_backend=backend, color_type='grayscale', **kind)
        assert found.dtype == np.uint8 and found.shape == gray.shape
        assert np.abs(found - gray).mean() <= error + 1


@pytest.mark.parametrize(
    'name, content, color_type, why',
    [
        ('bands.tif', FILES['bands.tif'][0], 'color', "color_type='unchanged' loads"),
        ('half.tif', FILES['bands.tif'][0][:-999], 'unchanged', ''),
        ('text.tif', b'II*\0 no image', 'unchanged', ''),
        ('floats.tif', tiff(RAMP.astype('f4')), 'unchanged', 'pixels of float32; known are uint8'),
        ('stack.tif', tiff(np.zeros((2, 3, 9, 9), 'u1')), 'unchanged', 'no image of several bands'),
        ('palette.tif', encoded(PHOTO.quantize(16), 'TIFF'), 'unchanged', 'a palette'),
        ('half.png', FILES['wide.png'][0][:999], 'unchanged', ''),
    ],
)
def test_what_cannot_be_loaded(name, content, color_type, why, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OSError, match='cannot read image') as raised:
        load(tmp_path / name, color_type=color_type)
    assert why in str(raised.value) and '\n' not in str(raised.value)


def test_bombs_are_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', BANDS.nbytes // 6 - 1)
    (tmp_path / 'bands.tif').write_bytes(FILES['bands.tif'][0])
    with pytest.raises(OSError, match='38400 bytes of pixels exceed the limit of 38394'):
        load(tmp_path / 'bands.tif', color_type='unchanged')


def test_color_type_is_checked():
    with pytest.raises(ValueError, match='color_type must be one of .*unchanged'):
        load('a.png', color_type='gray')


def batch_views(*view, mean, **kwargs):
    pipeline = [dict(type='MultiView', num_views=1, transforms=[list(view)])]
    return BatchViews(pipeline, mean=mean, std=[2.0] * len(mean), **kwargs)


@pytest.mark.parametrize('sizes', [(1, 1), (1, 2)])
def test_views_of_bands(sizes):
    """Constant images stay what they are, in the units of their files."""
    images = [np.empty((20 * i, 20, 8), np.uint16) for i in sizes]
    for image in images:
        image[...] = 1000 * np.arange(1, 9)
    pack = TRANSFORMS.build(dict(type='PackImage'))
    batch = collate_images([pack(dict(img=image)) for image in images])
    mean = [500.0 * i for i in range(8)]
    (views,) = batch_views(CROP, FLIP, mean=mean)(batch, True)['inputs']
    expected = (1000 * torch.arange(1.0, 9) - torch.tensor(mean)) / 2
    torch.testing.assert_close(views, expected[:, None, None].expand_as(views))


def test_16_bits_are_8_bits_times_257():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (2, 3, 20, 20), dtype=np.uint8)
    view = [
        dict(type='RandomResizedCrop', scale=8, backend='pillow'),
        dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1),
        dict(type='Solarize', thr=128, prob=0.5),
    ]
    eight, sixteen = [
        batch_views(*view, mean=[0.0] * 3, seed=0)(dict(inputs=torch.from_numpy(images)), True)
        for images in (image, image.astype(np.uint16) * 257)
    ]
    torch.testing.assert_close(eight['inputs'][0] * 257, sixteen['inputs'][0], rtol=1e-3, atol=3)


@pytest.mark.parametrize(
    'name', ['adjust_brightness', 'adjust_contrast', 'adjust_saturation', 'adjust_hue', 'to_gray']
)
def test_colours_are_the_first_three_channels(name):
    x = torch.rand(2, 5, 4, 4, generator=torch.Generator().manual_seed(0)) * 255
    factors = () if name == 'to_gray' else (torch.tensor([0.1, 0.4]),)
    adjust = getattr(pixels, name)
    found = adjust(x, *factors)
    assert torch.equal(found[:, 3:], x[:, 3:])
    assert torch.equal(found[:, :3], adjust(x[:, :3], *factors))
    assert not torch.allclose(found[:, :3], x[:, :3])


def test_two_channels_have_brightness_and_contrast_only():
    x = torch.rand(2, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 100
    for name in ('adjust_saturation', 'adjust_hue'):
        assert torch.equal(getattr(pixels, name)(x, torch.tensor([0.1, 0.4])), x)
    assert torch.equal(pixels.to_gray(x), x)
    flat = pixels.adjust_contrast(x, torch.zeros(2))
    torch.testing.assert_close(flat, x.mean((1, 2, 3), keepdim=True).expand_as(x))


@pytest.mark.parametrize('channels', [1, 2, 3, 4, 8])
def test_statistics_of_any_channels(channels):
    mean, std = torch.arange(1.0, channels + 1), torch.arange(2.0, channels + 2)
    preprocess = PerChannelPreprocessor(mean.tolist(), std.tolist())
    images = torch.full((2, channels, 4, 4), 9, dtype=torch.uint16)
    expected = ((9 - mean) / std)[:, None, None].expand(2, -1, 4, 4)
    assert torch.equal(preprocess(dict(inputs=images))['inputs'], expected)
    for view in preprocess(dict(inputs=[images, images]), True)['inputs']:
        assert torch.equal(view, expected)


def test_other_channels_are_refused():
    images = torch.zeros(2, 4, 9, 9, dtype=torch.uint8)
    for make in (PerChannelPreprocessor, lambda mean, std: batch_views(CROP, mean=mean)):
        for training in (False, True):
            with pytest.raises(ValueError, match='the images have 4 channels.* for 8'):
                make([0.0] * 8, [1.0] * 8)(dict(inputs=images), training)
    with pytest.raises(ValueError, match='the images have 4 channels.* for 3'):
        PerChannelPreprocessor(to_rgb=True)(dict(inputs=images))


@pytest.mark.parametrize(
    'arguments, text',
    [
        (dict(mean=[1.0] * 4, std=[1.0] * 3), 'one length, got 4 and 3'),
        (dict(mean=[1.0] * 4), 'one length'),
        (dict(mean=[1.0], std=[0.0]), 'std must be'),
        (dict(mean=1.0, std=[1.0]), 'mean must be'),
        (dict(mean=[1.0] * 4, std=[1.0] * 4, to_rgb=True), 'to_rgb needs 3 channels'),
    ],
)
def test_bad_statistics(arguments, text):
    with pytest.raises(ValueError, match=text):
        PerChannelPreprocessor(**arguments)
