"""What keeps a run from being lost, and its files from being trusted."""

from . import checkpoints, draws, loading, numbers, ranks, signals

loading.install()

__all__ = ['checkpoints', 'draws', 'loading', 'numbers', 'ranks', 'signals']
