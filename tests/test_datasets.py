"""Data sets, their errors, and the data configs."""
import gzip
import io
import logging
import pickle
import urllib.request
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, MODELS
from PIL import Image
from torch.utils.data import DataLoader

from mmentropy.datasets import (
    Digits,
    ImageFolder,
    LocalCIFAR10,
    LocalCIFAR100,
    LocalFashionMNIST,
)

CONFIGS = Path(__file__).parents[1] / 'configs/_base_/datasets'
LOAD = [dict(type='LoadImageFromFile', imdecode_backend='pillow')]
# mmpretrain's reader of Fashion-MNIST warns once per label.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation')


@pytest.fixture(autouse=True)
def _scope_without_network(monkeypatch):
    init_default_scope('mmpretrain')

    def no_network(*args, **kwargs):
        raise URLError('no network')

    monkeypatch.setattr(urllib.request, 'urlopen', no_network)


def one_line(excinfo) -> str:
    text = str(excinfo.value)
    assert '\n' not in text
    return text


# Digits


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
    assert sorted(
        (bytes(s['img']), s['gt_label']) for s in samples) == sorted(
            zip(map(bytes, every), digits.target))
    # The split is the same for ever.
    labels = test.get_gt_labels()
    assert np.bincount(labels).tolist() == [
        50, 51, 49, 51, 50, 51, 50, 50, 48, 50
    ]
    assert labels[:12].tolist() == [4, 8, 8, 3, 9, 0, 6, 3, 9, 8, 4, 5]


def test_digits_wrong_split():
    with pytest.raises(ValueError, match="'train' or 'test'") as e:
        Digits(split='val')
    assert "'val'" in one_line(e)


# Fashion-MNIST


def idx_gz(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim])
    sizes = np.array(array.shape, '>i4').tobytes()
    return gzip.compress(header + sizes + array.tobytes())


@pytest.fixture
def fashion_package(tmp_path, monkeypatch):
    """As many files as Debian has, but with 6 and 4 images."""
    folder = tmp_path / 'package'
    folder.mkdir()
    rng = np.random.RandomState(0)
    for name, n in (('train', 6), ('t10k', 4)):
        images = rng.randint(0, 256, (n, 28, 28), dtype=np.uint8)
        (folder / f'{name}-images-idx3-ubyte.gz').write_bytes(idx_gz(images))
        labels = np.arange(n, dtype=np.uint8)
        (folder / f'{name}-labels-idx1-ubyte.gz').write_bytes(idx_gz(labels))
    monkeypatch.setattr(LocalFashionMNIST, 'package_folder', str(folder))
    return folder


def test_fashion_from_package(fashion_package, tmp_path):
    root = tmp_path / 'data'
    before = sorted(p.name for p in fashion_package.iterdir())
    train = LocalFashionMNIST(str(root))
    assert len(train) == 6 and train[5]['gt_label'] == 5
    assert train[0]['img'].shape == (28, 28)
    # `split` alone is enough; mmpretrain would give the training images.
    assert len(LocalFashionMNIST(str(root), split='test')) == 4
    assert len(LocalFashionMNIST(str(root), indices=2)) == 2
    assert sorted(p.name for p in fashion_package.iterdir()) == before
    assert not list(root.glob('*.part')) and len(list(root.iterdir())) == 4


def test_fashion_package_is_not_needed_twice(fashion_package, tmp_path):
    LocalFashionMNIST(str(tmp_path / 'data'))
    for file in fashion_package.iterdir():
        file.unlink()
    assert len(LocalFashionMNIST(str(tmp_path / 'data'))) == 6


