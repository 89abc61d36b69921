"""Registers the algorithms, backbone, heads, losses, neck and norm layer."""

from .backbones import ResNet_CIFAR_Pool
from .heads import ERHead, MECHead, MinEntHead
from .linear_head import BatchNormLinearClsHead
from .losses import DINOLoss, ERLoss, MECLoss, MinEntLoss
from .necks import PrototypeNeck
from .norm import CPUSyncBatchNorm
from .regularizer import WithMEC
from .selfsup import DINO, ER, MEC, MinEnt

__all__ = [
    'BatchNormLinearClsHead', 'CPUSyncBatchNorm', 'DINO', 'DINOLoss', 'ER',
    'ERHead', 'ERLoss', 'MEC', 'MECHead', 'MECLoss', 'MinEnt', 'MinEntHead',
    'MinEntLoss', 'PrototypeNeck', 'ResNet_CIFAR_Pool', 'WithMEC'
]
