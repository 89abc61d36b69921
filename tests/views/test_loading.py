"""Loading of images, whole or reduced, and how a batch of them travels."""

import io
import math
import random
from types import SimpleNamespace

import mmcv
import numpy as np
import pytest
import torch
from batch_views import PHOTOS, tensor
from mmengine.registry import FUNCTIONS, init_default_scope
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from sklearn.datasets import load_sample_images

from mmentropy.views.loading import collate_images, unpack_images


@pytest.fixture(autouse=True)
def scope_and_seeds():
    init_default_scope('mmpretrain')
    np.random.seed(0)
    random.seed(0)


def loader(**kwargs):
    return TRANSFORMS.build(dict(type='ReducedLoadImageFromFile', **kwargs))


def test_packed_pixels_are_a_tensor_of_their_own():
    """Of Pillow's arrays, read-only, and of those turned to BGR."""
    image = PHOTOS[0].copy()
    image.flags.writeable = False
    for img in (image, image.copy()[..., ::-1]):
        kept = img.copy()
        inputs = TRANSFORMS.build(dict(type='PackImage'))(dict(img=img))['inputs']
        assert np.array_equal(inputs.numpy(), kept)
        inputs.zero_()
        assert np.array_equal(img, kept)


def test_pack_and_collate():
    pack = TRANSFORMS.build(dict(type='PackImage'))
    images = [np.arange(6, dtype=np.uint8).reshape(2, 3), PHOTOS[0]]
    batch = FUNCTIONS.get('collate_images')([pack(dict(img=image, gt_label=1)) for image in images])
    assert batch['shapes'].tolist() == [[2, 3, 1], [*PHOTOS[0].shape]]
    gray, photo = unpack_images(**dict(pixels=batch['inputs'], shapes=batch['shapes']))
    assert torch.equal(gray, torch.arange(6).view(1, 2, 3).byte())
    assert torch.equal(photo.float(), tensor(PHOTOS[:1])[0])
    even = collate_images([pack(dict(img=image)) for image in PHOTOS])
    assert torch.equal(unpack_images(even['inputs'], even['shapes']).float(), tensor(PHOTOS))


@pytest.mark.parametrize(
    'width, height, factor',
    [
        (500, 375, 1),
        (1336, 1000, 1),
        (1339, 1000, 2),
        (2670, 2000, 2),
        (2680, 2000, 4),
        (5360, 4000, 8),
        (9000, 9000, 8),
    ],
)
def test_no_crop_is_enlarged_by_reduction(width, height, factor):
    """The narrowest crop of the smallest share keeps the side of a view."""
    cfg = dict(size=224, crop_ratio_range=(0.2, 1.0))
    image = SimpleNamespace(size=(width, height), format='JPEG')
    assert loader(**cfg).reduction(image) == factor
    smallest = math.sqrt(0.2 * width * height / (4 / 3))
    if factor > 1:
        assert smallest / factor >= 224
    if factor < 8:
        assert smallest / (2 * factor) < 224
    image.format = 'PNG'
    assert loader(**cfg).reduction(image) == 1


def test_reduction_leaves_what_is_needed():
    """Of 20 x 20 pixels the 100 of a whole view, but of no long one."""
    image = SimpleNamespace(size=(20, 20), format='JPEG')
    for ratios, factor in (((1.0, 1.0), 2), ((0.5, 1.1), 1), ((0.5, 1.0), 1), ((1.0, 2.0), 1)):
        cfg = dict(size=10, crop_ratio_range=(1.0, 1.0), aspect_ratio_range=ratios)
        assert loader(**cfg).reduction(image) == factor


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('size, factor', [(64, 2), (32, 4), (16, 8)])
def test_reduced_loading(backend, size, factor, tmp_path):
    """Like the whole image made smaller afterwards, EXIF's turn included."""
    photo = Image.fromarray(load_sample_images().images[1][:424])
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / 'photo.jpg'
    photo.save(path, quality=95, exif=exif)
    results = dict(img_path=str(path))
    whole = loader(size=224, imdecode_backend=backend)(dict(results))['img']
    height, width = 640 // factor, 424 // factor
    assert whole.shape == (640, 424, 3)
    plain = mmcv.imread(str(path), backend=backend)
    np.testing.assert_array_equal(whole, plain)
    part = loader(size=size, crop_ratio_range=(0.2, 1.0), imdecode_backend=backend)(dict(results))
    assert part['img'].shape == (height, width, 3)
    assert part['img_shape'] == part['ori_shape'] == (height, width)
    expected = mmcv.imresize(whole, (width, height), interpolation='area')
    assert np.abs(part['img'].astype(float) - expected).mean() < 2.5


def test_unreadable_images(tmp_path):
    path = tmp_path / 'photo.jpg'
    content = io.BytesIO()
    Image.fromarray(load_sample_images().images[0]).save(content, 'JPEG')
    path.write_bytes(content.getvalue()[:20000])
    for kwargs in (dict(size=224), dict(size=16)):
        with pytest.raises(OSError):
            loader(imdecode_backend='pillow', **kwargs)(dict(img_path=str(path)))
    # A header and nothing behind it.
    path.write_bytes(content.getvalue()[:630])
    for size in (224, 16):
        with pytest.raises(OSError, match='cannot read image .*photo.jpg'):
            loader(size=size)(dict(img_path=str(path)))
    path.write_bytes(b'no image')
    with pytest.raises(OSError):
        loader(size=224)(dict(img_path=str(path)))
    with pytest.raises(KeyError, match='nowhere'):
        loader(size=224, backend_args=dict(backend='nowhere'))(dict(img_path=str(path)))
    with pytest.raises(ValueError, match='imdecode_backend'):
        loader(size=224, imdecode_backend='turbojpeg')
