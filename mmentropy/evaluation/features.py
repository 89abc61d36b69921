"""Features of a frozen backbone, cached in memory."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import all_gather
from mmengine.logging import print_log
from mmpretrain.datasets import MultiLabelDataset
from mmpretrain.registry import DATASETS, MODELS
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmentropy.checks.arguments import COUNT, INDEX, require
from mmentropy.checks.channels import default_in_channels
from mmentropy.datasets.loader_processes import list_loader
from mmentropy.datasets.wrapped import with_wrapped
from mmentropy.distributed import unwrapped
from mmentropy.evaluation.progress import progress

# Features (N, D) and labels (N,) or (N, classes).
Rows = tuple[Tensor, Tensor]

# This stands for an absent label until all ranks have seen it: if only the rank that met it
# raised, the others would wait for ever.
ABSENT = torch.iinfo(torch.int64).min
# The label of a class that an image shows, but that is too difficult to count.
DIFFICULT = -1
# The share of the features' length, below which they differ by rounding only.
COLLAPSED = 1e-3
# Rows that are compared or written at once.
BLOCK = 4096
# Numbers that are converted or checked at once: few enough to stay in a processor's cache.
BLOCK_NUMBERS = 2**16


def extract_features(
    model: nn.Module,
    dataset: dict | Dataset,
    data_preprocessor: dict | nn.Module | None = None,
    batch_size: int = 256,
    num_workers: int = 0,
) -> Rows:
    """Return the features of the last backbone stage, one row per image, by :func:`pool`.

    The backbone runs in eval mode without gradient, on the device where it is; afterwards every
    submodule is in the mode it had. The global random state is not touched.

    Args:
        model: a backbone, a model with ``.backbone``, or either wrapped for distributed training.
        dataset: a data set, or its config, whose pipeline gives one view and ends in
            ``PackInputs``.
        data_preprocessor: a module or config. Default: the model's own; a bare backbone has none.
        batch_size: images per rank and step.
        num_workers: loader processes per rank.

    Returns:
        Features (N, D) float32 and labels (N,) int64, on the CPU, all rows in data-set order, the
        same on every rank. A ``MultiLabelDataset`` gives labels (N, classes): 1 present, 0
        absent, ``DIFFICULT`` for what is only listed as ``gt_label_difficult``. Where no image has
        a label they are empty.

    Raises:
        ValueError: no rows, labels of some images only, difficult labels that the pipeline drops,
            several views, images of different sizes or with other channels than the network, no
            preprocessor, or an output that is not a feature.
    """
    model = unwrapped(model)
    backbone: nn.Module = getattr(model, 'backbone', model)
    preprocessor: Any = data_preprocessor or getattr(model, 'data_preprocessor', None)
    if isinstance(preprocessor, dict):
        preprocessor = MODELS.build(preprocessor)
    if preprocessor is None:
        raise ValueError(
            f'{type(model).__name__} has no data_preprocessor: pass the one it was trained with'
        )

    def encode(inputs: Tensor, samples: list | None) -> Tensor:
        return backbone_features(backbone, preprocess(inputs, samples, preprocessor, backbone))

    with eval_mode(backbone), torch.no_grad():
        return _gather_rows(dataset, encode, batch_size, num_workers)


def pixel_features(dataset: dict | Dataset, batch_size: int = 256, num_workers: int = 0) -> Rows:
    """Return flattened pixels (N, C * H * W) in 0..1, the baseline that a backbone has to beat.

    Arguments, labels and errors are those of :func:`extract_features`.

    Raises:
        ValueError: pixels are neither of 8 or 16 bits nor floats in 0..1.
    """

    def encode(inputs: Tensor, samples: list | None) -> Tensor:
        most = {torch.uint8: 255, torch.uint16: 65535}.get(inputs.dtype, 1)
        pixels = inputs.float() / most
        if pixels.min() < 0 or pixels.max() > 1:
            raise ValueError(
                f'float pixels must lie in 0..1, got {pixels.min():g}..{pixels.max():g}'
            )
        return pixels.flatten(1)

    return _gather_rows(dataset, encode, batch_size, num_workers)


def preprocess(
    inputs: Tensor,
    samples: list | None,
    data_preprocessor: nn.Module,
    backbone: nn.Module | None = None,
) -> Tensor:
    """Return images (N, C, H, W) as the preprocessor makes them outside of training.

    Raises:
        ValueError: other channels than those of :func:`input_channels`.
    """
    channels = input_channels(data_preprocessor, backbone)
    # Broadcasting would hide the difference.
    if channels not in (None, inputs.shape[1]):
        raise ValueError(
            f'the images have {inputs.shape[1]} channels, but the backbone was trained on '
            f'{channels} (data_preprocessor.mean, in_channels): convert them in the pipeline of '
            'the data set'
        )
    # SelfSupDataPreprocessor unpacks the dict by position: this order matters.
    return data_preprocessor(dict(inputs=inputs, data_samples=samples), False)['inputs']


def input_channels(data_preprocessor: nn.Module, backbone: nn.Module | None) -> int | None:
    """Return the channels of the images that a network takes, None if they are not known."""
    mean = getattr(data_preprocessor, 'mean', None)
    count = 0 if mean is None else len(mean)
    # One mean may also be that of all channels.
    if count > 1:
        return count
    # A backbone without the argument may divide an image before its convolutions.
    if backbone is None or default_in_channels(type(backbone)) is None:
        return None
    convolutions = (m for m in backbone.modules() if isinstance(m, nn.Conv2d))
    return next((m.in_channels for m in convolutions), None)


def turns_colours(data_preprocessor: nn.Module) -> bool:
    """Return whether a preprocessor turns BGR to RGB; that of classifiers calls it otherwise."""
    turns = getattr(data_preprocessor, 'to_rgb', False)
    return bool(getattr(data_preprocessor, '_channel_conversion', turns))


def backbone_features(backbone: nn.Module, inputs: Tensor) -> Tensor:
    """Return the features (N, D) of preprocessed images, on the backbone's device."""
    device = next(backbone.parameters()).device
    return pool(backbone(inputs.to(device)), backbone)


