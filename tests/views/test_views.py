"""Views made in batch against Pillow, torchvision and mmpretrain's own."""

import copy
import io
import math
import random
from functools import partial
from types import SimpleNamespace

import mmcv
import numpy as np
import pytest
import torch
import torchvision.transforms.functional as pil_f
import torchvision.transforms.v2.functional as tv_f
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import MessageHub
from mmengine.registry import FUNCTIONS, init_default_scope
from mmengine.runner import Runner
from mmpretrain.datasets.transforms import RandomResizedCrop
from mmpretrain.models.utils import SelfSupDataPreprocessor
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS
from PIL import Image, ImageFilter
from repository import REPOSITORY
from scipy.ndimage import map_coordinates
from scipy.stats import binomtest, chisquare, kstest
from sklearn.datasets import load_sample_images
from torchvision.transforms import RandomResizedCrop as TorchvisionCrop

from mmentropy.evaluation import build_data_preprocessor, extract_features
from mmentropy.views import views as V
from mmentropy.views.loading import collate_images
from mmentropy.views.views import BatchViews, read_transform

CONFIGS = REPOSITORY / 'configs'
PHOTOS = [
    np.asarray(Image.fromarray(photo).resize((160, 143))) for photo in load_sample_images().images
]
# Fixed seeds: a sound sampler is above it in every test here.
P_VALUE = 1e-3
CROP = dict(type='RandomResizedCrop', scale=8, backend='pillow')


@pytest.fixture(autouse=True)
def scope_and_seeds():
    init_default_scope('mmpretrain')
    np.random.seed(0)
    random.seed(0)


def tensor(images):
    """(N, 3, H, W) float of arrays or Pillow images."""
    return torch.stack([torch.from_numpy(np.array(i)).permute(2, 0, 1) for i in images]).float()


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def views_of(*transforms, num_views=1, **kwargs):
    pipeline = [dict(type='MultiView', num_views=num_views, transforms=[list(transforms)])]
    return BatchViews(pipeline, mean=[0.0] * 3, std=[1.0] * 3, **kwargs)


# Pixels

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
    ours = getattr(V, name)(x, factors)
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
    assert torch.equal(getattr(V, name)(x.clone(), FACTORS), x)
    assert torch.equal(V.to_gray(x), x)


def test_contrast_of_one_channel():
    x = tensor(PHOTOS)[:, :1]
    pillow = torch.stack(
        [
            pil_f.pil_to_tensor(pil_f.adjust_contrast(Image.fromarray(p[..., 0]), f.item())).float()
            for p, f in zip(PHOTOS, FACTORS)
        ]
    )
    ours = V.adjust_contrast(x, FACTORS)
    assert (ours - pillow).abs().max() < 1


def test_gray():
    ours = V.to_gray(tensor(PHOTOS))
    pillow = tensor(Image.fromarray(p).convert('L').convert('RGB') for p in PHOTOS)
    assert (ours - pillow).abs().max() <= 0.51


def test_solarize():
    x = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(V.solarize(x.float(), 128), tv_f.solarize(x, 128).float())
    # As uint8 it would have been rounded up.
    assert V.solarize(torch.tensor([127.4, 127.6]), 128).tolist() == pytest.approx([127.4, 127.4])


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
                    V.resized_crop(pixels[i : i + 1], boxes[i : i + 1], size, interpolation)
                    for i in range(2)
                ]
            )
        else:
            ours = V.resized_crop(pixels, boxes, size, interpolation)
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
        V.resized_crop(x, boxes, size, 'bilinear', False),
        torch.cat(
            [V.resized_crop(x[i : i + 1], boxes[:1], size, 'bilinear', False) for i in range(2)]
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
        read_transform(cfg).apply(x, boxes), V.resized_crop(x, boxes, (8, 8), 'bilinear', antialias)
    )


