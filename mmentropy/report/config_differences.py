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
    """Compare a run with the config of its name in the repository.

    Returns its path, '' if there is none, and by dotted entry the values there and in the run.
    """
    file = next(CONFIGS.rglob(run.config_name), None) if run.config_name else None
    if file is None or run.config is None:
        return '', {}
    try:
        base = Config.fromfile(file, import_custom_modules=False)
    # It may inherit from a config of mmpretrain, whose files need not be installed.
    except Exception:
        return '', {}
    return str(file.relative_to(CONFIGS.parent)), differences([base, run.config])


def differences(configs: list[Config]) -> dict[str, list[str]]:
    """Values, by dotted path, that are not equal in all configs.

    '' stands for an absent entry. A value is listed whole where one of the values is absent
    or of another kind or length.
    """
    found: dict[str, list[str]] = {}
    _compare('', [config.to_dict() for config in configs], found)
    return {key: values for key, values in found.items() if key.split('.')[0] not in IGNORED}


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
