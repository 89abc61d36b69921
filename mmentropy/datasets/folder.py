"""A folder of images without labels."""
import logging
import os.path as osp
import random
from collections.abc import Sequence
from pathlib import PurePath

import torch
from mmengine.dataset import Compose
from mmengine.fileio import isdir
from mmengine.logging import print_log
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS


@DATASETS.register_module()
class ImageFolder(CustomDataset):
    """All images below a folder, flat or nested, without labels.

    A sample is ``dict(img_path)``, so the pipeline begins with a loader.
    Hidden files and folders are left out, symbolic links are followed.

    An image is unreadable if the loader raises or returns None. OpenCV 4
    fills up truncated JPEGs without a word; load with
    ``imdecode_backend='pillow'`` to have them noticed.

    Args:
        data_root (str): The folder.
        on_unreadable (str): 'skip' warns once and takes another image, drawn
            by a generator that the index seeds; 'stop' raises.
        max_unreadable (float): Share of unreadable images in 0..1 above
            which 'skip' raises as well. Five are always tolerated, all never.
        extensions (Sequence[str]): File names to take end so, in any case.
        **kwargs: Arguments of :class:`mmpretrain.datasets.CustomDataset`
            but ``with_label``.

    Raises:
        ValueError: If ``on_unreadable`` or ``max_unreadable`` is not valid.
        FileNotFoundError: If there is no such folder or no image in it.
        OSError: On reading, if an image is unreadable and 'stop' is set, or
            too many are.
    """

    def __init__(self,
                 data_root: str,
                 on_unreadable: str = 'skip',
                 max_unreadable: float = 0.01,
                 extensions: Sequence[str] = ('.jpg', '.jpeg', '.png', '.webp',
                                              '.bmp', '.tif', '.tiff', '.ppm',
                                              '.pgm'),
                 **kwargs) -> None:
        if on_unreadable not in ('skip', 'stop'):
            raise ValueError("on_unreadable must be 'skip' or 'stop', not "
                             f'{on_unreadable!r}')
        if not 0 <= max_unreadable <= 1:
            raise ValueError(
                f'max_unreadable must be in 0..1, not {max_unreadable!r}')
        self.on_unreadable = on_unreadable
        self.max_unreadable = max_unreadable
        super().__init__(
            data_root=osp.expanduser(data_root),
            extensions=extensions,
            with_label=False,
            **kwargs)

    def full_init(self) -> None:
        """List the images."""
        if self._fully_initialized:
            return
        super().full_init()
        # One flag per image in shared memory: what DataLoader workers find
        # is known to all of them and to the main process.
        self._unreadable = torch.zeros(
            len(self), dtype=torch.bool).share_memory_()

    def load_data_list(self) -> list[dict]:
        """List the images as ``dict(img_path)``, sorted by path."""
        folder = osp.abspath(self.img_prefix)
        if not isdir(self.img_prefix):
            raise FileNotFoundError(
                f'no image folder {folder}: set data_root to the folder of '
                'your images')
        try:
            return super().load_data_list()
        except RuntimeError:
            raise FileNotFoundError(
                f'no images in {folder} and below: looked for '
                f"{' '.join(sorted(self.extensions))}; set data_root to the "
                'folder of your images or add their extension to extensions'
            ) from None

    def is_valid_file(self, filename: str) -> bool:
        """Whether it is an image by its name and not hidden."""
        hidden = any(part[0] == '.' for part in PurePath(filename).parts)
        return super().is_valid_file(filename) and not hidden

    @property
    def num_unreadable(self) -> int:
        """Unreadable images met so far, in all workers of this process."""
        return int(self._unreadable.sum())

    @property
    def unreadable(self) -> list[str]:
        """Paths of the unreadable images met so far."""
        return [
            self.get_data_info(i)['img_path']
            for i in self._unreadable.nonzero().flatten().tolist()
        ]

    def prepare_data(self, idx: int) -> dict | None:
        """Load and transform an image, or another one if it is unreadable."""
        transforms = self.pipeline.transforms
        rng = random.Random(idx)
        while True:
            if not self._unreadable[idx]:
                error: Exception | str = 'not an image'
                # Decoders raise all sorts of errors; those of the other
                # transforms are no concern of this class.
                try:
                    loaded = Compose(transforms[:1])(self.get_data_info(idx))
                except Exception as e:
                    loaded, error = None, e
                if loaded is not None:
                    return Compose(transforms[1:])(loaded)
                self._reject(idx, error)
            idx = rng.randrange(len(self))

    def _reject(self, idx: int, error: Exception | str) -> None:
        """Note that an image is unreadable; raise if that is too much."""
        path = self.get_data_info(idx)['img_path']
        problem = f'cannot read image {path} ({error})'
        if self.on_unreadable == 'stop':
            raise OSError(problem)
        self._unreadable[idx] = True
        size, count = len(self), self.num_unreadable
        # One good image at least, or the search for another would not end.
        if count > min(max(5, self.max_unreadable * size), size - 1):
            self._unreadable[idx] = False
            raise OSError(
                f'{problem}, unreadable like {count - 1} others of {size}: '
                f'more than max_unreadable={self.max_unreadable} allows')
        print_log(
            f'{problem}, using another one; {count} of {size} unreadable '
            'so far',
            logger='current',
            level=logging.WARNING)
