"""Registries and file readers of mmengine that run nothing for a config that came with a file.

Host: onedl-mmengine 0.10.12 and mmengine 0.10.7. Their registries import and return whatever a type
names that is not registered, import ``SCOPE.registry`` for any scope, and ``mmengine.load`` reads
pickles and YAML that makes any object. That serves configs that people write for themselves. While
:func:`mmentropy.checks.stored_types.registered_types_only` holds, a registry gives what is
registered and harmless, and only plain data are read. It can go when mmengine offers that.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

import yaml
from mmengine.fileio.handlers import PickleHandler, YamlHandler
from mmengine.registry import Registry, registry

from mmentropy.checks.stored_types import (
    KNOWN_PACKAGES,
    UntrustedConfigError,
    check_registered,
    only_registered,
    registered_under,
)

_get, _get_by_import = Registry.get, registry.get_object_from_string
_load_pickle, _load_yaml = PickleHandler.load_from_fileobj, YamlHandler.load_from_fileobj


def get_registered(self: Registry, key: str) -> Any:
    """Return what ``Registry.get`` does; for a stored config nothing that could run code."""
    found = _get(self, key)
    if only_registered():
        if found is None and '.' in key:
            raise UntrustedConfigError(f'has the type {key!r}, which is not registered')
        check_registered(found, key)
    return found


def object_of(name: str) -> Any:
    """Return the object that a dotted path names; for a stored config a registered one."""
    return registered_under(name) if only_registered() else _get_by_import(name)


def import_scope(name: str) -> ModuleType:
    """Import a module that a registry asks for; for a stored config of known packages only."""
    of_scope = name.endswith('.registry') and name not in sys.modules
    if only_registered() and of_scope and name.split('.')[0] not in KNOWN_PACKAGES:
        raise ImportError(f'a stored config names the scope of {name}')
    return import_module(name)


def load_pickle(self: PickleHandler, file: Any, **kwargs: Any) -> Any:
    """Read a pickle, but none that a stored config names."""
    if only_registered():
        raise UntrustedConfigError(f'reads the pickle {getattr(file, "name", "of a data set")!r}')
    return _load_pickle(self, file, **kwargs)


def load_yaml(self: YamlHandler, file: Any, **kwargs: Any) -> Any:
    """Read YAML; of plain values alone if a stored config names the file."""
    if only_registered():
        kwargs['Loader'] = yaml.SafeLoader
    return _load_yaml(self, file, **kwargs)


def restrict_registries() -> None:
    """Put the functions of this module in the place of mmengine's."""
    Registry.get = get_registered
    registry.get_object_from_string = object_of
    registry.import_module = import_scope
    PickleHandler.load_from_fileobj = load_pickle
    YamlHandler.load_from_fileobj = load_yaml
