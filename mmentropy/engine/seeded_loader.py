"""A loader whose images are drawn from seeds of their own.

The transforms of an image draw from the global generators of Python, numpy and torch. Here each row
of a batch carries a seed into the loader process, where the generators are seeded before the data
set is asked for that row. The draws depend neither on the number of processes nor on other images.
"""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from mmentropy.engine.random_state import image_seeds, seed_host

# What a loader of seeded rows sets itself; it has all other settings of the loader it is made from.
OWN = {'dataset', 'batch_size', 'shuffle', 'sampler', 'batch_sampler', 'drop_last'}


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
    """A data set that seeds the generators before each item, where the row brings a seed."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> Any:
        if isinstance(row, SeededIndex):
            seed_host(row.seed)
        return self.dataset[int(row)]


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


class SeededLoader:
    """A loader of seeded rows, which is like ``loader`` but for the rows of each batch.

    Attributes that are set before the first iteration, such as ``worker_init_fn``, are observed.
    """

    def __init__(self, loader: DataLoader, batch_sampler: SeededBatches) -> None:
        self.loader = loader
        self.batch_sampler = batch_sampler
        self._seeded: DataLoader | None = None

    def __iter__(self) -> Iterator[Any]:
        if self._seeded is None:
            names = inspect.signature(DataLoader).parameters.keys() - OWN
            settings = {name: getattr(self, name) for name in names if hasattr(self, name)}
            batches: Sequence[Any] = self.batch_sampler  # type: ignore[assignment]
            self._seeded = DataLoader(
                SeededDataset(self.loader.dataset), batch_sampler=batches, **settings
            )
        return iter(self._seeded)

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)
