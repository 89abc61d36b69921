"""What needs mmdet; importing registers it there."""
from .digits import DigitsCoco, write_digits_coco

__all__ = ['DigitsCoco', 'write_digits_coco']
