"""Configs that inherit from a fork of mmsegmentation.

Host: onedl-mmengine 0.10.12, which looks for a distribution 'mmsegmentation' when a config inherits
from ``mmseg::...``. The fork is named onedl-mmsegmentation; by the name of the module either is
found. It can go when onedl-mmengine knows the names of its sister packages.
"""

from mmengine.config.utils import MODULE2PACKAGE


def accept_fork_of_mmseg() -> None:
    """Let configs inherit from ``mmseg::...`` where the fork is installed."""
    MODULE2PACKAGE['mmseg'] = 'mmseg'
