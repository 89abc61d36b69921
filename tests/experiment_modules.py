"""The runner of experiments, which is a script outside of the package."""

import importlib
import sys
from types import ModuleType

from repository import REPOSITORY


def runner() -> ModuleType:
    """The module experiments/run.py, found by its name as its processes look for it."""
    folder = str(REPOSITORY / 'experiments')
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module('run')
