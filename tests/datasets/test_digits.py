"""The digits of scikit-learn."""

import urllib.request
from urllib.error import URLError

import numpy as np
import pytest
from messages import one_line
from mmengine.registry import init_default_scope

from mmentropy.datasets import (
    Digits,
)


@pytest.fixture(autouse=True)
def _scope_without_network(monkeypatch):
    init_default_scope('mmpretrain')

    def no_network(*args, **kwargs):
        raise URLError('no network')

    monkeypatch.setattr(urllib.request, 'urlopen', no_network)


@pytest.mark.slow
def test_digits():
    from sklearn.datasets import load_digits

    train, test = Digits(), Digits(split='test')
    assert (len(train), len(test)) == (1297, 500)
    samples = [d[i] for d in (train, test) for i in range(len(d))]
    images = np.stack([s['img'] for s in samples])
    assert images.dtype == np.uint8 and images.shape == (1797, 8, 8)
    assert (images.min(), images.max()) == (0, 255)
    # Every image once with its label: no test image is trained on.
    digits = load_digits()
    every = np.rint(digits.images * 255 / 16).astype(np.uint8)
    assert sorted((bytes(s['img']), s['gt_label']) for s in samples) == sorted(
        zip(map(bytes, every), digits.target)
    )
    # The split is the same for ever.
    labels = test.get_gt_labels()
    assert np.bincount(labels).tolist() == [50, 51, 49, 51, 50, 51, 50, 50, 48, 50]
    assert labels[:12].tolist() == [4, 8, 8, 3, 9, 0, 6, 3, 9, 8, 4, 5]


def test_digits_wrong_split():
    with pytest.raises(ValueError, match='one of train, test') as e:
        Digits(split='val')
    assert "'val'" in one_line(e)
