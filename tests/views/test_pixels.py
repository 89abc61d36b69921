"""Arithmetic on images against Pillow, torchvision and OpenCV."""

import math

import mmcv
import numpy as np
import pytest
import torch
import torchvision.transforms.functional as pil_f
import torchvision.transforms.v2.functional as tv_f
from batch_views import PHOTOS, tensor
from PIL import Image, ImageFilter
from scipy.ndimage import map_coordinates

from mmentropy.views import pixels

FACTORS = torch.tensor([0.6, 1.4])


HUES = torch.tensor([-0.1, 0.2])


@pytest.mark.parametrize(
    'name, factors, worst',
    [
        ('adjust_brightness', FACTORS, 1),
        ('adjust_contrast', FACTORS, 1),
        ('adjust_saturation', FACTORS, 1.5),
        # Pillow keeps hue and saturation in 8 bits.
        ('adjust_hue', HUES, 10),
    ],
)
def test_colours(name, factors, worst):
    x = tensor(PHOTOS)
    ours = getattr(pixels, name)(x, factors)
    # On tensors, whose gray has slightly other weights.
    exact = torch.stack(
        [getattr(tv_f, name)(image / 255, factor.item()) * 255 for image, factor in zip(x, factors)]
    )
    torch.testing.assert_close(ours, exact, rtol=0, atol=0.03)
    pillow = tensor(
        getattr(pil_f, name)(Image.fromarray(photo), factor.item())
        for photo, factor in zip(PHOTOS, factors)
    )
    assert (ours - pillow).abs().max() < worst
    assert (ours - pillow).abs().mean() < 0.4


@pytest.mark.parametrize('name', ['adjust_saturation', 'adjust_hue'])
def test_one_channel_has_no_colour(name):
    x = torch.rand(2, 1, 4, 4) * 255
    assert torch.equal(getattr(pixels, name)(x.clone(), FACTORS), x)
    assert torch.equal(pixels.to_gray(x), x)


def test_contrast_of_one_channel():
    x = tensor(PHOTOS)[:, :1]
    pillow = torch.stack(
        [
            pil_f.pil_to_tensor(pil_f.adjust_contrast(Image.fromarray(p[..., 0]), f.item())).float()
            for p, f in zip(PHOTOS, FACTORS)
        ]
    )
    ours = pixels.adjust_contrast(x, FACTORS)
    assert (ours - pillow).abs().max() < 1


def test_gray():
    ours = pixels.to_gray(tensor(PHOTOS))
    pillow = tensor(Image.fromarray(p).convert('L').convert('RGB') for p in PHOTOS)
    assert (ours - pillow).abs().max() <= 0.51


def test_solarize():
    x = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(pixels.solarize(x.float(), 128), tv_f.solarize(x, 128).float())
    # As uint8 it would have been rounded up.
    assert pixels.solarize(torch.tensor([127.4, 127.6]), 128).tolist() == pytest.approx(
        [127.4, 127.4]
    )


@pytest.mark.parametrize('sigmas', [(0.1, 0.5), (1.0, 1.4), (1.5, 2.0)], ids=str)
def test_blur(sigmas):
    ours = pixels.gaussian_blur(tensor(PHOTOS), torch.tensor(sigmas))
    pillow = tensor(
        Image.fromarray(p).filter(ImageFilter.GaussianBlur(s)) for p, s in zip(PHOTOS, sigmas)
    )
    inside = (ours - pillow)[..., 8:-8, 8:-8].abs()
    # Pillow rounds after each of six passes.
    assert inside.max() < 3.1 and inside.mean() < 0.5
    border = torch.ones(ours.shape[2:], dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert (ours - pillow)[..., border].abs().mean() < 1.2
    kernels = pixels.blur_kernels(torch.tensor(sigmas))
    tap = torch.arange(kernels.shape[1]) - kernels.shape[1] // 2
    torch.testing.assert_close((kernels * tap**2).sum(1), torch.tensor(sigmas) ** 2)


def test_rotation():
    """Clockwise about the centre of an image that is not square."""
    degrees, fill = torch.tensor([15.0, -20.0]), 7.0
    x = tensor(PHOTOS)[:, :1]
    ours = pixels.rotate(x, degrees, fill)
    height, width = x.shape[2:]
    y0, x0 = (height - 1) / 2, (width - 1) / 2
    rows, columns = np.mgrid[:height, :width] - np.array([y0, x0])[:, None, None]
    for i, angle in enumerate(torch.deg2rad(degrees).tolist()):
        cos, sin = math.cos(angle), math.sin(angle)
        exact = map_coordinates(
            x[i, 0].double().numpy(),
            [cos * rows - sin * columns + y0, sin * rows + cos * columns + x0],
            order=1,
            mode='grid-constant',
            cval=fill,
        )
        np.testing.assert_allclose(ours[i, 0].numpy(), exact, atol=0.05)
        opencv = mmcv.imrotate(
            PHOTOS[i][..., 0], degrees[i].item(), border_value=fill, interpolation='bilinear'
        )
        # OpenCV knows places to 1/32 of a pixel.
        assert np.abs(ours[i, 0].numpy() - opencv).mean() < 0.6
