"""What a config that came with a file may name: what is registered, and is known to do no harm.

mmengine looks a type up in its registries, and imports and calls whatever else a type names. A
config that somebody else wrote could so run any function of any module. It is checked before it is
used; what no check can see beforehand, such as a type that an argument names, is refused where it
is looked up, while :func:`registered_types_only` holds. :mod:`mmentropy.compat.mmengine_registry`
asks it then.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from reprlib import repr as short
from typing import Any

from mmengine import registry as roots
from mmengine.registry import Registry

from mmentropy.checks.arguments import DICT, or_none, require

# A stored config may import modules of these packages, and name their scopes.
KNOWN_PACKAGES = ('mmentropy', 'mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg')
# The paths of their types may be written out, which mmengine does for torch's, too.
_OWNERS = (*KNOWN_PACKAGES, 'torch', 'torchvision')
# Registered types that download, unpickle, evaluate or call what their arguments name: the starts
# of the paths of their classes.
_CAN_RUN_CODE = (
    'albumentations',
    'mmcv.cnn.rfsearch',
    'mmdet.datasets.openimages',
    'mmdet.datasets.transforms.text_transformers',
    'mmdet.datasets.transforms.transforms.Albu',
    'mmdet.models.dense_heads.atss_vlfusion_head',
    'mmdet.models.detectors.kd_one_stage',
    'mmdet.models.language_models',
    'mmdet.models.task_modules.tracking.camera_motion_compensation',
    'mmpretrain.datasets.transforms.processing.Albu',
    'mmpretrain.datasets.transforms.singlekeypoint_regression.Albu',
    'mmpretrain.engine.hooks.swav_hook',
    'mmpretrain.models.backbones.timm_backbone',
    'mmpretrain.models.classifiers.hugging_face',
    'mmpretrain.models.classifiers.timm',
    'mmpretrain.models.multimodal',
    'mmpretrain.models.retrievers',
    'mmpretrain.models.utils.huggingface',
    'mmpretrain.models.utils.tokenizer',
    'mmseg.datasets.transforms.loading.LoadBiomedical',
    'mmseg.datasets.transforms.transforms.Albu',
    'mmseg.models.backbones.timm_backbone',
    'mmseg.models.text_encoder',
    'mmseg.utils.tokenizer',
    'torchvision.transforms.transforms.Lambda',
    'transformers',
)

# The tools read these entries as dicts.
_DICTS = (
    'model',
    'model.backbone',
    'model.data_preprocessor',
    'data_preprocessor',
    'eval_datasets',
    'train_dataloader',
    'train_dataloader.dataset',
    'test_dataloader',
    'test_dataloader.dataset',
)

# Torch unpickles nothing where this is set in the environment.
_VARIABLE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
_registered_only = False
# The blocks of any_types give the variable this value back, which it has outside of all blocks.
_forced_outside: str | None = None


class UntrustedConfigError(ValueError):
    """A config that came with a file names what could run code."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f'refused: a stored config {what}; it could run any code. If you trust where it comes '
            'from, add --trust, or pass a config of your own'
        )


@contextmanager
def registered_types_only() -> Iterator[None]:
    """Within this block types are looked up in registries only, and no file is unpickled."""
    global _forced_outside
    if not _registered_only:
        _forced_outside = os.environ.get(_VARIABLE)
    with _restricted(True, '1'):
        yield


@contextmanager
def any_types() -> Iterator[None]:
    """Within this block, inside of one of :func:`registered_types_only`, nothing is restricted.

    It is for what a user has named beside a stored config.
    """
    with _restricted(False, _forced_outside if _registered_only else os.environ.get(_VARIABLE)):
        yield


@contextmanager
def _restricted(only: bool, forced: str | None) -> Iterator[None]:
    """In this block look types up in registries ``only``, with torch's variable at ``forced``."""
    before = _registered_only, os.environ.get(_VARIABLE)
    _restrict(only, forced)
    try:
        yield
    finally:
        _restrict(*before)


