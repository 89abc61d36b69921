"""What needs mmdet; importing registers it there."""
from .c5 import PretrainedC5, ResLayerWithNorm
from .digits import DigitsCoco, write_digits_coco

__all__ = [
    'DigitsCoco', 'PretrainedC5', 'ResLayerWithNorm', 'write_digits_coco'
]
