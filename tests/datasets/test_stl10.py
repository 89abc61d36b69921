"""STL-10 against the reader of torchvision."""

from pathlib import Path
from unittest import mock

import fake_data
import numpy as np
import pytest
import torchvision.datasets
from messages import one_line
from mmengine.registry import init_default_scope
from mmpretrain.datasets import PackInputs

from mmentropy.datasets import (
    STL10,
)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


def infos(dataset) -> list[dict]:
    return [dataset.get_data_info(i) for i in range(len(dataset))]


@pytest.fixture
def stl10(tmp_path) -> Path:
    return Path(fake_data.make(dict(type='STL10'), tmp_path)['data_root'])


@pytest.mark.slow
@pytest.mark.parametrize(
    'split,fold',
    [
        ('train', None),
        ('train', 0),
        ('train', 9),
        ('test', None),
        ('unlabeled', None),
        ('train+unlabeled', None),
    ],
)
def test_stl10_reads_as_torchvision_does(split, fold, stl10):
    with mock.patch.object(torchvision.datasets.STL10, '_check_integrity'):
        witness = torchvision.datasets.STL10(stl10, split, folds=fold)
    dataset = STL10(str(stl10), split, fold)
    assert len(dataset) == len(witness) > 0
    for info, (image, label) in zip(infos(dataset), witness):
        assert info['img'].dtype == np.uint8
        assert np.array_equal(info['img'], np.array(image))
        assert info.get('gt_label', -1) == label


def test_stl10_unlabelled_rows(stl10):
    dataset = STL10(str(stl10), 'train+unlabeled', pipeline=[PackInputs()])
    labels = [hasattr(s['data_samples'], 'gt_label') for s in dataset]
    assert labels == [True] * 8 + [False] * 8
    assert {'part', 'row'}.isdisjoint(dataset.get_data_info(9))


def test_stl10_images_stay_on_disk(stl10):
    assert len(STL10(str(stl10), 'train+unlabeled').data_bytes) < 16 * 200


@pytest.mark.parametrize(
    'argument',
    [
        dict(split='val'),
        dict(split='unlabelled'),
        dict(fold=10),
        dict(fold=-1),
        dict(fold=0, split='test'),
        dict(fold=0, split='train+unlabeled'),
    ],
)
def test_stl10_wrong_argument(argument, stl10):
    name, value = next(iter(argument.items()))
    with pytest.raises(ValueError, match=f'{name} must be') as e:
        STL10(str(stl10), **argument)
    assert repr(value) in one_line(e)


@pytest.mark.parametrize(
    'name,size', [('train_X', -1), ('train_X', -27648), ('train_y', -1), ('unlabeled_X', -1)]
)
def test_stl10_file_cut_off(name, size, stl10):
    file = stl10 / f'stl10_binary/{name}.bin'
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ValueError, match='unpack stl10_binary.tar.gz') as e:
        STL10(str(stl10), 'train+unlabeled')
    assert name.replace('_y', '_X') in one_line(e)
