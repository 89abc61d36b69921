"""The files that each data set needs on disk, checked before anything is built."""

import os.path as osp
from collections.abc import Iterator
from typing import Any, NamedTuple

from mmengine.config import Config

from mmentropy.checks.config_parts import dicts_in, kind_of


class Layout(NamedTuple):
    """How a data set lies in its ``data_root``.

    Args:
        text: what must be there, for a person.
        section: the anchor in docs/data.md.
        entries: paths that must exist. In them '{split}' stands for the split, or for each part
            of a split such as 'train+unlabeled'; '{prefix}' for ``data_prefix``, for each of its
            entries if it is a dict, or else for the split; '|' separates alternatives.
        split: the default of the class, where it matters.
        downloads: whether the class fetches what is missing.
    """

    text: str
    section: str
    entries: tuple[str, ...] = ('{prefix}',)
    split: str = ''
    downloads: bool = False


IMAGENET = Layout('{train,val}/CLASS/*.JPEG', 'imagenet-1k')
CLASS_FOLDERS = Layout('one folder of images per class', 'folders-of-classes-places365')
CIFAR = 'cifar-10-and-cifar-100'
LAYOUTS = dict(
    ImageNet=IMAGENET,
    ImageNet1k=IMAGENET,
    ImageNet100=Layout('{train,val}/CLASS/*.JPEG', 'imagenet-100', ('{split}',), 'train'),
    TinyImageNet=Layout(
        'wnids.txt, train/CLASS/images and val/val_annotations.txt',
        'tiny-imagenet',
        ('wnids.txt', 'train', 'val/val_annotations.txt'),
    ),
    STL10=Layout(
        'stl10_binary/{train,test,unlabeled}_X.bin',
        'stl-10',
        ('stl10_binary/{split}_X.bin',),
        'train',
    ),
    CIFAR10=Layout('cifar-10-batches-py', CIFAR, ('cifar-10-batches-py',), downloads=True),
    CIFAR100=Layout('cifar-100-python', CIFAR, ('cifar-100-python',), downloads=True),
    ImageFolder=Layout('your images', 'your-own-images'),
    CustomDataset=CLASS_FOLDERS,
    ClassFolders=CLASS_FOLDERS,
    Food101=Layout(
        'images/CLASS/*.jpg and meta/{train,test}.txt',
        'food-101',
        ('images', 'meta/{split}.txt'),
        'train',
    ),
    SUN397=Layout(
        'SUN397/LETTER/CLASS/*.jpg and Partitions/*_01.txt', 'sun397', ('SUN397', 'Partitions')
    ),
    StanfordCars=Layout(
        'car_ims and cars_annos.mat, or cars_{train,test} and devkit',
        'stanford-cars',
        ('cars_annos.mat|devkit', 'car_ims|cars_{split}'),
        'train',
    ),
    FGVCAircraft=Layout(
        'data/images/*.jpg and data/images_variant_*.txt',
        'fgvc-aircraft',
        ('data/images', 'data/images_variant_{split}.txt'),
        'trainval',
    ),
    VOC=Layout(
        'JPEGImages, Annotations and ImageSets/Main/*.txt',
        'pascal-voc-2007',
        ('JPEGImages', 'Annotations', 'ImageSets/Main/{split}.txt'),
        'trainval',
    ),
    DTD=Layout('images/CLASS/*.jpg and imdb/imdb.mat', 'dtd', ('images', 'imdb/imdb.mat')),
    OxfordIIITPet=Layout(
        'images/*.jpg and annotations/{trainval,test}.txt',
        'oxford-iiit-pets',
        ('images', 'annotations/{split}.txt'),
        'trainval',
    ),
    Caltech101=Layout(
        '101_ObjectCategories/CLASS/*.jpg and meta/{train,test}.txt',
        'caltech-101',
        ('101_ObjectCategories', 'meta/{split}.txt'),
        'train',
    ),
    Flowers102=Layout(
        'jpg/*.jpg, imagelabels.mat and setid.mat',
        'flowers-102',
        ('jpg', 'imagelabels.mat', 'setid.mat'),
    ),
    CocoDataset=Layout('{train,val}2017/*.jpg and annotations/*.json', 'coco'),
    VOCDataset=Layout(
        'VOC2007 and VOC2012 with JPEGImages, Annotations and ImageSets',
        'pascal-voc-for-detection',
        ('{prefix}/JPEGImages', '{prefix}/Annotations'),
    ),
    PascalVOCDataset=Layout(
        'JPEGImages, SegmentationClass, SegmentationClassAug and '
        'ImageSets/Segmentation/{train,aug,val}.txt',
        'pascal-voc-2012-for-segmentation',
    ),
    CityscapesDataset=Layout('leftImg8bit/{train,val} and gtFine/{train,val}', 'cityscapes'),
)


def check_data(cfg: Config) -> None:
    """Raise unless the files of all data sets in a config exist.

    Looks at the data sets of the three data loaders, of ``eval_datasets`` and of ``KNNHook``, and
    at those that they wrap. Types that are not in ``LAYOUTS`` are left alone.

    Raises:
        FileNotFoundError: in one line: which data set, where, what is missing, where to get it.
    """
    found = [cfg.get(f'{name}_dataloader') for name in ('train', 'val', 'test')]
    hooks = dicts_in(cfg.get('custom_hooks'))
    found += [cfg.get('eval_datasets'), *(hook for hook in hooks if kind_of(hook) == 'KNNHook')]
    check_dataset(found)


def check_dataset(cfg: Any) -> None:
    """Raise as :func:`check_data` for the data sets in a part of a config, however deep."""
    for part in dicts_in(cfg):
        _check_files(part)


def _check_files(cfg: dict) -> None:
    name, names = kind_of(cfg), cfg.get('names')
    if name == 'LabelSubset' and names and not _exists(names):
        raise FileNotFoundError(
            f'LabelSubset: no file {osp.abspath(names)}; get it or write it '
            'with tools/make_subset.py, see docs/data.md#labelled-subsets'
        )
    layout = LAYOUTS.get(name)
    if layout is None or 'image_set_path' in cfg or layout.downloads and cfg.get('download', True):
        return
    root = cfg.get('data_root') or '.'
    for entry in _needed(cfg, layout):
        options = entry.split('|')
        if not any(_exists(osp.join(root, path)) for path in options):
            missing = ' or '.join(options) or 'the folder'
            raise FileNotFoundError(
                f'{name} in {osp.abspath(root)}: {missing} is missing; put {layout.text} there or '
                f'set data_root, see docs/data.md#{layout.section}'
            )


def _needed(cfg: dict, layout: Layout) -> Iterator[str]:
    """Yield the entries that must exist in the data root of a data set: '' is the root itself."""
    split = cfg.get('split') or layout.split
    prefix = cfg.get('data_prefix') or split
    yield ''
    for entry in layout.entries:
        for part in split.split('+'):
            for folder in prefix.values() if isinstance(prefix, dict) else [prefix]:
                yield entry.format(split=part, prefix=folder.rstrip('/'))
    yield cfg.get('ann_file') or ''


def _exists(path: str) -> bool:
    """Return whether a path exists; True for s3://... and ~/..., which only a data set can tell."""
    return '://' in path or path.startswith('~') or osp.exists(path)
