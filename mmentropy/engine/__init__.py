"""What mmengine runs while a network trains; importing it registers everything."""

from mmentropy.engine import hooks, optimizers, train_loop

__all__ = ['hooks', 'optimizers', 'train_loop']
