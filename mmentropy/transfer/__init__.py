"""Detection and tracking by pre-trained backbones: what needs mmdet; importing registers it."""

from mmentropy.transfer.c4_shared_head import PretrainedC5, ResLayerWithNorm
from mmentropy.transfer.frozen_reid import FrozenReID
from mmentropy.transfer.mot_challenge import MOTSequences, PublicDetections
from mmentropy.transfer.vitdet import BackboneLayerDecay, SimpleFeaturePyramid
