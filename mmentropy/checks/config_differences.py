"""In which entries configs differ."""

from typing import Any

from mmengine.config import Config

_ABSENT = object()


def config_differences(configs: list[Config]) -> dict[str, list[str]]:
    """Values, by dotted path, that are not equal in all configs.

    '' stands for an absent entry. A value is listed whole where one of the values is absent
    or of another kind or length.
    """
    found: dict[str, list[str]] = {}
    _compare('', [config.to_dict() for config in configs], found)
    return found


def _compare(path: str, values: list[Any], found: dict[str, list[str]]) -> None:
    """Add to ``found`` what differs at ``path`` and below."""
    # A dumped config has lists where its source had tuples, which is no difference.
    values = [list(value) if isinstance(value, tuple) else value for value in values]
    if all(isinstance(value, list) and len(value) == len(values[0]) for value in values):
        # Lists of numbers are read best as a whole.
        if any(isinstance(item, (dict, list, tuple)) for value in values for item in value):
            values = [dict(enumerate(value)) for value in values]
    if all(isinstance(value, dict) for value in values):
        for key in dict.fromkeys(key for value in values for key in value):
            entries = [value.get(key, _ABSENT) for value in values]
            _compare(f'{path}.{key}' if path else str(key), entries, found)
    elif any(value != values[0] for value in values):
        found[path] = ['' if value is _ABSENT else repr(value) for value in values]
