"""The features of any self-supervised algorithm, as the monitor measures them.

They are those of a held-out batch, encoded in eval mode, or of a training step, taken as they pass.
"""

import copy
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import all_gather
from mmengine.runner import Runner
from mmpretrain.models import SwAVNeck, TwoNormDataPreprocessor
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import DATASETS
from torch import Tensor, nn

from mmentropy.checks.config_parts import innermost_dataset
from mmentropy.engine.exact_accumulation import Deferred
from mmentropy.engine.random_state import seed_host
from mmentropy.evaluation.features import eval_mode, pool
from mmentropy.models import TwoProjectors
from mmentropy.views import BatchViews

# The number of images that are encoded at once.
CHUNK = 64
# The seed of the views of the held-out images.
SEED = 0
# Labels serve to look for neighbours where there are so many images of each class.
IMAGES_PER_CLASS = 10

# The features of up to two views, by 'backbone' and 'projector'.
Features = dict[str, list[Tensor]]


def has_projector(model: BaseSelfSupervisor) -> bool:
    """Return whether the neck does more than pool."""
    neck = getattr(model, 'neck', None)
    return neck is not None and any(True for _ in neck.parameters())


def has_class_heads(model: BaseSelfSupervisor) -> bool:
    """Return whether the head projects to classes, as that of MinEnt does."""
    return hasattr(getattr(model, 'head', None), 'projectors')


def has_prototypes(model: BaseSelfSupervisor) -> bool:
    """Return whether projections are assigned to prototypes, by the neck or by the loss."""
    return hasattr(getattr(model, 'neck', None), 'num_prototypes') or _prototypes(model) is not None


def _prototypes(model: BaseSelfSupervisor) -> nn.Linear | None:
    """Return the layer of prototypes of the loss, as SwAV and DeepCluster have it."""
    head = getattr(model, 'head', None)
    prototypes = getattr(getattr(head, 'loss_module', head), 'prototypes', None)
    return prototypes if isinstance(prototypes, nn.Linear) else None


def side_by_side(heads: Sequence[Tensor]) -> Tensor:
    """Join the rows (N, K) of several heads to (N, sum of K), in memory of their own."""
    return torch.cat([rows.detach().float() for rows in heads], dim=1)


def projections(model: BaseSelfSupervisor, feats: Any) -> Tensor:
    """Return the projections (N, D) of what the backbone gave."""
    # The neck of SwAV takes the features of each crop.
    z = model.neck([feats] if isinstance(model.neck, SwAVNeck) else feats)
    z = z[0] if isinstance(z, (tuple, list)) else z
    if has_projector(model):
        return z.float()
    return side_by_side([rows for (rows,) in model.head.projectors(z)])


def assignment_logits(model: BaseSelfSupervisor, rows: Tensor) -> Tensor | None:
    """Return logits (N, K) over the prototypes, divided by the temperature of the loss.

    Args:
        model: One with a ``PrototypeNeck``, or with a linear layer ``prototypes`` in its loss
            module or head, as SwAV and DeepCluster. Of any other model None is returned.
        rows: Projections (N, D).
    """
    if not has_prototypes(model):
        return None
    temperature = getattr(getattr(model.head, 'loss_module', model.head), 'temperature', 0.1)
    prototypes = _prototypes(model)
    if prototypes is None:
        return rows / temperature
    with torch.no_grad():
        return prototypes(rows) / temperature


def compared_views(model: BaseSelfSupervisor, features: Features) -> Features:
    """Return the features with those projections as views that the algorithm compares.

    CMC has both of an image side by side in the rows of its neck.
    """
    if not isinstance(model.neck, TwoProjectors) or 'projector' not in features:
        return features
    return dict(features, projector=list(features['projector'][0].chunk(2, dim=1)))


def pooled(outputs: Any, backbone: nn.Module, count: int) -> Tensor:
    """Return rows (N, D) float32 of what a backbone gave for ``count`` images, in own memory."""
    if isinstance(outputs, (tuple, list)):
        # A masked backbone gives its mask beside the tokens, which have more dimensions.
        tensors = [x for x in outputs if isinstance(x, Tensor) and x.is_floating_point()]
        tensors = [x for x in tensors if x.dim() and len(x) == count]
        most = max((x.dim() for x in tensors), default=0)
        outputs = [x for x in tensors if x.dim() == most]
    return pool(outputs, backbone).detach().to(torch.float32, copy=True)


def views_of(data_preprocessor: nn.Module, output: dict) -> list[Tensor]:
    """Return the views (N, C, H, W) that a preprocessor gave."""
    inputs = output['inputs']
    if isinstance(inputs, Tensor):
        return [inputs]
    # Here the second is the same image, for the tokenizer that gives the targets.
    alone = isinstance(data_preprocessor, TwoNormDataPreprocessor)
    return list(inputs[:1] if alone else inputs)


def gathered(features: Features) -> Features:
    """Return the rows of all ranks, in rank order."""
    return {
        part: [torch.cat(all_gather(view.contiguous())) for view in views]
        for part, views in features.items()
    }


def held_out_dataset(runner: Runner) -> Any:
    """Return the config's test set with the training pipeline, or else the training set."""
    held_out = held_out_config(runner.cfg)
    return DATASETS.build(held_out) if held_out else runner.train_dataloader.dataset


