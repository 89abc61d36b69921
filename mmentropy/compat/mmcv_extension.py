"""``mmcv._ext``, the compiled part of mmcv, for an mmcv that was installed without it.

Host: onedl-mmcv 2.3.6 and mmcv 2.1 and 2.2, whose compiled part does not build with torch 2.13 and
newer. When ``mmcv.ops`` is imported and no compiled module is there,
:mod:`mmentropy.compat.mmcv_ops` takes its place. It can go when mmcv has wheels for the versions of
torch in use.
"""

import ast
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from torch.nn import Module
from torch.nn.modules.module import register_module_module_registration_hook

NAME = 'mmcv._ext'
_ADVICE = (
    'is not in mmentropy.compat.mmcv_ops, which stands in for operators that were not compiled: '
    'install an mmcv that was compiled (from source: pip install --no-build-isolation, and from '
    'torch 2.13 on its setup.py must say -std=c++20 for -std=c++17)'
)


def install_finder() -> None:
    """Let ``mmcv._ext`` be found here when it is found nowhere else.

    Modules of mmdet that were imported before went without operators, and have substitutes that
    raise. They get what they asked for at once.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
    waiting = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith(('mmcv.cnn.', 'mmdet.')) and _names_from_ops(module)
    ]
    if not any(module.__name__.startswith('mmdet.') for module in waiting):
        return
    try:
        import_module('mmcv.ops')
    except ImportError:
        # A compiled module is there and does not load, which mmdet will report.
        return
    for module in waiting:
        for source, name, local in _names_from_ops(module):
            setattr(module, local, getattr(import_module(source), name))


def _names_from_ops(module: ModuleType) -> list[tuple[str, str, str]]:
    """Return the module, name and local name of what a module imports from mmcv.ops."""
    file = getattr(module, '__file__', None) or ''
    text = Path(file).read_text('utf-8') if file.endswith('.py') else ''
    if 'mmcv.ops' not in text:
        return []
    return [
        (node.module or '', alias.name, alias.asname or alias.name)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('mmcv.ops')
        for alias in node.names
    ]


class _Finder(MetaPathFinder, Loader):
    """The last of all finders, so that a compiled ``mmcv._ext`` comes first."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        # mmengine and mmcv ask for the spec to know whether there is an mmcv.ops.
        return ModuleSpec(name, self, origin=__file__) if name == NAME else None

    def exec_module(self, module: ModuleType) -> None:
        from mmentropy.compat.mmcv_ops import OPS

        vars(module).update(OPS, __getattr__=_refusing)
        register_module_module_registration_hook(_refuse_layer)


def _refuse_layer(parent: Module, name: str, layer: Module) -> None:
    """Refuse a layer of mmcv.ops without operators when a model is built, not when it is called."""
    from mmentropy.compat.mmcv_ops import OPS

    kind = type(layer)
    # FusedBiasLeakyReLU needs its operator on a GPU only.
    if not kind.__module__.startswith('mmcv.ops.') or kind.__name__ == 'FusedBiasLeakyReLU':
        return
    text = Path(sys.modules[kind.__module__].__file__ or '').read_text('utf-8')
    missing = [op for op in re.findall(r'ext_module\.(\w+)', text) if op not in OPS]
    if missing:
        raise NotImplementedError(
            f'{kind.__name__} of mmcv.ops needs {missing[0]}, which {_ADVICE}'
        )


def _refusing(name: str) -> Callable[..., NoReturn]:
    """Return a function that says how to get the operator ``name``."""
    if name.startswith('_'):
        raise AttributeError(f'module {NAME!r} has no attribute {name!r}')

    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(f'{name} of mmcv.ops {_ADVICE}')

    return refuse
