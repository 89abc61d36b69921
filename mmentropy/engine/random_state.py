"""Random generators of Python, numpy and torch: seeding them, and leaving them as they were."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.dist import get_rank


def image_seeds(seed: int, iteration: int, count: int) -> list[int]:
    """Return independent seeds, below 2**32, for ``count`` images of this rank in an iteration."""
    return np.random.SeedSequence((seed, get_rank(), iteration, 0)).generate_state(count).tolist()


def network_seed(seed: int, iteration: int) -> int:
    """Return the seed, below 2**32, for what the network of this rank draws in an iteration."""
    return int(np.random.SeedSequence((seed, get_rank(), iteration, 1)).generate_state(1)[0])


def seed_host(seed: int) -> None:
    """Seed the generators of Python, of numpy and of torch on the CPU."""
    random.seed(seed)
    np.random.seed(seed)
    # torch.manual_seed seeds all devices, too, and takes a hundred times as long.
    torch.default_generator.manual_seed(seed)


def seed_host_and_devices(seed: int) -> None:
    """Seed all that a network may draw from: :func:`seed_host`, and the generators of all GPUs."""
    seed_host(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Put the states of all generators of this process back when the block ends."""
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([torch.cuda.current_device()] if cuda else []):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
