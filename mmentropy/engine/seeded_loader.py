"""A loader whose images are drawn from seeds of their own.

The transforms of an image draw from the global generators of Python, numpy and torch, or from their
own. Here each row of a batch carries a seed into the loader process, where all of these are seeded
before that row is loaded.
"""

from collections.abc import Iterator
from copy import copy
from typing import Any

from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from mmentropy.engine.own_generators import Seed, seed_all, seeds_of
from mmentropy.engine.random_state import image_seeds, seed_host


class SeededIndex(int):
    """A row of a data set, and the seed for what is drawn for it."""

    seed: int

    @classmethod
    def of(cls, index: int, seed: int) -> 'SeededIndex':
        """Return the row ``index`` with a seed."""
        self = cls(index)
        self.seed = seed
        return self


class SeededDataset(Dataset):
    """A data set that seeds the generators before each item, where the row brings a seed.

    Its other attributes are those of the data set that it is made from, also where hooks set them,
    as those do that give a training another pipeline.
    """

    dataset: Any
    _seeds: list[Seed] | None

    def __init__(self, dataset: Any) -> None:
        vars(self).update(dataset=dataset, _seeds=None)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> Any:
        if isinstance(row, SeededIndex):
            seed_all(self._own_seeds(), row.seed)
            seed_host(row.seed)
        return self.dataset[int(row)]

    def _own_seeds(self) -> list[Seed]:
        """Return the seeds of generators of the data set's own."""
        # Each loader process looks for those of its own copy.
        seeds = seeds_of(self.dataset) if self._seeds is None else self._seeds
        vars(self)['_seeds'] = seeds
        return seeds

    def __getattr__(self, name: str) -> Any:
        # pickle asks before there is a data set, and torch asks for a way around __getitem__.
        if name.startswith('__'):
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.dataset, name, value)
        # It may be a transform with generators of its own.
        vars(self)['_seeds'] = None


class SeededBatches:
    """The batches of a batch sampler, in which every row carries a seed.

    Args:
        batches: The batch sampler, which gives lists of rows.
        seed: The seed of the run.
        iteration: The iteration that trains on the first batch.
        done: The number of batches that are left out of the first pass.
        runner: Each pass begins at its iteration, so that hooks may iterate over the loader, too.
            Without it batches are counted from pass to pass.
    """

    def __init__(
        self, batches: Any, seed: int, iteration: int, done: int = 0, runner: Runner | None = None
    ) -> None:
        self.batches = batches
        self.seed = seed
        self.iteration = iteration
        self.done = done
        self.runner = runner

    def __iter__(self) -> Iterator[list[SeededIndex]]:
        done, self.done = self.done, 0
        if self.runner is not None:
            self.iteration = self.runner.iter
        for i, rows in enumerate(self.batches):
            if i < done:
                continue
            seeds = image_seeds(self.seed, self.iteration, len(rows))
            self.iteration += 1
            yield list(map(SeededIndex.of, rows, seeds))

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batches, name)


def seeded_loader(loader: DataLoader, batches: SeededBatches) -> DataLoader:
    """Return a loader of seeded rows, which is like ``loader`` but for the rows of each batch."""
    seeded = copy(loader)
    # torch does not let them be set. Persistent workers that have started hold the other data set.
    vars(seeded).update(
        dataset=SeededDataset(loader.dataset), batch_sampler=batches, _iterator=None
    )
    return seeded
