"""Features of a frozen backbone, cached in memory."""
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import all_gather, get_dist_info
from mmengine.model import is_model_wrapper
from mmpretrain.registry import DATASETS, MODELS
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

# Stands for an absent label until all ranks have seen it: if only the rank
# that met it raised, the others would wait for ever.
_ABSENT = torch.iinfo(torch.int64).min


def extract_features(
    model: nn.Module,
    dataset: dict | Dataset,
    data_preprocessor: dict | nn.Module | None = None,
    batch_size: int = 256,
    device: str | torch.device | None = None,
    num_workers: int = 0,
) -> tuple[Tensor, Tensor]:
    """Features of the last backbone stage, one row per image.

    Maps (N, C, H, W) are averaged over the image. Tokens (N, L, C) give the
    class token, or their mean where the backbone has none. The backbone runs
    in eval mode without gradient; afterwards every submodule is in the mode
    it had. The global random state is not touched.

    Args:
        model: a backbone, a model with ``.backbone``, or either wrapped for
            distributed training.
        dataset: a data set, or its config, whose pipeline gives one view and
            ends in ``PackInputs``.
        data_preprocessor: a module or config. Default: the model's own; a
            bare backbone has none, so it must be given.
        batch_size: images per rank and step.
        device: where the backbone runs, and stays. Default: where it is.
        num_workers: loader processes per rank.

    Returns:
        Features (N, D) float32 and labels (N,) int64, on the CPU, all rows
        in data-set order, the same on every rank.

    Raises:
        ValueError: no rows, labels absent, several views, images of different
            sizes, no preprocessor, or an output that is not a feature.
    """
    if is_model_wrapper(model):
        model = model.module
    backbone = model.backbone if hasattr(model, 'backbone') else model
    if data_preprocessor is None:
        data_preprocessor = getattr(model, 'data_preprocessor', None)
    elif isinstance(data_preprocessor, dict):
        data_preprocessor = MODELS.build(data_preprocessor)
    if data_preprocessor is None:
        raise ValueError(
            f'{type(model).__name__} has no data_preprocessor: pass the one '
            'it was trained with')
    if device is not None:
        backbone.to(device)
    device = next(backbone.parameters()).device

    def encode(inputs: Tensor, data_samples: list | None) -> Tensor:
        # SelfSupDataPreprocessor unpacks by position: keep this order.
        data = dict(inputs=inputs, data_samples=data_samples)
        inputs = data_preprocessor(data, False)['inputs']
        return _pool(backbone(inputs.to(device)), backbone)

    with _eval_mode(backbone), torch.no_grad():
        return _gather_rows(dataset, encode, batch_size, num_workers)


def pixel_features(
    dataset: dict | Dataset,
    batch_size: int = 256,
    num_workers: int = 0,
) -> tuple[Tensor, Tensor]:
    """Flattened pixels in 0..1: the baseline that a backbone has to beat.

    Args:
        dataset: as in :func:`extract_features`. Pixels are uint8, or floats
            that are in 0..1 already.
        batch_size: images per rank and step.
        num_workers: loader processes per rank.

    Returns:
        Pixels (N, C * H * W) float32 and labels (N,) int64, on the CPU, all
        rows in data-set order, the same on every rank.

    Raises:
        ValueError: as :func:`extract_features`; float pixels outside 0..1.
    """

    def encode(inputs: Tensor, data_samples: list | None) -> Tensor:
        if inputs.dtype == torch.uint8:
            return inputs.flatten(1).float() / 255
        if inputs.min() < 0 or inputs.max() > 1:
            raise ValueError('float pixels must lie in 0..1, got '
                             f'{inputs.min():g}..{inputs.max():g}')
        return inputs.flatten(1).float()

    return _gather_rows(dataset, encode, batch_size, num_workers)


def _gather_rows(dataset: dict | Dataset,
                 encode: Callable[[Tensor, list | None], Tensor],
                 batch_size: int, num_workers: int) -> tuple[Tensor, Tensor]:
    if isinstance(dataset, dict):
        dataset = DATASETS.build(dataset)
    size = len(dataset)
    name = f'{type(dataset).__name__} ({size} rows)'
    if size == 0:
        raise ValueError(f'data set {name} is empty')
    rank, world_size = get_dist_info()
    # Short shards repeat an early row so that all ranks gather equally often;
    # the repeats come after row `size` and are cut off at the end.
    steps = -(-size // world_size)
    shard = [(i * world_size + rank) % size for i in range(steps)]
    loader = DataLoader(
        Subset(dataset, shard),
        batch_size,
        num_workers=num_workers,
        collate_fn=list,
        # Without its own generator a loader draws from the global one.
        generator=torch.Generator())
    features, labels = [], []
    for items in loader:
        inputs, samples = _collate(items, name)
        label = torch.tensor([_label(s, name) for s in samples or items])
        feature = encode(inputs, samples)
        features.append(_interleave(feature).float().cpu())
        labels.append(_interleave(label.to(feature.device)).cpu())
        if (labels[-1] == _ABSENT).any():
            raise ValueError(
                f'data set {name} lacks labels (gt_label): name a labelled '
                'split, or keep gt_label in its pipeline up to PackInputs')
    return torch.cat(features)[:size], torch.cat(labels)[:size]


def _interleave(x: Tensor) -> Tensor:
    """Rows of all ranks, (W * N, ...), in the order before sharding."""
    return torch.stack(all_gather(x.contiguous()), 1).flatten(0, 1)


def _collate(items: list, name: str) -> tuple[Tensor, list | None]:
    # Done here and not in the loader: an error in a worker process arrives
    # as a page of traceback.
    for item in items:
        if not isinstance(item, dict) or 'inputs' not in item:
            raise ValueError(f'data set {name} gives no "inputs": its '
                             'pipeline must end in PackInputs')
        if not isinstance(item['inputs'], Tensor):
            raise ValueError(f'data set {name} gives several views: use a '
                             'plain test pipeline')
    shapes = {tuple(item['inputs'].shape) for item in items}
    if len(shapes) > 1:
        raise ValueError(f'data set {name} has images of different sizes '
                         f'{sorted(shapes)[:3]}: resize in its pipeline')
    inputs = torch.stack([item['inputs'] for item in items])
    if 'data_samples' not in items[0]:
        return inputs, None
    return inputs, [item['data_samples'] for item in items]


def _label(sample: object, name: str) -> int:
    label = getattr(sample, 'gt_label', None)
    if label is None:
        return _ABSENT
    if label.numel() != 1:
        raise ValueError(f'data set {name} has {label.numel()} labels per '
                         'image: single-label data sets only')
    return int(label)


def _pool(outputs: object, backbone: nn.Module) -> Tensor:
    x = outputs[-1] if isinstance(outputs, (tuple, list)) else outputs
    name = type(backbone).__name__
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise ValueError(f'the last output of backbone {name} is no feature '
                         'tensor: evaluate its plain variant with --config')
    if x.dim() == 4:
        return x.mean((2, 3))
    if x.dim() == 3:
        has_cls = getattr(backbone, 'cls_token', None) is not None
        return x[:, 0] if has_cls else x.mean(1)
    if x.dim() == 2:
        return x
    raise ValueError(f'backbone {name} gives {tuple(x.shape)}: expected '
                     '(N, C), (N, L, C) or (N, C, H, W)')


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        # Not .train(): it would also wake layers that were frozen on purpose.
        for m, training in modes:
            m.training = training
