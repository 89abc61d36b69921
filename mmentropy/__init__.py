"""Self-supervised learning by entropy for the OpenMMLab stack.

Importing the package registers its algorithms, heads, losses, data sets and hooks in mmpretrain's
registries, and changes the hosts as :mod:`mmentropy.compat` says. Three functions do
what the commands of their names do: :func:`pretrain`, :func:`embed` and :func:`evaluate`.
"""

from importlib import import_module
from typing import Any

from mmentropy.compat.installed_stack import check_stack

__version__ = '0.2.0'

check_stack()

from mmentropy import compat  # noqa: E402

compat.install()

from mmentropy import datasets, engine, models, views, weights  # noqa: E402

# The functions of the commands, and the module of each, which is imported at its first use.
FUNCTIONS = dict(
    pretrain='mmentropy.pretraining.pretrain',
    embed='mmentropy.measuring',
    evaluate='mmentropy.measuring',
)

__all__ = ['__version__', 'datasets', 'engine', 'models', 'views', 'weights', *FUNCTIONS]


def __getattr__(name: str) -> Any:
    if name not in FUNCTIONS:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(FUNCTIONS[name]), name)
