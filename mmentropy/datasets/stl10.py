"""STL-10."""

from pathlib import Path
from typing import Any

import numpy as np
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from mmentropy.checks.arguments import PATH, one_of, or_none, require
from mmentropy.datasets.required_files import check_dataset

SPLITS = ('train', 'test', 'unlabeled', 'train+unlabeled')
PIXELS = 3 * 96 * 96


@DATASETS.register_module()
class STL10(BaseDataset):
    """Photographs of 96 x 96 of ten classes, most of them without a label.

    A sample is ``dict(img, gt_label)``: ``img`` is RGB uint8 (96, 96, 3), ``gt_label`` in 0..9,
    absent in unlabelled rows. Images are read when asked for: all would take 2.9 GB per process.

    Args:
        data_root: the folder that holds ``stl10_binary``.
        split: 'train' (5,000 images), 'test' (8,000), 'unlabeled' (100,000) or 'train+unlabeled'.
        fold: in 0..9, one of the published folds of 1,000 training images. Default: all of them.
        **kwargs: arguments of :class:`mmpretrain.datasets.BaseDataset`.

    Raises:
        ValueError: ``split`` or ``fold`` is not valid, or a file is not whole.
        FileNotFoundError: the files are not in ``data_root``.
    """

    METAINFO = dict(classes=tuple('airplane bird car cat deer dog horse monkey ship truck'.split()))

    def __init__(
        self, data_root: str, split: str = 'train', fold: int | None = None, **kwargs: Any
    ) -> None:
        require(PATH, data_root=data_root)
        require(one_of(SPLITS), split=split)
        require(or_none(one_of(range(10))), fold=fold)
        if fold is not None and split != 'train':
            raise ValueError(
                f"fold must be None unless split is 'train', got {fold} with {split!r}"
            )
        self.split = split
        self.fold = fold
        super().__init__(ann_file='', data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List where the images are, with their labels."""
        check_dataset(dict(type='STL10', data_root=self.data_root, split=self.split))
        rows = []
        for part in self.split.split('+'):
            file = self._file(f'{part}_X.bin')
            count, rest = divmod(file.stat().st_size, PIXELS)
            labels: list[dict] = [{}] * count
            if part != 'unlabeled':
                numbers = np.fromfile(self._file(f'{part}_y.bin'), np.uint8)
                # The file numbers the classes from 1.
                labels = [dict(gt_label=int(n) - 1) for n in numbers]
            if rest or len(labels) != count:
                raise ValueError(
                    f'{file} has {count} images and {rest} bytes more, for {len(labels)} labels: '
                    'unpack stl10_binary.tar.gz again'
                )
            rows += [dict(part=part, row=row, **label) for row, label in enumerate(labels)]
        if self.fold is None:
            return rows
        folds = self._file('fold_indices.txt').read_text().splitlines()
        return [rows[int(row)] for row in folds[self.fold].split()]

    def get_data_info(self, idx: int) -> dict:
        """Return ``img``, and ``gt_label`` if there is one."""
        info = super().get_data_info(idx)
        file, row = self._file(f'{info.pop("part")}_X.bin'), info.pop('row')
        pixels = np.fromfile(file, np.uint8, count=PIXELS, offset=row * PIXELS)
        # They are stored column by column, channel by channel.
        info['img'] = np.ascontiguousarray(pixels.reshape(3, 96, 96).T)
        return info

    def _file(self, name: str) -> Path:
        return Path(self.data_root, 'stl10_binary', name)
