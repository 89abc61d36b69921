"""Channels of backbone, loader and statistics, compared before anything is built."""

import inspect
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from mmentropy.checks.config_parts import dicts_in, preprocessor_of

# Data sets that hold the pixels themselves, and the number of channels that they give.
OF_ARRAYS = {
    **dict.fromkeys(('Digits', 'FashionMNIST', 'LocalFashionMNIST', 'MNIST'), 1),
    **dict.fromkeys(('CIFAR10', 'CIFAR100', 'LocalCIFAR10', 'LocalCIFAR100', 'STL10'), 3),
}
FILE_LOADERS = ('LoadImageFromFile', 'CheckedLoadImageFromFile', 'ReducedLoadImageFromFile')
# The channels by the color_type of a loader. Those of 'unchanged' are in the files.
BY_COLOR_TYPE = dict(color=3, grayscale=1)
KIND_OF_CHANNELS = {channels: kind for kind, channels in BY_COLOR_TYPE.items()}
# In a loader these work on colours only.
COLOURS = ('ColorJitter', 'RandomGrayscale')
# These leave the channels as they are.
KEEPERS = {
    *(*COLOURS, *FILE_LOADERS, 'MultiView', 'RandomApply', 'PackInputs', 'PackImage', 'NumpyToPIL'),
    *('PILToNumpy', 'RandomResizedCrop', 'torchvision/RandomResizedCrop', 'RandomCrop', 'Resize'),
    *('ResizeEdge', 'CenterCrop', 'CentralSquare', 'RandomFlip', 'GaussianBlur', 'Solarize'),
    'Rotate',
}
# These refuse a mean of other lengths than one and three.
OF_HOST = ('SelfSupDataPreprocessor', 'ImgDataPreprocessor')
CHAPTER = 'see docs/data.md#any-channels-and-depths'


class Stated(NamedTuple):
    """The channels that a place in a config states, and the same in words."""

    path: str
    channels: int
    words: str
    # Whether it is only a default.
    implied: bool = False


def check_channels(top: dict, algorithm: Any, backbone: Any) -> None:
    """Refuse a config whose backbone, loaders and statistics are of different channels.

    Nothing is said where channels are not known: those of files that are loaded 'unchanged', after
    transforms of others, or of backbones without ``in_channels``.

    Args:
        top: the config.
        algorithm: the class of ``model``.
        backbone: the class of ``model.backbone``.

    Raises:
        ValueError: in one line, which begins with the path of the key.
    """
    stated = [
        *_of_backbone(top['model'].get('backbone'), backbone),
        *_of_statistics(top, algorithm),
    ]
    for path, dataset in _datasets(top):
        found = [*stated, *_of_images(dataset, path)]
        counts = Counter(item.channels for item in found)
        if len(counts) > 1:
            raise ValueError(_difference(found, counts))
        if counts and 3 not in counts:
            for name in _names(dataset.get('pipeline')):
                if name in COLOURS:
                    raise ValueError(
                        f'{path}.pipeline: {name} works on 3 channels, but the images have '
                        f'{found[0].channels}: leave it out, or let BatchViews make the views, '
                        f'{CHAPTER}'
                    )


def _of_backbone(cfg: Any, kind: Any) -> Iterator[Stated]:
    if not isinstance(cfg, dict):
        return
    path, count = 'model.backbone.in_channels', cfg.get('in_channels')
    count = default_in_channels(kind) if count is None else count
    if isinstance(count, int):
        yield Stated(path, count, f'{path} is {count}', 'in_channels' not in cfg)


def default_in_channels(kind: Any) -> Any:
    """Return the default of ``in_channels`` of a class, None if it has no such argument."""
    for owner in kind.__mro__ if inspect.isclass(kind) else ():
        known = inspect.signature(vars(owner).get('__init__', lambda: None)).parameters
        if 'in_channels' in known:
            return known['in_channels'].default
    return None


