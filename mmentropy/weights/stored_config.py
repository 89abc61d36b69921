"""The config that a checkpoint stores, read without running it."""

import ast

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from mmentropy.weights.reader import PathLike, read_checkpoint


def config_of(path: PathLike) -> Config:
    """Return the config that a checkpoint was trained with.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        ValueError: the file is unreadable, unsafe, or without a config of
            plain values; one line.
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
        for line in ast.parse(text).body:
            if not isinstance(line, ast.Assign):
                raise ValueError(f'line {line.lineno} is no assignment')
            # A target that is no plain name raises an AttributeError.
            values.update({t.id: _value(line.value) for t in line.targets})  # type: ignore[attr-defined]
        cfg = Config(values, cfg_text=text)
    except (SyntaxError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f'the config in {path} is not made of plain values and is not '
            f'run: pass a config file ({str(error).splitlines()[0]})'
        ) from error
    if cfg.get('custom_imports'):
        import_modules_from_strings(**cfg.custom_imports)
    return cfg


def _value(node: ast.expr) -> object:
    """Return the value of a literal as ast.literal_eval does; ``dict(a=1)`` counts as one."""
    if isinstance(node, ast.Dict):
        # A key of None, which stands for ``**``, is refused by literal_eval.
        items = zip(node.keys, node.values, strict=True)
        return {_value(k): _value(v) for k, v in items}  # type: ignore[arg-type]
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if (
        isinstance(node, ast.Call)
        and not node.args
        and getattr(node.func, 'id', None) == 'dict'
        and all(k.arg for k in node.keywords)
    ):
        return {k.arg: _value(k.value) for k in node.keywords}
    return ast.literal_eval(node)
