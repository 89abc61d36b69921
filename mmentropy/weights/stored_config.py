"""The config that a checkpoint stores, read without running it."""

import ast

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from mmentropy.weights.reader import PathLike, read_checkpoint


def config_of(path: PathLike) -> Config:
    """Return the config that a checkpoint was trained with.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        ValueError: the file is unreadable, unsafe, or without a config of plain values; one line.
        ImportError: a module of ``custom_imports`` is not installed.
    """
    meta = read_checkpoint(path).get('meta')
    text = meta.get('cfg') if isinstance(meta, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f'{path} holds no config (meta.cfg): pass one')
    # Config.fromstring would run the text, and checkpoints come from anywhere.
    # A text that mmengine wrote consists of literals.
    try:
        values: dict[str, object] = {}
        for line in _LiteralDicts().visit(ast.parse(text)).body:
            if not isinstance(line, ast.Assign):
                raise ValueError(f'line {line.lineno} is no assignment')
            # A target that is no plain name raises an AttributeError.
            values.update({t.id: ast.literal_eval(line.value) for t in line.targets})  # type: ignore[attr-defined]
        cfg = Config(values, cfg_text=text)
    except (SyntaxError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(
            f'the config in {path} is not made of plain values and is not '
            f'run: pass a config file ({str(error).splitlines()[0]})'
        ) from error
    if cfg.get('custom_imports'):
        import_modules_from_strings(**cfg.custom_imports)
    return cfg


class _LiteralDicts(ast.NodeTransformer):
    """Writes ``dict(a=1)`` as ``{'a': 1}``."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        # A call that stays, and a key of None, are refused by literal_eval.
        if node.args or not isinstance(node.func, ast.Name) or node.func.id != 'dict':
            return node
        keys: list = [ast.Constant(k.arg) if k.arg else None for k in node.keywords]
        return ast.Dict(keys, [k.value for k in node.keywords])
