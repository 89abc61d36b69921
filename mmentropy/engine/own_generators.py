"""Transforms that draw from generators of their own, such as those of albumentations 2.

Seeding the generators of Python, numpy and torch does not reach them.
"""

import random
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch

from mmentropy.datasets.wrapped import with_wrapped

Seed = Callable[[int], Any]
# Where data sets keep their transforms.
TRANSFORMS = ('pipeline', 'transform', 'transforms', 'target_transform')
CLOSED = (type, FunctionType, ModuleType, torch.Tensor, np.ndarray)


def seeds_of(dataset: Any) -> list[Seed]:
    """Return functions that seed the generators in the transforms of a data set, each its own.

    They are found in attributes, lists and dicts, however deep.
    """
    seen: dict[int, Any] = {}
    found: list[Seed] = []
    for part in with_wrapped(dataset):
        for value in map(getattr(part, '__dict__', {}).get, TRANSFORMS):
            found += _walk(value, seen)
    return found


def seed_all(seeds: list[Seed], seed: int) -> None:
    """Seed each generator by a number of its own that follows from ``seed``."""
    if seeds:
        numbers = np.random.SeedSequence(seed).generate_state(len(seeds)).tolist()
        for one, number in zip(seeds, numbers):
            one(number)


def _walk(value: Any, seen: dict[int, Any]) -> Iterator[Seed]:
    """Yield what seeds the generators in a value, each once."""
    if id(value) in seen or isinstance(value, CLOSED):
        return
    # Keeping the value keeps its id from being used again.
    seen[id(value)] = value
    if (own := _seed_of(value)) is not None:
        yield own
        return
    if isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, (list, tuple)):
        parts = list(value)
    else:
        parts = list(getattr(value, '__dict__', {}).values())
    for part in parts:
        yield from _walk(part, seen)


def _seed_of(value: Any) -> Seed | None:
    """Return what seeds a generator, or an object that hands generators on to its parts."""
    if isinstance(value, (random.Random, np.random.RandomState)):
        return value.seed
    if isinstance(value, torch.Generator):
        return value.manual_seed
    if isinstance(value, np.random.Generator):
        bits = value.bit_generator
        return lambda seed: setattr(bits, 'state', type(bits)(seed).state)
    if callable(hand_on := getattr(value, 'set_random_state', None)):
        return lambda seed: hand_on(np.random.default_rng(seed), random.Random(seed))
    seed_by = getattr(value, 'set_random_seed', None)
    return seed_by if callable(seed_by) else None
