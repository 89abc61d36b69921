"""BatchViews: distributions against mmpretrain's pipelines, seeds, sizes and colours."""

import copy
import random
from functools import partial

import numpy as np
import pytest
import torch
from batch_views import BLUR, CROP, FLIP, P_VALUE, PHOTOS, views_of
from mmengine.dataset import Compose
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmpretrain.models.utils import SelfSupDataPreprocessor
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS
from repository import recipe_on
from scipy.stats import kstest

from mmentropy.views import preprocessor
from mmentropy.views.loading import collate_images
from mmentropy.views.preprocessor import BatchViews


@pytest.fixture(autouse=True)
def scope_and_seeds():
    init_default_scope('mmpretrain')
    np.random.seed(0)
    random.seed(0)


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


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        'digits',
        'fashion_mnist',
        'cifar10',
        'cifar10_simsiam',
        'imagenet',
        'imagenet100',
        'imagenet_multicrop',
    ],
)
def test_views_have_the_distribution_of_mmpretrain(name):
    cfg = recipe_on(name)
    steps = copy.deepcopy(cfg.train_dataloader.dataset.pipeline)
    steps = [s for s in steps if not s.type.endswith('LoadImageFromFile')]
    count = 250
    if name == 'digits':
        image = DATASETS.build(dict(type='Digits'))[0]['img']
    elif name == 'fashion_mnist':
        image = PHOTOS[1][60:88, 60:88, 0].copy()
    elif name.startswith('cifar10'):
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


JITTER = dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)


GRAY = dict(type='RandomGrayscale', prob=0.3, keep_channels=True)


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
    monkeypatch.setattr(preprocessor, 'get_rank', lambda: 1)
    other = views_of(*EVERY)(batch, True)['inputs'][0]
    assert not torch.equal(first, other)


def test_parts_of_a_batch_are_the_batch(monkeypatch):
    batch = batch_of(9)
    whole = views_of(*EVERY)(batch, True)['inputs'][0]
    monkeypatch.setattr(preprocessor, 'CACHED_FLOATS', 3 * 20 * 24 * 3)
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


@pytest.mark.parametrize('step', [CROP, BLUR | dict(prob=1.0)], ids=['crop', 'blur'])
def test_autocast_rounds_no_pixel(step):
    images = torch.from_numpy(np.stack([photo[:64, :64] for photo in PHOTOS])).permute(0, 3, 1, 2)
    views = []
    for enabled in (False, True):
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            views += views_of(step, seed=1)(dict(inputs=images), True)['inputs']
    assert views[0].dtype == views[1].dtype == torch.float32
    assert torch.equal(*views)
