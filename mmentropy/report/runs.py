"""A work directory of mmengine as curves, spectra, alarms and facts."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from mmengine.config import Config

import mmentropy

CONFIGS = Path(mmentropy.__file__).parents[1] / 'configs'
# What does not say how a run was trained.
UNTOLD = ('code', 'experiment_name', 'launcher', 'load_from', 'resume', 'work_dir')

_STAMP = re.compile(r'(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - ')
_RESUMED = re.compile(r'resumed epoch: \d+, iter: (\d+)')
_EPOCH = re.compile(r'Epoch\(train\) +\[\d+\]\[ *\d+/(\d+)\]')
_FACT = re.compile(r' {4}([^:]+): (.*)')

# Steps, in iterations and growing, and values, which may be nan or inf.
Curve = tuple[list[int], list[float]]


@dataclass
class Run:
    """What a work directory tells.

    Steps count iterations. Of several starts, the later one replaces what
    was logged after the iteration that it went on from.
    """

    path: Path
    name: str
    # The label of its lines: A, B, ...
    key: str = ''
    # Its place in the palette.
    slot: int = 0
    config: Config | None = None
    config_text: str = ''
    config_name: str = ''
    starts: int = 0
    per_epoch: int | None = None
    seconds: float = 0.0
    curves: dict[str, Curve] = field(default_factory=dict)
    # By part: iteration and shares of the singular values.
    spectra: dict[str, list[tuple[int, list[float]]]] = field(default_factory=dict)
    # Width of the features by part, where the monitor wrote it.
    widths: dict[str, int] = field(default_factory=dict)
    # Whether the monitor looked, so that no alarm means that all is well.
    monitored: bool = False
    alarms: list[tuple[int, str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    # What of its files could not be read.
    notes: list[str] = field(default_factory=list)

    @property
    def last_iter(self) -> int:
        """The last iteration that was logged."""
        return max((steps[-1] for steps, _ in self.curves.values()), default=0)

    def points(self, key: str) -> list[tuple[int, float]]:
        """Steps and values of a curve; empty where it was not logged."""
        return [*zip(*self.curves.get(key, ([], [])))]

    def checkpoints(self) -> dict[str, int]:
        """Iterations of the files in the work directory."""
        found = {}
        for file in sorted(self.path.glob('*.pth')):
            match = re.search(r'(iter|epoch)_(\d+)\.pth$', file.name)
            unit = match and (1 if match[1] == 'iter' else self.per_epoch)
            if match and unit:
                found[file.name] = int(match[2]) * unit
        return found

    def last(self, key: str) -> float | None:
        """The last value of a curve."""
        return self.curves[key][1][-1] if key in self.curves else None

    def get(self, *names: str) -> Any:
        """An entry of the config by its path, or None."""
        value: Any = self.config
        for name in names:
            value = value.get(name) if isinstance(value, (dict, Config)) else None
        return value


def read_runs(paths: list[Path]) -> list[Run]:
    """Runs with names that tell them apart.

    Raises:
        ValueError: a path is no work directory with a training log.
    """
    runs = [read_run(path) for path in paths]
    names = [run.name for run in runs]
    for i, run in enumerate(runs):
        run.slot = i
        run.key = chr(65 + i) if len(runs) <= 26 else str(i + 1)
        if names.count(run.name) > 1:
            run.name = str(run.path)
    return runs


def read_run(path: Path) -> Run:
    """A run by its work directory.

    Raises:
        ValueError: there is no training log, or nothing in it.
    """
    starts = sorted(file.parent.parent for file in path.glob('*/vis_data/scalars.json'))
    if not starts:
        raise ValueError(f'{path}: no training log; give a work directory of tools/train.py')
    run = Run(path, path.resolve().name, starts=len(starts))
    _read_config(run, starts[-1])
    lines: list[tuple[int, str, float]] = []
    for start in starts:
        log = _read_log(run, start)
        found = list(_scalars(run, start))
        measured = list(_measurements(run, start))
        # It went on from here, or, where no log tells, from its first line.
        first = log.went_on_from
        if first is None:
            steps = [line[0] for line in found] + [m.step for m in measured]
            first = min(steps, default=0) - 1
        if found or measured:
            lines = [line for line in lines if line[0] <= first]
            run.alarms = [a for a in run.alarms if a[0] <= first]
            for part, old in run.spectra.items():
                run.spectra[part] = [s for s in old if s[0] <= first]
        lines += found
        run.seconds += log.seconds
        run.monitored |= bool(measured)
        for m in measured:
            run.alarms += [(m.step, text) for text in m.alarms]
            run.widths |= m.widths
            for part, shares in m.spectrum.items():
                run.spectra.setdefault(part, []).append((m.step, shares))
    for step, key, value in sorted(lines, key=lambda line: line[0]):
        at, values = run.curves.setdefault(key, ([], []))
        if at and at[-1] == step:
            values[-1] = value
        else:
            at.append(step)
            values.append(value)
    if not run.curves:
        raise ValueError(
            f'{path}: the training log is empty; train longer than default_hooks.logger.interval'
        )
    return run


# -- Files -------------------------------------------------------------------


def _read_config(run: Run, start: Path) -> None:
    dumped = sorted(run.path.glob('*.py'))
    run.config_name = dumped[0].name if dumped else ''
    for file in [start / 'vis_data' / 'config.py', *dumped]:
        if file.exists():
            try:
                run.config_text = file.read_text(errors='replace')
                run.config = Config.fromfile(file, import_custom_modules=False)
                return
            # It is run, so it can fail in any way.
            except Exception as error:
                run.notes.append(f'{file.name} cannot be read: {one_line(error)}')


@dataclass
class _Log:
    went_on_from: int | None = None
    seconds: float = 0.0


def _read_log(run: Run, start: Path) -> _Log:
    """The log of a start; its facts replace those of earlier ones."""
    log = _Log()
    # With log_level DEBUG, one of each rank.
    files = sorted(start.glob(f'{start.name}*.log'))
    if not files:
        run.notes.append(f'{start.name} has no log: time and environment are not known')
        return log
    stamps = []
    facts = None
    for line in files[0].open(errors='replace'):
        if stamp := _STAMP.match(line):
            stamps.append(datetime.strptime(stamp[1], '%Y/%m/%d %H:%M:%S'))
        # Without log_level INFO, it does not say that it went on.
        if log.went_on_from is None and ' - INFO - ' in line:
            log.went_on_from = 0
        if resumed := _RESUMED.search(line):
            log.went_on_from = int(resumed[1])
        elif epoch := _EPOCH.search(line):
            run.per_epoch = int(epoch[1])
        elif line.startswith(('System environment:', 'Runtime environment:')):
            facts = run.environment
        elif line.startswith('-----'):
            facts = None
        elif facts is not None and (fact := _FACT.match(line)):
            facts[fact[1]] = fact[2].strip()
    if stamps:
        log.seconds = (stamps[-1] - stamps[0]).total_seconds()
    return log


def _json_lines(run: Run, file: Path) -> Iterator[dict]:
    damaged = 0
    for text in file.open(errors='replace') if file.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            damaged += 1
            continue
        if isinstance(line, dict):
            yield line
    if damaged:
        run.notes.append(
            f'{file.parent.parent.name}/{file.name}: {damaged} damaged line(s) left out'
        )


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _scalars(run: Run, start: Path) -> Iterator[tuple[int, str, float]]:
    """Iteration, key and value of all that was logged."""
    lines = list(_json_lines(run, start / 'vis_data' / 'scalars.json'))
    if run.per_epoch is None:
        # The last line of an epoch tells; there is none in a short log.
        run.per_epoch = max(
            (
                math.ceil(line['iter'] / line['epoch'])
                for line in lines
                if line.get('epoch') and 'iter' in line
            ),
            default=None,
        )
    hooks = run.get('custom_hooks') or ()
    by_iteration = any(
        hook.get('type') == 'KNNHook' and hook.get('by_epoch') is False for hook in hooks
    )
    for line in lines:
        if not _number(line.get('step')):
            continue
        step = line['step']
        monitored = any(key.startswith('monitor') for key in line)
        knn = 'knn/top1' in line
        # kNN and validation count epochs where training does.
        if 'iter' not in line and not monitored and not (knn and by_iteration):
            step *= run.per_epoch or 1
        for key, value in line.items():
            if key not in ('step', 'iter', 'epoch') and _number(value):
                yield int(step), key, float(value)


@dataclass
class _Measurement:
    """A line of the monitor's file, without what is none."""

    step: int
    alarms: list[str]
    widths: dict[str, int]
    spectrum: dict[str, list[float]]


