"""Self-supervised learning by entropy for the OpenMMLab stack.

Importing the package registers MEC, ER and MinEnt with their heads, losses, data sets and hooks in
mmpretrain's registries, and changes the hosts as :mod:`mmentropy.compat` says.
"""

from mmentropy.compat.installed_stack import check_stack

__version__ = '0.1.0'

check_stack()

from mmentropy import compat  # noqa: E402

compat.install()

from mmentropy import datasets, engine, models, views, weights  # noqa: E402

__all__ = ['__version__', 'datasets', 'engine', 'models', 'views', 'weights']
