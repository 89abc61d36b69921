"""Data sets that mmpretrain lacks; importing registers them."""

from mmentropy.datasets.digits import Digits
from mmentropy.datasets.downloads import LocalCIFAR10, LocalCIFAR100, LocalFashionMNIST
from mmentropy.datasets.image_folder import ClassFolders, ImageFolder
from mmentropy.datasets.imagenet import ImageNet1k, ImageNet100, TinyImageNet
from mmentropy.datasets.label_subset import label_subset, subset_names
from mmentropy.datasets.required_files import check_data, check_dataset
from mmentropy.datasets.stl10 import STL10