@pytest.mark.parametrize('sigmas', [(0.1, 0.5), (1.0, 1.4), (1.5, 2.0)], ids=str)
def test_blur(sigmas):
    ours = V.gaussian_blur(tensor(PHOTOS), torch.tensor(sigmas))
    pillow = tensor(
        Image.fromarray(p).filter(ImageFilter.GaussianBlur(s)) for p, s in zip(PHOTOS, sigmas)
    )
    inside = (ours - pillow)[..., 8:-8, 8:-8].abs()
    # Pillow rounds after each of six passes.
    assert inside.max() < 3.1 and inside.mean() < 0.5
    border = torch.ones(ours.shape[2:], dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert (ours - pillow)[..., border].abs().mean() < 1.2
    kernels = V.blur_kernels(torch.tensor(sigmas))
    tap = torch.arange(kernels.shape[1]) - kernels.shape[1] // 2
    torch.testing.assert_close((kernels * tap**2).sum(1), torch.tensor(sigmas) ** 2)


def test_rotation():
    """Clockwise about the centre of an image that is not square."""
    degrees, fill = torch.tensor([15.0, -20.0]), 7.0
    x = tensor(PHOTOS)[:, :1]
    ours = V.rotate(x, degrees, fill)
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


def test_only_chosen_images_change():
    x = tensor(PHOTOS * 2)
    on = torch.tensor([True, False, False, True])
    factor = torch.tensor([0.5, 9.0, 9.0, 2.0])
    out = V.apply_where(x.clone(), on, V.adjust_brightness, factor)
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


# Draws


def shares(boxes, height, width):
    """What describes a crop: share, ratio, place, size."""
    top, left, h, w = np.asarray(boxes, dtype=float).T
    return dict(share=h * w / height / width, ratio=w / h, top=top, left=left, height=h, width=w)


# Most draws fit, few fit, none fits.
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
            V.adjust_contrast(V.adjust_brightness(x[:1], light), dull),
            V.adjust_brightness(V.adjust_contrast(x[1:], dull), light),
        ]
    )
    torch.testing.assert_close(out, expected)
    off = torch.tensor([True, False])
    torch.testing.assert_close(
        jitter.apply(x.clone(), off, order, factors), torch.cat([expected[:1], x[1:]])
    )


SPANS = dict(magnitude_range=(0.1, 2.0), magnitude_std='inf')


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
    cfg = Config.fromfile(CONFIGS / '_base_/datasets/digits.py')
    _, turn, light = [read_transform(t).draw(rng(), torch.zeros(3000, 2)) for t in cfg.view]
    assert share_is(turn['on'], 0.8) and share_is(light['on'], 0.8)
    assert uniformly(turn['factor'], -20, 20)
    assert uniformly(light['factor'], 0.6, 1.4)


# Whole pipelines


def summary(views):
    """Scalars that tell distributions of views apart, (N,) each."""
    gray = views.mean(1)
    left = gray[..., : gray.shape[-1] // 2].mean((1, 2))
    named = {f'channel {i}': views[:, i].mean((1, 2)) for i in range(views.shape[1])}
    if len(named) > 1:
        named['colour'] = views.std(1).mean((1, 2))
    return dict(
        named,
        contrast=gray.std((1, 2)),
        sharpness=(gray[..., 1:] - gray[..., :-1]).abs().mean((1, 2)),
        side=left - gray.mean((1, 2)),
        darkest=gray.amin((1, 2)),
    )


def smaller(steps, side):
    """Sizes of views cut down, in place."""
    for step in steps:
        for key in ('scale', 'size'):
            if isinstance(step.get(key), int):
                step[key] = min(step[key], side)


@pytest.mark.parametrize(
    'name', ['digits', 'fashion_mnist', 'cifar10', 'imagenet', 'imagenet100', 'imagenet_multicrop']
)
def test_views_have_the_distribution_of_mmpretrain(name):
    cfg = Config.fromfile(CONFIGS / f'_base_/datasets/{name}.py')
    steps = copy.deepcopy(cfg.train_dataloader.dataset.pipeline)
    steps = [s for s in steps if not s.type.endswith('LoadImageFromFile')]
    count = 250
    if name == 'digits':
        image = DATASETS.build(dict(type='Digits'))[0]['img']
    elif name == 'fashion_mnist':
        image = PHOTOS[1][60:88, 60:88, 0].copy()
    elif name == 'cifar10':
        image = PHOTOS[1][60:92, 60:92].copy()
    else:
        image = PHOTOS[1][..., ::-1].copy()
        for transforms in next(s for s in steps if s.type == 'MultiView').transforms:
            smaller(transforms, 32)
    for step in steps:
        if step.type == 'MultiView' and len(step.num_views) == 3:
            step.num_views = [1, 1, 1]
    pipeline = Compose([TRANSFORMS.build(step) for step in steps])
    theirs = [pipeline(dict(img=image))['inputs'] for _ in range(count)]
    normalize = MODELS.build(cfg.data_preprocessor)
    theirs = normalize(
        dict(inputs=[torch.stack(view) for view in zip(*theirs)], data_samples=None), True
    )['inputs']
    plain = Compose(
        [TRANSFORMS.build(s) for s in steps if s.type not in ('MultiView', 'PackInputs')]
        + [TRANSFORMS.build(dict(type='PackImage'))]
    )
    batch = collate_images([plain(dict(img=image))] * count)
    batch_views = MODELS.build(dict(cfg.data_preprocessor, type='BatchViews', pipeline=steps))
    ours = batch_views(batch, True)['inputs']
    assert [v.shape for v in ours] == [v.shape for v in theirs]
    assert not torch.equal(ours[0], ours[1])
    for i in {0, 1, len(ours) - 1}:
        expected = summary(theirs[i])
        for key, values in summary(ours[i]).items():
            p = kstest(values, expected[key]).pvalue
            assert p > P_VALUE, (i, key, p)
        # Standard errors of the mean images' difference.
        error = ((ours[i].var(0) + theirs[i].var(0)) / count).sqrt() + 1e-2
        off = (ours[i].mean(0) - theirs[i].mean(0)) / error
        assert off.pow(2).mean() < 4, i


# The preprocessor

JITTER = dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
BLUR = dict(type='GaussianBlur', prob=0.5, **SPANS)
GRAY = dict(type='RandomGrayscale', prob=0.3, keep_channels=True)
FLIP = dict(type='RandomFlip', prob=0.5)
EVERY = [CROP, JITTER, GRAY, BLUR, dict(type='Solarize', thr=128), FLIP]


def batch_of(count, height=20, width=24):
    pixels = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)
    return dict(inputs=pixels)


