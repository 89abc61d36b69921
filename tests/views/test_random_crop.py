"""Where crops lie and how they are resized, against Pillow, OpenCV, torchvision and mmpretrain."""

import random

import mmcv
import numpy as np
import pytest
import torch
from batch_views import CROP, P_VALUE, PHOTOS, rng, tensor
from mmengine.registry import init_default_scope
from mmpretrain.datasets.transforms import RandomResizedCrop
from PIL import Image
from scipy.stats import chisquare, kstest
from torchvision.transforms import RandomResizedCrop as TorchvisionCrop

from mmentropy.views import random_crop
from mmentropy.views.pipeline_reader import read_transform


@pytest.fixture(autouse=True)
def scope_and_seeds():
    init_default_scope('mmpretrain')
    np.random.seed(0)
    random.seed(0)


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('size', [(24, 32), (160, 200)], ids=str)
@pytest.mark.parametrize('alone', [False, True], ids=['batch', 'alone'])
def test_resized_crop(interpolation, size, alone):
    boxes = torch.tensor([[10, 20, 100, 120], [3, 50, 90, 40]])
    mode = getattr(Image.Resampling, interpolation.upper())
    pillow = tensor(
        Image.fromarray(photo).crop((left, top, left + w, top + h)).resize(size[::-1], mode)
        for photo, (top, left, h, w) in zip(PHOTOS, boxes.tolist())
    )
    x = tensor(PHOTOS).byte()
    for pixels in (x, x.float()):
        if alone:
            ours = torch.cat(
                [
                    random_crop.resized_crop(
                        pixels[i : i + 1], boxes[i : i + 1], size, interpolation
                    )
                    for i in range(2)
                ]
            )
        else:
            ours = random_crop.resized_crop(pixels, boxes, size, interpolation)
        assert ours.shape == (2, 3, *size)
        assert ours.min() >= 0 and ours.max() <= 255
        error = (ours - pillow).abs()
        assert error.mean() < 0.3
        # Which side Pillow resamples and cuts off first varies by version.
        assert (error > 2.1).float().mean() < 1e-3 and error.max() < 30


@pytest.mark.parametrize('size', [(5, 4), (16, 20)], ids=str)
def test_resized_crop_of_opencv(size):
    """Shrinks without a wider filter."""
    boxes = torch.tensor([[4, 2, 14, 16]] * 2)
    x = tensor(PHOTOS)[..., :30, :30]
    photos = [p[4:18, 2:18].copy() for p in PHOTOS]
    theirs = tensor(mmcv.imresize(p, size[::-1]) for p in photos)
    for ours in (
        random_crop.resized_crop(x, boxes, size, 'bilinear', False),
        torch.cat(
            [
                random_crop.resized_crop(x[i : i + 1], boxes[:1], size, 'bilinear', False)
                for i in range(2)
            ]
        ),
    ):
        assert (ours - theirs).abs().max() < 1.6


@pytest.mark.parametrize(
    'cfg, antialias',
    [
        (dict(type='RandomResizedCrop', scale=8), False),
        (CROP, True),
        (dict(type='torchvision/RandomResizedCrop', size=8), True),
    ],
)
def test_only_opencv_shrinks_without_a_wider_filter(cfg, antialias):
    x, boxes = tensor(PHOTOS), torch.tensor([[10, 20, 100, 120]] * 2)
    torch.testing.assert_close(
        read_transform(cfg).apply(x, boxes),
        random_crop.resized_crop(x, boxes, (8, 8), 'bilinear', antialias),
    )


def shares(boxes, height, width):
    """What describes a crop: share, ratio, place, size."""
    top, left, h, w = np.asarray(boxes, dtype=float).T
    return dict(share=h * w / height / width, ratio=w / h, top=top, left=left, height=h, width=w)


# Most draws fit, few fit, none fits.
@pytest.mark.slow
@pytest.mark.parametrize('height, width', [(375, 500), (28, 28), (60, 200), (40, 400), (400, 40)])
def test_crops_are_those_of_mmpretrain_and_torchvision(height, width):
    scale, count = (0.2, 1.0), 1500
    ours = read_transform(dict(CROP, crop_ratio_range=scale)).draw(
        rng(), torch.tensor([[height, width]] * count)
    )['boxes']
    assert (ours[:, 2:] > 0).all() and (ours[:, :2] >= 0).all()
    assert (ours[:, 0] + ours[:, 2] <= height).all()
    assert (ours[:, 1] + ours[:, 3] <= width).all()
    image = np.empty((height, width, 3), np.uint8)
    theirs = RandomResizedCrop(8, scale)
    other = torch.empty(3, height, width)
    for boxes in (
        [theirs.rand_crop_params(image) for _ in range(count)],
        [TorchvisionCrop.get_params(other, scale, (3 / 4, 4 / 3)) for _ in range(count)],
    ):
        expected = shares(boxes, height, width)
        for name, values in shares(ours, height, width).items():
            p = kstest(values, expected[name]).pvalue
            assert p > P_VALUE, (name, p)
    # The largest central crop of ratio 4/3, of ratio 3/4.
    central = {40: [0, 173, 40, 53], 400: [173, 0, 53, 40]}
    if height in central:
        assert ours.unique(dim=0).tolist() == [central[height]]


def test_crops_of_one_shape():
    """Sides are rounded, any place is as likely, down and across apart."""
    crop = dict(CROP, crop_ratio_range=(0.3, 0.3), aspect_ratio_range=(2.0, 2.0))
    boxes = read_transform(crop).draw(rng(), torch.tensor([[20, 30]] * 6000))['boxes']
    # 20 * 30 * 0.3 = 180 pixels, 9.49 by 18.97.
    assert boxes[:, 2:].unique(dim=0).tolist() == [[9, 19]]
    places, counts = boxes[:, :2].unique(dim=0, return_counts=True)
    assert places.tolist() == [[i, j] for i in range(12) for j in range(12)]
    assert chisquare(counts).pvalue > P_VALUE


def test_crops_of_different_sizes():
    """Every box is relative to its own image."""
    sizes = torch.tensor([[10, 30], [300, 200]] * 500)
    boxes = read_transform(CROP).draw(rng(), sizes)['boxes']
    assert (boxes[:, :2] + boxes[:, 2:] <= sizes).all()
    assert boxes[1::2, 2].max() > 200 > 30 > boxes[::2, 3].max() > 12
