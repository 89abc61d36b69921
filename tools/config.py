"""Print a config as it is after inheritance, each value with the file that it comes from."""

import argparse

from cfg_options import OPTION, add_cfg_options, merge_cfg_options
from cli import Parser, config_path, errors_in_one_line, printing, read_config


def parse_args() -> argparse.Namespace:
    parser = Parser(
        description=__doc__,
        epilog='A value that a file repeats counts as that of its base, '
        'since the file would say the same without it.',
    )
    parser.add_argument('config')
    parser.add_argument(
        'key', nargs='?', help='print this part only, such as model.head.loss or param_scheduler.0'
    )
    add_cfg_options(parser)
    return parser.parse_args()


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parent.parent / 'configs'
# The text is padded up to this column, so that files stand below each other.
WIDEST = 64


def label(path: str) -> str:
    """How a config file is named: from configs/ on, or as PACKAGE::PATH in a host's configs."""
    file = Path(path).resolve()
    if file.is_relative_to(CONFIGS):
        return str(file.relative_to(CONFIGS))
    parts = file.parts
    if '.mim' in parts:
        at = parts.index('.mim')
        return f'{parts[at - 1]}::{Path(*parts[at + 2 :])}'
    return path


def plain(value: Any) -> Any:
    """Plain dicts without ``_scope_``, which mmengine adds to the values of a host's files."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != '_scope_'}
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value))
    return value


def children(value: Any) -> list[tuple[str, Any]]:
    """Keys and items of a dict, or of a list that is not made of plain values alone."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, (list, tuple)) and any(isinstance(x, (dict, list)) for x in value):
        return [(str(i), item) for i, item in enumerate(value)]
    return []


def with_origin(value: Any, file: str, base: Any = None, origins: Any = None) -> Any:
    """The file of every value, in the structure of the value.

    Args:
        value: A merged config or a part of it.
        file: The file that says what differs from ``base``.
        base: The same part of what the file inherits, None if it has none.
        origins: The files of the values of ``base``, None if it has none.

    Returns:
        A dict of the keys of :func:`children`, or the name of a file.
    """
    items = children(value)
    if not items:
        same = origins is not None and type(value) is type(base) and value == base
        return origins if same else file
    known = dict(children(base))
    # Items of a list of another length are others, although their places have a number each.
    if not isinstance(origins, dict) or (isinstance(value, list) and len(value) != len(known)):
        known, origins = {}, {}
    return {key: with_origin(item, file, known.get(key), origins.get(key)) for key, item in items}


@cache
def read(path: str) -> tuple[dict, dict]:
    """A config with everything it inherits, and the file of every value.

    Raises:
        ValueError: The config inherits by mmengine's ``read_base()``.
    """
    path = config_path(path)
    cfg = read_config(path, import_custom_modules=False)
    if path.endswith('.py') and Config._is_lazy_import(path):
        raise ValueError(
            f'{path} inherits by read_base(), which cannot be followed; '
            'it has to name its bases in _base_'
        )
    merged = plain(cfg.to_dict())
    base: dict = {}
    origins: dict = {}
    # mmengine refuses two bases with one key, so that each key has one of them.
    for name in Config._get_base_files(path):
        found, files = read(Config._get_cfg_path(name, path)[0])
        base |= found
        origins |= files
    return merged, with_origin(merged, label(path), base, origins)


def part(merged: dict, origins: dict, key: str) -> tuple[Any, Any]:
    """The value of a dotted key, and the files of it.

    Raises:
        ValueError: There is no such key; the message names the nearest one.
    """
    value: Any = merged
    origin: Any = origins
    done: list[str] = []
    for name in key.split('.'):
        items = dict(children(value))
        if name not in items:
            where = f'in {".".join(done)}' if done else 'at the top of the config'
            near = get_close_matches(name, items, n=1)
            hint = f'; did you mean {near[0]!r}?' if near else f'; there is: {", ".join(items)}'
            raise ValueError(f'no key {name!r} {where}{hint if items else "; it is a value"}')
        value, origin = items[name], origin[name]
        done.append(name)
    return value, origin


def lines(key: str, value: Any, origin: Any) -> Iterator[tuple[str, str]]:
    """Text and file of each line; the file is empty where other lines follow below a key."""
    items = children(value)
    if not items:
        yield f'{key}: {value!r}', origin
        return
    yield f'{key}:', ''
    for name, item in items:
        for text, file in lines(name, item, origin[name]):
            yield f'  {text}', file


def main() -> None:
    args = parse_args()
    with errors_in_one_line():
        try:
            merged, origins = read(args.config)
        except (ModuleNotFoundError, ValueError):
            # mmentropy, slow to import, lets mmengine find its own configs and those of forks of
            # host packages.
            import mmentropy  # noqa: F401

            merged, origins = read(args.config)
        if args.cfg_options:
            cfg = Config(merged)
            merge_cfg_options(cfg, args.cfg_options)
            changed = plain(cfg.to_dict())
            merged, origins = changed, with_origin(changed, OPTION, merged, origins)
        if args.key:
            found = [(args.key, *part(merged, origins, args.key))]
        else:
            found = [(key, value, origins[key]) for key, value in merged.items()]
    shown = [line for item in found for line in lines(*item)]
    width = min(WIDEST, max(len(text) for text, file in shown if file))
    with printing():
        for text, file in shown:
            print(f'{text:<{width}}  {file}'.rstrip())


if __name__ == '__main__':
    main()