def packed(images):
    return collate_images([dict(inputs=image.permute(1, 2, 0)) for image in images])


def at(iteration):
    MessageHub.get_current_instance().update_info('iter', iteration)


def test_draws_follow_seed_and_iteration():
    make = partial(views_of, *EVERY, num_views=2)
    batch = batch_of(6)

    def views(preprocessor):
        return torch.stack(preprocessor(batch, True)['inputs'])

    model = make()
    # Without a Runner calls are counted.
    first, second = views(model), views(model)
    assert not torch.equal(first, second)
    again = make()
    assert torch.equal(views(again), first)
    assert torch.equal(views(again), second)
    # In one, what was before does not matter.
    at(7)
    seventh = views(model)
    assert torch.equal(views(make()), seventh)
    assert not torch.equal(views(model), seventh)
    at(8)
    assert not torch.equal(views(model), seventh)
    at(7)
    assert torch.equal(views(model), seventh)
    # The global generator is not touched, but its seed counts.
    state = torch.get_rng_state()
    at(9)
    ninth = views(model)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert not torch.equal(views(make()), ninth)
    at(9)
    assert torch.equal(views(make(seed=0)), ninth)
    assert not torch.equal(views(make(seed=2)), ninth)


def test_ranks_draw_differently(monkeypatch):
    batch, model = batch_of(4), views_of(*EVERY)
    first = model(batch, True)['inputs'][0]
    monkeypatch.setattr(V, 'get_rank', lambda: 1)
    other = views_of(*EVERY)(batch, True)['inputs'][0]
    assert not torch.equal(first, other)


def test_parts_of_a_batch_are_the_batch(monkeypatch):
    batch = batch_of(9)
    whole = views_of(*EVERY)(batch, True)['inputs'][0]
    monkeypatch.setattr(V, '_CACHE', 3 * 20 * 24 * 3)
    parts = views_of(*EVERY)(batch, True)['inputs'][0]
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize(
    'transforms', [EVERY, [JITTER, *EVERY]], ids=['crop first', 'colours first']
)
def test_images_one_by_one_are_the_batch(transforms):
    """A ragged batch takes the same draws as an even one."""
    images = batch_of(5)['inputs']
    images[-1] = 0
    ragged = [*images[:-1], torch.zeros(3, 30, 10, dtype=torch.uint8)]
    even = views_of(*transforms[:-2])(packed(images), True)['inputs'][0]
    odd = views_of(*transforms[:-2])(packed(ragged), True)['inputs'][0]
    assert odd.shape == even.shape
    # torch rounds what it resamples as uint8, twice.
    assert (odd - even)[:-1].abs().max() < 5
    assert (odd - even)[:-1].abs().mean() < 0.5


def test_images_of_a_ragged_batch_stay_apart():
    images = [torch.full((3, 10 + i, 30 - i), 20 * i, dtype=torch.uint8) for i in range(6)]
    views = views_of(CROP, FLIP)(packed(images), True)['inputs'][0]
    expected = (20.0 * torch.arange(6))[:, None, None, None]
    torch.testing.assert_close(views, expected.expand_as(views))


def colours_of(views):
    assert torch.allclose(views.amin((0, 2, 3)), views.amax((0, 2, 3)))
    return views.mean((0, 2, 3)).tolist()


