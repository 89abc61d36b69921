"""What an algorithm is learning, measured without labels while it trains."""

import copy
import json
import math
import random
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather, all_reduce, get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.models import SwAVNeck, TwoNormDataPreprocessor
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import DATASETS, HOOKS
from torch import Tensor, nn

from mmentropy import functional as F
from mmentropy.checks.arguments import COUNT, FLAG, SEVERAL, require
from mmentropy.distributed import unwrapped
from mmentropy.engine.best_checkpoint import check_save_best, save_best
from mmentropy.engine.random_state import random_state_kept
from mmentropy.evaluation.features import eval_mode, pool
from mmentropy.functional.diagnostics import (
    assignment_entropy,
    leave_one_out_knn,
    measure,
    point_entropy,
)

# Of the alarms in a checkpoint.
STATE = 'entropy_monitor'
# Singular values kept of a spectrum.
SPECTRUM = 64
# Images that are encoded at once.
CHUNK = 64
# Of the views of the held-out images.
SEED = 0
# Images per class from which on neighbours are looked for.
IMAGES_PER_CLASS = 10

# An alarm is given when its sign is there in so many measurements in a row.
# The numbers lie between those of healthy runs and of runs that collapse on
# purpose, benchmarks/monitor/results.md.
PATIENCE = 3
# feature_std below this is a total collapse; 1 is isotropic.
COLLAPSED_STD = 0.02
# Of the highest so far: RankMe below this share is a dimensional collapse, and
# so is the entropy above that of one point.
RANK_SHARE = 0.05
ENTROPY_SHARE = 0.1
# A head's target_entropy, a share of the largest: few classes are left.
DEAD_TARGETS = 0.2
# The same of prototypes' assignment_entropy.
DEAD_PROTOTYPES = 0.3

# Features of up to two views, by 'backbone' and 'projector'.
Features = dict[str, list[Tensor]]