def multi_label_classes(dataset: Any) -> int | None:
    """Return the number of classes of a multi-label data set; None for any other.

    Raises:
        ValueError: a multi-label data set that names no classes.
    """
    *_, dataset = with_wrapped(dataset)
    if not isinstance(dataset, MultiLabelDataset):
        return None
    if not dataset.CLASSES:
        raise ValueError(
            f'data set {type(dataset).__name__} names no classes: add classes=[...] to its config'
        )
    return len(dataset.CLASSES)


def check_difficult(dataset: Any, sample: Any, name: str) -> None:
    """Raise ValueError if a multi-label data set lists difficult labels that a sample lacks."""
    *_, innermost = with_wrapped(dataset)
    listed = innermost.get_data_info(0).get('gt_label_difficult')
    if listed is not None and getattr(sample, 'gt_label_difficult', None) is None:
        raise ValueError(
            f'data set {name} lists difficult objects, which would count as absent: end its '
            "pipeline in dict(type='PackInputs', meta_keys=('gt_label_difficult',))"
        )


def blocks(x: Tensor) -> tuple[Tensor, ...]:
    """Return views of rows of (N, D), so that a converted copy of one needs little memory."""
    return x.split(max(1, BLOCK_NUMBERS // max(1, x.shape[1])))


def collapsed(x: Tensor) -> bool:
    """Return whether features (N, D) of several images differ by rounding only."""
    mean = x.mean(0)
    squares = sum((rows - mean).square().sum() for rows in blocks(x))
    return len(x) > 1 and bool(squares <= (COLLAPSED * x.norm()) ** 2)


def check_features(
    train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor | None = None
) -> None:
    """Raise ValueError unless features (N, D) and (M, D) fit, are finite, and have labels.

    Training labels (N,) must not be negative. With test labels (M,) N and M must be at least 2.
    """
    if train_x.dim() != 2 or test_x.dim() != 2 or train_x.shape[1] != test_x.shape[1]:
        raise ValueError(
            f'features must be (N, D) and (M, D), got {tuple(train_x.shape)} and '
            f'{tuple(test_x.shape)}'
        )
    least = 1 if test_y is None else 2
    for name, x, y in (('train', train_x, train_y), ('test', test_x, test_y)):
        if y is not None and len(x) and not len(y):
            raise ValueError(
                f'{name}_x has no labels (gt_label): name a labelled split, or keep gt_label in '
                'its pipeline up to PackInputs'
            )
        if y is not None and (len(x) < least or y.shape != x.shape[:1]):
            raise ValueError(
                f'{name}_x has {len(x)} rows and {name}_y is {tuple(y.shape)}: '
                f'as many labels as rows are needed, and at least {least}'
            )
        bad = sum(int((~rows.isfinite()).any(1).sum()) for rows in blocks(x))
        if bad:
            raise ValueError(f'{name}_x has non-finite features in {bad} of {len(x)} rows')
    if train_y.min() < 0:
        raise ValueError('train_y has negative labels')


def _gather_rows(
    dataset: dict | Dataset,
    encode: Callable[[Tensor, list | None], Tensor],
    batch_size: int,
    num_workers: int,
) -> Rows:
    """Encode all images of a data set, each rank its share, and gather rows and labels."""
    require(COUNT, batch_size=batch_size)
    require(INDEX, num_workers=num_workers)
    rows: Any = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
    size = len(rows)
    name = f'{type(rows).__name__} ({size} rows)'
    if size == 0:
        raise ValueError(f'data set {name} is empty')
    classes = multi_label_classes(rows)
    # On several ranks it repeats the first rows at the end, so that all gather equally often.
    sampler = DefaultSampler(rows, shuffle=False, seed=0)
    loader = list_loader(rows, batch_size, num_workers, sampler=sampler)
    features: list[Tensor] = []
    labels: list[Tensor] = []
    for items in progress(loader, f'features of {name}'):
        inputs, samples = collate(items, name)
        if classes is not None and samples and not features:
            check_difficult(rows, samples[0], name)
        label = torch.stack([_label(s, name, classes) for s in samples or items])
        feature = encode(inputs, samples)
        features.append(_interleave(feature).float().cpu())
        labels.append(_interleave(label.to(feature.device)).cpu())
        # The first batch tells whether there are labels.
        ends = torch.cat([labels[0], labels[-1]]) == ABSENT
        if ends.any() and not ends.all():
            raise ValueError(
                f'data set {name} lacks labels (gt_label): name a labelled split, or keep '
                'gt_label in its pipeline up to PackInputs'
            )
    found, matrix = torch.cat(labels)[:size], torch.cat(features)[:size]
    # All features of ImageNet are 10 GB.
    features.clear()
    if collapsed(matrix):
        print_log(
            f'{name}: the features of all images are next to the same, the network has collapsed, '
            'and an accuracy is that of guessing',
            logger='current',
            level=logging.WARNING,
        )
    return matrix, found[:0] if (found == ABSENT).all() else found


def _interleave(x: Tensor) -> Tensor:
    """Return the rows of all W ranks, (W * N, ...), in the order of the data set."""
    return torch.stack(all_gather(x.contiguous()), 1).flatten(0, 1)


def collate(items: list, name: str) -> tuple[Tensor, list | None]:
    """Return images (N, C, H, W) and samples, if any, of what a data set gives.

    Raises:
        ValueError: an item without one image, or images of different sizes.
    """
    # A loader does not call this: an error in a worker process arrives as a page of traceback.
    for item in items:
        if not isinstance(item, dict) or 'inputs' not in item:
            raise ValueError(
                f'data set {name} gives no "inputs": its pipeline must end in PackInputs'
            )
        if not isinstance(item['inputs'], Tensor):
            raise ValueError(f'data set {name} gives several views: use a plain test pipeline')
    shapes = {tuple(item['inputs'].shape) for item in items}
    if len(shapes) > 1:
        raise ValueError(
            f'data set {name} has images of different sizes {sorted(shapes)[:3]}: '
            'resize in its pipeline'
        )
    inputs = torch.stack([item['inputs'] for item in items])
    labelled = 'data_samples' in items[0]
    return inputs, [item['data_samples'] for item in items] if labelled else None


def _label(sample: object, name: str, classes: int | None) -> Tensor:
    """Return the label of a sample (), or its labels (classes,) if a number of classes is given."""
    label = getattr(sample, 'gt_label', None)
    if label is None:
        return torch.full(() if classes is None else (classes,), ABSENT)
    if classes is not None:
        row = torch.zeros(classes, dtype=torch.int64)
        row[list(getattr(sample, 'gt_label_difficult', ()))] = DIFFICULT
        row[label.long()] = 1
        return row
    if label.numel() != 1:
        raise ValueError(
            f'data set {name} has {label.numel()} labels in an image, but is no MultiLabelDataset'
        )
    return label.long().reshape(())


def pool(outputs: object, backbone: nn.Module) -> Tensor:
    """Return one feature (N, C) per image of what a backbone gives.

    Maps (N, C, H, W) are averaged over the image. Tokens (N, L, C) give the class token, or their
    mean where the backbone has none.

    Raises:
        ValueError: the last output is no feature tensor (N, C), (N, L, C) or (N, C, H, W).
    """
    x = outputs[-1] if isinstance(outputs, (tuple, list)) else outputs
    name = type(backbone).__name__
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise ValueError(
            f'the last output of backbone {name} is no feature tensor: '
            'evaluate its plain variant with --config'
        )
    if x.dim() not in (2, 3, 4):
        raise ValueError(
            f'backbone {name} gives {tuple(x.shape)}: expected (N, C), (N, L, C) or (N, C, H, W)'
        )
    if x.dim() == 3:
        return x.mean(1) if getattr(backbone, 'cls_token', None) is None else x[:, 0]
    return x.mean((2, 3)) if x.dim() == 4 else x


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Put a module in eval mode inside; afterwards each submodule has the mode that it had."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        # Calling .train() would also wake layers that were frozen on purpose.
        for m, training in modes:
            m.training = training
