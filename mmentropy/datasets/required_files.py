"""The files that each data set needs on disk, checked before anything is built."""

import os.path as osp
from collections.abc import Iterator
from typing import NamedTuple

from mmengine.config import Config


class Layout(NamedTuple):
    """How a data set lies in its ``data_root``.

    Args:
        entries: paths that must exist. In them '{split}' stands for the split, or for each part
            of a split such as 'train+unlabeled'; '{prefix}' for ``data_prefix``, for each of its
            entries if it is a dict, or else for the split; '|' separates alternatives.
        text: the same for a person.
        section: the anchor in docs/data.md.
        split: the default of the class.
        downloads: whether the class fetches what is missing.
    """

    entries: tuple[str, ...]
    text: str
    section: str
    split: str = 'train'
    downloads: bool = False


LAYOUTS = dict(
    ImageNet=Layout(('{prefix}',), '{train,val}/CLASS/*.JPEG', 'imagenet-1k', split=''),
    ImageNet1k=Layout(('{prefix}',), '{train,val}/CLASS/*.JPEG', 'imagenet-1k', split=''),
    ImageNet100=Layout(('{split}',), '{train,val}/CLASS/*.JPEG', 'imagenet-100'),
    TinyImageNet=Layout(
        ('wnids.txt', 'train', 'val/val_annotations.txt'),
        'wnids.txt, train/CLASS/images and val/val_annotations.txt',
        'tiny-imagenet',
    ),
    STL10=Layout(
        ('stl10_binary/{split}_X.bin',), 'stl10_binary/{train,test,unlabeled}_X.bin', 'stl-10'
    ),
    CIFAR10=Layout(
        ('cifar-10-batches-py',), 'cifar-10-batches-py', 'cifar-10-and-cifar-100', downloads=True
    ),
    CIFAR100=Layout(
        ('cifar-100-python',), 'cifar-100-python', 'cifar-10-and-cifar-100', downloads=True
    ),
    ImageFolder=Layout(('{prefix}',), 'your images', 'your-own-images', split=''),
    CustomDataset=Layout(
        ('{prefix}',), 'one folder of images per class', 'folders-of-classes-places365', split=''
    ),
    ClassFolders=Layout(
        ('{prefix}',), 'one folder of images per class', 'folders-of-classes-places365', split=''
    ),
    Food101=Layout(
        ('images', 'meta/{split}.txt'), 'images/CLASS/*.jpg and meta/{train,test}.txt', 'food-101'
    ),
    SUN397=Layout(
        ('SUN397', 'Partitions'), 'SUN397/LETTER/CLASS/*.jpg and Partitions/*_01.txt', 'sun397'
    ),
    StanfordCars=Layout(
        ('cars_annos.mat|devkit', 'car_ims|cars_{split}'),
        'car_ims and cars_annos.mat, or cars_{train,test} and devkit',
        'stanford-cars',
    ),
    FGVCAircraft=Layout(
        ('data/images', 'data/images_variant_{split}.txt'),
        'data/images/*.jpg and data/images_variant_*.txt',
        'fgvc-aircraft',
        split='trainval',
    ),
    VOC=Layout(
        ('JPEGImages', 'Annotations', 'ImageSets/Main/{split}.txt'),
        'JPEGImages, Annotations and ImageSets/Main/*.txt',
        'pascal-voc-2007',
        split='trainval',
    ),
    DTD=Layout(('images', 'imdb/imdb.mat'), 'images/CLASS/*.jpg and imdb/imdb.mat', 'dtd'),
    OxfordIIITPet=Layout(
        ('images', 'annotations/{split}.txt'),
        'images/*.jpg and annotations/{trainval,test}.txt',
        'oxford-iiit-pets',
        split='trainval',
    ),
    Caltech101=Layout(
        ('101_ObjectCategories', 'meta/{split}.txt'),
        '101_ObjectCategories/CLASS/*.jpg and meta/{train,test}.txt',
        'caltech-101',
    ),
    Flowers102=Layout(
        ('jpg', 'imagelabels.mat', 'setid.mat'),
        'jpg/*.jpg, imagelabels.mat and setid.mat',
        'flowers-102',
    ),
    CocoDataset=Layout(
        ('{prefix}',), '{train,val}2017/*.jpg and annotations/*.json', 'coco', split=''
    ),
    VOCDataset=Layout(
        ('{prefix}/JPEGImages', '{prefix}/Annotations'),
        'VOC2007 and VOC2012 with JPEGImages, Annotations and ImageSets',
        'pascal-voc-for-detection',
        split='',
    ),
    PascalVOCDataset=Layout(
        ('{prefix}',),
        'JPEGImages, SegmentationClass, SegmentationClassAug and '
        'ImageSets/Segmentation/{train,aug,val}.txt',
        'pascal-voc-2012-for-segmentation',
        split='',
    ),
    CityscapesDataset=Layout(
        ('{prefix}',), 'leftImg8bit/{train,val} and gtFine/{train,val}', 'cityscapes', split=''
    ),
)


def check_data(cfg: Config) -> None:
    """Raise unless the files of all data sets in a config exist.

    Looks at the data sets of the three data loaders, of ``eval_datasets`` and of ``KNNHook``, and
    at those that they wrap. Types that are not in ``LAYOUTS`` are left alone.

    Raises:
        FileNotFoundError: in one line: which data set, where, what is missing, and which page
            says how to get it.
    """
    # A loader has its data set under the same key as a wrapper, 'dataset'.
    found = [cfg.get(f'{name}_dataloader') for name in ('train', 'val', 'test')]
    found += (cfg.get('eval_datasets') or {}).values()
    for hook in cfg.get('custom_hooks') or ():
        if isinstance(hook, dict) and _type_name(hook) == 'KNNHook':
            found += [hook.get('train'), hook.get('test')]
    for dataset in found:
        check_dataset(dataset)


def check_dataset(cfg: dict | None) -> None:
    """Raise as :func:`check_data` for one data set and those that it wraps."""
    if not isinstance(cfg, dict):
        return
    for inner in (cfg.get('dataset'), *(cfg.get('datasets') or ())):
        check_dataset(inner)
    name, names = _type_name(cfg), cfg.get('names')
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


def _type_name(cfg: dict) -> str:
    """Return the type of a config without its scope, be it a class or a name."""
    kind = cfg.get('type', '')
    return getattr(kind, '__name__', str(kind)).split('.')[-1]