@HOOKS.register_module()
class EntropyMonitorHook(Hook):
    """Ranks, entropies and spectra of the features of any algorithm.

    Every ``interval`` iterations it measures, by
    :func:`mmentropy.functional.diagnostics.measure`, the pooled backbone features and,
    where the neck projects to (N, D) rows by parameters of its own or the head
    has MinEnt's projectors, the projections (of several, side by side), of

    - a held-out batch, ``monitor/{backbone,projector}/{metric}``: two views
      by the training pipeline of ``images`` images, evenly spaced, of the
      config's ``eval_datasets.test``, or, without it, of the training set,
      drawn once, when training starts; the network is in eval mode;
    - the batch just trained on, ``monitor_train/...``: its first ``images``
      images in the first two views, seen as they pass through the network.

    Both are of all ranks together. A neck with prototypes adds
    ``assignment_entropy``, MinEnt ``monitor/head{i}/target_entropy`` as
    its loss defines it, labels of the held-out images, if there are several
    and ten of a class, ``knn`` in percent. Scalars go to the visualizer and
    the message hub, warnings and the largest 64 values of the held-out spectra
    to ``vis_data/monitor.jsonl`` as ``{"iter", "epoch", "alarms": [...],
    "spectrum": {"backbone": [...], ...}, "width": {"backbone": D, ...}}``, a
    line to the log. Metrics that are not finite are left out.

    Training goes on as if the hook were not there. A collapse, or a number
    that is not finite, is reported once, as a warning with what helps.

    Args:
        interval: Iterations.
        images: Of each batch over all ranks, rounded down to a multiple of
            them. No rank of features can exceed it: compare runs at equal
            numbers. The held-out views stay in the memory of the host.
        stop: End training after an alarm, at the end of the epoch if training
            counts epochs.

    Raises:
        ValueError: Before the first step: an argument is wrong, or there are
            fewer than two images a rank.
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
        self._tap: Tap | None = None

    def scalar_names(self, runner: Runner) -> list[str]:
        """What ``save_best`` of the CheckpointHook may name."""
        model = unwrapped(runner.model)
        parts = ['backbone']
        if projects(model) or has_heads(model):
            parts.append('projector')
        names = [*measure([torch.eye(3)] * 2)[0], 'knn']
        return [f'monitor/{part}/{name}' for part in parts for name in names]

    def before_train(self, runner: Runner) -> None:
        check_save_best(runner)
        rank, world_size = get_dist_info()
        model = unwrapped(runner.model)
        with random_state_kept():
            dataset = held_out_dataset(runner)
            chosen = evenly(len(dataset), self.images)
            rows = len(chosen) // world_size
            if rows < 2:
                raise ValueError(
                    f'EntropyMonitorHook: {len(chosen)} images are too few '
                    f'for {world_size} ranks: raise images'
                )
            shares = [chosen[r : rows * world_size : world_size] for r in range(world_size)]
            self._held_out = two_views(
                dataset, shares[rank], runner.train_dataloader.collate_fn, model.data_preprocessor
            )
        # In the order in which ranks are gathered.
        self._labels = labels_of(dataset, sum(shares, []))
        # Part of a checkpoint: there if this run is resumed.
        self.alarms.load(runner.message_hub.get_info(STATE, {}))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if (runner.iter + 1) % self.interval == 0:
            self._tap = Tap(unwrapped(runner.model))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        if self._tap is None:
            return
        start = time.perf_counter()
        tap, self._tap = self._tap, None
        tap.remove()
        rank, world_size = get_dist_info()
        trained = gathered(tap.features(self.images // world_size))
        with random_state_kept():
            held_out = gathered(
                encode(unwrapped(runner.model), self._held_out, 'projector' in trained)
            )
        # One rank measures, so that all agree on whether to stop.
        rang = rank == 0 and self._report(runner, held_out, trained, start)
        if self.stop:
            flag = torch.tensor(float(rang), device=next(runner.model.parameters()).device)
            all_reduce(flag)
            runner.train_loop.stop_training |= bool(flag)

    def _report(self, runner: Runner, held_out: Features, trained: Features, start: float) -> bool:
        """Measure and write; whether an alarm was given."""
        model, step = unwrapped(runner.model), runner.iter + 1
        scalars: dict[str, float] = {}
        spectra: dict[str, list[float]] = {}
        for prefix, features in (('monitor', held_out), ('monitor_train', trained)):
            for part, views in features.items():
                name = f'{prefix}/{part}'
                if len(views[0]) < 2:
                    continue
                if not all(torch.isfinite(view).all() for view in views):
                    self.alarms.not_finite(name)
                    continue
                found, shares = measure(views)
                if part == 'projector':
                    found |= of_classes(model, views[0])
                if prefix == 'monitor' and self._labels is not None:
                    found['knn'] = float(leave_one_out_knn(views[0], self._labels))
                self.alarms.look(name, found, views[0].shape[1])
                scalars |= {
                    f'{name}/{key}': value for key, value in found.items() if math.isfinite(value)
                }
                if prefix == 'monitor':
                    spectra[part] = [round(value, 8) for value in shares[:SPECTRUM].tolist()]
        self.alarms.look_at_log(runner, model, self.interval)
        runner.message_hub.update_info(STATE, self.alarms.state())
        runner.visualizer.add_scalars(scalars, step=step)
        for name, value in scalars.items():
            runner.message_hub.update_scalar(name, value)
        warnings = self.alarms.given()
        line = dict(
            iter=step,
            epoch=runner.epoch + 1,
            alarms=warnings,
            spectrum=spectra,
            width={part: views[0].shape[1] for part, views in held_out.items()},
        )
        file = Path(runner.log_dir, 'vis_data', 'monitor.jsonl')
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open('a') as stream:
                stream.write(json.dumps(line) + '\n')
        except OSError as error:
            runner.logger.error(f'monitor.jsonl was not written: {error}; training goes on')
        runner.logger.info(
            f'monitor at iteration {step}: {progress(runner)}'
            f'{summary(scalars, held_out)} '
            f'({time.perf_counter() - start:.2f} s)'
        )
        for warning in warnings:
            runner.logger.warning(f'monitor at iteration {step}: {warning}')
        save_best(runner, scalars)
        return bool(warnings)


def projects(model: BaseSelfSupervisor) -> bool:
    """Whether the neck does more than pool."""
    neck = getattr(model, 'neck', None)
    return neck is not None and any(True for _ in neck.parameters())


def has_heads(model: BaseSelfSupervisor) -> bool:
    """Whether the head projects to classes, as MinEnt's."""
    return hasattr(getattr(model, 'head', None), 'projectors')


