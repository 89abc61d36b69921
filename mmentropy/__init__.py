"""Self-supervised learning by entropy for the OpenMMLab stack.

Importing the package registers MEC, ER and MinEnt with their heads, losses,
data sets and hooks in mmpretrain's registries.
"""

from .ops import install_ops
from .stack import accept_fork_of_mmseg, check_stack

__version__ = '0.1.0'

check_stack()
accept_fork_of_mmseg()
install_ops()

from . import (  # noqa: E402
    datasets,
    hooks,
    models,
    monitor,
    optim,
    resident,
    safety,
)

__all__ = [
    '__version__', 'datasets', 'hooks', 'models', 'monitor', 'optim',
    'resident', 'safety'
]
