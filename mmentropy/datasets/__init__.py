"""Small data sets that mmpretrain lacks; importing registers them."""
from .digits import Digits
from .downloads import LocalCIFAR10, LocalCIFAR100, LocalFashionMNIST
from .folder import ImageFolder

__all__ = [
    'Digits', 'ImageFolder', 'LocalCIFAR10', 'LocalCIFAR100',
    'LocalFashionMNIST'
]
