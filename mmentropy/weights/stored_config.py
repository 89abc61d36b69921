"""Configs that came with a checkpoint or a work directory, read without running them."""

import ast
import os
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from mmentropy.checks.stored_types import check_stored, registered_types_only
from mmentropy.weights.reader import PathLike, read_checkpoint

# Reading takes a hundred times the memory of the text. A config has some ten thousand characters.
LONGEST_CONFIG = 1_000_000


@contextmanager
def chosen_config(
    path: PathLike, cfg: Config | None = None, trust: bool = False
) -> Iterator[Config]:
    """Yield ``cfg``, or else the config that a checkpoint stores.

    Unless ``trust`` is set, what a stored config names is looked up in registries only, and it
    makes no network that the checkpoint cannot fill, as long as the block runs. Errors are those
    of :func:`config_of`.
    """
    stored = cfg is None
    cfg = config_of(path, trust) if cfg is None else cfg
    if not stored or trust:
        yield cfg
    else:
        with registered_types_only(), no_larger_networks(path):
            yield cfg


def config_of(path: PathLike, trust: bool = False) -> Config:
    """Return the config that a checkpoint was trained with.

    Its ``custom_imports`` are imported.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        ValueError: the file is unreadable, unsafe, or without a config of plain values, or, unless
            ``trust`` is set, the config names what could run code; one line.
        ImportError: a module of ``custom_imports`` is not installed.
    """
    meta = read_checkpoint(path).get('meta')
    text = meta.get('cfg') if isinstance(meta, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f'{path} holds no config (meta.cfg): pass one')
    try:
        cfg = plain_config(text)
    except ValueError as error:
        raise ValueError(
            f'the config in {path} is not made of plain values and is not '
            f'run: pass a config file ({error})'
        ) from error
    prepare_stored(cfg, trust)
    return cfg


@contextmanager
def no_larger_networks(path: PathLike) -> Iterator[None]:
    """Within this block refuse parameters of more than three times the bytes of a checkpoint.

    A backbone in float32 and a fresh one beside it are at most as large, if the checkpoint holds
    one in float32; 100 million bytes more leave room for others.
    """
    left = 3 * os.path.getsize(path) + 100_000_000

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal left
        left -= 0 if parameter is None else parameter.nbytes
        if left < 0:
            raise ValueError(
                f'refused: {path} makes a network that is larger than the checkpoint: pass a '
                'config of your own'
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def plain_config(text: str) -> Config:
    """Return a config as mmengine writes it, which consists of assignments of literals.

    Raises:
        ValueError: the text has anything else, or is too long for a config; one line.
    """
    if len(text) > LONGEST_CONFIG:
        raise ValueError(f'it has {len(text):,} characters')
    # Config.fromstring would run the text.
    try:
        values: dict[str, object] = {}
        for line in _LiteralDicts().visit(ast.parse(text)).body:
            if not isinstance(line, ast.Assign):
                raise ValueError(f'line {line.lineno} is no assignment')
            # A target that is no plain name raises an AttributeError.
            values.update({t.id: ast.literal_eval(line.value) for t in line.targets})  # type: ignore[attr-defined]
        return Config(values, cfg_text=text)
    # A file that is no dumped config can fail at any point.
    except Exception as error:
        raise ValueError((str(error).splitlines() or [type(error).__name__])[0]) from error


def prepare_stored(cfg: Config, trust: bool = False) -> None:
    """Check what a stored config names, unless it is trusted, and import its ``custom_imports``.

    Raises:
        ValueError: the config names what could run code; one line.
        ImportError: a module of ``custom_imports`` is not installed.
    """
    if not trust:
        check_stored(cfg.to_dict())
    if not cfg.get('custom_imports'):
        return
    try:
        import_modules_from_strings(**cfg.custom_imports)
    except ImportError as error:
        raise ImportError(
            f'{error}, which the stored config names (custom_imports): pass a config that lies '
            'beside that module, or put the folder of the module on PYTHONPATH'
        ) from error


class _LiteralDicts(ast.NodeTransformer):
    """Writes ``dict(a=1)`` and ``dict({'a': 1})`` as ``{'a': 1}``."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        # A call that stays, and a key of None, are refused by literal_eval.
        known = isinstance(node.func, ast.Name) and node.func.id == 'dict'
        # mmengine writes keys that are no names, such as those of custom_keys, in a dict within.
        if not known or len(node.args) > 1 or not all(isinstance(a, ast.Dict) for a in node.args):
            return node
        keys: list = [ast.Constant(k.arg) if k.arg else None for k in node.keywords]
        values = [k.value for k in node.keywords]
        for inner in node.args:
            keys, values = inner.keys + keys, inner.values + values  # type: ignore[attr-defined]
        return ast.Dict(keys, values)
