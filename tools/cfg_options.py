"""The option --cfg-options, by which a command line changes a config.

mmengine's own action takes all blanks out of a value, and makes a list of a text with a comma, also
where that is a path.
"""

import argparse
from collections.abc import Sequence
from typing import Any

OPTION = '--cfg-options'
BRACKETS = {'(': tuple, '[': list}
WORDS = {'true': True, 'false': False}


class _KeysAndTexts(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        texts = dict(getattr(namespace, self.dest) or {})
        for value in values or ():
            key, equals, texts[key] = value.partition('=')
            if not key or not equals:
                hint = 'put what has blanks in quotes: "KEY=some text"'
                parser.error(f'{OPTION} needs KEY=VALUE, got {value!r}; {hint}')
        setattr(namespace, self.dest, texts)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add --cfg-options, whose values :func:`merge_cfg_options` reads."""
    parser.add_argument(
        OPTION,
        nargs='+',
        action=_KeysAndTexts,
        metavar='KEY=VALUE',
        help='change the config: model.head.loss.eps=0.1, KEY=[1,2], KEY=(1,2), KEY=None; a comma '
        'makes a list, but where the config has a text; "KEY=\'1\'" is a text',
    )


def merge_cfg_options(cfg: Any, texts: dict[str, str] | None) -> None:
    """Change a config as --cfg-options says.

    Raises:
        ValueError: brackets are not closed.
    """
    cfg.merge_from_dict({key: parsed(text, _at(cfg, key)) for key, text in (texts or {}).items()})


def parsed(text: str, before: Any = None) -> Any:
    """Return the value that a text stands for.

    That is a number, True, False, None, a tuple in round brackets, a list in square ones or with
    commas, or a text, which quotes around it leave as it is.

    Args:
        text: The value as it was typed.
        before: What stands in its place. Where that is a text, a comma does not make a list.

    Raises:
        ValueError: brackets are not closed.
    """
    text = text.strip()
    parts = _split(text)
    if len(parts) > 1 and not isinstance(before, str):
        return [parsed(part) for part in parts]
    if len(parts) == 1 and text[:1] + text[-1:] in ('()', '[]'):
        inner = text[1:-1].strip()
        items = _split(inner.removesuffix(',')) if inner else []
        return BRACKETS[text[0]](map(parsed, items))
    if len(text) > 1 and text[0] in '\'"' and text[-1] == text[0]:
        return text[1:-1]
    return _scalar(text)


def _scalar(text: str) -> Any:
    if text == 'None':
        return None
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _split(text: str) -> list[str]:
    """Return the parts between the commas that are neither in brackets nor in quotes."""
    parts, depth, quote = [''], 0, ''
    for char in text:
        if quote:
            quote = '' if char == quote else quote
        elif char in '\'"' and not parts[-1].strip():
            quote = char
        elif char in '([':
            depth += 1
        elif char in ')]':
            depth -= 1
        if char == ',' and not depth and not quote:
            parts.append('')
        else:
            parts[-1] += char
    if depth and text[0] in BRACKETS:
        raise ValueError(f'{OPTION}: the brackets of {text} are not closed')
    return parts


def _at(cfg: Any, key: str) -> Any:
    """Return what a config has at a dotted key, None if there is nothing."""
    for name in key.split('.'):
        if isinstance(cfg, (list, tuple)) and name.isdigit() and int(name) < len(cfg):
            cfg = cfg[int(name)]
        elif hasattr(cfg, 'get') and cfg.get(name) is not None:
            cfg = cfg[name]
        else:
            return None
    return cfg
