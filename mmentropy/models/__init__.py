"""Registers the algorithms, heads, losses, neck and norm layer."""

from .heads import ERHead, MECHead, MinEntHead
from .losses import ERLoss, MECLoss, MinEntLoss
from .necks import PrototypeNeck
from .norm import CPUSyncBatchNorm
from .selfsup import ER, MEC, MinEnt

__all__ = [
    'CPUSyncBatchNorm', 'ER', 'ERHead', 'ERLoss', 'MEC', 'MECHead', 'MECLoss',
    'MinEnt', 'MinEntHead', 'MinEntLoss', 'PrototypeNeck'
]
