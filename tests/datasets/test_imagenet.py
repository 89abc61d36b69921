"""ImageNet-100 and Tiny ImageNet."""

import shutil
from pathlib import Path

import fake_data
import pytest
from messages import one_line
from mmengine.registry import init_default_scope

from mmentropy.datasets import (
    STL10,
    ImageNet100,
    TinyImageNet,
)
from mmentropy.datasets.required_files import LAYOUTS


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


def infos(dataset) -> list[dict]:
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def test_tiny_imagenet(tmp_path):
    root = fake_data.make(dict(type='TinyImageNet'), tmp_path)['data_root']
    load = [dict(type='LoadImageFromFile')]
    train = TinyImageNet(root, pipeline=load)
    val = TinyImageNet(root, 'val', pipeline=load)
    # Sorted, other than in wnids.txt.
    assert train.CLASSES == val.CLASSES == ('n01443537', 'n02124075')
    assert len(train) == len(val) == 8
    for info in infos(train):
        wnid = train.CLASSES[info['gt_label']]
        assert Path(info['img_path']).parts[-4:-1] == ('train', wnid, 'images')
    # The annotations name the two by turns, the second one first.
    for info in infos(val):
        name = Path(info['img_path'])
        assert name.parts[-3:-1] == ('val', 'images')
        assert info['gt_label'] == 1 - int(name.stem[4:]) % 2
    for dataset in (train, val):
        # One file is gray.
        assert {s['img'].shape for s in dataset} == {(64, 64, 3)}


@pytest.fixture
def imagenet100(tmp_path) -> Path:
    root = fake_data.make(dict(type='ImageNet100'), tmp_path)['data_root']
    return Path(root)


@pytest.mark.slow
def test_imagenet100(imagenet100):
    # Other classes of ImageNet-1k, before and after.
    for split in ('train', 'val'):
        for other in ('n00000000', 'n99999999'):
            fake_data.image(imagenet100 / split / other / 'a.JPEG', 0)
    wnids = fake_data.CLASSES.read_text().split()
    assert len(set(wnids)) == 100 and wnids != sorted(wnids)
    for split in ('train', 'val'):
        dataset = ImageNet100(str(imagenet100), split)
        assert len(dataset) == 200 and len(dataset.CLASSES) == 100
        folders = [Path(i['img_path']).parts[-3:-1] for i in infos(dataset)]
        labels = [i['gt_label'] for i in infos(dataset)]
        assert folders == [(split, sorted(wnids)[y]) for y in labels]
        assert set(labels) == set(range(100))


def test_imagenet100_other_classes(imagenet100, tmp_path):
    file = fake_data.text(tmp_path / 'two.txt', ['n02869837', ' n01749939 ', '', ''])
    dataset = ImageNet100(str(imagenet100), classes_file=str(file))
    assert dataset.CLASSES == ('n01749939', 'n02869837')
    assert [i['gt_label'] for i in infos(dataset)] == [0, 0, 1, 1]


@pytest.mark.parametrize('cls', [ImageNet100, TinyImageNet])
def test_imagenets_class_without_images(cls, tmp_path):
    root = fake_data.make(dict(type=cls.__name__), tmp_path)['data_root']
    first, *_, last = sorted(Path(root, 'train').iterdir())
    shutil.rmtree(first)
    for file in last.rglob('*.JPEG'):
        file.unlink()
    with pytest.raises(FileNotFoundError) as e:
        cls(root)
    text = one_line(e)
    for part in (
        cls.__name__,
        str(Path(root, 'train')),
        first.name,
        '2 of ',
        f'docs/data.md#{LAYOUTS[cls.__name__].section}',
    ):
        assert part in text


@pytest.mark.parametrize('cls', [ImageNet100, TinyImageNet])
def test_imagenets_wrong_split(cls, tmp_path):
    with pytest.raises(ValueError, match="one of train, val, got 'test'") as e:
        cls(str(tmp_path), 'test')
    one_line(e)


@pytest.mark.parametrize('cls', [ImageNet100, TinyImageNet, STL10])
def test_no_such_folder(cls, tmp_path):
    with pytest.raises(FileNotFoundError, match=cls.__name__) as e:
        cls(str(tmp_path / 'gone'))
    assert f'{tmp_path}/gone: the folder is missing' in one_line(e)