def _measurements(run: Run, start: Path) -> Iterator[_Measurement]:
    for line in _json_lines(run, start / 'vis_data' / 'monitor.jsonl'):
        if _number(line.get('iter')):
            yield _Measurement(
                line['iter'],
                [text for text in _as(list, line, 'alarms') if isinstance(text, str)],
                {part: width for part, width in _as(dict, line, 'width').items() if _number(width)},
                {
                    part: shares
                    for part, shares in _as(dict, line, 'spectrum').items()
                    if isinstance(shares, list) and all(map(_number, shares))
                },
            )


def _as(kind: type, entries: dict, key: str) -> Any:
    """An entry, or an empty one if it is of another type."""
    value = entries.get(key)
    return value if isinstance(value, kind) else kind()


# -- Configs -----------------------------------------------------------------


def base_differences(run: Run) -> tuple[str, dict[str, tuple[str, str]]]:
    """The config of the repository that a run is nearest to.

    Those of the run's name are compared; methods' folders hold configs of the
    same name.

    Returns:
        Its path, '' if there is none of that name, and by entry the values
        there and in the run.
    """
    if run.config is None or not run.config_name:
        return '', {}
    found: dict[str, dict[str, list[str]]] = {}
    for file in sorted(CONFIGS.rglob(run.config_name)):
        try:
            base = Config.fromfile(file, import_custom_modules=False)
        # mmpretrain's bases may be absent.
        except Exception:
            continue
        found[str(file.relative_to(CONFIGS.parent))] = differences([base, run.config])
    if not found:
        return '', {}
    name = min(found, key=lambda name: len(found[name]))
    return name, {key: (a, b) for key, (a, b) in found[name].items()}


def differences(configs: list[Config]) -> dict[str, list[str]]:
    """Values, by dotted path, that are not equal in all configs.

    '' stands for an absent one. A value is listed whole where one of them is
    absent or of another kind or length.
    """
    found: dict[str, list[str]] = {}
    _compare('', [_listed(config.to_dict()) for config in configs], found)
    return {key: row for key, row in found.items() if key.split('.')[0] not in UNTOLD}


_ABSENT = object()


def _compare(path: str, values: list[Any], found: dict[str, list[str]]) -> None:
    keys: Any = ()
    if all(isinstance(value, dict) for value in values):
        keys = dict.fromkeys(key for value in values for key in value)
        values = [{**dict.fromkeys(keys, _ABSENT), **value} for value in values]
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


def _listed(value: Any) -> Any:
    """With lists for tuples, as dumping makes of some."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_listed(item) for item in value]
    return value


def one_line(error: Exception) -> str:
    """The first line of an error, without the quotes of a KeyError."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    lines = str(text).strip().splitlines()
    return lines[0] if lines else type(error).__name__
