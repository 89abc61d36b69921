"""What needs mmdet; importing registers it there."""

from mmentropy.transfer.c5 import PretrainedC5, ResLayerWithNorm
from mmentropy.transfer.digits import DigitsCoco, write_digits_coco
from mmentropy.transfer.mot import DigitsMOT, MOTSequences, write_digits_mot
from mmentropy.transfer.reid import FrozenReID, PublicDetections
from mmentropy.transfer.vitdet import BackboneLayerDecay, SimpleFeaturePyramid

__all__ = [
    'BackboneLayerDecay',
    'DigitsCoco',
    'DigitsMOT',
    'FrozenReID',
    'MOTSequences',
    'PretrainedC5',
    'PublicDetections',
    'ResLayerWithNorm',
    'SimpleFeaturePyramid',
    'write_digits_coco',
    'write_digits_mot',
]
