"""What mmengine runs while training; importing registers it."""

from mmentropy.engine import hooks, optimizers

__all__ = ['hooks', 'optimizers']