def side_by_side(heads: Sequence[Tensor]) -> Tensor:
    """Rows (N, K) of each head as one (N, sum of K), in memory of its own."""
    return torch.cat([rows.detach().float() for rows in heads], dim=1)


def project_of(model: BaseSelfSupervisor, feats: Any) -> Tensor:
    """The projections of what the backbone gave."""
    # SwAV's takes the features of each crop.
    z = model.neck([feats] if isinstance(model.neck, SwAVNeck) else feats)
    z = z[0] if isinstance(z, (tuple, list)) else z
    if projects(model):
        return z.float()
    return side_by_side([rows for (rows,) in model.head.projectors(z)])


def of_classes(model: BaseSelfSupervisor, rows: Tensor) -> dict[str, float]:
    """How evenly rows (N, D) of the projector use classes, where it has any.

    ``assignment_entropy`` of prototypes, ``head{i}_target_entropy`` of
    MinEnt's heads.
    """
    head = model.head
    if hasattr(model.neck, 'num_prototypes'):
        loss = getattr(head, 'loss_module', None)
        temperature = getattr(loss, 'temperature', 0.1)
        return dict(assignment_entropy=float(assignment_entropy(rows, temperature)))
    if not has_heads(model):
        return {}
    widths = head.out_channels
    return {
        f'head{i}_target_entropy': float(
            F.class_balance(F.nearest_min_entropy(logits, head.loss_module.norm), width)
        )
        for i, (logits, width) in enumerate(zip(rows.split(widths, dim=1), widths, strict=True))
    }


def progress(runner: Runner) -> str:
    """Loss and time left, as far as they are known yet."""
    losses = runner.message_hub.log_scalars.get('train/loss')
    eta = runner.message_hub.get_info('eta')
    parts = []
    if losses:
        parts.append(f'loss {losses.mean(10):.4f}')
    if eta is not None:
        parts.append(f'eta {timedelta(seconds=int(eta))}')
    return ''.join(f'{part}; ' for part in parts)


def summary(scalars: dict[str, float], features: Features) -> str:
    """The held-out features in a line."""
    parts = []
    for part, views in features.items():
        name = f'monitor/{part}'
        if f'{name}/rankme' not in scalars:
            continue
        knn = scalars.get(f'{name}/knn')
        parts.append(
            f'{part} '
            + ('' if knn is None else f'kNN {knn:.1f} %, ')
            + f'RankMe {scalars[f"{name}/rankme"]:.1f} of '
            f'{min(views[0].shape)}, entropy '
            f'{scalars[f"{name}/entropy"]:.2f} and ER bound '
            f'{scalars[f"{name}/er_bound"]:.2f} nats, std '
            f'{scalars[f"{name}/feature_std"]:.3f}'
        )
    return '; '.join(parts)


# -- The held-out batch ------------------------------------------------------


