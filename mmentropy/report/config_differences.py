"""In which entries the configurations of runs differ from each other or from the repository's."""

from mmengine.config import Config

from mmentropy.checks.config_differences import config_differences
from mmentropy.report.runs import Run
from mmentropy.weights.zoo import CONFIGS

# Entries that say nothing about how a run was trained.
IGNORED = ('code', 'experiment_name', 'launcher', 'load_from', 'resume', 'work_dir')


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
    return str('configs' / file.relative_to(CONFIGS)), differences([base, run.config])


def differences(configs: list[Config]) -> dict[str, list[str]]:
    """Values, by dotted path, that say how runs were trained and are not equal in all configs."""
    found = config_differences(configs)
    return {key: values for key, values in found.items() if key.split('.')[0] not in IGNORED}
