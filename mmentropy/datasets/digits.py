"""Hand-written digits that come with scikit-learn."""

import numpy as np
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS


@DATASETS.register_module()
class Digits(BaseDataset):
    """The 1,797 digits embedded in scikit-learn; nothing is downloaded.

    A sample is ``dict(img, gt_label)``: ``img`` is uint8 in 0..255 of shape
    (8, 8), ``gt_label`` an int in 0..9.

    Args:
        split (str): 'train' (1,297 images) or 'test' (500). The split is
            fixed and stratified by class.
        **kwargs: Arguments of :class:`mmpretrain.datasets.BaseDataset`.

    Raises:
        ValueError: If ``split`` is something else.
    """

    METAINFO = dict(classes=tuple('0123456789'))

    def __init__(self, split: str = 'train', **kwargs) -> None:
        if split not in ('train', 'test'):
            raise ValueError(f"split must be 'train' or 'test', not {split!r}")
        self.split = split
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self) -> list[dict]:
        """Load the images and labels of the split."""
        # Needed by this data set only.
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        train, test = train_test_split(
            np.arange(len(digits.target)), test_size=500, random_state=0, stratify=digits.target
        )
        # The pixels of scikit-learn are 0..16.
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        return [
            dict(img=images[i], gt_label=int(digits.target[i]))
            for i in (train if self.split == 'train' else test)
        ]

    def extra_repr(self) -> list[str]:
        """Say which split it is."""
        return [f'Split: \t{self.split}']
