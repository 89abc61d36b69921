"""The tiny copies of data sets that other tests read."""

import fake_data
import mmengine.dataset
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS
from PIL import Image

from mmentropy.datasets import (
    ImageFolder,
)

# mmpretrain's reader of Fashion-MNIST warns once per label.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation')


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


@pytest.mark.slow
def test_fake_data_does_not_change_the_config(tmp_path):
    cfg = Config(
        dict(
            a=dict(
                type='ConcatDataset',
                datasets=[
                    dict(type='ImageNet', data_root='x', split='val'),
                    dict(
                        type='LabelSubset', names='y', dataset=dict(type='Food101', data_root='x')
                    ),
                ],
            )
        )
    )
    before = cfg.pretty_text
    made = fake_data.make(cfg.a, tmp_path)
    assert cfg.pretty_text == before
    assert len(DATASETS.build(made['datasets'][0])) == 8
    assert len(DATASETS.build(made['datasets'][1])) == 4
    with pytest.raises(ValueError, match='no fake of Unknown'):
        fake_data.make(dict(type='Unknown'), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(fake_data.WRITERS))
def test_fake_data_is_read(name, tmp_path):
    """By the class itself, with images of its kind and two rows a class."""
    dataset = fake_data.make(dict(type=name), tmp_path, n=10)
    if name in ('ClassFolders', 'CustomDataset'):
        dataset['data_prefix'] = ''
    if name in ('ImageNet', 'ImageNet1k'):
        dataset['split'] = 'train'
    with fake_data.any_checksum():
        dataset = DATASETS.build(dataset)
    assert len(dataset) >= 10
    for info in (dataset.get_data_info(0), dataset.get_data_info(9)):
        if 'img_path' in info:
            assert Image.open(info['img_path']).size[0] >= 56
        else:
            assert info['img'].std() > 50
    if name not in ('ImageFolder', 'VOC'):
        counts = np.bincount(dataset.get_gt_labels())
        assert (counts >= 2).all() and len(counts) >= 2
    assert isinstance(dataset, mmengine.dataset.BaseDataset)
    assert isinstance(dataset, ImageFolder) == (name == 'ImageFolder')