def held_out_config(cfg: Config) -> dict | None:
    """Return the config of the test set with the training pipeline, None without a test set.

    Raises:
        ValueError: the training set has no pipeline of its own.
    """
    test = (cfg.get('eval_datasets') or {}).get('test')
    if not test:
        return None
    train = innermost_dataset(cfg.train_dataloader)
    if 'pipeline' not in train:
        raise ValueError(
            f'train_dataloader.dataset, a {train["type"]}, has no pipeline to make views of '
            'eval_datasets.test by: remove eval_datasets to take the training set'
        )
    held_out = copy.deepcopy(test)
    innermost_dataset(held_out)['pipeline'] = train['pipeline']
    return held_out


def evenly(count: int, most: int) -> list[int]:
    """Return up to ``most`` of ``count`` rows, evenly spaced."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()


def labels_of(dataset: Any, indices: list[int]) -> Tensor | None:
    """Return the classes (N,) of images; None if unknown, all the same, or too many for so few."""
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
    """Return two preprocessed views (N, C, H, W) on the CPU, the same in any run.

    A pipeline of one view is drawn from twice. The global random states are set.
    """
    # It is a copy, because what a preprocessor draws for training shall not change.
    data_preprocessor = copy.deepcopy(data_preprocessor)
    images = [views_of_image(dataset, index, collate_fn, data_preprocessor) for index in indices]
    return [torch.cat(views) for views in zip(*images, strict=True)]


def views_of_image(
    dataset: Any, index: int, collate_fn: Any, data_preprocessor: nn.Module
) -> list[Tensor]:
    """Return two views (1, C, H, W) of an image, whose draws depend on its index alone."""
    views: list[Tensor] = []
    while len(views) < 2:
        seed = SEED + 2 * index + len(views)
        seed_host(seed)
        item = dataset[index]
        torch.manual_seed(seed)
        if isinstance(data_preprocessor, BatchViews):
            data_preprocessor.repeat_draws(seed)
        output = data_preprocessor(collate_fn([item]), True)
        views += [x.cpu() for x in views_of(data_preprocessor, output)]
    return views[:2]


def encode(model: BaseSelfSupervisor, views: list[Tensor], project: bool) -> Features:
    """Return the features of views, in eval mode, without gradient."""
    device = next(model.parameters()).device
    rows: Features = defaultdict(list)
    with eval_mode(model), torch.no_grad():
        for view in views:
            chunks: Features = defaultdict(list)
            for x in view.split(CHUNK):
                feats = model.extract_feat(x.to(device))
                chunks['backbone'].append(pooled(feats, model.backbone, len(x)))
                if project:
                    chunks['projector'].append(projections(model, feats))
            for part, found in chunks.items():
                rows[part].append(torch.cat(found))
    return rows


class TrainingFeatures:
    """The features of one training step, taken as they pass through ``model``."""

    def __init__(self, model: BaseSelfSupervisor) -> None:
        self.views: list[Tensor] = []
        self.interleaved: bool | None = None
        self.rows: Features = defaultdict(list)
        self.handles = [
            model.data_preprocessor.register_forward_hook(self._see_views),
            model.backbone.register_forward_hook(self._see_backbone, with_kwargs=True),
        ]
        if has_projector(model):
            self.handles.append(model.neck.register_forward_hook(self._see_neck))
        elif has_class_heads(model):
            self.handles.append(model.head.projectors.register_forward_hook(self._see_heads))

    def remove(self) -> None:
        """Stop listening."""
        for handle in self.handles:
            handle.remove()

    def features(self, images: int) -> Features:
        """Return the features of the first ``images`` images, each view (N, D)."""
        count = len(self.views[0]) if self.views else 0
        found = {}
        for part, passed in self.rows.items():
            rows = torch.cat(passed)
            views = [rows[:count], rows[count : 2 * count]]
            if len(self.views) < 2 or len(rows) < 2 * count:
                views = [rows[:count]]
            elif self.interleaved:
                views = [rows[0::2], rows[1::2]]
            found[part] = [view[:images] for view in views]
        return found

    def _see_views(self, module: nn.Module, args: tuple, output: dict) -> None:
        self.views = views_of(module, output)

    def _see_backbone(self, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        x = args[0] if args else next(iter(kwargs.values()))
        if self.interleaved is None and len(self.views) > 1:
            # SimCLR puts the views of an image in neighbouring rows, others view after view.
            second = self.views[1]
            self.interleaved = len(x) == 2 * len(second) and torch.equal(x[1], second[0])
        # The features of its parts have passed, or will.
        if not isinstance(output, Deferred):
            self.rows['backbone'].append(pooled(output, module, len(x)))

    def _see_neck(self, module: nn.Module, args: tuple, output: Any) -> None:
        z = output[0] if isinstance(output, (tuple, list)) else output
        # Decoders take more than one argument, or give something else, or rows of tokens.
        most = sum(map(len, self.views))
        if len(args) == 1 and isinstance(z, Tensor) and z.dim() == 2 and len(z) <= most:
            self.rows['projector'].append(z.detach().to(torch.float32, copy=True))

    def _see_heads(self, module: nn.Module, args: tuple, output: list) -> None:
        self.rows['projector'] += [side_by_side(heads) for heads in zip(*output, strict=True)]
