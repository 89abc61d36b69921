"""What random transforms draw, and whom they apply it to."""

import pytest
import torch
import torchvision.transforms.v2.functional as tv_f
from batch_views import P_VALUE, PHOTOS, SPANS, rng, tensor
from repository import recipe_on
from scipy.stats import binomtest, chisquare, kstest

from mmentropy.views import pixels, transforms
from mmentropy.views.pipeline_reader import read_transform


def test_only_chosen_images_change():
    x = tensor(PHOTOS * 2)
    on = torch.tensor([True, False, False, True])
    factor = torch.tensor([0.5, 9.0, 9.0, 2.0])
    out = transforms.apply_where(x.clone(), on, pixels.adjust_brightness, factor)
    expected = x.clone()
    expected[0] = x[0] * 0.5
    expected[3] = (x[3] * 2).clamp(max=255)
    assert torch.equal(out, expected)


def test_flip():
    x = tensor(PHOTOS)
    out = read_transform(dict(type='RandomFlip', prob=1.0)).apply(
        x.clone(), torch.tensor([True, False])
    )
    assert torch.equal(out, torch.stack([tv_f.horizontal_flip(x[0]), x[1]]))


def uniformly(values, low, high):
    return kstest(values, 'uniform', (low, high - low)).pvalue > P_VALUE


def share_is(on, prob):
    return binomtest(int(on.sum()), len(on), prob).pvalue > P_VALUE


def test_jitter_draws():
    drawn = read_transform(
        dict(
            type='RandomApply',
            prob=0.8,
            transforms=[
                dict(
                    type='ColorJitter', brightness=0.4, contrast=1.2, saturation=(0.5, 0.9), hue=0.1
                )
            ],
        )
    ).draw(rng(), torch.zeros(4000, 2))
    assert share_is(drawn['on'], 0.8)
    spans = [(0.6, 1.4), (0.0, 2.2), (0.5, 0.9), (-0.1, 0.1)]
    for i, span in enumerate(spans):
        assert uniformly(drawn['factors'][:, i], *span)
    orders = drawn['order'].unique(dim=0, return_counts=True)[1]
    assert len(orders) == 24 and chisquare(orders).pvalue > P_VALUE
    # Nothing depends on anything else.
    every = torch.cat([drawn['factors'], drawn['on'][:, None]], 1)
    off_diagonal = torch.corrcoef(every.T) - torch.eye(5)
    assert off_diagonal.abs().max() < 0.06


def test_jitter_is_in_the_order_drawn():
    x = tensor(PHOTOS)
    jitter = read_transform(dict(type='ColorJitter', brightness=0.9, contrast=0.9))
    factors = torch.tensor([[1.8, 0.3, 0, 0]] * 2, dtype=torch.float64)
    order = torch.tensor([[0, 1, 2, 3], [3, 1, 2, 0]])
    out = jitter.apply(x.clone(), torch.tensor([True, True]), order, factors)
    light, dull = torch.tensor([1.8]), torch.tensor([0.3])
    expected = torch.cat(
        [
            pixels.adjust_contrast(pixels.adjust_brightness(x[:1], light), dull),
            pixels.adjust_brightness(pixels.adjust_contrast(x[1:], dull), light),
        ]
    )
    torch.testing.assert_close(out, expected)
    off = torch.tensor([True, False])
    torch.testing.assert_close(
        jitter.apply(x.clone(), off, order, factors), torch.cat([expected[:1], x[1:]])
    )


@pytest.mark.parametrize(
    'cfg, prob, low, high',
    [
        (dict(type='GaussianBlur', prob=0.3, **SPANS), 0.3, 0.1, 2.0),
        (dict(type='GaussianBlur', magnitude_level=5, **SPANS), 0.5, 0.1, 1.05),
    ],
)
def test_blur_draws(cfg, prob, low, high):
    drawn = read_transform(cfg).draw(rng(), torch.zeros(3000, 2))
    assert share_is(drawn['on'], prob)
    assert uniformly(drawn['factor'], low, high)


@pytest.mark.parametrize(
    'cfg, prob',
    [
        (dict(type='RandomFlip', prob=0.2), 0.2),
        (dict(type='torchvision/RandomHorizontalFlip', p=0.2), 0.2),
        (dict(type='torchvision/RandomGrayscale', p=0.3), 0.3),
        (dict(type='Solarize', thr=128, prob=0.3), 0.3),
        (
            dict(
                type='RandomApply',
                prob=0.4,
                transforms=[dict(type='RandomGrayscale', prob=0.4, keep_channels=True)],
            ),
            0.16,
        ),
    ],
)
def test_shares_of_images(cfg, prob):
    drawn = read_transform(cfg).draw(rng(), torch.zeros(3000, 2))
    assert share_is(drawn['on'], prob)


def test_signed_draws():
    """Rotation by 0 to 20 degrees and light by 0 to 0.4, of either sign."""
    cfg = recipe_on('digits')
    _, turn, light = [read_transform(t).draw(rng(), torch.zeros(3000, 2)) for t in cfg.view]
    assert share_is(turn['on'], 0.8) and share_is(light['on'], 0.8)
    assert uniformly(turn['factor'], -20, 20)
    assert uniformly(light['factor'], 0.6, 1.4)
