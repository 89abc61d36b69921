"""Downloaded data sets: what stands in for the network, and what errors say."""

import gzip
import urllib.request
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from messages import one_line
from mmengine.registry import init_default_scope
from repository import recipe_on

from mmentropy.datasets import (
    LocalCIFAR10,
    LocalCIFAR100,
    LocalFashionMNIST,
)

# mmpretrain's reader of Fashion-MNIST warns once per label.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation')


@pytest.fixture(autouse=True)
def _scope_without_network(monkeypatch):
    init_default_scope('mmpretrain')

    def no_network(*args, **kwargs):
        raise URLError('no network')

    monkeypatch.setattr(urllib.request, 'urlopen', no_network)


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


@pytest.mark.slow
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
    cfg = recipe_on('fashion_mnist').data_preprocessor
    assert cfg.mean == pytest.approx([images.mean()], abs=0.01)
    assert cfg.std == pytest.approx([images.std()], abs=0.01)


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