def _restrict(only: bool, forced: str | None) -> None:
    global _registered_only
    _registered_only = only
    os.environ.pop(_VARIABLE, None)
    if forced is not None:
        os.environ[_VARIABLE] = forced


def only_registered() -> bool:
    """Return whether a block of :func:`registered_types_only` runs."""
    return _registered_only


def check_stored(config: Any) -> None:
    """Raise if a config of plain values names anything that is not known to be harmless.

    Raises:
        UntrustedConfigError: in one line, with the path of what was refused.
        ValueError: a section that must be a dict is something else; one line.
    """
    for path in _DICTS:
        value = config
        for name in path.split('.'):
            value = value.get(name) if isinstance(value, dict) else None
        require(or_none(DICT), **{path: value})
    section = config.get('custom_imports') or {}
    imports = section.get('imports') or [] if isinstance(section, dict) else [section]
    for name in [imports] if isinstance(imports, str) else imports:
        if str(name).split('.')[0] not in KNOWN_PACKAGES:
            raise UntrustedConfigError(f'imports {short(name)} (custom_imports)')
    for path, key, value in _entries(config, ''):
        if key == 'type':
            check_type(value, path)
        elif key in ('_scope_', 'default_scope') and value not in (None, *KNOWN_PACKAGES):
            raise UntrustedConfigError(f'has the scope {short(value)} ({path})')
        # mmpretrain evaluates it as Python.
        elif key == 'dtype' and not re.fullmatch(r'\w+', str(value)):
            raise UntrustedConfigError(f'has the dtype {short(value)} ({path})')
        # A storage client of mmengine would import a module from there.
        elif key == 'sys_path':
            raise UntrustedConfigError(f'imports from {short(value)} ({path})')


def check_type(value: Any, path: str) -> None:
    """Raise unless a type is a name, not of a foreign package, and of nothing that runs code."""
    names = f'{short(value)} ({path})'
    if not isinstance(value, str) or not re.fullmatch(r'\w[\w/-]*(\.\w[\w/-]*)*', value):
        raise UntrustedConfigError(f'has the type {names}')
    parts = value.split('.')
    if len(parts) > 1 and parts[0] not in _OWNERS:
        raise UntrustedConfigError(f'has the type {names}, which is not registered')
    for registry in registries():
        check_registered(registry.module_dict.get(parts[-1]), path)


def check_registered(found: Any, path: str) -> None:
    """Raise if a registered object is one of those that can run code."""
    # mmpretrain registers the transforms of torchvision in a wrapper.
    found = found.keywords.get('transform') if isinstance(found, partial) else found
    place = f'{getattr(found, "__module__", "")}.{getattr(found, "__qualname__", "")}'
    if place.startswith(_CAN_RUN_CODE):
        raise UntrustedConfigError(f'builds {place} ({path})')


def registered_under(path: str) -> Any:
    """Return what is registered and has this dotted path, or None; nothing is imported."""
    package, _, rest = path.partition('.')
    for registry in registries() if package in _OWNERS else ():
        for found in registry.module_dict.values():
            name = getattr(found, '__qualname__', '')
            if name == rest.split('.')[-1] and found.__module__.split('.')[0] == package:
                return found
    return None


def registries() -> Iterator[Registry]:
    """Yield every registry of the hosts that are imported."""
    waiting = [root for root in vars(roots).values() if isinstance(root, Registry)]
    while waiting:
        registry = waiting.pop()
        yield registry
        waiting += registry.children.values()


def _entries(value: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """Yield path, key and value of every entry of the dicts in a value, however deep."""
    items: Iterable = ()
    if isinstance(value, dict):
        items = ((f'{path}.{key}' if path else str(key), key, item) for key, item in value.items())
    elif isinstance(value, (list, tuple, set)):
        items = ((f'{path}[{i}]', '', item) for i, item in enumerate(value))
    for inner, key, item in items:
        if isinstance(value, dict):
            yield inner, key, item
        yield from _entries(item, inner)
