"""Registers the algorithms, backbone, EMA, heads, losses, neck and norm."""

from mmentropy.models.backbones import ResNet_CIFAR_Pool
from mmentropy.models.ema import ForeachEMA
from mmentropy.models.heads import ERHead, MECHead, MinEntHead
from mmentropy.models.linear_head import BatchNormLinearClsHead
from mmentropy.models.losses import DINOLoss, ERLoss, MECLoss, MinEntLoss
from mmentropy.models.necks import PrototypeNeck
from mmentropy.models.norm import CPUSyncBatchNorm
from mmentropy.models.regularizer import WithMEC
from mmentropy.models.selfsup import DINO, ER, MEC, MinEnt

__all__ = [
    'BatchNormLinearClsHead',
    'CPUSyncBatchNorm',
    'DINO',
    'DINOLoss',
    'ER',
    'ERHead',
    'ERLoss',
    'ForeachEMA',
    'MEC',
    'MECHead',
    'MECLoss',
    'MinEnt',
    'MinEntHead',
    'MinEntLoss',
    'PrototypeNeck',
    'ResNet_CIFAR_Pool',
    'WithMEC',
]
