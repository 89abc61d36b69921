"""Which files are missing for which data set, said before anything is built."""

import importlib.util
import inspect
import shutil
import sys
from pathlib import Path

import fake_data
import pytest
import torchvision.datasets
from messages import one_line
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS
from repository import REPOSITORY

from mmentropy.datasets import (
    check_data,
)
from mmentropy.datasets.required_files import LAYOUTS, check_dataset

ROOT = REPOSITORY


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


def tool(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / f'tools/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SPLIT = dict(
    ImageNet='val',
    ImageNet1k='val',
    ImageNet100='val',
    Food101='test',
    FGVCAircraft='test',
    VOC='test',
    OxfordIIITPet='test',
    Caltech101='test',
)


# mmdet's and mmseg's, see tests of their configs.
ELSEWHERE = ('CocoDataset', 'VOCDataset', 'PascalVOCDataset', 'CityscapesDataset')


CASES = [
    dict(type=name, split=SPLIT.get(name, 'train'))
    for name in LAYOUTS
    if name not in ('ClassFolders', 'CustomDataset', 'ImageFolder', *ELSEWHERE)
]


CASES += [
    dict(type='ImageFolder'),
    dict(type='CustomDataset', data_prefix='val'),
    dict(type='ClassFolders', data_prefix='val'),
    dict(type='ImageNet', data_prefix='train', ann_file='meta/train.txt'),
    dict(type='ImageNet', data_prefix=dict(img_path='val'), ann_file='meta/val.txt'),
    dict(type='STL10', split='train+unlabeled'),
]


# Files that the check must miss too, besides the folder itself.
MISSING = dict(
    ImageNet=['{}'],
    ImageNet1k=['{}'],
    ImageNet100=['{}'],
    TinyImageNet=['wnids.txt', 'train', 'val/val_annotations.txt'],
    STL10=['stl10_binary/{}_X.bin'],
    CIFAR10=['cifar-10-batches-py'],
    CIFAR100=['cifar-100-python'],
    CustomDataset=['{}'],
    ClassFolders=['{}'],
    Food101=['images', 'meta/{}.txt'],
    SUN397=['SUN397', 'Partitions'],
    StanfordCars=['car_ims', 'cars_annos.mat'],
    FGVCAircraft=['data/images', 'data/images_variant_{}.txt'],
    VOC=['JPEGImages', 'Annotations', 'ImageSets/Main/{}.txt'],
    DTD=['images', 'imdb/imdb.mat'],
    OxfordIIITPet=['images', 'annotations/{}.txt'],
    Caltech101=['101_ObjectCategories', 'meta/{}.txt'],
    Flowers102=['jpg', 'imagelabels.mat', 'setid.mat'],
)


@pytest.mark.slow
@pytest.mark.parametrize('cfg', CASES, ids=str)
def test_layout(cfg, tmp_path):
    """Found if it is there, and reported if any part of it is not."""
    if cfg['type'].startswith('CIFAR'):
        cfg = dict(cfg, download=False)
    cfg = fake_data.make(cfg, tmp_path)
    name, root = cfg['type'], Path(cfg['data_root'])
    check_dataset(cfg)
    with fake_data.any_checksum():
        assert len(DATASETS.build(cfg)) >= 8
    part = cfg.get('data_prefix') or cfg.get('split', '')
    part = part['img_path'] if isinstance(part, dict) else part
    missing = [entry.format(part.split('+')[-1]) for entry in MISSING.get(name, ())]
    if 'ann_file' in cfg:
        missing.append(cfg['ann_file'])
    for entry in missing:
        (root / entry).rename(tmp_path / 'elsewhere')
        with pytest.raises(FileNotFoundError) as e:
            check_dataset(cfg)
        text = one_line(e)
        for word in (
            f'{name} in {root}: ',
            f'{entry}',
            ' is missing; ',
            'set data_root',
            f'data.md#{LAYOUTS[name].section}',
        ):
            assert word in text
        (tmp_path / 'elsewhere').rename(root / entry)
    check_dataset(cfg)
    shutil.rmtree(root)
    with pytest.raises(FileNotFoundError, match=': the folder is missing'):
        check_dataset(cfg)


@pytest.mark.parametrize('name', [n for n in LAYOUTS if n not in ELSEWHERE])
def test_layout_has_the_default_split_of_its_class(name):
    parameters = inspect.signature(DATASETS.get(name)).parameters
    if 'split' in parameters and '{' in ''.join(LAYOUTS[name].entries):
        assert LAYOUTS[name].split == parameters['split'].default