def _of_statistics(top: dict, algorithm: Any) -> Iterator[Stated]:
    cfg, own = preprocessor_of(top), top['model'].get('data_preprocessor')
    path = 'model.data_preprocessor' if own else 'data_preprocessor'
    mean, std = cfg.get('mean'), cfg.get('std')
    if isinstance(std, (list, tuple)) and not all(std):
        raise ValueError(f'{path}.std: {list(std)} divides images by 0')
    if not isinstance(mean, (list, tuple)) or not isinstance(std, (list, tuple)):
        return
    if len(std) != len(mean):
        raise ValueError(f'{path}.std: has {len(std)} values, but mean has {len(mean)}')
    owners = {owner.__name__ for owner in getattr(algorithm, '__mro__', ())}
    kind = cfg.get('type') or (OF_HOST[0] if 'BaseSelfSupervisor' in owners else '')
    if kind in OF_HOST and len(mean) not in (1, 3):
        raise ValueError(
            f'{path}.mean: has {len(mean)} values, and {kind} takes 1 or 3: '
            f"type='PerChannelPreprocessor' takes any number, {CHAPTER}"
        )
    if cfg.get('to_rgb') and len(mean) not in (1, 3):
        raise ValueError(f'{path}.to_rgb: needs 3 channels, but mean has {len(mean)} values')
    # One mean alone may also be the mean of all channels.
    if len(mean) > 1:
        yield Stated(f'{path}.mean', len(mean), f'{path}.mean has {len(mean)}')


def _datasets(top: dict) -> Iterator[tuple[str, dict]]:
    """Yield the path and the config of each data set whose images the backbone is given."""
    places = {'train_dataloader.dataset': (top.get('train_dataloader') or {}).get('dataset')}
    for name, cfg in (top.get('eval_datasets') or {}).items():
        places[f'eval_datasets.{name}'] = cfg
    for path, cfg in places.items():
        while isinstance(cfg, dict) and 'dataset' in cfg:
            path, cfg = f'{path}.dataset', cfg['dataset']
        if isinstance(cfg, dict):
            yield path, cfg


def _of_images(dataset: dict, path: str) -> Iterator[Stated]:
    pipeline: Any = dataset.get('pipeline') or ()
    where = path.removesuffix('.dataset')
    kinds = _names(pipeline)
    if not {*kinds} <= KEEPERS:
        return
    if kinds and kinds[0] in FILE_LOADERS:
        name, path = kinds[0], f'{path}.pipeline[0].color_type'
        count = BY_COLOR_TYPE.get(pipeline[0].get('color_type', 'color'))
    else:
        name, path = str(dataset.get('type')), f'{path}.type'
        count = OF_ARRAYS.get(name)
    if count:
        yield Stated(path, count, f'{name} of {where} gives {count}')


def _names(pipeline: Any) -> list[str]:
    """Return the types of the transforms in a pipeline, also of those inside of others."""
    return [str(step['type']) for step in dicts_in(pipeline) if 'type' in step]


def _difference(found: list[Stated], counts: Counter) -> str:
    """Return the line about the place that differs from most others."""
    # Where several are equally rare, the first is named, which is the backbone.
    odd = min(found, key=lambda item: counts[item.channels])
    others = [item for item in found if item.channels != odd.channels]
    is_count = f'is missing; it is {odd.channels} by default' if odd.implied else odd.channels
    line = f'{odd.path}: {is_count}, but {" and ".join(item.words for item in others)}'
    images = [item for item in found if item.path.endswith('.color_type')]
    if images:
        wanted = [item.channels for item in found if item not in images]
        kind = KIND_OF_CHANNELS.get(wanted[0], 'unchanged')
        what = 'those of the files' if kind == 'unchanged' else str(wanted[0])
        line += f'; color_type={kind!r} of the loader gives {what}'
    return f'{line}, {CHAPTER}'
