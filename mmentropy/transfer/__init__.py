"""Detection and tracking by pre-trained backbones: what needs mmdet; importing registers it."""

from typing import Any, NoReturn

from mmdet.registry import DATASETS

from mmentropy.transfer.c4_shared_head import PretrainedC5, ResLayerWithNorm
from mmentropy.transfer.frozen_reid import FrozenReID
from mmentropy.transfer.mot_challenge import MOTSequences, PublicDetections
from mmentropy.transfer.vitdet import BackboneLayerDecay, SimpleFeaturePyramid


@DATASETS.register_module(name=['DigitsCoco', 'DigitsMOT'])
def _refuse_digits_demos(**kwargs: Any) -> NoReturn:
    """Say where the data sets of version 0.1 went."""
    raise ValueError(
        'DigitsCoco and DigitsMOT are files now: write them by `python tools/digits_demos.py coco '
        'mot` and read them by CocoDataset and MOTSequences, as in configs/benchmarks'
    )
