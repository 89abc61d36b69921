"""In which entries the configurations of runs differ from each other or from the repository's."""

from pathlib import Path
from typing import Any

from mmengine.config import Config

import mmentropy
from mmentropy.report.runs import Run

CONFIGS = Path(mmentropy.__file__).parents[1] / 'configs'
# Entries that say nothing about how a run was trained.
IGNORED = ('code', 'experiment_name', 'launcher', 'load_from', 'resume', 'work_dir')
_ABSENT = object()


def base_differences(run: Run) -> tuple[str, dict[str, list[str]]]:
    """Compare a run with the nearest config of its name in the repository.

    Returns its path, '' if there is none, and by dotted entry the values there and in the run.
    """
    if run.config is None or not run.config_name:
        return '', {}
    found = {}
    for file in sorted(CONFIGS.rglob(run.config_name)):
        try:
            base = Config.fromfile(file, import_custom_modules=False)
        # It may inherit from a config of mmpretrain, whose files need not be installed.
        except Exception:
            continue
        found[str(file.relative_to(CONFIGS.parent))] = differences([base, run.config])
    name = min(found, key=lambda name: len(found[name]), default='')
    return name, found.get(name, {})


def differences(configs: list[Config]) -> dict[str, list[str]]:
    """Values, by dotted path, that are not equal in all configs.

    '' stands for an absent entry. A value is listed whole where one of the values is absent
    or of another kind or length.
    """
    found: dict[str, list[str]] = {}
    _compare('', [_tuples_as_lists(config.to_dict()) for config in configs], found)
    return {key: values for key, values in found.items() if key.split('.')[0] not in IGNORED}


def _compare(path: str, values: list[Any], found: dict[str, list[str]]) -> None:
    """Add to ``found`` what differs at ``path`` and below."""
    keys: Any = ()
    if all(isinstance(value, dict) for value in values):
        keys = dict.fromkeys(key for value in values for key in value)
        values = [dict.fromkeys(keys, _ABSENT) | value for value in values]
    elif all(
        isinstance(value, list)
        and len(value) == len(values[0])
        and any(isinstance(item, (dict, list)) for item in value)
        for value in values
    ):
        keys = range(len(values[0]))
    for key in keys:
        _compare(f'{path}.{key}' if path else str(key), [value[key] for value in values], found)
    if not keys and any(value != values[0] for value in values):
        found[path] = ['' if value is _ABSENT else repr(value) for value in values]


def _tuples_as_lists(value: Any) -> Any:
    """A dumped config has lists where its source had tuples, which is no difference."""
    if isinstance(value, dict):
        return {key: _tuples_as_lists(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_tuples_as_lists(item) for item in value]
    return value
