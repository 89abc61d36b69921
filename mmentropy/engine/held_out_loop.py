"""Validation of an algorithm that predicts nothing: its loss on held-out images, and kNN."""

import copy
import logging
import math
from typing import Any

import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import all_reduce, get_rank
from mmengine.logging import print_log
from mmengine.registry import LOOPS
from mmengine.runner import BaseLoop, Runner
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from mmentropy.checks.arguments import COUNT, or_none, require
from mmentropy.distributed import unwrapped
from mmentropy.engine.random_state import network_seed, random_state_kept, seed_host_and_devices
from mmentropy.engine.seeded_loader import SeededBatches, seeded_loader
from mmentropy.evaluation import build_knn_data, eval_datasets, model_knn
from mmentropy.evaluation.scored import NoScoreError
from mmentropy.models import DeepCluster
from mmentropy.views import BatchViews

# The seed of the views, which are the same in every validation.
SEED = 0
LOSS, KNN = 'val_loss', 'knn/top1'


@LOOPS.register_module()
class HeldOutLoop(BaseLoop):
    """Measure ``val_loss``, and ``knn/top1`` in percent, for hooks that wait for a validation.

    The loss is that of the algorithm in eval mode on the views of ``val_dataloader``, whose data
    set has the pipeline of training; draws are the same every time. A target network, a centre and
    all other state stay as they are. A loss that is not finite is a warning and nan. kNN is
    measured on the config's ``eval_datasets``, and left out, with a warning, where their rows turn
    out to allow no score; schedules and mmengine's own CheckpointHook that follow it then fail.
    Each image counts once: where ranks cannot share the images evenly, the last ones, fewer than
    there are ranks, are left out.

    Args:
        runner: The run.
        dataloader: The held-out images, or the config of their loader.
        evaluator: Unused; ``val_evaluator=[]``, because mmengine wants one.
        k: The number of neighbours; None for no kNN.
        batch_size: The number of images per rank and step in kNN.

    Raises:
        ValueError: An argument is wrong, the network is sharded, the algorithm is DeepCluster,
            there are no labelled data for kNN, or the loader gives images without end, no batch, or
            a batch of one image.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Any,
        evaluator: Any = None,
        k: int | None = None,
        batch_size: int = 256,
    ) -> None:
        super().__init__(runner, dataloader)
        if isinstance(unwrapped(runner.model), FSDPModule):
            raise ValueError(
                'HeldOutLoop measures with a copy of the network, which a ShardedRunner does not '
                'have: leave val_cfg, val_dataloader and val_evaluator out, and measure by KNNHook'
            )
        if isinstance(unwrapped(runner.model), DeepCluster):
            raise ValueError(
                'HeldOutLoop has no loss for DeepCluster, whose labels are those of training '
                'images: leave val_cfg, val_dataloader and val_evaluator out, and measure by '
                'KNNHook'
            )
        require(or_none(COUNT), k=k)
        require(COUNT, batch_size=batch_size)
        self.k, self.loader = k, dict(batch_size=batch_size)
        trained = (runner.cfg.get('train_dataloader') or {}).get('dataset')
        with random_state_kept():
            self.labelled = build_knn_data(*eval_datasets(runner.cfg), k, trained) if k else None
        loader: Any = self.dataloader
        share_evenly(loader)
        self.batches = SeededBatches(loader.batch_sampler, SEED, 0)
        self.dataloader: Any = seeded_loader(loader, self.batches)

    def scalar_names(self, runner: Runner) -> list[str]:
        """Return what hooks may name."""
        return [LOSS, KNN] if self.labelled else [LOSS]

    def run(self) -> dict[str, float]:
        """Validate, and return what was measured."""
        self.runner.call_hook('before_val')
        self.runner.call_hook('before_val_epoch')
        with random_state_kept():
            metrics = {LOSS: self.loss()}
            if self.labelled:
                metrics |= self.knn(*self.labelled)
        self.runner.call_hook('after_val_epoch', metrics=metrics)
        self.runner.call_hook('after_val')
        return metrics

    def knn(self, train: Any, test: Any) -> dict[str, float]:
        """Return the accuracy of kNN by its name, or nothing, with a warning, if there is none."""
        try:
            top1 = model_knn(self.runner.model, train, test, self.loader, k=self.k)
        except NoScoreError as error:
            # Images that cannot be read were replaced by others, of other classes.
            step = self.runner.iter
            self.runner.logger.warning(f'validation after iteration {step}: no {KNN}: {error}')
            return {}
        return {KNN: top1}

    def loss(self) -> float:
        """Return the mean loss of an image, over all ranks."""
        # Some algorithms keep a queue or move a target whenever they compute a loss.
        model = copy.deepcopy(unwrapped(self.runner.model)).eval()
        if isinstance(model.data_preprocessor, BatchViews):
            model.data_preprocessor.repeat_draws(SEED, get_rank())
        self.batches.iteration = 0
        total, rows = 0.0, 0
        for index, batch in enumerate(self.dataloader):
            self.runner.call_hook('before_val_iter', batch_idx=index, data_batch=batch)
            seed_host_and_devices(network_seed(SEED, index))
            size = images_in(batch)
            total += size * loss_of(model, batch)
            rows += size
            self.runner.call_hook('after_val_iter', batch_idx=index, data_batch=batch, outputs=[])
        return total / rows if rows else math.nan


def share_evenly(loader: Any) -> None:
    """Let all ranks have equally many images of a loader, each of them once.

    Raises:
        ValueError: The loader gives images without end, no batch, or a batch of one image.
    """
    sampler: Any = loader.sampler
    if not isinstance(sampler, DefaultSampler):
        raise ValueError(
            'HeldOutLoop: val_dataloader.sampler must be DefaultSampler, which gives each image '
            f'once, got {type(sampler).__name__}'
        )
    # As it is made it repeats the first images, or gives some ranks fewer than others.
    sampler.num_samples = len(sampler.dataset) // sampler.world_size
    sampler.total_size = sampler.num_samples * sampler.world_size
    if not len(loader):
        raise ValueError(
            f'HeldOutLoop: val_dataloader gives no batch: a process has {len(sampler)} images, and '
            f'batch_size is {loader.batch_size}'
        )
    if loader.batch_size == 1:
        raise ValueError(
            'HeldOutLoop: val_dataloader.batch_size is 1, and a single image is compared with '
            'nothing: set that of training'
        )
    if len(sampler) % loader.batch_size == 1 and not loader.drop_last:
        raise ValueError(
            'HeldOutLoop: the last batch of val_dataloader would have a single image, which is '
            'compared with nothing: add drop_last=True'
        )


def images_in(batch: dict) -> int:
    """Return the number of images of a batch, which may be packed by ``collate_images``."""
    rows = [batch.get('data_samples'), batch.get('shapes'), batch['inputs']]
    return len(next(found for found in rows if found is not None))


@torch.no_grad()
def loss_of(model: Any, batch: dict) -> float:
    """Return the sum of the losses of a batch, averaged over ranks; nan if it is not finite."""
    # Preprocessors make views, if they do, for training.
    data = model.data_preprocessor(batch, True)
    try:
        loss: Tensor = model.parse_losses(model(**data, mode='loss'))[0]
    except FloatingPointError as error:
        print_log(f'validation: {error}', logger='current', level=logging.WARNING)
        return math.nan
    all_reduce(loss, op='mean')
    if not math.isfinite(loss.item()):
        # Algorithms of mmpretrain do not raise an error.
        advice = 'lower the learning rate, or warm it up longer'
        text = f'validation: the loss is {loss.item()}: {advice}'
        print_log(text, logger='current', level=logging.WARNING)
        return math.nan
    return loss.item()
