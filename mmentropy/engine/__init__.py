"""What mmengine runs while a network trains; importing it registers everything."""

from mmentropy.engine import hooks, optim_wrapper, optimizers, train_loop

__all__ = ['hooks', 'optim_wrapper', 'optimizers', 'train_loop']