def held_out_dataset(runner: Runner) -> Any:
    """The test set with the training pipeline, or the training set."""
    trained = runner.train_dataloader.dataset
    cfg = runner.cfg.get('eval_datasets') or {}
    if 'test' not in cfg:
        return trained
    train_cfg = runner.cfg.train_dataloader.dataset
    # RepeatDataset and the like.
    while 'dataset' in train_cfg:
        train_cfg = train_cfg['dataset']
    if 'pipeline' not in train_cfg:
        raise ValueError(
            'EntropyMonitorHook: train_dataloader.dataset, a '
            f'{train_cfg["type"]}, has no pipeline to make views of '
            'eval_datasets.test by: remove eval_datasets to take the training '
            'set'
        )
    return DATASETS.build(dict(copy.deepcopy(cfg['test']), pipeline=train_cfg['pipeline']))


def evenly(count: int, most: int) -> list[int]:
    """Up to ``most`` rows of ``count``, evenly spaced."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()


def labels_of(dataset: Any, indices: list[int]) -> Tensor | None:
    """Classes (N,) of images; None if they cannot tell neighbours apart.

    They are unknown, all the same, or too many for so few images.
    """
    if not hasattr(dataset, 'get_data_info'):
        return None
    labels = [dataset.get_data_info(i).get('gt_label') for i in indices]
    if not all(isinstance(label, (int, np.integer)) for label in labels):
        return None
    classes = len(set(labels))
    several = 1 < classes <= len(labels) / IMAGES_PER_CLASS
    return torch.tensor(labels) if several else None


def two_views(
    dataset: Any, indices: list[int], collate_fn: Any, data_preprocessor: nn.Module
) -> list[Tensor]:
    """Two preprocessed views (N, C, H, W) on the CPU, the same in any run.

    The first two of one draw of the pipeline, or two draws of a pipeline of
    one view. Sets the global random states.
    """
    # A copy, because BatchViews counts its calls.
    data_preprocessor = copy.deepcopy(data_preprocessor)
    views: list[Tensor] = []
    while len(views) < 2:
        items = []
        for index in indices:
            # Of the image, so that it does not matter which rank has it.
            seed = SEED + 2 * index + len(views)
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            items.append(dataset[index])
        torch.manual_seed(SEED)
        output = data_preprocessor(collate_fn(items), True)
        views += [x.cpu() for x in views_of(data_preprocessor, output)]
    return views[:2]


def views_of(data_preprocessor: nn.Module, output: dict) -> list[Tensor]:
    """The views that a preprocessor gave."""
    inputs = output['inputs']
    if isinstance(inputs, Tensor):
        return [inputs]
    # The second is the same image, for the tokenizer that gives the targets.
    alone = isinstance(data_preprocessor, TwoNormDataPreprocessor)
    return list(inputs[:1] if alone else inputs)


def encode(model: BaseSelfSupervisor, views: list[Tensor], project: bool) -> Features:
    """Features of views, in eval mode, without gradient."""
    device = next(model.parameters()).device
    rows: Features = dict(backbone=[], projector=[])
    with eval_mode(model), torch.no_grad():
        for view in views:
            backbone, projector = [], []
            for x in view.split(CHUNK):
                feats = model.extract_feat(x.to(device))
                backbone.append(pooled(feats, model.backbone, len(x)))
                if project:
                    projector.append(project_of(model, feats))
            rows['backbone'].append(torch.cat(backbone))
            if project:
                rows['projector'].append(torch.cat(projector))
    return {part: found for part, found in rows.items() if found}


def pooled(outputs: Any, backbone: nn.Module, count: int) -> Tensor:
    """Rows (N, D) float32 of what a backbone gave, in memory of their own.

    Of a masked backbone, which gives its mask too, those of the tokens.

    Args:
        count: N.
    """
    if isinstance(outputs, (tuple, list)):
        tensors = [
            x
            for x in outputs
            if isinstance(x, Tensor) and x.is_floating_point() and x.dim() and len(x) == count
        ]
        most = max((x.dim() for x in tensors), default=0)
        outputs = [x for x in tensors if x.dim() == most]
    return pool(outputs, backbone).detach().to(torch.float32, copy=True)


def gathered(features: Features) -> Features:
    """Rows of all ranks, in rank order, where they are."""
    return {
        part: [torch.cat(all_gather(view.contiguous())) for view in views]
        for part, views in features.items()
    }


# -- The training batch ------------------------------------------------------


class Tap:
    """Takes the features of one training step as they pass.

    Args:
        model: Its data preprocessor, backbone and neck are listened to until
            :meth:`remove`.
    """

    def __init__(self, model: BaseSelfSupervisor) -> None:
        self.views: list[Tensor] = []
        self.interleaved = False
        self.rows: Features = dict(backbone=[], projector=[])
        self.handles = [
            model.data_preprocessor.register_forward_hook(self._see_views),
            model.backbone.register_forward_hook(self._see_backbone, with_kwargs=True),
        ]
        if projects(model):
            self.handles.append(model.neck.register_forward_hook(self._see_neck))
        elif has_heads(model):
            self.handles.append(model.head.projectors.register_forward_hook(self._see_heads))

    def remove(self) -> None:
        """Stop listening."""
        for handle in self.handles:
            handle.remove()

    def features(self, images: int) -> Features:
        """Of the first ``images`` images, each view (N, D)."""
        count = len(self.views[0]) if self.views else 0
        return {
            part: self._split(torch.cat(rows), count, images)
            for part, rows in self.rows.items()
            if rows
        }

    def _split(self, rows: Tensor, count: int, images: int) -> list[Tensor]:
        if len(self.views) < 2 or len(rows) < 2 * count:
            return [rows[:count][:images]]
        if self.interleaved:
            pair = rows[0::2], rows[1::2]
        else:
            pair = rows[:count], rows[count : 2 * count]
        return [view[:images] for view in pair]

    def _see_views(self, module: nn.Module, args: tuple, output: dict) -> None:
        self.views = views_of(module, output)

    def _see_backbone(self, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        x = args[0] if args else next(iter(kwargs.values()))
        if not self.rows['backbone'] and len(self.views) > 1:
            # SimCLR puts the views of an image in neighbouring rows, others
            # one view after the other.
            second = self.views[1]
            self.interleaved = len(x) == 2 * len(second) and torch.equal(x[1], second[0])
        self.rows['backbone'].append(pooled(output, module, len(x)))

    def _see_neck(self, module: nn.Module, args: tuple, output: Any) -> None:
        z = output[0] if isinstance(output, (tuple, list)) else output
        # Decoders take and give something else, or rows of tokens.
        most = sum(map(len, self.views))
        if len(args) == 1 and isinstance(z, Tensor) and z.dim() == 2 and len(z) <= most:
            self.rows['projector'].append(z.detach().to(torch.float32, copy=True))

    def _see_heads(self, module: nn.Module, args: tuple, output: list) -> None:
        self.rows['projector'] += [side_by_side(heads) for heads in zip(*output, strict=True)]


# -- Alarms ------------------------------------------------------------------


class Alarms:
    """Signs of a sick run, each reported once, after ``PATIENCE`` sights.

    A sign is reported of backbone or projector, whether the held-out batch or
    that of training shows it first.
    """

    def __init__(self) -> None:
        self.highest: dict[str, float] = {}
        self.sights: dict[str, int] = {}
        self.reported: list[str] = []
        self.pending: list[str] = []

    def state(self) -> dict:
        """What a resumed run has to know."""
        return dict(
            highest=self.highest.copy(), sights=self.sights.copy(), reported=self.reported.copy()
        )

    def load(self, state: dict) -> None:
        """Go on from a :meth:`state`, or {}."""
        self.highest = dict(state.get('highest', {}))
        self.sights = dict(state.get('sights', {}))
        self.reported = list(state.get('reported', []))

    def given(self) -> list[str]:
        """What to warn of now."""
        pending, self.pending = self.pending, []
        return pending

    def look(self, name: str, found: dict[str, float], dim: int) -> None:
        """At the metrics of features of width ``dim``."""
        std, rank = found['feature_std'], found['rankme']
        self._sign(
            name,
            'collapse',
            std < COLLAPSED_STD,
            f'total collapse: feature_std of {name} is {std:.4f} (1 is '
            f'isotropic, 0 one point, alarm below {COLLAPSED_STD}); check '
            'that the target is detached and the predictor there, raise the '
            'batch, lower the learning rate',
        )
        best = self._best(f'{name} rank', rank)
        self._sign(
            name,
            'rank',
            rank < RANK_SHARE * best,
            f'dimensional collapse: RankMe of {name} fell from {best:.1f} to '
            f'{rank:.1f} (alarm below {RANK_SHARE:g} of the highest); lower '
            'the learning rate or weight decay, weaken the augmentation, '
            'widen the projector',
        )
        excess = found['entropy'] - point_entropy(dim)
        best = self._best(f'{name} entropy', excess)
        self._sign(
            name,
            'entropy',
            0 < best and excess < ENTROPY_SHARE * best,
            f'falling entropy: {name} has {excess:.2f} nats more than one '
            f'point, at best {best:.2f} (alarm below {ENTROPY_SHARE:g} of '
            'it); weigh the entropy term more or raise the batch',
        )
        used = found.get('assignment_entropy', 1.0)
        self._sign(
            name,
            'prototypes',
            used < DEAD_PROTOTYPES,
            f'dead prototypes: assignment_entropy of {name} is {used:.3f} (1 '
            f'is balanced, alarm below {DEAD_PROTOTYPES:g}); centre the '
            'targets, take ERLoss in place of DINOLoss, or lower the learning '
            'rate',
        )
        heads = {
            key.split('_')[0]: value
            for key, value in found.items()
            if key.endswith('_target_entropy')
        }
        dead = {key: v for key, v in heads.items() if v < DEAD_TARGETS}
        numbers = ', '.join(f'{v:.3f} of {key}' for key, v in dead.items())
        self._sign(
            name,
            'heads',
            bool(dead),
            f'dead classes: of {len(heads)} heads of MinEnt {len(dead)} use '
            f'few, target_entropy {numbers} (1 is balanced, alarm below '
            f"{DEAD_TARGETS:g}); use norm='batch', raise the batch or lower "
            'the number of classes',
        )

    def look_at_log(self, runner: Runner, model: BaseSelfSupervisor, window: int) -> None:
        """At what the algorithm itself logged since the last measurement."""
        history = runner.message_hub.log_scalars

        def mean(name: str) -> float | None:
            logged = history.get(f'train/{name}')
            return float(logged.mean(window)) if logged else None

        loss = mean('loss')
        if loss is not None and not math.isfinite(loss):
            self.not_finite('train/loss')
        norm = mean('spectral_norm')
        guarded = any(getattr(m, 'guard', False) for m in model.modules())
        self._sign(
            'train/spectral_norm',
            'diverges',
            norm is not None and norm > 1 and not guarded,
            f'spectral_norm of MEC is {norm or 0:.2f} on '
            'average, above 1, where its Taylor series diverges; set '
            'guard=True or raise the distortion',
        )

    def not_finite(self, name: str) -> None:
        """At once, without patience."""
        self.sights[f'{name} finite'] = PATIENCE - 1
        self._sign(
            name,
            'finite',
            True,
            f'{name} is not finite; lower the learning rate, warm it up '
            'longer, clip the gradient, or replace fp16 by bf16',
        )

    def _best(self, key: str, value: float) -> float:
        self.highest[key] = max(value, self.highest.get(key, value))
        return self.highest[key]

    def _sign(self, name: str, kind: str, seen: bool, message: str) -> None:
        key = f'{name} {kind}'
        self.sights[key] = self.sights.get(key, 0) + 1 if seen else 0
        report = f'{name.split("/")[1]} {kind}'
        if self.sights[key] >= PATIENCE and report not in self.reported:
            self.reported.append(report)
            self.pending.append(message)
