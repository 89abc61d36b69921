"""mmpretrain's downloaded data sets, with errors that say what to do."""

import gzip
import shutil
from pathlib import Path
from typing import Any

from mmpretrain.datasets import CIFAR10, CIFAR100, FashionMNIST
from mmpretrain.registry import DATASETS

from mmentropy.checks.arguments import PATH, require


class _Explained:
    """Goes in front of a data set of mmpretrain that downloads its files."""

    data_prefix: dict
    # The error for missing files ends in this advice; its fields are attributes of the data set.
    remedy: str

    def load_data_list(self) -> list[dict]:
        """Load the images and labels, or say in one line from which folder, and what to do."""
        try:
            return super().load_data_list()  # type: ignore[misc]
        except (AssertionError, EOFError, OSError, RuntimeError) as error:
            folder = Path(self.data_prefix['root']).resolve()
            raise RuntimeError(
                f'cannot load {type(self).__name__} from {folder}: '
                f'{self.remedy.format(self)} ({error!r})'
            ) from None


@DATASETS.register_module()
class LocalFashionMNIST(_Explained, FashionMNIST):
    """Fashion-MNIST from ``data_root``, a Debian package or the network.

    Files missing in ``data_root`` are unpacked from the Debian package
    ``dataset-fashion-mnist`` if it is installed, and downloaded otherwise.
    A sample is ``dict(img, gt_label)``, ``img`` uint8 of shape (28, 28).

    Args:
        data_root: folder of the files, created if missing.
        split: 'train' (60,000 images) or 'test' (10,000).
        **kwargs: arguments of :class:`mmpretrain.datasets.FashionMNIST` but ``test_mode``, which
            follows ``split``.

    Raises:
        RuntimeError: the files are nowhere to be had.
    """

    package = 'dataset-fashion-mnist'
    package_folder = '/usr/share/datasets/fashion-mnist'
    archives = [name for name, _ in FashionMNIST.train_list + FashionMNIST.test_list]
    remedy = (
        'install the Debian package {0.package} (looked in {0.package_folder}) or put '
        f'{", ".join(archives)} there, see docs/data.md#fashion-mnist'
    )

    def __init__(self, data_root: str, split: str = 'train', **kwargs: Any) -> None:
        require(PATH, data_root=data_root)
        # The base class chooses the files by test_mode, not by split.
        super().__init__(data_root=data_root, split=split, test_mode=split == 'test', **kwargs)

    def _download(self) -> None:
        packaged = [Path(self.package_folder, name) for name in self.archives]
        if not all(file.is_file() for file in packaged):
            return super()._download()
        root = Path(self.data_prefix['root'])
        root.mkdir(parents=True, exist_ok=True)
        # Debian packs the files anew, so MD5 sums of archives differ; gzip checks the content.
        # A copy that was broken off must not look complete, hence the other name at first.
        for file in packaged:
            part = root / f'{file.stem}.part'
            with gzip.open(file) as source, part.open('wb') as target:
                shutil.copyfileobj(source, target)
            part.replace(root / file.stem)


@DATASETS.register_module()
class LocalCIFAR10(_Explained, CIFAR10):
    """mmpretrain's CIFAR10 with an error that says what to put where.

    A sample is ``dict(img, gt_label)``, ``img`` RGB uint8 (32, 32, 3).

    Raises:
        RuntimeError: the files are neither in ``data_root`` nor downloadable.
    """

    remedy = 'put {0.filename} from {0.url} there, see docs/data.md#cifar-10-and-cifar-100'


@DATASETS.register_module()
class LocalCIFAR100(_Explained, CIFAR100):
    """mmpretrain's CIFAR100, otherwise as :class:`LocalCIFAR10`."""

    remedy = LocalCIFAR10.remedy
