"""ImageNet-1k, ImageNet-100 and Tiny ImageNet."""

import os.path as osp
from pathlib import Path
from typing import Any

from mmengine.fileio import isdir, join_path, list_from_file
from mmpretrain.datasets import ImageNet
from mmpretrain.registry import DATASETS

from mmentropy.checks.arguments import PATH, one_of, or_none, require
from mmentropy.datasets.image_listing import listed_names
from mmentropy.datasets.required_files import LAYOUTS, check_dataset
from mmentropy.datasets.unreadable_images import ReplacesUnreadable


@DATASETS.register_module()
class ImageNet1k(ReplacesUnreadable, ImageNet):
    """mmpretrain's ``ImageNet`` that can replace unreadable images.

    A sample is ``dict(img_path, gt_label)``. The arguments are those of both bases.
    """


@DATASETS.register_module()
class ImageNet100(ReplacesUnreadable):
    """A hundred classes of ImageNet-1k.

    A sample is ``dict(img_path, gt_label)``; labels number the classes from 0, in sorted order.

    Args:
        data_root: the folder of ImageNet-1k, or of these classes only.
        split: 'train' (about 127,000 images) or 'val' (5,000).
        classes_file: lists the names of the class folders, one a line. Default: the list in
            common use, from HobbitLong/CMC@bc687a26:imagenet100.txt.
        **kwargs: arguments of :class:`ReplacesUnreadable`.

    Raises:
        ValueError: ``split`` is something else.
        FileNotFoundError: a class has no images.
    """

    def __init__(
        self, data_root: str, split: str = 'train', classes_file: str | None = None, **kwargs: Any
    ) -> None:
        require(PATH, data_root=data_root)
        require(or_none(PATH), classes_file=classes_file)
        require(one_of(('train', 'val')), split=split)
        self.split = split
        check_dataset(dict(type=type(self), data_root=data_root, split=split))
        classes = listed_names(classes_file or Path(__file__).with_name('imagenet100.txt'))
        super().__init__(data_root=data_root, data_prefix=split, classes=sorted(classes), **kwargs)

    def load_data_list(self) -> list[dict]:
        """List paths and labels, class by class."""
        # The listing of the base class refuses folders beyond the given classes.
        root, kind = self.img_prefix, type(self).__name__
        found = {
            name: self._find_images(name) if isdir(join_path(root, name)) else []
            for name in self.CLASSES
        }
        missing = sorted(name for name, images in found.items() if not images)
        if missing:
            raise FileNotFoundError(
                f'{kind} in {osp.abspath(root)}: {len(missing)} of {len(found)} classes have no '
                f'images, the first is {missing[0]}; see docs/data.md#{LAYOUTS[kind].section}'
            )
        return [
            dict(img_path=join_path(root, path), gt_label=self.class_to_idx[name])
            for name, images in found.items()
            for path in images
        ]


@DATASETS.register_module()
class TinyImageNet(ImageNet100):
    """Two hundred classes of ImageNet in images of 64 x 64.

    A sample is ``dict(img_path, gt_label)``; labels number the WordNet ids from 0, in sorted
    order. Some files are gray: load them in colour.

    Args:
        data_root: the folder ``tiny-imagenet-200``.
        split: 'train' (100,000 images) or 'val' (10,000).
        **kwargs: arguments of :class:`ReplacesUnreadable`.

    Raises:
        ValueError: ``split`` is something else.
        FileNotFoundError: the files are not in ``data_root``.
    """

    def __init__(self, data_root: str, split: str = 'train', **kwargs: Any) -> None:
        require(PATH, data_root=data_root)
        super().__init__(data_root, split, classes_file=join_path(data_root, 'wnids.txt'), **kwargs)

    def load_data_list(self) -> list[dict]:
        """List paths and labels."""
        if self.split == 'train':
            return super().load_data_list()
        # A line has the file, its WordNet id and a box, separated by tabs.
        lines = list_from_file(join_path(self.img_prefix, 'val_annotations.txt'))
        rows = [line.split('\t') for line in lines]
        folder = join_path(self.img_prefix, 'images')
        return [
            dict(img_path=join_path(folder, name), gt_label=self.class_to_idx[wnid])
            for name, wnid, *_ in rows
        ]
