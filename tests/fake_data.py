"""Tiny copies of the data sets, in their layouts on disk.

    with fake_data.any_checksum():
        dataset = DATASETS.build(fake_data.make(cfg, tmp_path))

The classes read them as they read the real ones. Pixels are noise that is
the same in every run, and so are names and labels.
"""

import copy
import gc
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import mat4py
import numpy as np
import tifffile
from mmengine.fileio import list_from_file
from mmpretrain.datasets import categories
from mmpretrain.registry import DATASETS
from PIL import Image

import mmentropy.datasets
from mmentropy.datasets import subset_names

# mmengine collects garbage with every data set; spare it what imports made.
gc.freeze()

CLASSES = Path(mmentropy.datasets.__file__).with_name('imagenet100.txt')


def make(cfg: dict, root: Path, n: int = 8) -> dict:
    """The config of a data set of ``n`` rows per split below ``root``.

    All its splits are written; what is there already is written anew. Rows
    are of two classes by turns, ImageNet-100 has two rows of each class.

    Args:
        cfg: of a data set or a wrapper of some; not changed.
        root: a folder for all data sets of a test.
        n: rows per split, even.
    """
    cfg = copy.deepcopy(cfg)
    if isinstance(cfg.get('dataset'), dict):
        cfg['dataset'] = make(cfg['dataset'], root, n)
    if 'datasets' in cfg:
        cfg['datasets'] = [make(inner, root, n) for inner in cfg['datasets']]
    if cfg.get('names') is not None:
        cfg['names'] = str(write_names(cfg['dataset'], root / 'names.txt'))
    name = cfg['type'].split('.')[-1]
    if name in WRITERS:
        cfg['data_root'] = str(root / name)
        WRITERS[name](root / name, cfg, n)
    elif name != 'Digits' and not {'dataset', 'datasets'} & set(cfg):
        raise ValueError(f'no fake of {name}: add it to tests/fake_data.py')
    return cfg


@contextmanager
def any_checksum() -> Iterator[None]:
    """Let the CIFAR classes take files other than the published ones."""
    with mock.patch('mmpretrain.datasets.cifar.check_md5', return_value=True):
        yield


def write_names(cfg: dict, file: Path) -> Path:
    """List every other image of a data set, as SimCLR's lists do."""
    names = subset_names(DATASETS.build(dict(cfg, pipeline=[])))
    return text(file, names[::2])


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, shape, dtype=np.uint8)


def image(path: Path, seed: int, shape=(40, 56, 3)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(seed, *shape)).save(path)


