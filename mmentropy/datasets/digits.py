"""Hand-written digits that come with scikit-learn."""

from typing import Any

import numpy as np
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from mmentropy.checks.arguments import one_of, require


@DATASETS.register_module()
class Digits(BaseDataset):
    """The 1,797 digits embedded in scikit-learn; nothing is downloaded.

    A sample is ``dict(img, gt_label)``: ``img`` is uint8 in 0..255 of shape
    (8, 8), ``gt_label`` an int in 0..9.

    Args:
        split: 'train' (1,297 images) or 'test' (500). It is fixed and stratified by class.
        **kwargs: arguments of :class:`mmpretrain.datasets.BaseDataset`.

    Raises:
        ValueError: ``split`` is something else.
    """

    METAINFO = dict(classes=tuple('0123456789'))

    def __init__(self, split: str = 'train', **kwargs: Any) -> None:
        require(one_of(('train', 'test')), split=split)
        self.split = split
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self) -> list[dict]:
        """Load the images and labels of the split."""
        # They take a second to import, and only this data set needs them.
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        train, test = train_test_split(
            np.arange(len(digits.target)), test_size=500, random_state=0, stratify=digits.target
        )
        # Pixels in scikit-learn range from 0 to 16.
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        rows = train if self.split == 'train' else test
        return [dict(img=images[i], gt_label=int(digits.target[i])) for i in rows]