@pytest.mark.parametrize('split', ['train', 'test'])
def test_other_layout_of_stanford_cars(split, tmp_path):
    cfg = dict(type='StanfordCars', data_root=str(tmp_path), split=split)
    for name in ('devkit', f'cars_{split}'):
        with pytest.raises(FileNotFoundError, match=f'or {name} is missing'):
            check_dataset(cfg)
        (tmp_path / name).mkdir()
    check_dataset(cfg)


def test_layouts_are_documented():
    headings = {
        line[3:].lower().replace(' ', '-').translate(str.maketrans('', '', '(),.:'))
        for line in (ROOT / 'docs/data.md').read_text().splitlines()
        if line.startswith('## ')
    }
    sections = {layout.section for layout in LAYOUTS.values()}
    assert sections | {'fashion-mnist', 'labelled-subsets'} <= headings


GONE = dict(type='ImageNet', data_root='/gone', split='train')


@pytest.mark.parametrize(
    'cfg',
    [
        dict(train_dataloader=dict(dataset=GONE)),
        dict(val_dataloader=dict(dataset=GONE)),
        dict(test_dataloader=dict(dataset=GONE)),
        dict(eval_datasets=dict(train=dict(type='Digits'), other=GONE)),
        dict(custom_hooks=[dict(type='KNNHook', train=GONE, test={})]),
        dict(custom_hooks=[dict(type='KNNHook', train={}, test=GONE)]),
        dict(train_dataloader=dict(dataset=dict(type='RepeatDataset', times=2, dataset=GONE))),
        dict(
            train_dataloader=dict(
                dataset=dict(type='ConcatDataset', datasets=[dict(type='Digits'), GONE])
            )
        ),
        dict(train_dataloader=dict(dataset=dict(type='LabelSubset', shots=1, dataset=GONE))),
        dict(train_dataloader=dict(dataset=dict(GONE, type='mmpretrain.ImageNet'))),
        dict(train_dataloader=dict(dataset=dict(GONE, type=torchvision.datasets.ImageNet))),
    ],
)
def test_check_data_looks_everywhere(cfg):
    with pytest.raises(FileNotFoundError, match='ImageNet in /gone: '):
        check_data(Config(cfg))


@pytest.mark.parametrize(
    'changes',
    [
        dict(type='UnknownDataset'),
        dict(data_root='s3://bucket/imagenet'),
        dict(data_root='~nobody/imagenet'),
        dict(type='CIFAR10'),
        dict(type='LocalCIFAR10'),
        dict(type='VOC', image_set_path='mine.txt'),
    ],
)
def test_check_data_leaves_alone(changes):
    check_dataset(dict(GONE, **changes))


def test_check_data_without_data():
    check_data(
        Config(
            dict(
                train_dataloader=None,
                eval_datasets=None,
                custom_hooks=[dict(type='EMAHook', train=GONE)],
            )
        )
    )
    check_data(Config(dict(model=dict(type='MEC'))))


def test_check_data_of_subset(tmp_path):
    cfg = dict(
        type='LabelSubset', dataset=dict(type='Digits'), names=str(tmp_path / '1percent.txt')
    )
    for check in (check_dataset, DATASETS.build):
        with pytest.raises(FileNotFoundError, match='tools/make_subset') as e:
            check(cfg)
        assert cfg['names'] in one_line(e)


def test_train_checks_the_data_first(tmp_path, monkeypatch):
    train = tool('train')
    started = []
    monkeypatch.setattr(train.Runner, 'from_cfg', started.append)
    config = tmp_path / 'config.py'
    loader = dict(dataset=dict(GONE, pipeline=[]), sampler=dict(type='DefaultSampler'))
    config.write_text(f'train_dataloader = {loader}\n')
    command = ['train.py', str(config), '--work-dir', str(tmp_path / 'work')]
    monkeypatch.setattr(sys, 'argv', command)
    with pytest.raises(SystemExit) as e:
        train.main()
    # A text: Python prints it and exits with 1.
    assert one_line(e).startswith('error: ImageNet in /gone: ')
    assert not started and not (tmp_path / 'work').exists()
    # The folder that the command line names is the one that counts.
    (tmp_path / 'train').mkdir()
    monkeypatch.setattr(
        sys, 'argv', command + ['--cfg-options', f'train_dataloader.dataset.data_root={tmp_path}']
    )
    with pytest.raises(AttributeError):  # the fake runner does not train
        train.main()
    assert started