def test_colour_order():
    """With to_rgb the loader gives BGR, of which the weights of gray are."""
    gray = dict(
        type='RandomGrayscale', prob=1.0, keep_channels=True, channel_weights=(0.1, 0.2, 0.7)
    )
    blue = dict(inputs=torch.zeros(2, 3, 9, 9, dtype=torch.uint8))
    blue['inputs'][:, 0] = 200
    for transforms in ([CROP, FLIP], [FLIP]):
        views = views_of(*transforms, to_rgb=True)(blue, True)['inputs'][0]
        assert colours_of(views) == pytest.approx([0, 0, 200])
        views = views_of(*transforms)(blue, True)['inputs'][0]
        assert colours_of(views) == pytest.approx([200, 0, 0])
    for to_rgb in (True, False):
        for transforms in ([CROP, gray], [gray]):
            views = views_of(*transforms, to_rgb=to_rgb)(blue, True)['inputs'][0]
            torch.testing.assert_close(views, torch.full_like(views, 20.0))
    # By default all alike; torchvision's are of RGB, whatever was loaded.
    alike = dict(type='RandomGrayscale', prob=1.0, keep_channels=True)
    luma = dict(type='torchvision/RandomGrayscale', p=1.0)
    for gray, to_rgb, weight in ((alike, True, 1 / 3), (luma, True, 0.114), (luma, False, 0.299)):
        views = views_of(CROP, gray, to_rgb=to_rgb)(blue, True)['inputs'][0]
        torch.testing.assert_close(views, torch.full_like(views, 200 * weight))


def test_without_training_it_is_the_plain_preprocessor():
    norm = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=True)
    pipeline = [dict(type='MultiView', num_views=1, transforms=[[CROP]])]
    batch = dict(batch_of(3), data_samples=['a', 'b', 'c'])
    ours = BatchViews(pipeline, **norm)(batch)
    theirs = SelfSupDataPreprocessor(**norm)(batch)
    assert torch.equal(ours['inputs'], theirs['inputs'])
    assert ours['data_samples'] == ['a', 'b', 'c']
    views = BatchViews(pipeline, **norm)(batch, True)
    assert views['data_samples'] == ['a', 'b', 'c']
    plain = views_of(CROP, to_rgb=True)(batch, True)
    mean, std = (torch.tensor(norm[k])[:, None, None] for k in norm if k != 'to_rgb')
    torch.testing.assert_close(views['inputs'][0], (plain['inputs'][0] - mean) / std)


@pytest.mark.parametrize(
    'transform, words',
    [
        (dict(type='Posterize', bits=4), 'does not know Posterize'),
        (dict(type='RandomFlip', prob=0.5, direction='vertical'), 'horizontal'),
        (dict(CROP, padding=3), 'padding'),
        (dict(CROP, interpolation='area'), 'bicubic'),
        (dict(CROP, interpolation='bicubic', backend='cv2'), 'bilinear'),
        (dict(type='GaussianBlur', radius=2.0), 'radius'),
        (dict(BLUR, magnitude_std=1.0), 'inf'),
        (dict(type='RandomGrayscale', prob=1.0), 'keep_channels'),
        (dict(type='RandomApply', transforms=[BLUR, FLIP]), 'one transform'),
        (dict(type='Rotate', **SPANS), 'bilinear'),
    ],
)
def test_unknown_transforms_are_refused(transform, words):
    with pytest.raises(ValueError, match=words) as raised:
        views_of(transform)
    assert '\n' not in str(raised.value)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match='one MultiView'):
        BatchViews([dict(type='PackInputs')], mean=[0.0], std=[1.0])
    with pytest.raises(ValueError, match='to_rgb'):
        views_of(CROP, rgb_to_bgr=True)
    images = batch_of(2)['inputs']
    for inputs in ([images, images], images.float()):
        with pytest.raises(ValueError, match='take MultiView out'):
            views_of(CROP)(dict(inputs=inputs), True)
    with pytest.raises(ValueError, match='different sizes'):
        views_of(FLIP)(packed([images[0], images[1, :, :9]]), True)


# Loading


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
    gray, photo = V.unpack_images(**dict(pixels=batch['inputs'], shapes=batch['shapes']))
    assert torch.equal(gray, torch.arange(6).view(1, 2, 3).byte())
    assert torch.equal(photo.float(), tensor(PHOTOS[:1])[0])
    even = collate_images([pack(dict(img=image)) for image in PHOTOS])
    assert torch.equal(V.unpack_images(even['inputs'], even['shapes']).float(), tensor(PHOTOS))


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
    for ratios, factor in (((1.0, 1.0), 2), ((0.5, 1.1), 1)):
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


