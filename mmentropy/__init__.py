"""Self-supervised learning by entropy for the OpenMMLab stack.

Importing the package registers MEC, ER and MinEnt with their heads, losses,
data sets and hooks in mmpretrain's registries.
"""

from mmentropy.compat.installed_stack import accept_fork_of_mmseg, check_stack
from mmentropy.compat.mmcv_ops import install_ops

__version__ = '0.1.0'

check_stack()
accept_fork_of_mmseg()
install_ops()

from mmentropy.compat import mmengine_checkpoint  # noqa: E402

mmengine_checkpoint.install()

from mmentropy import datasets, engine, models, views  # noqa: E402

__all__ = ['__version__', 'datasets', 'engine', 'models', 'views']
