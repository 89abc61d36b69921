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


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """A resumed run ends where the unbroken one would, bit for bit.

    Whatever an image's transforms draw from Python's, numpy's and torch's
    generators is seeded by the seed, the rank, the iteration and the place in
    the batch; what the network draws, by the seed, the rank and the iteration.
    So the draws do not depend on the number of loader processes, on other
    images, or on where a run was broken off. A checkpoint from within an epoch
    goes on with the next batch of it.

    On a GPU it also takes ``randomness=dict(deterministic=True)``.

    Raises:
        ValueError: Before the first step, if the run resumes with another
            number of batches an epoch, which schedules count.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        loop, loader = runner.train_loop, runner.train_dataloader
        resumed = runner.iter > 0
        # mmengine seeds the sampler before it reads the seed of a checkpoint.
        if hasattr(loader.sampler, 'seed') and not runner.cfg.get(
                'randomness', {}).get('diff_rank_seed'):
            loader.sampler.seed = runner.seed
        batches = len(loader)
        before = batches
        if resumed:
            before = runner.message_hub.get_info(STATE, {}).get(
                'batches', batches)
        first, done = runner.iter, 0
        if isinstance(loop, EpochBasedTrainLoop):
            done = runner.iter - runner.epoch * batches
            if before != batches or not 0 <= done <= batches:
                raise ValueError(
                    f'the checkpoint, of epoch {runner.epoch} and iteration '
                    f'{runner.iter}, is not of a run of {batches} batches an '
                    'epoch: resume with the same images and the same '
                    'train_dataloader.batch_size times number of processes, '
                    'or start a new run from its weights with load_from')
        elif resumed and not skips(loop):
            # mmengine takes the batches that were trained on once more.
            first = 0
        runner.message_hub.update_info(STATE, dict(batches=batches))
        if loader.batch_sampler is not None:
            number(loader, runner.seed, first, done)
        if done:
            run_iter = loop.run_iter
            loop.run_iter = lambda idx, batch: run_iter(idx + done, batch)

    def after_train_epoch(self, runner: Runner) -> None:
        # Only the first epoch after resuming begins in its middle.
        vars(runner.train_loop).pop('run_iter', None)

    def before_train_iter(self,
                          runner: Runner,
                          batch_idx: int,
                          data_batch: Any = None) -> None:
        seed, = seeds_of(runner.seed, runner.iter, 1, network=True)
        seed_host(seed)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(seed)


def skips(loop: Any) -> bool:
    """Whether an iteration-based loop resumes without taking batches."""
    return getattr(loop, 'fast_forward_on_resume', False) or hasattr(
        loop.dataloader.sampler, 'skip')


def seeds_of(seed: int,
             iteration: int,
             count: int,
             network: bool = False) -> list[int]:
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
    """

    def __init__(self, batches: Any, seed: int, first: int, done: int) -> None:
        self.batches = batches
        self.seed = seed
        self.iteration = first
        self.done = done

    def __iter__(self) -> Iterator[list[SeededIndex]]:
        done, self.done = self.done, 0
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


def number(loader: DataLoader, seed: int, first: int, done: int) -> None:
    """Let a loader give each of its images seeded draws."""
    batches: Any = loader.batch_sampler
    # Of a training before.
    if isinstance(batches, NumberedBatches):
        batches = batches.batches
    # Not by assignment, which DataLoader refuses once it is made.
    vars(loader)['batch_sampler'] = NumberedBatches(batches, seed, first, done)
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
