"""CMC: its two parts, its loss, its ranks."""

import math

import pytest
import torch
from mmpretrain.registry import MODELS
from monitored import MODELS as CONFIGS
from ranks import on_ranks

from mmentropy.functional.colour import rgb_to_lab
from mmentropy.functional.sphere import unit_rows
from mmentropy.models import CMCHead, TwoEncoders


def encoder(**kwargs):
    encoders = [dict(type='ResNet_CIFAR', depth=18, base_channels=8, stem_channels=8)] * 2
    return TwoEncoders(encoders, **kwargs)


def test_loss_is_that_of_the_formula():
    """A loop over images, both directions."""
    z1, z2 = torch.randn(2, 5, 3, dtype=torch.float64)
    a, b = unit_rows(z1), unit_rows(z2)
    expected = 0.0
    for i in range(5):
        for x, y in ((a, b), (b, a)):
            others = [math.exp(float(x[i] @ y[j]) / 0.2) for j in range(5)]
            expected -= math.log(others[i] / sum(others)) / 5
    assert float(CMCHead(0.2)(z1, z2)['loss']) == pytest.approx(expected, rel=1e-12)


def test_lightness_and_colour_of_preprocessed_images():
    mean, std = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]
    rgb = torch.rand(2, 3, 4, 4)
    shape = (3, 1, 1)
    x = (255 * rgb - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    lightness, colour = encoder(mean=mean, std=std).parts(x)
    lab = rgb_to_lab(rgb)
    torch.testing.assert_close(50 * lightness[:, 0] + 50, lab[:, 0], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(
        colour[:, 1] * (107.857 + 94.478) / 2 + (94.478 - 107.857) / 2,
        lab[:, 2],
        atol=1e-3,
        rtol=1e-4,
    )
    assert colour.abs().max() <= 1 and colour.shape == (2, 2, 4, 4)


def test_autocast_rounds_no_colour():
    x = torch.rand(2, 3, 4, 4)
    parts = encoder().parts(x)
    with torch.autocast('cpu', torch.bfloat16):
        for ours, theirs in zip(encoder().parts(x), parts):
            assert torch.equal(ours, theirs)


def test_bands_add_up_to_the_image():
    x = torch.randn(2, 1, 16, 16)
    low, high = encoder(split='bands', factor=4).parts(x)
    torch.testing.assert_close(low + high, x)
    # A constant image has no high frequencies; a checkerboard has no low ones.
    constant = torch.full((1, 1, 16, 16), 3.0)
    assert encoder(split='bands').parts(constant)[1].abs().max() < 1e-6
    board = 2.0 * (torch.arange(16)[:, None] + torch.arange(16) & 1) - 1
    assert encoder(split='bands').parts(board[None, None])[0].abs().max() < 1e-6


def test_low_frequencies_are_means_of_squares_joined_by_lines():
    parts = encoder(split='bands', factor=4).parts
    stripes = torch.tensor([1.0, 1, -1, -1]).repeat(4).expand(1, 1, 16, 16)
    assert parts(stripes)[0].abs().max() < 1e-6
    # Between the centres of the outer squares a ramp is low frequencies only.
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    assert parts(ramp)[1][..., 2:14].abs().max() < 1e-5


def test_loss_of_a_batch_compares_the_parts_of_each_view():
    model = MODELS.build(CONFIGS['cmc'])
    model.init_weights()
    model.eval()
    views = list(torch.randn(2, 4, 3, 16, 16))
    z = [model.neck(model.backbone(view))[0] for view in views]
    losses = [model.head(rows[:, :16], rows[:, 16:])['loss'] for rows in z]
    torch.testing.assert_close(model.loss(views)['loss'], sum(losses) / 2)
    torch.testing.assert_close(model.loss(views[0])['loss'], losses[0])


def test_gray_images_have_no_colour():
    with pytest.raises(ValueError, match=r'got 1 channels; .*split="bands"'):
        encoder().parts(torch.randn(2, 1, 16, 16))


def test_each_encoder_has_its_part():
    model = MODELS.build(CONFIGS['cmc'])
    model.init_weights()
    model.eval()
    x = torch.randn(2, 3, 16, 16)
    lightness, colour = model.backbone.parts(x)
    first, second = [
        z[-1] for z in map(lambda e, p: e(p), model.backbone.encoders, (lightness, colour))
    ]
    assert torch.equal(model.backbone(x)[-1], torch.cat([first, second], 1))
    z = model.neck(model.backbone(x))[0]
    torch.testing.assert_close(z[:, 16:], model.neck.projectors[1]((second,))[0])


def rows_of_ranks(rank, world):
    torch.manual_seed(0)
    whole = torch.randn(2, 8, 3, dtype=torch.float64)
    z = whole.view(2, world, -1, 3)[:, rank].clone().requires_grad_()
    loss = CMCHead()(*z)['loss']
    loss.backward()
    return loss.detach(), z.grad


@pytest.mark.slow
def test_ranks_compare_with_all_images(tmp_path):
    """The mean over ranks of loss and gradient is that of one process."""
    expected, gradient = rows_of_ranks(0, 1)
    found = on_ranks(rows_of_ranks, 2, tmp_path)
    torch.testing.assert_close(sum(loss for loss, _ in found) / 2, expected)
    torch.testing.assert_close(torch.cat([grad for _, grad in found], 1) / 2, gradient)