def text(path: Path, lines: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{line}\n' for line in lines))
    return path


def mat(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mat4py.savemat(str(path), content)


def imagenet(root: Path, cfg: dict, n: int) -> None:
    # With lists: without them the class insists on a thousand folders.
    wnids = ['n01440764', 'n01443537']
    train = [f'{wnids[i % 2]}/{wnids[i % 2]}_{i}.JPEG' for i in range(n)]
    val = [f'ILSVRC2012_val_{i + 1:08}.JPEG' for i in range(n)]
    for split, names in (('train', train), ('val', val)):
        for i, name in enumerate(names):
            image(root / split / name, i)
        text(root / f'meta/{split}.txt', [f'{name} {i % 2}' for i, name in enumerate(names)])


def imagenet100(root: Path, cfg: dict, n: int) -> None:
    for i, wnid in enumerate(list_from_file(cfg.get('classes_file', CLASSES))):
        for j in range(2):
            image(root / f'train/{wnid}/{wnid}_{j}.JPEG', i)
            image(root / f'val/{wnid}/ILSVRC2012_val_{i}_{j}.JPEG', i)


def tiny_imagenet(root: Path, cfg: dict, n: int) -> None:
    # Not sorted, like the real one; a file of boxes lies by the images.
    wnids = ['n02124075', 'n01443537']
    text(root / 'wnids.txt', wnids)
    lines = []
    for i in range(n):
        wnid = wnids[i % 2]
        # A tenth or so of the real images is gray.
        shape = (64, 64) if i == 2 else (64, 64, 3)
        image(root / f'train/{wnid}/images/{wnid}_{i}.JPEG', i, shape)
        text(root / f'train/{wnid}/{wnid}_boxes.txt', ['x'])
        image(root / f'val/images/val_{i}.JPEG', n + i, shape)
        lines.append(f'val_{i}.JPEG\t{wnid}\t0\t32\t44\t62')
    text(root / 'val/val_annotations.txt', lines)


def stl10(root: Path, cfg: dict, n: int) -> None:
    folder = root / 'stl10_binary'
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.arange(n, dtype=np.uint8) % 2 + 1
    for seed, split in enumerate(('train', 'test', 'unlabeled')):
        noise(seed, n, 3, 96, 96).tofile(folder / f'{split}_X.bin')
        if split != 'unlabeled':
            labels.tofile(folder / f'{split}_y.bin')
    text(folder / 'fold_indices.txt', [f'{i % n} {(i + 3) % n} ' for i in range(10)])


def cifar(root: Path, cfg: dict, n: int) -> None:
    cls = DATASETS.get(cfg['type'])
    key = 'fine_labels' if cls.filename.startswith('cifar-100') else 'labels'
    train = len(cls.train_list)
    for seed, (name, _) in enumerate(cls.train_list + cls.test_list):
        rows = np.arange(n) if seed >= train else np.arange(seed, n, train)
        batch = {'data': noise(seed, len(rows), 3072)}
        batch[key] = (rows % 2).tolist()
        file = root / cls.base_folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(batch))


def fashion_mnist(root: Path, cfg: dict, n: int) -> None:
    root.mkdir(parents=True, exist_ok=True)
    labels = np.arange(n, dtype=np.uint8) % 2
    for seed, split in enumerate(('train', 't10k')):
        for kind, array in (('images-idx3', noise(seed, n, 28, 28)), ('labels-idx1', labels)):
            sizes = np.array(array.shape, '>i4').tobytes()
            (root / f'{split}-{kind}-ubyte').write_bytes(
                bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()
            )


def image_folder(root: Path, cfg: dict, n: int) -> None:
    for i in range(n):
        image(root / cfg.get('data_prefix', '') / f'{i}.png', i)
    if cfg.get('pipeline', [{}])[0].get('color_type') == 'unchanged':
        folder = root.with_name('bands')
        cfg['data_root'] = str(folder)
        folder.mkdir(exist_ok=True)
        for i in range(n):
            bands = noise(i, 40, 56, 8).astype(np.uint16) * 99
            layout = dict(photometric='minisblack', planarconfig='contig')
            tifffile.imwrite(folder / f'{i}.tif', bands, **layout)


def class_folders(root: Path, cfg: dict, n: int) -> None:
    for i in range(n):
        folder = root / cfg.get('data_prefix', '') / ('abbey', 'bar')[i % 2]
        image(folder / f'{i:08}.jpg', i)


def listed(splits: tuple, line: str, names: tuple, files: str, labels: str = 'meta/{split}.txt'):
    """A writer of images and a text file per split that lists them."""

    def write(root: Path, cfg: dict, n: int) -> None:
        for split in splits:
            lines = []
            for i in range(n):
                fields = dict(name=names[i % 2], i=f'{split}{i}', label=i % 2)
                image(root / files.format(**fields), i)
                lines.append(line.format(**fields, one=i % 2 + 1))
            text(root / labels.format(split=split), lines)

    return write


def stanford_cars(root: Path, cfg: dict, n: int) -> None:
    names = [f'car_ims/{i:06}.jpg' for i in range(2 * n)]
    for i, name in enumerate(names):
        image(root / name, i)
    mat(
        root / 'cars_annos.mat',
        {
            'annotations': {
                'relative_im_path': names,
                'class': [i % 2 + 1 for i in range(2 * n)],
                'test': [int(i >= n) for i in range(2 * n)],
            }
        },
    )


def dtd(root: Path, cfg: dict, n: int) -> None:
    names = [f'{("banded", "blotchy")[i % 2]}/image_{i}.jpg' for i in range(3 * n)]
    for i, name in enumerate(names):
        image(root / 'images' / name, i)
    mat(
        root / 'imdb/imdb.mat',
        {
            'images': {
                'name': names,
                'class': [i % 2 + 1 for i in range(3 * n)],
                'set': [i // n + 1 for i in range(3 * n)],
            }
        },
    )


def flowers102(root: Path, cfg: dict, n: int) -> None:
    for i in range(3 * n):
        image(root / f'jpg/image_{i + 1:05}.jpg', i)
    mat(root / 'imagelabels.mat', {'labels': [i % 2 + 1 for i in range(3 * n)]})
    ids = np.arange(1, 3 * n + 1).reshape(3, n).tolist()
    mat(root / 'setid.mat', dict(zip(('trnid', 'valid', 'tstid'), ids)))


def voc(root: Path, cfg: dict, n: int) -> None:
    objects = (
        '<object><name>{}</name><difficult>0</difficult></object>'
        '<object><name>{}</name><difficult>1</difficult></object>'
    )
    names = categories.VOC2007_CATEGORIES
    for s, split in enumerate(('train', 'val', 'trainval', 'test')):
        ids = [f'{s}{i:05}' for i in range(n)]
        for i, name in enumerate(ids):
            image(root / f'JPEGImages/{name}.jpg', i)
            pair = names[i % 20], names[(i + 1) % 20]
            text(
                root / f'Annotations/{name}.xml',
                [f'<annotation>{objects.format(*pair)}</annotation>'],
            )
        text(root / f'ImageSets/Main/{split}.txt', ids)


VARIANTS = categories.FGVCAIRCRAFT_CATEGORIES
ALL_SPLITS = ('train', 'val', 'trainval', 'test')
WRITERS = dict(
    ImageNet=imagenet,
    ImageNet1k=imagenet,
    ImageNet100=imagenet100,
    TinyImageNet=tiny_imagenet,
    STL10=stl10,
    CIFAR10=cifar,
    CIFAR100=cifar,
    LocalCIFAR10=cifar,
    LocalCIFAR100=cifar,
    FashionMNIST=fashion_mnist,
    LocalFashionMNIST=fashion_mnist,
    ImageFolder=image_folder,
    CustomDataset=class_folders,
    ClassFolders=class_folders,
    Food101=listed(
        ('train', 'test'), '{name}/{i}', categories.FOOD101_CATEGORIES, 'images/{name}/{i}.jpg'
    ),
    SUN397=listed(
        ('Training', 'Testing'),
        '/a/{name}/{i}.jpg',
        categories.SUN397_CATEGORIES,
        'SUN397/a/{name}/{i}.jpg',
        'Partitions/{split}_01.txt',
    ),
    StanfordCars=stanford_cars,
    FGVCAircraft=listed(
        ALL_SPLITS, '{i} {name}', VARIANTS, 'data/images/{i}.jpg', 'data/images_variant_{split}.txt'
    ),
    VOC=voc,
    DTD=dtd,
    OxfordIIITPet=listed(
        ('trainval', 'test'),
        '{name}_{i} {one} 1 1',
        ('Abyssinian', 'beagle'),
        'images/{name}_{i}.jpg',
        'annotations/{split}.txt',
    ),
    Caltech101=listed(
        ('train', 'test'),
        '{name}/{i}.jpg {label}',
        ('accordion', 'anchor'),
        '101_ObjectCategories/{name}/{i}.jpg',
    ),
    Flowers102=flowers102,
)
