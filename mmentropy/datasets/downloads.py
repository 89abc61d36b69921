"""mmpretrain's downloaded data sets, with errors that say what to do."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmpretrain.datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST
from mmpretrain.registry import DATASETS

from mmentropy.checks.arguments import PATH, require

CIFAR_REMEDY = 'put {0.filename} from {0.url} there, see docs/data.md#cifar-10-and-cifar-100'


def load_or_explain(load: Callable[[], list[dict]], dataset: MNIST | CIFAR10, remedy: str) -> list:
    """Call ``load``; where it fails, say in one line in which folder and what to do."""
    try:
        return load()
    except (AssertionError, EOFError, OSError, RuntimeError) as error:
        folder = Path(dataset.data_prefix['root']).resolve()
        raise RuntimeError(
            f'cannot load {type(dataset).__name__} from {folder}: {remedy} ({error!r})'
        ) from None


@DATASETS.register_module()
class LocalFashionMNIST(FashionMNIST):
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

    def __init__(self, data_root: str, split: str = 'train', **kwargs: Any) -> None:
        require(PATH, data_root=data_root)
        # The base class chooses the files by test_mode, not by split.
        super().__init__(data_root=data_root, split=split, test_mode=split == 'test', **kwargs)

    def load_data_list(self) -> list[dict]:
        """Load the images and labels of the split."""
        files = [name for name, _ in self.train_list + self.test_list]
        return load_or_explain(
            super().load_data_list,
            self,
            f'install the Debian package {self.package} (looked in '
            f'{self.package_folder}) or put {", ".join(files)} there, '
            'see docs/data.md#fashion-mnist',
        )

    def _download(self) -> None:
        packaged = [Path(self.package_folder, name) for name, _ in self.train_list + self.test_list]
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
class LocalCIFAR10(CIFAR10):
    """mmpretrain's CIFAR10 with an error that says what to put where.

    A sample is ``dict(img, gt_label)``, ``img`` RGB uint8 (32, 32, 3).

    Raises:
        RuntimeError: the files are neither in ``data_root`` nor downloadable.
    """

    def load_data_list(self) -> list[dict]:
        """Load the images and labels of the split."""
        return load_or_explain(super().load_data_list, self, CIFAR_REMEDY.format(self))


@DATASETS.register_module()
class LocalCIFAR100(CIFAR100):
    """mmpretrain's CIFAR100, otherwise as :class:`LocalCIFAR10`."""

    def load_data_list(self) -> list[dict]:
        """Load the images and labels of the split."""
        return load_or_explain(super().load_data_list, self, CIFAR_REMEDY.format(self))
