"""Data sets, their errors, and the data configs."""

import gzip
import io
import logging
import urllib.request
from pathlib import Path
from urllib.error import URLError

import fake_data
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, MODELS
from PIL import Image
from repository import REPOSITORY
from torch.utils.data import DataLoader
from torchvision.transforms import v2
from torchvision.transforms.functional import pil_to_tensor

from mmentropy.datasets import (
    Digits,
    ImageFolder,
    LocalCIFAR10,
    LocalCIFAR100,
    LocalFashionMNIST,
)

CONFIGS = REPOSITORY / 'configs/_base_/datasets'
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
    assert sorted((bytes(s['img']), s['gt_label']) for s in samples) == sorted(
        zip(map(bytes, every), digits.target)
    )
    # The split is the same for ever.
    labels = test.get_gt_labels()
    assert np.bincount(labels).tolist() == [50, 51, 49, 51, 50, 51, 50, 50, 48, 50]
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
    file.write_bytes(content[: len(content) // 2])
    for _ in range(2):  # the broken copy must not pass for a whole one
        with pytest.raises(RuntimeError, match='EOFError') as e:
            LocalFashionMNIST(str(tmp_path / 'data'))
        one_line(e)


def test_fashion_nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr(LocalFashionMNIST, 'package_folder', str(tmp_path / 'package'))
    root = tmp_path / 'data'
    with pytest.raises(RuntimeError) as e:
        LocalFashionMNIST(str(root))
    text = one_line(e)
    for part in (
        str(root),
        'dataset-fashion-mnist',
        str(tmp_path / 'package'),
        'train-images-idx3-ubyte.gz',
        't10k-labels-idx1-ubyte.gz',
        'docs/data.md#fashion-mnist',
        'no network',
    ):
        assert part in text


def test_fashion_wrong_arguments(tmp_path):
    with pytest.raises(AssertionError, match='split must be one of'):
        LocalFashionMNIST(str(tmp_path), split='val')
    with pytest.raises(TypeError, match='test_mode'):
        LocalFashionMNIST(str(tmp_path), test_mode=True)


@pytest.mark.skipif(
    not Path(LocalFashionMNIST.package_folder).is_dir(),
    reason='dataset-fashion-mnist is not installed',
)
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
    for part in (
        str(root),
        cls.__name__,
        cls.filename,
        'docs/data.md#cifar-10-and-cifar-100',
        'no network',
    ):
        assert part in text


# Configs

SHAPES = dict(
    cifar10=(3, 32, 32),
    cifar100=(3, 32, 32),
    fashion_mnist=(1, 28, 28),
    folder=(3, 224, 224),
    imagenet=(3, 224, 224),
    imagenet100=(3, 224, 224),
    imagenet_byol=(3, 224, 224),
    imagenet_simclr=(3, 224, 224),
    imagenet_multicrop=(3, 224, 224),
    places365=(3, 224, 224),
    stl10=(3, 64, 64),
    tiny_imagenet=(3, 64, 64),
)
COLOUR = sorted(set(SHAPES) - {'fashion_mnist'})
RED = (255, 0, 0)


def load_config(name: str, root: Path) -> Config:
    """The config, reading fake data below ``root``."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    loader, sets = cfg.train_dataloader, cfg.get('eval_datasets', {})
    loader.update(batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False)
    loader.dataset = fake_data.make(loader.dataset, root)
    for key in sets:
        sets[key] = fake_data.make(sets[key], root)
    return cfg


@pytest.fixture
def red(monkeypatch):
    """Fake images are red all over."""

    def array(seed, *shape):
        if len(shape) == 4 or shape[-1] == 3072:  # STL-10 and CIFAR
            planes = np.repeat(np.uint8(RED), np.prod(shape[1:]) // 3)
            return np.tile(planes, (shape[0], 1)).reshape(shape)
        if shape[-1] == 3:
            return np.broadcast_to(np.uint8(RED), shape).copy()
        return np.full(shape, 76, np.uint8)

    monkeypatch.setattr(fake_data, 'noise', array)


@pytest.fixture
def any_checksum():
    with fake_data.any_checksum():
        yield


def multi_view(cfg: Config) -> dict:
    pipeline = cfg.train_dataloader.dataset.pipeline
    return next(t for t in pipeline if t.type == 'MultiView')


def colours(cfg: Config, gray: float = 0.0, hue: float = 0.0) -> Config:
    """Make the views gray with that probability and always shift the hue."""
    for view in multi_view(cfg).transforms:
        for t in view:
            if t.type.endswith('RandomGrayscale'):
                t['p' if t.type.startswith('torchvision') else 'prob'] = gray
            elif t.type == 'RandomApply':
                t.prob = 1.0
                t.transforms[0].update(brightness=0, contrast=0, saturation=0, hue=(hue, hue))
            elif t.type == 'Solarize':
                t.prob = 0.0
    return cfg


def first_views(cfg: Config) -> list:
    """The un-normalised views of the first batch and the normalised ones."""
    batch = next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))
    preprocess = MODELS.build(cfg.data_preprocessor)
    return batch['inputs'], preprocess(batch, True)['inputs']


@pytest.mark.parametrize('name', SHAPES)
def test_config_views(name, tmp_path, any_checksum):
    cfg = load_config(name, tmp_path)
    assert {'data_preprocessor', 'train_dataloader'} <= set(cfg)
    assert ('eval_datasets' in cfg) == (name != 'folder')
    assert cfg.train_dataloader.drop_last
    raw, views = first_views(cfg)
    shapes = [SHAPES[name]] * 2
    if name == 'imagenet_multicrop':
        shapes += [(3, 96, 96)] * 6
    assert [v.shape for v in views] == [(2, *shape) for shape in shapes]
    assert raw[0].dtype == torch.uint8 and views[0].dtype == torch.float32
    assert not torch.equal(views[0], views[1])


PLAIN = dict(
    stl10=v2.Compose([v2.Resize(70, v2.InterpolationMode.BICUBIC), v2.CenterCrop(64)]),
    imagenet100=v2.Compose([v2.Resize(256), v2.CenterCrop(224)]),
)
VAL = ('imagenet100', 'tiny_imagenet')


@pytest.mark.parametrize('name', ['cifar10', 'cifar100', 'fashion_mnist', 'stl10', *VAL])
def test_config_evaluation(name, tmp_path, any_checksum):
    """Resized and cropped as the paper says, not augmented, and RGB."""
    for split, cfg in load_config(name, tmp_path).eval_datasets.items():
        dataset = DATASETS.build(cfg)
        assert dataset.split == ('val' if name in VAL and split == 'test' else split)
        info, sample = dataset.get_data_info(1), dataset[1]
        if 'img' in info:
            image = Image.fromarray(info['img'])
        else:
            image = Image.open(info['img_path']).convert('RGB')
        expected = pil_to_tensor(PLAIN.get(name, lambda image: image)(image))
        assert torch.equal(sample['inputs'], expected)
        assert sample['inputs'].shape == SHAPES[name]
        assert sample['data_samples'].gt_label == info['gt_label']


@pytest.mark.parametrize('name', COLOUR)
def test_channel_order_of_grayscale(name, tmp_path, red, any_checksum):
    """Red becomes 0.299 * 255, not the 0.114 * 255 of blue."""
    cfg = colours(load_config(name, tmp_path), gray=1.0)
    for view in first_views(cfg)[0]:
        # JPEG makes 254 of 255.
        assert (view.int() - 76).abs().max() <= 1


@pytest.mark.parametrize('name', COLOUR)
def test_channel_order_of_hue(name, tmp_path, red, any_checksum):
    """A third of the circle on from red is green."""
    cfg = colours(load_config(name, tmp_path), hue=1 / 3)
    for view in first_views(cfg)[0]:
        channels = view.float().mean((0, 2, 3))
        assert channels.argmax() == 1 and channels[1] > 250
        assert channels[[0, 2]].max() < 8


@pytest.mark.parametrize('name', COLOUR)
def test_channel_order_of_normalisation(name, tmp_path, red, any_checksum):
    cfg = colours(load_config(name, tmp_path))
    mean, std = map(torch.tensor, (cfg.data_preprocessor.mean, cfg.data_preprocessor.std))
    # The published values, red first: red is the largest everywhere.
    assert mean.argmax() == 0
    expected = (torch.tensor(RED) - mean) / std
    preprocess = MODELS.build(cfg.data_preprocessor)
    views = first_views(cfg)[1]
    for dataset in cfg.get('eval_datasets', {}).values():
        batch = dict(inputs=DATASETS.build(dataset)[0]['inputs'][None])
        views.append(preprocess(dict(batch, data_samples=None))['inputs'])
    for view in views:
        torch.testing.assert_close(view.mean((0, 2, 3)), expected, rtol=0, atol=0.05)


# crop, smallest share, jitter, gray, blur, mean, std: config.py, data.py and
# runner.py of LiShuo1001/MinEnt@d17ed2f
C10 = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
STL = (0.43, 0.42, 0.39), (0.27, 0.26, 0.27)
TINY = (0.480, 0.448, 0.398), (0.277, 0.269, 0.282)
IN = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MINENT = dict(
    cifar10=(32, 0.2, (0.4, 0.4, 0.4, 0.1), 0.1, False, *C10),
    stl10=(64, 0.2, (0.4, 0.4, 0.4, 0.1), 0.1, False, *STL),
    tiny_imagenet=(64, 0.2, (0.4, 0.4, 0.4, 0.1), 0.1, False, *TINY),
    imagenet100=(224, 0.08, (0.8, 0.8, 0.8, 0.2), 0.2, True, *IN),
)


@pytest.mark.parametrize('name', MINENT)
def test_views_of_minent(name):
    size, share, strength, gray, blur, mean, std = MINENT[name]
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    steps = multi_view(cfg)
    assert steps.num_views == [2] and cfg.train_dataloader.batch_size == 128
    jitter, grayscale, crop, flip, *rest = steps.transforms[0]
    inner = jitter.transforms[0]
    assert [t.type.split('/')[-1] for t in (inner, grayscale, crop, flip)] == [
        'ColorJitter',
        'RandomGrayscale',
        'RandomResizedCrop',
        'RandomHorizontalFlip',
    ]
    values = inner.brightness, inner.contrast, inner.saturation, inner.hue
    assert values == strength and jitter.prob == 0.8
    assert grayscale.p == gray and flip.p == 0.5
    assert (crop.size, crop.scale) == (size, (share, 1.0))
    assert crop.interpolation == 'bicubic' and 'ratio' not in crop
    assert bool(rest) == blur
    if blur:
        assert rest[-1] == dict(
            type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5
        )
    for key, values in (('mean', mean), ('std', std)):
        assert cfg.data_preprocessor[key] == pytest.approx([255 * v for v in values])


def test_views_of_multicrop():
    """MoCo v3's global views and SwAV's local ones, but for the crops."""

    def crop(view):
        return view[0].scale, view[0].crop_ratio_range

    plain, multi = [
        multi_view(Config.fromfile(CONFIGS / f'{name}.py'))
        for name in ('imagenet', 'imagenet_multicrop')
    ]
    first, second, local = multi.transforms
    assert multi.num_views == [1, 1, 6]
    assert crop(first) == crop(second) == (224, (0.14, 1.0))
    assert crop(local) == (96, (0.05, 0.14))

    def steps(view):
        return [{k: v for k, v in t.items() if k != '_scope_'} for t in view]

    for a, b in zip(plain.transforms, multi.transforms):
        assert steps(a)[1:] == steps(b)[1:]
    jitter, gray, blur, flip = local[1:]
    assert [t.type for t in local[2:]] == ['RandomGrayscale', 'GaussianBlur', 'RandomFlip']
    assert jitter.transforms[0] == dict(
        type='ColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2
    )
    assert (jitter.prob, gray.prob, blur.prob, flip.prob) == (0.8, 0.2, 0.5, 0.5)


# ImageFolder


def save(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.RandomState(seed).randint(0, 256, (24, 24, 3), dtype=np.uint8)
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
    assert names(dataset, root) == sorted(found + ['broken.png', 'h.png', 'link/g.png'])
    for i in range(len(dataset)):
        assert dataset[i]['img'].shape == (24, 24, 3)
        assert 'gt_label' not in dataset[i]
    assert dataset.unreadable == [str(root / 'broken.png')]
    assert len(ImageFolder(str(root), indices=2)) == 2
    assert names(ImageFolder(str(root), extensions=['.JPG']), root) == ['UPPER.JPG']


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


@pytest.mark.parametrize(
    'argument', [dict(on_unreadable='ignore'), dict(max_unreadable=-0.1), dict(max_unreadable=1.1)]
)
def test_folder_wrong_argument(argument, tmp_path):
    save(tmp_path / 'a.png')
    ((name, value),) = argument.items()
    with pytest.raises(ValueError, match=name) as e:
        ImageFolder(str(tmp_path), **argument)
    assert repr(value) in one_line(e)


def jpeg() -> bytes:
    buffer = io.BytesIO()
    array = np.random.RandomState(0).randint(0, 256, (64, 64, 3), dtype=np.uint8)
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
    dataset = ImageFolder(str(bad_folder), pipeline=[dict(LOAD[0], ignore_empty=True)])
    for i in range(13):
        dataset[i]
    assert dataset.num_unreadable == len(BAD)


def test_folder_stops(bad_folder):
    dataset = ImageFolder(str(bad_folder), pipeline=LOAD, on_unreadable='stop')
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
    assert one_line(e).startswith('6 of 14 images are unreadable (42.86%), ')
    dataset = ImageFolder(str(bad_folder), pipeline=LOAD, max_unreadable=0.5)
    for i in range(len(dataset)):
        dataset[i]
    assert dataset.num_unreadable == 6


@pytest.mark.parametrize('number', [1, 3])
def test_folder_all_unreadable(number, tmp_path):
    """The search for a good image ends, also when tried again."""
    for i in range(number):
        (tmp_path / f'{i}.png').write_bytes(b'')
    dataset = ImageFolder(str(tmp_path), pipeline=LOAD, max_unreadable=1.0)
    for i in list(range(number)) * 2:
        with pytest.raises(OSError, match=f'{number} of {number} images'):
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
    loader = DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=first_pixel)
    seen = sum(loader, [])
    assert len(seen) == 13
    assert dataset.num_unreadable == len(BAD)
    assert {Path(p).name for p in dataset.unreadable} == set(BAD)
