"""Images in folders: of any layout without labels, or one folder per class."""

import os.path as osp
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from mmengine.fileio import isdir
from mmpretrain.registry import DATASETS

from mmentropy.checks.arguments import PATH, require
from mmentropy.datasets.unreadable_images import ReplacesUnreadable

EXTENSIONS = tuple('.jpg .jpeg .png .webp .bmp .tif .tiff .ppm .pgm'.split())
# The formats that these endings stand for, and GIF, which is often found under them.
FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF', 'PPM', 'GIF')


@DATASETS.register_module()
class ImageFolder(ReplacesUnreadable):
    """All images below a folder, flat or nested, without labels.

    A sample is ``dict(img_path)``, so the pipeline begins with a loader;
    ``CheckedLoadImageFromFile`` notices what others let pass. Hidden files and folders are left
    out, symbolic links are followed.

    Args:
        data_root: the folder.
        on_unreadable: 'skip' or 'stop', see :class:`ReplacesUnreadable`.
        extensions: how the names of image files end, in lower or upper case.
        **kwargs: ``max_unreadable`` and arguments of :class:`mmpretrain.datasets.CustomDataset`
            but ``with_label``.

    Raises:
        ValueError: an argument is not valid.
        FileNotFoundError: there is no such folder or no image in it.
        OSError: as :class:`ReplacesUnreadable`.
    """

    def __init__(
        self,
        data_root: str,
        on_unreadable: str = 'skip',
        extensions: Sequence[str] = EXTENSIONS,
        **kwargs: Any,
    ) -> None:
        require(PATH, data_root=data_root)
        super().__init__(
            data_root=osp.expanduser(data_root),
            on_unreadable=on_unreadable,
            extensions=extensions,
            with_label=False,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """List the images as ``dict(img_path)``, sorted by path."""
        folder = osp.abspath(self.img_prefix)
        if not isdir(self.img_prefix):
            raise FileNotFoundError(
                f'no image folder {folder}: set data_root to the folder of your images'
            )
        images = super().load_data_list()
        if not images:
            raise FileNotFoundError(
                f'no images in {folder} and below: looked for '
                f'{" ".join(sorted(self.extensions))}; set data_root to the '
                'folder of your images or add their extension to extensions'
            )
        return images

    def is_valid_file(self, filename: str) -> bool:
        """Return whether a file is an image by its name and not hidden."""
        hidden = any(part[0] == '.' for part in PurePath(filename).parts)
        return super().is_valid_file(filename) and not hidden


@DATASETS.register_module()
class ClassFolders(ReplacesUnreadable):
    """mmpretrain's ``CustomDataset`` that can replace unreadable images.

    A sample is ``dict(img_path, gt_label)``; labels number the folders from 0, in sorted order, or
    in that of ``metainfo=dict(classes=[...])`` where these are names of folders, which keeps the
    labels of a split that lacks a folder. The endings of image files are those of
    :class:`ImageFolder`, the other arguments those of :class:`ReplacesUnreadable`.
    """

    def __init__(self, *args: Any, extensions: Sequence[str] = EXTENSIONS, **kwargs: Any) -> None:
        super().__init__(*args, extensions=extensions, **kwargs)