# Configs and Runner

FAST = sorted(CONFIGS.glob('*/fast_*.py'))


@pytest.mark.parametrize('path', FAST, ids=lambda path: path.stem)
def test_fast_configs_change_the_loader_only(path):
    fast = Config.fromfile(path)
    slow = Config.fromfile(path.with_name(path.stem[5:] + '.py'))
    steps = slow.train_dataloader.dataset.pipeline
    assert fast.data_preprocessor.pipeline == steps
    preprocessor = MODELS.build(fast.data_preprocessor)
    multi = next(s for s in steps if s.type == 'MultiView')
    assert len(preprocessor.views) == sum(multi.num_views)
    load, pack = [fast.train_dataloader.dataset.pipeline[i] for i in (0, -1)]
    assert pack.type == 'PackImage'
    assert fast.train_dataloader.collate_fn.type == 'collate_images'
    if load.type == 'ReducedLoadImageFromFile':
        crops = [t for view in multi.transforms for t in view if 'RandomResizedCrop' in t.type]
        for crop in crops:
            least = crop.get('crop_ratio_range', crop.get('scale'))
            if isinstance(least, int):
                least = (0.08, 1)
            assert load.size == crop.get('size', crop.get('scale'))
            assert load.get('crop_ratio_range', (0.08, 1))[0] <= least[0]
    for cfg in (fast, slow):
        for key in ('type', 'pipeline'):
            cfg.data_preprocessor.pop(key, None)
        cfg.train_dataloader.pop('collate_fn')
        cfg.train_dataloader.dataset.pop('pipeline')
    for key in (
        'data_preprocessor',
        'train_dataloader',
        'model',
        'optim_wrapper',
        'param_scheduler',
        'train_cfg',
    ):
        assert fast[key] == slow[key]


def test_there_is_a_fast_config_of_every_method_and_data():
    found = {(path.parent.name, path.stem.split('e_')[-1]) for path in FAST}
    small = {
        (method, data)
        for method in ('mec', 'er', 'minent')
        for data in ('digits', 'fashion_mnist', 'cifar10')
    }
    assert found >= small | {
        ('mec', 'in1k'),
        ('er', 'in1k'),
        ('minent', 'imagenet100'),
        ('mec', 'folder'),
    }


def digits_run(work_dir, epochs, **kwargs):
    cfg = Config.fromfile(CONFIGS / 'mec/fast_r18s_1xb64_50e_digits.py')
    cfg.train_dataloader.num_workers = 0
    cfg.train_dataloader.persistent_workers = False
    cfg.train_dataloader.dataset.indices = 128
    for entry in cfg.eval_datasets.values():
        entry.indices = 64
    cfg.param_scheduler = []
    cfg.train_cfg.max_epochs = epochs
    cfg.default_hooks.checkpoint.interval = 1
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'{work_dir.name}_{epochs}_{len(kwargs)}'
    cfg.merge_from_dict(kwargs)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def test_training_resumes_as_if_unbroken(tmp_path):
    """By the Runner, with kNN on the way; evaluation has the same norm."""
    whole = digits_run(tmp_path / 'whole', 2)
    assert whole.message_hub.get_scalar('val/knn_top1').current() > 0
    # The EMA's schedule follows max_iters: the same number of epochs.
    resumed = digits_run(
        tmp_path / 'resumed', 2, resume=True, load_from=str(tmp_path / 'whole/epoch_1.pth')
    )
    states = [r.model.state_dict() for r in (whole, resumed)]
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        torch.testing.assert_close(value, states[1][key], rtol=0, atol=0)
    other = digits_run(tmp_path / 'other', 2, **{'randomness.seed': 1})
    assert not torch.equal(
        next(iter(other.model.parameters())), next(iter(whole.model.parameters()))
    )
    # As tools/evaluate.py sees it.
    cfg = whole.cfg
    stored = build_data_preprocessor(cfg)
    rows = cfg.eval_datasets['test']
    plain = SelfSupDataPreprocessor(mean=[77.8], std=[95.7])
    backbone = whole.model.backbone
    expected = extract_features(backbone, rows, plain)[0]
    for preprocessor in (stored, whole.model.data_preprocessor):
        features = extract_features(backbone, rows, preprocessor)[0]
        assert torch.equal(features, expected)
    data = dict(inputs=torch.rand(2, 1, 16, 16), data_samples=None)
    data = whole.model.data_preprocessor(data, False)
    whole.model.eval()
    assert whole.model(**data, mode='tensor')[-1].shape[:2] == (2, 128)
