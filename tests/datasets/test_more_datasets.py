"""Data sets on disk, parts of them, and whether they are there at all."""

import importlib.util
import inspect
import shutil
import sys
from pathlib import Path
from unittest import mock

import fake_data
import mmengine.dataset
import numpy as np
import pytest
import torchvision.datasets
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.datasets import PackInputs
from mmpretrain.registry import DATASETS
from PIL import Image
from repository import REPOSITORY

from mmentropy.datasets import (
    STL10,
    Digits,
    ImageFolder,
    ImageNet100,
    TinyImageNet,
    check_data,
    label_subset,
    subset_names,
)
from mmentropy.datasets.class_folders import LAYOUTS, check_dataset

ROOT = REPOSITORY
# mmpretrain's reader of Fashion-MNIST warns once per label.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation')


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


def one_line(excinfo) -> str:
    text = str(excinfo.value)
    assert '\n' not in text
    return text


def tool(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / f'tools/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def infos(dataset) -> list[dict]:
    return [dataset.get_data_info(i) for i in range(len(dataset))]


# STL-10


@pytest.fixture
def stl10(tmp_path) -> Path:
    return Path(fake_data.make(dict(type='STL10'), tmp_path)['data_root'])


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


# Tiny ImageNet and ImageNet-100


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
    file = fake_data.text(tmp_path / 'two.txt', ['n02869837', 'n01749939'])
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
    with pytest.raises(ValueError, match="'train' or 'val', not 'test'") as e:
        cls(str(tmp_path), 'test')
    one_line(e)


@pytest.mark.parametrize('cls', [ImageNet100, TinyImageNet, STL10])
def test_no_such_folder(cls, tmp_path):
    with pytest.raises(FileNotFoundError, match=cls.__name__) as e:
        cls(str(tmp_path / 'gone'))
    assert f'{tmp_path}/gone: the folder is missing' in one_line(e)


# LabelSubset


def folder(root: Path, **sizes: int) -> dict:
    """The config of a folder with these numbers of files in its classes."""
    for name, size in sizes.items():
        for i in range(size):
            path = root / name / f'{name}{i:02}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return dict(type='CustomDataset', data_root=str(root))


def test_subset_of_each_class(tmp_path):
    cfg = folder(tmp_path, a=10, b=26, c=3)
    dataset = label_subset(cfg, fraction=0.1)
    assert np.bincount(dataset.get_gt_labels()).tolist() == [1, 3, 1]
    dataset = label_subset(cfg, shots=2)
    assert np.bincount(dataset.get_gt_labels()).tolist() == [2, 2, 2]
    names = subset_names(dataset)
    assert len(set(names)) == 6 and names == sorted(names)
    assert len(label_subset(cfg, fraction=1)) == 39


def test_subset_is_the_same_for_ever(tmp_path):
    cfg = folder(tmp_path, a=10, b=10)

    def draw(**kwargs):
        return subset_names(label_subset(cfg, **kwargs))

    assert draw(shots=2) == draw(shots=2, seed=0) == draw(fraction=0.2)
    assert draw(shots=2) == PINNED
    assert len({tuple(draw(shots=2, seed=seed)) for seed in range(5)}) == 5
    # Not the same places in each class.
    assert len({name[1:] for name in draw(shots=2)}) > 2
    # A larger one has the smaller in it.
    assert set(draw(shots=2)) < set(draw(fraction=0.5))


PINNED = ['a03.png', 'a07.png', 'b04.png', 'b09.png']


def test_subset_does_not_depend_on_row_order(tmp_path):
    cfg = folder(tmp_path, a=10, b=10)
    lines = [f'b/b{i:02}.png 1' for i in range(10)]
    lines += [f'a/a{i:02}.png 0' for i in range(9, -1, -1)]
    file = fake_data.text(tmp_path / 'list.txt', lines)
    other = label_subset(dict(cfg, ann_file=str(file)), shots=3)
    names = subset_names(label_subset(cfg, shots=3))
    # In the order of its own rows.
    assert subset_names(other) == names[3:] + names[2::-1]


def test_subset_of_arrays(tmp_path):
    whole = Digits()
    few = label_subset(dict(type='Digits'), shots=4, seed=1)
    assert np.bincount(few.get_gt_labels()).tolist() == [4] * 10
    pixels = {i['img'].tobytes(): i['gt_label'] for i in infos(whole)}
    assert all(pixels[i['img'].tobytes()] == i['gt_label'] for i in infos(few))
    cfg = fake_data.make(dict(type='STL10'), tmp_path)
    assert len(label_subset(cfg, fraction=0.5)) == 4
    with pytest.raises(ValueError, match='no image files') as e:
        subset_names(whole)
    one_line(e)


def test_subset_in_a_data_loader(tmp_path):
    cfg = fake_data.make(
        dict(
            type='LabelSubset',
            dataset=dict(type='Digits', pipeline=[dict(type='PackInputs')]),
            shots=4,
        ),
        tmp_path,
    )
    loader = Runner.build_dataloader(
        dict(dataset=cfg, batch_size=40, sampler=dict(type='DefaultSampler', shuffle=True))
    )
    (batch,) = loader
    assert len(batch['inputs']) == 40


def test_subset_by_name(tmp_path):
    cfg = folder(tmp_path / 'images', a=4, b=4)
    # In any order, and with blank lines and blanks.
    file = fake_data.text(tmp_path / 'list.txt', ['b03.png ', '', 'a01.png'])
    dataset = label_subset(cfg, names=str(file))
    assert subset_names(dataset) == ['a01.png', 'b03.png']
    assert dataset.get_gt_labels().tolist() == [0, 1]


@pytest.mark.parametrize(
    'lines,expected',
    [
        (['a00.png', 'x2.png', 'x1.png'], ('2 of 3', 'x1.png')),
        (['a00.png', 'same.png'], ('1 of 2', 'same.png')),
        (['', ' '], ('0 of 0',)),
    ],
)
def test_subset_wrong_names(lines, expected, tmp_path):
    cfg = folder(tmp_path / 'images', a=4, b=4)
    for name in 'ab':
        (tmp_path / 'images' / name / 'same.png').touch()
    file = fake_data.text(tmp_path / 'list.txt', lines)
    with pytest.raises(ValueError, match='CustomDataset') as e:
        label_subset(cfg, names=str(file))
    text = one_line(e)
    assert all(part in text for part in (*expected, str(file)))


@pytest.mark.parametrize(
    'arguments,message',
    [
        (dict(), 'exactly one of .* got none'),
        (dict(fraction=0.1, shots=2), 'exactly one .* got fraction and shots'),
        (dict(shots=2, names='a.txt'), 'exactly one .* got shots and names'),
        (dict(fraction=0), r'fraction must be in \(0, 1\], not 0'),
        (dict(fraction=1.5), r'fraction must be in \(0, 1\], not 1.5'),
        (dict(shots=0), 'shots must be at least 1, not 0'),
        (dict(shots=5), 'class 1 of CustomDataset has 4 rows, .* shots=5'),
    ],
)
def test_subset_wrong_arguments(arguments, message, tmp_path):
    cfg = folder(tmp_path, a=6, b=4)
    with pytest.raises(ValueError, match=message) as e:
        label_subset(cfg, **arguments)
    one_line(e)


@pytest.mark.parametrize(
    'name,message', [('ImageFolder', 'row 0 .* no label'), ('VOC', 'row 0 .* several labels')]
)
def test_subset_needs_one_label(name, message, tmp_path):
    cfg = fake_data.make(dict(type=name), tmp_path)
    with pytest.raises(ValueError, match=message) as e:
        label_subset(cfg, shots=1)
    one_line(e)


def test_subset_of_wrapper(tmp_path):
    cfg = dict(type='ConcatDataset', datasets=[dict(type='Digits')])
    with pytest.raises(TypeError, match='ConcatDataset') as e:
        label_subset(cfg, shots=1)
    one_line(e)


def test_make_subset(tmp_path, monkeypatch, capsys):
    """The list that the tool writes names the rows of the fraction."""
    cfg = folder(tmp_path / 'images', a=10, b=20)
    config = tmp_path / 'config.py'
    config.write_text(
        f'train_dataloader = dict(dataset={dict(cfg, pipeline=[dict(type="PackInputs")])})\n'
    )
    out = tmp_path / 'list.txt'
    monkeypatch.setattr(
        sys,
        'argv',
        ['make_subset.py', str(config), '--fraction', '0.2', '--seed', '3', '--out', str(out)],
    )
    tool('make_subset').main()
    assert '6 names' in capsys.readouterr().out
    drawn = subset_names(label_subset(cfg, fraction=0.2, seed=3))
    assert out.read_text().splitlines() == sorted(drawn)
    assert subset_names(label_subset(cfg, names=str(out))) == drawn


# Layouts

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
# What else the check must miss, beside the folder itself.
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
    config.write_text(f'train_dataloader = dict(dataset={GONE})\n')
    command = ['train.py', str(config), '--work-dir', str(tmp_path / 'work')]
    monkeypatch.setattr(sys, 'argv', command)
    with pytest.raises(SystemExit) as e:
        train.main()
    # A text: Python prints it and exits with 1.
    assert one_line(e).startswith('error: ImageNet in /gone: ')
    assert not started and not (tmp_path / 'work').exists()
    # What counts is the folder of the command line.
    (tmp_path / 'train').mkdir()
    monkeypatch.setattr(
        sys, 'argv', command + ['--cfg-options', f'train_dataloader.dataset.data_root={tmp_path}']
    )
    with pytest.raises(AttributeError):  # the fake runner does not train
        train.main()
    assert started


# The fake data


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
