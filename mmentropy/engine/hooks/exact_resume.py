"""Random draws that do not depend on what happened before."""

import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS
from torch.utils.data import DataLoader

# Of the run's geometry in a checkpoint.
STATE = 'exact_resume'
# The iteration of the last validation, there too.
VALIDATED = 'validated'


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """A resumed run ends where the unbroken one would, bit for bit.

    Whatever an image's transforms draw from Python's, numpy's and torch's
    generators is seeded by the seed, the rank, the iteration and the place in
    the batch; what the network draws, by the seed, the rank and the iteration.
    So the draws do not depend on the number of loader processes, on other
    images, or on where a run was broken off. A checkpoint from within an epoch
    goes on with the next batch of it. A validation that the checkpoint was
    written before is made up for, or repeated: schedulers may follow it.

    On a GPU it also takes ``randomness=dict(deterministic=True)``; on a CPU,
    one thread, for several may round differently from run to run.

    Raises:
        ValueError: Before the first step, if the run resumes with another
            number of batches an epoch, which schedules count.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        loop, loader = runner.train_loop, runner.train_dataloader
        resumed = runner.iter > 0
        reseed(runner)
        batches = len(loader)
        before = batches
        if resumed:
            before = runner.message_hub.get_info(STATE, {}).get('batches', batches)
        first, done = runner.iter, 0
        if isinstance(loop, EpochBasedTrainLoop):
            done = runner.iter - runner.epoch * batches
            if before != batches or not 0 <= done <= batches:
                raise ValueError(
                    f'the checkpoint, of epoch {runner.epoch} and iteration '
                    f'{runner.iter}, is not of a run of {batches} batches an '
                    'epoch: resume with the same images and the same '
                    'train_dataloader.batch_size times number of processes, '
                    'or start a new run from its weights with load_from'
                )
        elif resumed and not skips(loop):
            # mmengine takes the batches that were trained on once more.
            first = 0
        runner.message_hub.update_info(STATE, dict(batches=batches))
        if loader.batch_sampler is not None:
            # Other hooks may iterate over the loader, too.
            at = runner if isinstance(loop, EpochBasedTrainLoop) else None
            number(loader, runner.seed, first, done, at)
        self._missed = resumed and not done and missed_validation(runner)
        if done:
            run_iter = loop.run_iter
            loop.run_iter = lambda idx, batch: run_iter(idx + done, batch)

    def before_train_epoch(self, runner: Runner) -> None:
        # When the other hooks are ready.
        self._make_up(runner)

    def after_train(self, runner: Runner) -> None:
        # Of the last epoch.
        self._make_up(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        # Known to a checkpoint that is written because of the metrics.
        runner.message_hub.update_info(VALIDATED, runner.iter)

    def _make_up(self, runner: Runner) -> None:
        if self._missed:
            self._missed = False
            runner.val_loop.run()

    def after_train_epoch(self, runner: Runner) -> None:
        # Only the first epoch after resuming begins in its middle.
        vars(runner.train_loop).pop('run_iter', None)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        (seed,) = seeds_of(runner.seed, runner.iter, 1, network=True)
        seed_host(seed)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(seed)


def missed_validation(runner: Runner) -> bool:
    """Whether the loop would have validated here before it went on."""
    loop = runner.train_loop
    if runner.val_loop is None or runner.message_hub.get_info(VALIDATED, -1) >= runner.iter:
        return False
    loop._decide_current_val_interval()
    at, last = (
        (loop.epoch, loop.max_epochs)
        if isinstance(loop, EpochBasedTrainLoop)
        else (loop.iter, loop.max_iters)
    )
    return at >= loop.val_begin and (at % loop.val_interval == 0 or at == last)


def skips(loop: Any) -> bool:
    """Whether an iteration-based loop resumes without taking batches."""
    return getattr(loop, 'fast_forward_on_resume', False) or hasattr(
        loop.dataloader.sampler, 'skip'
    )


def seeds_of(seed: int, iteration: int, count: int, network: bool = False) -> list[int]:
    """Independent seeds below 2**32 of this rank and iteration.

    Those of images, or others for the network.
    """
    key = (seed, get_rank(), iteration, int(network))
    return np.random.SeedSequence(key).generate_state(count).tolist()


def seed_host(seed: int) -> None:
    """Seed Python, numpy and torch on the CPU."""
    random.seed(seed)
    np.random.seed(seed)
    # torch.manual_seed looks at all devices and takes 100 times as long.
    torch.default_generator.manual_seed(seed)


class SeededIndex(int):
    """A row of a data set, and the seed of the draws for it."""

    seed: int

    @classmethod
    def of(cls, index: int, seed: int) -> 'SeededIndex':
        self = cls(index)
        self.seed = seed
        return self


class NumberedBatches:
    """Batches of a sampler whose rows carry seeds.

    Args:
        batches: lists of rows.
        seed: of the run.
        first: iteration of the first batch that is given.
        done: batches of the first pass that are left out.
        at: whose ``iter`` is that of the first batch of each pass; without
            it, they are counted.
    """

    def __init__(self, batches: Any, seed: int, first: int, done: int, at: Any = None) -> None:
        self.batches = batches
        self.seed = seed
        self.iteration = first
        self.done = done
        self.at = at

    def __iter__(self) -> Iterator[list[SeededIndex]]:
        done, self.done = self.done, 0
        if self.at is not None:
            self.iteration = self.at.iter
        for i, rows in enumerate(self.batches):
            if i < done:
                continue
            seeds = seeds_of(self.seed, self.iteration, len(rows))
            self.iteration += 1
            yield list(map(SeededIndex.of, rows, seeds))

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batches, name)


def reseed(runner: Runner) -> None:
    """Seed the sampler by the run, unless its config does.

    mmengine does so before it reads the seed of a checkpoint.
    """
    loader, cfg = runner.train_dataloader, runner.cfg
    given = (cfg.get('train_dataloader') or {}).get('sampler') or {}
    if cfg.get('randomness', {}).get('diff_rank_seed') or 'seed' in given:
        return
    # A batch sampler has its own beside the loader's.
    samplers: tuple[Any, Any] = (loader.sampler, getattr(loader.batch_sampler, 'sampler', None))
    for sampler in samplers:
        if hasattr(sampler, 'seed'):
            sampler.seed = runner.seed


def number(loader: DataLoader, seed: int, first: int, done: int, at: Any) -> None:
    """Let a loader give each of its images seeded draws."""
    batches: Any = loader.batch_sampler
    # Of a training before.
    if isinstance(batches, NumberedBatches):
        batches = batches.batches
    # Not by assignment, which DataLoader refuses once it is made.
    vars(loader)['batch_sampler'] = NumberedBatches(batches, seed, first, done, at)
    # torch asks a data set for it before it takes items one by one.
    dataset: Any = loader.dataset
    dataset.__getitems__ = partial(items, dataset)


def items(dataset: Any, rows: Sequence[int]) -> list:
    """Items of a data set, each after its own seeds were set."""
    found = []
    for row in rows:
        if isinstance(row, SeededIndex):
            seed_host(row.seed)
        found.append(dataset[int(row)])
    return found
