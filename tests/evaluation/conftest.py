"""Pixels of the digits, for all tests of probes."""

import pytest
from small_images import PACK

from mmentropy.evaluation import pixel_features


@pytest.fixture(scope='module')
def digits():
    pairs = []
    for split in ('train', 'test'):
        pairs += pixel_features(dict(type='Digits', split=split, pipeline=PACK))
    return pairs
