"""What the reader of pipelines refuses, and its defaults."""

import random

import numpy as np
import pytest
import torchvision.transforms as host
from batch_views import BLUR, CROP, FLIP, SPANS, views_of
from mmengine.registry import init_default_scope

from mmentropy.views.pipeline_reader import read_transform


@pytest.fixture(autouse=True)
def scope_and_seeds():
    init_default_scope('mmpretrain')
    np.random.seed(0)
    random.seed(0)


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
        (dict(type='RandomApply', transforms=[CROP]), "cannot do .*'prob'"),
        (dict(type='Rotate', **SPANS), 'bilinear'),
    ],
)
def test_unknown_transforms_are_refused(transform, words):
    with pytest.raises(ValueError, match=words) as raised:
        views_of(transform)
    assert '\n' not in str(raised.value)


def test_defaults_and_spans_are_those_of_torchvision():
    ours = read_transform(dict(type='torchvision/RandomResizedCrop', size=8))
    theirs = host.RandomResizedCrop(8)
    assert ours.scale == tuple(theirs.scale) and ours.ratio == pytest.approx(theirs.ratio)
    for factor in (0.4, 2.0):
        ours = read_transform(dict(type='torchvision/ColorJitter', brightness=factor, hue=0.1))
        theirs = host.ColorJitter(brightness=factor, hue=0.1)
        assert ours.spans == (theirs.brightness, None, None, theirs.hue)