def test_fashion_broken_package(fashion_package, tmp_path):
    file = fashion_package / 't10k-labels-idx1-ubyte.gz'  # the last
    content = file.read_bytes()
    file.write_bytes(content[:len(content) // 2])
    for _ in range(2):  # the broken copy must not pass for a whole one
        with pytest.raises(RuntimeError, match='EOFError') as e:
            LocalFashionMNIST(str(tmp_path / 'data'))
        one_line(e)


def test_fashion_nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr(LocalFashionMNIST, 'package_folder',
                        str(tmp_path / 'package'))
    root = tmp_path / 'data'
    with pytest.raises(RuntimeError) as e:
        LocalFashionMNIST(str(root))
    text = one_line(e)
    for part in (str(root), 'dataset-fashion-mnist',
                 str(tmp_path / 'package'), 'train-images-idx3-ubyte.gz',
                 't10k-labels-idx1-ubyte.gz', 'no network'):
        assert part in text


def test_fashion_wrong_arguments(tmp_path):
    with pytest.raises(AssertionError, match='split must be one of'):
        LocalFashionMNIST(str(tmp_path), split='val')
    with pytest.raises(TypeError, match='test_mode'):
        LocalFashionMNIST(str(tmp_path), test_mode=True)


@pytest.mark.skipif(
    not Path(LocalFashionMNIST.package_folder).is_dir(),
    reason='dataset-fashion-mnist is not installed')
def test_fashion_normalisation(tmp_path):
    data = LocalFashionMNIST(str(tmp_path), serialize_data=False)
    images = np.stack([info['img'] for info in data.data_list])
    cfg = Config.fromfile(CONFIGS / 'fashion_mnist.py').data_preprocessor
    assert cfg.mean == pytest.approx([images.mean()], abs=0.01)
    assert cfg.std == pytest.approx([images.std()], abs=0.01)


# CIFAR


@pytest.mark.parametrize('cls', [LocalCIFAR10, LocalCIFAR100])
def test_cifar_nowhere(cls, tmp_path):
    root = tmp_path / 'data'
    with pytest.raises(RuntimeError) as e:
        cls(str(root))
    text = one_line(e)
    for part in (str(root), cls.__name__, cls.filename, 'no network'):
        assert part in text


def write_cifar(root: Path, monkeypatch, images: np.ndarray) -> None:
    """Write RGB images (n, 32, 32, 3) in the layouts of both CIFARs."""
    flat = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    for cls, key in ((LocalCIFAR10, 'labels'), (LocalCIFAR100,
                                                'fine_labels')):
        for name in ('train_list', 'test_list'):
            files = [[file, None] for file, _ in getattr(cls, name)]
            monkeypatch.setattr(cls, name, files)
            for file, _ in files:
                path = root / cls.base_folder / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(
                    pickle.dumps({
                        'data': flat,
                        key: list(range(len(flat)))
                    }))


# Configs


def make_data(name: str, root: Path, monkeypatch, image=None) -> None:
    """Write what the config ``name`` reads, 4 images of noise or ``image``."""
    rng = np.random.RandomState(0)
    if image is None:
        images = rng.randint(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    else:
        images = np.broadcast_to(np.uint8(image), (4, 32, 32, 3))
    if name == 'folder':
        for i, array in enumerate(images):
            Image.fromarray(array).save(root / f'{i}.png')
    elif name.startswith('cifar'):
        write_cifar(root, monkeypatch, images)
    # fashion_mnist: the fixture has written it


def load_config(name: str, root: Path) -> Config:
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    cfg.train_dataloader.update(
        batch_size=2, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset.data_root = str(root)
    for dataset in cfg.get('eval_datasets', {}).values():
        dataset.data_root = str(root)
    return cfg


def first_views(cfg: Config) -> list:
    """The un-normalised views of the first batch and the normalised ones."""
    batch = next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))
    preprocess = MODELS.build(cfg.data_preprocessor)
    return batch['inputs'], preprocess(batch, True)['inputs']


@pytest.mark.parametrize('name,shape', [('cifar10', (3, 32, 32)),
                                        ('cifar100', (3, 32, 32)),
                                        ('fashion_mnist', (1, 28, 28)),
                                        ('folder', (3, 224, 224))])
def test_config(name, shape, tmp_path, monkeypatch, fashion_package):
    make_data(name, tmp_path, monkeypatch)
    cfg = load_config(name, tmp_path)
    keys = {'data_preprocessor', 'train_dataloader'}
    assert set(cfg) == keys | (set() if name == 'folder' else
                               {'eval_datasets'})
    assert cfg.train_dataloader.drop_last
    raw, views = first_views(cfg)
    assert [v.shape for v in views] == [(2, *shape)] * 2
    assert raw[0].dtype == torch.uint8 and views[0].dtype == torch.float32
    assert not torch.equal(views[0], views[1])
    for split, cfg_split in cfg.get('eval_datasets', {}).items():
        dataset = DATASETS.build(cfg_split)
        sample = dataset[1]
        plain = torch.from_numpy(np.ascontiguousarray(
            dataset.get_data_info(1)['img'])).view(*shape[1:], shape[0])
        # Not augmented, and the split that it says.
        assert torch.equal(sample['inputs'], plain.permute(2, 0, 1))
        assert sample['data_samples'].gt_label == 1
        assert dataset.split == split


RED = (255, 0, 0)


def only(cfg: Config, **changes) -> Config:
    """Give transforms in ``cfg`` other arguments: ``changes[type][arg]``."""
    for view in cfg.train_dataloader.dataset.pipeline[1].transforms:
        for transform in view:
            inner = transform.get('transforms', [{}])[0]
            for t in (transform, inner):
                name = t.get('type', '').split('/')[-1]
                t.update(changes.get(name, {}))
    return cfg


@pytest.mark.parametrize('name', ['cifar10', 'cifar100', 'folder'])
def test_channel_order_of_grayscale(name, tmp_path, monkeypatch):
    """Red becomes 0.299 * 255, not the 0.114 * 255 of blue."""
    make_data(name, tmp_path, monkeypatch, RED)
    cfg = only(
        load_config(name, tmp_path),
        RandomApply=dict(prob=0.),
        RandomGrayscale={'prob' if name == 'folder' else 'p': 1.},
        Solarize=dict(prob=0.))
    for view in first_views(cfg)[0]:
        assert (view == 76).all()


@pytest.mark.parametrize('name', ['cifar10', 'folder'])
def test_channel_order_of_hue(name, tmp_path, monkeypatch):
    """A third of the circle on from red is green."""
    make_data(name, tmp_path, monkeypatch, RED)
    cfg = only(
        load_config(name, tmp_path),
        RandomApply=dict(prob=1.),
        ColorJitter=dict(
            brightness=0, contrast=0, saturation=0, hue=(1 / 3, 1 / 3)),
        RandomGrayscale={'prob' if name == 'folder' else 'p': 0.},
        Solarize=dict(prob=0.))
    for view in first_views(cfg)[0]:
        channels = view.float().mean((0, 2, 3))
        assert channels.argmax() == 1 and channels[1] > 250
        assert channels[[0, 2]].max() < 8


@pytest.mark.parametrize('name', ['cifar10', 'cifar100', 'folder'])
def test_channel_order_of_normalisation(name, tmp_path, monkeypatch):
    make_data(name, tmp_path, monkeypatch, RED)
    cfg = only(
        load_config(name, tmp_path),
        RandomApply=dict(prob=0.),
        RandomGrayscale={'prob' if name == 'folder' else 'p': 0.},
        Solarize=dict(prob=0.))
    mean, std = map(torch.tensor,
                    (cfg.data_preprocessor.mean, cfg.data_preprocessor.std))
    # The published values, red first: red is the largest everywhere.
    assert mean.argmax() == 0
    for view in first_views(cfg)[1]:
        torch.testing.assert_close(
            view.mean((0, 2, 3)), (torch.tensor(RED) - mean) / std)


# ImageFolder


def save(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.RandomState(seed).randint(
        0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(array).save(path)


def names(dataset: ImageFolder, root: Path) -> list:
    return [
        str(Path(dataset.get_data_info(i)['img_path']).relative_to(root))
        for i in range(len(dataset))
    ]


def test_folder_finds_images(tmp_path):
    root, other = tmp_path / 'root', tmp_path / 'other'
    found = ['UPPER.JPG', 'a.png', 'deep/er/b.jpeg', 'deep/c.webp']
    for name in found + ['.hidden.png', '.cache/d.png', 'deep/.e/f.png']:
        save(root / name)
    save(other / 'g.png')
    (root / 'notes.txt').write_text('no image')
    (root / 'link').symlink_to(other)
    (root / 'h.png').symlink_to(other / 'g.png')
    (root / 'broken.png').symlink_to(other / 'gone.png')
    dataset = ImageFolder(str(root), pipeline=LOAD)
    assert names(dataset, root) == sorted(found + ['h.png', 'link/g.png'])
    for i in range(len(dataset)):
        assert dataset[i]['img'].shape == (24, 24, 3)
        assert 'gt_label' not in dataset[i]
    assert dataset.num_unreadable == 0
    assert len(ImageFolder(str(root), indices=2)) == 2
    assert names(ImageFolder(str(root), extensions=['.JPG']),
                 root) == ['UPPER.JPG']


def test_folder_missing_or_empty(tmp_path):
    with pytest.raises(FileNotFoundError, match='set data_root') as e:
        ImageFolder(str(tmp_path / 'gone'))
    assert str(tmp_path / 'gone') in one_line(e)
    (tmp_path / 'a.txt').write_text('no image')
    with pytest.raises(FileNotFoundError, match='set data_root') as e:
        ImageFolder(str(tmp_path))
    text = one_line(e)
    for part in (str(tmp_path), '.jpg', '.webp', 'extensions'):
        assert part in text


@pytest.mark.parametrize('argument', [
    dict(on_unreadable='ignore'),
    dict(max_unreadable=-0.1),
    dict(max_unreadable=1.1)
])
def test_folder_wrong_argument(argument, tmp_path):
    save(tmp_path / 'a.png')
    (name, value), = argument.items()
    with pytest.raises(ValueError, match=name) as e:
        ImageFolder(str(tmp_path), **argument)
    assert repr(value) in one_line(e)


def jpeg() -> bytes:
    buffer = io.BytesIO()
    array = np.random.RandomState(0).randint(
        0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(array).save(buffer, 'JPEG')
    return buffer.getvalue()


BAD = {
    'zero.jpg': b'',
    'text.jpg': b'<html>not found</html>',
    'cut.jpg': jpeg()[:-200],
    'half.jpg': jpeg()[:1000],
    'corrupt.jpg': bytes(200) + jpeg()[200:],
}


@pytest.fixture
def bad_folder(tmp_path):
    """Eight good images and five bad ones."""
    for i in range(8):
        save(tmp_path / f'good{i}.png', i)
    for name, content in BAD.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def warnings():
    """Texts of the warnings that the current logger gets."""
    texts = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: texts.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield texts
    logger.removeHandler(handler)


def test_folder_skips_unreadable(bad_folder, warnings):
    def pixels(order):
        dataset = ImageFolder(str(bad_folder), pipeline=LOAD)
        images = {i: dataset[i]['img'] for i in order}
        assert dataset.num_unreadable == len(BAD)
        assert {Path(p).name for p in dataset.unreadable} == set(BAD)
        # Met again, they are neither read nor reported nor counted again.
        for i in order:
            assert (dataset[i]['img'] == images[i]).all()
        assert dataset.num_unreadable == len(BAD)
        return images

    first = pixels(range(13))
    assert len(warnings) == len(BAD)
    for i, text in enumerate(warnings):
        assert f'{i + 1} of 13 unreadable' in text
        assert any(str(bad_folder / name) in text for name in BAD)
    # The replacement depends on the index alone.
    second = pixels(reversed(range(13)))
    assert all((first[i] == second[i]).all() for i in first)


def test_folder_loader_that_returns_none(bad_folder):
    dataset = ImageFolder(
        str(bad_folder), pipeline=[dict(LOAD[0], ignore_empty=True)])
    for i in range(13):
        dataset[i]
    assert dataset.num_unreadable == len(BAD)


def test_folder_stops(bad_folder):
    dataset = ImageFolder(
        str(bad_folder), pipeline=LOAD, on_unreadable='stop')
    bad = names(dataset, bad_folder).index('zero.jpg')
    for _ in range(2):
        with pytest.raises(OSError, match='cannot read image') as e:
            dataset[bad]
        assert str(bad_folder / 'zero.jpg') in str(e.value)


def test_folder_too_many_unreadable(bad_folder):
    (bad_folder / 'sixth.jpg').write_bytes(b'')
    # Five bad files are tolerated whatever the share, the sixth is not.
    dataset = ImageFolder(str(bad_folder), pipeline=LOAD)
    with pytest.raises(OSError, match='max_unreadable=0.01') as e:
        for i in range(len(dataset)):
            dataset[i]
    assert '5 others of 14' in one_line(e)
    dataset = ImageFolder(
        str(bad_folder), pipeline=LOAD, max_unreadable=0.5)
    for i in range(len(dataset)):
        dataset[i]
    assert dataset.num_unreadable == 6


@pytest.mark.parametrize('number', [1, 3])
def test_folder_all_unreadable(number, tmp_path):
    """The search for a good image ends, also when tried again."""
    for i in range(number):
        (tmp_path / f'{i}.png').write_bytes(b'')
    dataset = ImageFolder(str(tmp_path), pipeline=LOAD, max_unreadable=1.)
    for i in list(range(number)) * 2:
        with pytest.raises(OSError, match='cannot read image'):
            dataset[i]


def test_folder_error_of_other_transform(tmp_path):
    """A bug in the augmentation is not taken for a bad image."""
    save(tmp_path / 'a.png')
    pipeline = LOAD + [lambda results: results['no such key']]
    dataset = ImageFolder(str(tmp_path), pipeline=pipeline)
    with pytest.raises(KeyError, match='no such key'):
        dataset[0]
    assert dataset.num_unreadable == 0


def first_pixel(samples: list) -> list:
    return [int(s['img'][0, 0, 0]) for s in samples]


def test_folder_counts_in_workers(bad_folder):
    dataset = ImageFolder(str(bad_folder), pipeline=LOAD)
    loader = DataLoader(
        dataset, batch_size=2, num_workers=2, collate_fn=first_pixel)
    seen = sum(loader, [])
    assert len(seen) == 13
    assert dataset.num_unreadable == len(BAD)
    assert {Path(p).name for p in dataset.unreadable} == set(BAD)
