"""Weights that come with the package, which ``configs/zoo.yml`` lists with their sha256."""

import hashlib
import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

CONFIGS = Path(__file__).parent.parent / '.mim' / 'configs'
PREFIX = 'zoo://'


def zoo() -> dict[str, dict[str, Any]]:
    """Return what is known of each file of weights, by the name of its model."""
    return yaml.safe_load((CONFIGS / 'zoo.yml').read_text()) or {}


def zoo_file(name: str) -> Path:
    """Return the checkpoint of a model, a backbone in half precision, after a check of its sha256.

    Args:
        name: of the model, with or without ``zoo://`` before it.

    Raises:
        FileNotFoundError: the package has no such weights.
        ValueError: the file is not the one that was listed; one line.
    """
    known, name = zoo(), name.removeprefix(PREFIX)
    if name not in known:
        near = get_close_matches(name, known, 1) or sorted(known)
        raise FileNotFoundError(f'no weights {PREFIX}{name}; there are {", ".join(near)}')
    path = CONFIGS / known[name]['file']
    if not path.is_file():
        raise FileNotFoundError(f'{path} is missing: install mmentropy again')
    if hashlib.sha256(path.read_bytes()).hexdigest() != known[name]['sha256']:
        raise ValueError(f'{path} is not the file that was released: install mmentropy again')
    return path


def checkpoint_file(checkpoint: str | os.PathLike) -> str | os.PathLike:
    """Return a checkpoint as it is named, or the file of ``zoo://NAME``, see :func:`zoo_file`."""
    name = os.fspath(checkpoint)
    return zoo_file(name) if name.startswith(PREFIX) else checkpoint
