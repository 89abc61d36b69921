"""Data sets that mmpretrain lacks; importing registers them."""
from .bad_images import BadImagesHook
from .decode import (
    CheckedLoadImageFromFile,
    PackImage,
    ReducedLoadImageFromFile,
    collate_images,
)
from .digits import Digits
from .downloads import LocalCIFAR10, LocalCIFAR100, LocalFashionMNIST
from .folder import ClassFolders, ImageFolder
from .imagenet import ImageNet1k, ImageNet100, TinyImageNet
from .layouts import check_data, check_dataset
from .stl10 import STL10
from .subset import label_subset, subset_names

__all__ = [
    'BadImagesHook', 'CheckedLoadImageFromFile', 'ClassFolders', 'Digits',
    'ImageFolder', 'ImageNet100', 'ImageNet1k', 'LocalCIFAR10',
    'LocalCIFAR100', 'LocalFashionMNIST', 'PackImage',
    'ReducedLoadImageFromFile', 'STL10', 'TinyImageNet', 'check_data',
    'check_dataset', 'collate_images', 'label_subset', 'subset_names'
]
