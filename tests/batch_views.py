"""Photos, draws and small preprocessors for the tests of views made in batch."""

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from mmentropy.views.preprocessor import BatchViews

PHOTOS = [
    np.asarray(Image.fromarray(photo).resize((160, 143))) for photo in load_sample_images().images
]


# Fixed seeds: a sound sampler is above it in every test here.
P_VALUE = 1e-3


CROP = dict(type='RandomResizedCrop', scale=8, backend='pillow')


def tensor(images):
    """(N, 3, H, W) float of arrays or Pillow images."""
    return torch.stack([torch.from_numpy(np.array(i)).permute(2, 0, 1) for i in images]).float()


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def views_of(*transforms, num_views=1, **kwargs):
    pipeline = [dict(type='MultiView', num_views=num_views, transforms=[list(transforms)])]
    return BatchViews(pipeline, mean=[0.0] * 3, std=[1.0] * 3, **kwargs)


SPANS = dict(magnitude_range=(0.1, 2.0), magnitude_std='inf')


BLUR = dict(type='GaussianBlur', prob=0.5, **SPANS)


FLIP = dict(type='RandomFlip', prob=0.5)
