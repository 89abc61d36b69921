"""What an algorithm is learning, measured without labels while it trains."""

import json
import math
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import HOOKS
from torch import Tensor

from mmentropy.checks.arguments import COUNT, FLAG, SEVERAL, require
from mmentropy.distributed import unwrapped
from mmentropy.engine.best_checkpoint import check_save_best, save_best
from mmentropy.engine.collapse_alarms import Alarms
from mmentropy.engine.monitored_features import (
    Features,
    TrainingFeatures,
    assignment_logits,
    compared_views,
    encode,
    evenly,
    gathered,
    has_class_heads,
    has_projector,
    has_prototypes,
    held_out_dataset,
    labels_of,
    two_views,
)
from mmentropy.engine.random_state import random_state_kept
from mmentropy.functional.diagnostics import (
    assignment_entropy,
    assignment_terms,
    leave_one_out_knn,
    measure,
)
from mmentropy.functional.minimum_entropy import class_balance, nearest_min_entropy

# The key in the message hub, and so in a checkpoint, of the state of the alarms.
STATE = 'entropy_monitor'
# The number of singular values that are kept of a spectrum.
SPECTRUM = 64


@HOOKS.register_module()
class EntropyMonitorHook(Hook):
    """Measure ranks, entropies and spectra of the features of any algorithm.

    Every ``interval`` iterations it measures, by
    :func:`mmentropy.functional.diagnostics.measure`, the pooled backbone features and the
    projections of a neck with parameters, or of MinEnt's projectors side by side. It does so for

    - a held-out batch, ``monitor/{backbone,projector}/{metric}``: two views by the training
      pipeline of ``images`` images, evenly spaced, of the config's ``eval_datasets.test``, or,
      without it, of the training set, drawn once, when training starts; in eval mode;
    - the batch just trained on, ``monitor_train/...``: its first ``images`` images in the first two
      views, seen as they pass through the network.

    Both are of all ranks together. Prototypes add ``assignment_entropy`` and the terms of
    :func:`~mmentropy.functional.diagnostics.assignment_terms`, MinEnt
    ``head{i}_target_entropy`` as its loss defines it, and labels of the held-out images ``knn`` in
    percent, if there are several and ten of a class. Finite scalars go to the visualizer and the
    message hub, a line to the log, warnings and the largest 64 values of the held-out spectra to
    ``vis_data/monitor.jsonl`` as ``{"iter", "epoch", "alarms": [...], "spectrum": {"backbone":
    [...], ...}, "width": {"backbone": D, ...}}``.

    Training goes on as if the hook were not there. A collapse, or a number that is not finite, is
    reported once, as a warning with what helps. Fewer than two images a rank raise a ValueError.

    Args:
        interval: The number of iterations between two measurements.
        images: The number of images of each batch over all ranks, rounded down to a multiple of
            their number. No rank of features can exceed it: compare runs at equal numbers.
        stop: Whether to end training after an alarm, at the end of an epoch where it counts those.
    """

    def __init__(self, interval: int = 100, images: int = 256, stop: bool = False) -> None:
        require(COUNT, interval=interval)
        require(SEVERAL, images=images)
        require(FLAG, stop=stop)
        self.interval = interval
        self.images = images
        self.stop = stop
        self.alarms = Alarms()
        self._held_out: list[Tensor] = []
        self._labels: Tensor | None = None
        self._training: TrainingFeatures | None = None

    def scalar_names(self, runner: Runner) -> list[str]:
        """Return what ``save_best`` of the CheckpointHook may name."""
        model = unwrapped(runner.model)
        names = [*measure([torch.eye(3)] * 2)[0], 'knn']
        parts = dict(backbone=names)
        if has_projector(model) or has_class_heads(model):
            parts['projector'] = [*names, *class_term_names(model)]
        return [f'monitor/{part}/{name}' for part, names in parts.items() for name in names]

    def before_train(self, runner: Runner) -> None:
        check_save_best(runner)
        rank, world_size = get_dist_info()
        preprocessor = unwrapped(runner.model).data_preprocessor
        with random_state_kept():
            dataset = held_out_dataset(runner)
            chosen = evenly(len(dataset), self.images)
            if len(chosen) < 2 * world_size:
                raise ValueError(
                    f'EntropyMonitorHook: {len(chosen)} images are too few for {world_size} ranks: '
                    'raise images'
                )
            end = len(chosen) // world_size * world_size
            of_ranks = [chosen[r:end:world_size] for r in range(world_size)]
            collate = runner.train_dataloader.collate_fn
            self._held_out = two_views(dataset, of_ranks[rank], collate, preprocessor)
        # Ranks are gathered in this order.
        self._labels = labels_of(dataset, sum(of_ranks, []))
        # The message hub is part of a checkpoint, and has a state if this run is resumed.
        self.alarms.load(runner.message_hub.get_info(STATE, {}))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if (runner.iter + 1) % self.interval == 0:
            self._training = TrainingFeatures(unwrapped(runner.model))

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if self._training is None:
            return
        start = time.perf_counter()
        training, self._training = self._training, None
        training.remove()
        rank, world_size = get_dist_info()
        model = unwrapped(runner.model)
        trained = compared_views(model, gathered(training.features(self.images // world_size)))
        with random_state_kept():
            rows = encode(model, self._held_out, 'projector' in trained)
        held_out = compared_views(model, gathered(rows))
        # One rank measures, so that all agree on whether to stop.
        warnings = self._report(runner, held_out, trained, start) if rank == 0 else []
        if self.stop:
            flag = torch.tensor(len(warnings), device=rows['backbone'][0].device)
            all_reduce(flag)
            runner.train_loop.stop_training |= bool(flag)

    def _report(
        self, runner: Runner, held_out: Features, trained: Features, start: float
    ) -> list[str]:
        """Measure the features of all ranks and write that down; return new alarms."""
        model = unwrapped(runner.model)
        scalars, spectra = self._measure(model, 'monitor', held_out)
        scalars |= self._measure(model, 'monitor_train', trained)[0]
        self.alarms.look_at_log(runner, model, self.interval)
        runner.message_hub.update_info(STATE, self.alarms.state())
        runner.visualizer.add_scalars(scalars, step=runner.iter + 1)
        for name, value in scalars.items():
            runner.message_hub.update_scalar(name, value)
        warnings = self.alarms.given()
        widths = {part: views[0].shape[1] for part, views in held_out.items()}
        line = dict(iter=runner.iter + 1, epoch=runner.epoch + 1, alarms=warnings)
        append_line(runner, line | dict(spectrum=spectra, width=widths))
        log = f'monitor at iteration {runner.iter + 1}: '
        seconds = time.perf_counter() - start
        runner.logger.info(f'{log}{summary(runner, scalars, held_out)} ({seconds:.2f} s)')
        for warning in warnings:
            runner.logger.warning(log + warning)
        save_best(runner, scalars)
        return warnings

    def _measure(
        self, model: BaseSelfSupervisor, batch: str, features: Features
    ) -> tuple[dict[str, float], dict[str, list[float]]]:
        """Return scalars by name and spectra by part of 'monitor' or 'monitor_train'."""
        scalars: dict[str, float] = {}
        spectra: dict[str, list[float]] = {}
        for part, views in features.items():
            name = f'{batch}/{part}'
            if len(views[0]) < 2:
                continue
            if not all(torch.isfinite(view).all() for view in views):
                self.alarms.not_finite(name)
                continue
            found, spectrum = measure(views)
            if part == 'projector':
                found |= class_terms(model, views)
            if batch == 'monitor' and self._labels is not None:
                found['knn'] = float(leave_one_out_knn(views[0], self._labels))
            self.alarms.look(name, found, views[0].shape[1])
            finite = {key: value for key, value in found.items() if math.isfinite(value)}
            scalars |= {f'{name}/{key}': value for key, value in finite.items()}
            spectra[part] = [round(value, 8) for value in spectrum[:SPECTRUM].tolist()]
        return scalars, spectra


def append_line(runner: Runner, line: dict) -> None:
    """Append a line to ``monitor.jsonl``; log it if that fails."""
    file = Path(runner.log_dir, 'vis_data', 'monitor.jsonl')
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open('a') as stream:
            stream.write(json.dumps(line) + '\n')
    except OSError as error:
        runner.logger.error(f'monitor.jsonl was not written: {error}; training goes on')


def class_terms(model: BaseSelfSupervisor, views: list[Tensor]) -> dict[str, float]:
    """Return how rows (N, D) of the projector use classes: prototypes or MinEnt's heads."""
    logits = [assignment_logits(model, rows) for rows in views]
    known = [view for view in logits if view is not None]
    if known:
        used = float(assignment_entropy(known[0], temperature=1.0))
        return dict(assignment_entropy=used, **assignment_terms(known))
    if not has_class_heads(model):
        return {}
    head, rows = model.head, views[0]
    widths = head.out_channels
    return {
        f'head{i}_target_entropy': float(
            class_balance(nearest_min_entropy(logits, head.loss_module.norm), width)
        )
        for i, (logits, width) in enumerate(zip(rows.split(widths, dim=1), widths, strict=True))
    }


def class_term_names(model: BaseSelfSupervisor) -> list[str]:
    """Return the names of :func:`class_terms` of two views."""
    if has_prototypes(model):
        return ['assignment_entropy', *assignment_terms([torch.eye(3)] * 2)]
    if has_class_heads(model):
        return [f'head{i}_target_entropy' for i, _ in enumerate(model.head.out_channels)]
    return []


def summary(runner: Runner, scalars: dict[str, float], features: Features) -> str:
    """Return the loss, the time left and the metrics of the held-out features in a line."""
    losses = runner.message_hub.log_scalars.get('train/loss')
    eta = runner.message_hub.get_info('eta')
    # No loss is logged while all iterations were left out, and the time only by IterTimerHook.
    parts = [f'loss {losses.mean(10):.4f}'] if losses else []
    if eta is not None:
        parts.append(f'eta {timedelta(seconds=int(eta))}')
    for part, views in features.items():
        start = f'monitor/{part}/'
        found = {k.removeprefix(start): v for k, v in scalars.items() if k.startswith(start)}
        if 'rankme' in found:
            knn = f'kNN {found["knn"]:.1f} %, ' if 'knn' in found else ''
            rows, width = views[0].shape
            most = f'{rows} images' if rows < width else f'{width} dimensions'
            parts.append(
                f'{part} {knn}RankMe {found["rankme"]:.1f} of {most}, '
                f'entropy {found["entropy"]:.2f} and ER bound {found["er_bound"]:.2f} nats, '
                f'std {found["feature_std"]:.3f}'
            )
    return '; '.join(parts)
