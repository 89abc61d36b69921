"""Read work directories of mmengine: what was run, logged and measured, and where."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from mmengine.config import Config

_STAMP = re.compile(r'(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - ')
_RESUMED = re.compile(r'resumed epoch: \d+, iter: (\d+)')
_EPOCH = re.compile(r'Epoch\(train\) +\[\d+\]\[ *\d+/(\d+)\]')
_ENVIRONMENT = re.compile(r' {4}([^:]+): (.*)')


@dataclass
class Run:
    """A pre-training run as its work directory tells it.

    Steps count iterations. A run may have been started several times; what a later start
    logged replaces everything after the iteration that it went on from.

    ``key`` is the letter (A, B, ...) that labels its curves and ``slot`` its place in the palette.
    ``config`` is None if it cannot be read; ``config_name`` is the file that was trained.
    ``per_epoch`` are the iterations of an epoch, where they are known. ``curves`` are growing
    iterations and values, which may be nan or inf; ``spectra`` the shares of singular values, and
    ``widths`` those of features, by part of the network. ``monitored`` says that
    EntropyMonitorHook measured, so that no alarm means that all is well. ``environment`` are
    entries of the log's header, and ``notes`` say which files could not be read.
    """

    path: Path
    name: str
    key: str = ''
    slot: int = 0
    config: Config | None = None
    config_text: str = ''
    config_name: str = ''
    starts: int = 0
    per_epoch: int | None = None
    seconds: float = 0.0
    curves: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)
    spectra: dict[str, list[tuple[int, list[float]]]] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)
    monitored: bool = False
    alarms: list[tuple[int, str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def last_iter(self) -> int:
        """The last iteration that was logged."""
        return max((steps[-1] for steps, _ in self.curves.values()), default=0)

    def points(self, key: str) -> list[tuple[int, float]]:
        """Steps and values of a curve; empty where it was not logged."""
        return [*zip(*self.curves.get(key, ([], [])))]

    def last(self, key: str) -> float | None:
        """The last value of a curve, or None where it was not logged."""
        return self.curves[key][1][-1] if key in self.curves else None

    def checkpoints(self) -> dict[str, int]:
        """The iteration of every checkpoint in the work directory, by file name."""
        found = {}
        for file in sorted(self.path.glob('*.pth')):
            match = re.search(r'(iter|epoch)_(\d+)\.pth$', file.name)
            unit = match and (1 if match[1] == 'iter' else self.per_epoch)
            if match and unit:
                found[file.name] = int(match[2]) * unit
        return found

    def get(self, *names: str) -> Any:
        """An entry of the configuration by its path, or None."""
        value: Any = self.config
        for name in names:
            value = value.get(name) if isinstance(value, (dict, Config)) else None
        return value


def read_runs(paths: list[Path]) -> list[Run]:
    """Read several runs and give them names and letters that tell them apart.

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
    """Read one work directory.

    Raises:
        ValueError: there is no training log, or nothing in it.
    """
    starts = sorted(file.parent.parent for file in path.glob('*/vis_data/scalars.json'))
    if not starts:
        raise ValueError(f'{path}: no training log; give a work directory of tools/train.py')
    run = Run(path, path.resolve().name, starts=len(starts))
    _read_config(run, starts[-1])
    records: list[_Record] = []
    for start in starts:
        # The log comes first: it may tell how long an epoch is, which the scalars need.
        went_on_from, seconds = _read_log(run, start)
        run.seconds += seconds
        found = [*_read_scalars(run, start), *_read_monitor(run, start)]
        if found:
            # A log that is silent about it is taken to go on where its first record is.
            kept = min(r.step for r in found) - 1 if went_on_from is None else went_on_from
            records = [record for record in records if record.step <= kept] + found
    for record in sorted(records, key=lambda record: record.step):
        _add(run, record)
    if not run.curves:
        raise ValueError(
            f'{path}: the training log is empty; train longer than default_hooks.logger.interval'
        )
    return run


def one_line(error: Exception) -> str:
    """The first line of an error, without the quotes of a KeyError."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    lines = str(text).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class _Record(NamedTuple):
    """What was logged at an iteration for an attribute of :class:`Run`, its ``field``.

    ``key`` names the curve or the part of the network.
    """

    step: int
    field: str
    key: str
    value: Any


def _add(run: Run, record: _Record) -> None:
    """Add a record to a run; of two values of a curve at one iteration the later stays."""
    step, field, key, value = record
    if field == 'monitored':
        run.monitored = True
    elif field == 'alarms':
        run.alarms.append((step, value))
    elif field == 'widths':
        run.widths[key] = value
    elif field == 'spectra':
        run.spectra.setdefault(key, []).append((step, value))
    else:
        steps, values = run.curves.setdefault(key, ([], []))
        if steps and steps[-1] == step:
            values[-1] = value
        else:
            steps.append(step)
            values.append(value)


def _read_config(run: Run, start: Path) -> None:
    dumped = sorted(run.path.glob('*.py'))
    run.config_name = dumped[0].name if dumped else ''
    for file in [start / 'vis_data' / 'config.py', *dumped]:
        if file.exists():
            try:
                run.config_text = file.read_text(errors='replace')
                run.config = Config.fromfile(file, import_custom_modules=False)
                return
            # A config is a program, so it can fail in any way.
            except Exception as error:
                run.notes.append(f'{file.name} cannot be read: {one_line(error)}')


def _read_log(run: Run, start: Path) -> tuple[int | None, float]:
    """The iteration that a start went on from, if the log tells, and its seconds.

    The environment and the length of an epoch go to ``run``.
    """
    # With log_level DEBUG every rank writes one; the first in order is that of rank 0.
    files = sorted(start.glob(f'{start.name}*.log'))
    if not files:
        run.notes.append(f'{start.name} has no log: time and environment are not known')
        return None, 0.0
    went_on_from = None
    stamps = []
    in_environment = False
    for line in files[0].open(errors='replace'):
        if stamp := _STAMP.match(line):
            stamps.append(datetime.strptime(stamp[1], '%Y/%m/%d %H:%M:%S'))
        # mmengine tells of a resumption at level INFO; a log without INFO tells nothing.
        if went_on_from is None and ' - INFO - ' in line:
            went_on_from = 0
        if resumed := _RESUMED.search(line):
            went_on_from = int(resumed[1])
        elif epoch := _EPOCH.search(line):
            run.per_epoch = int(epoch[1])
        elif line.startswith(('System environment:', 'Runtime environment:')):
            in_environment = True
        elif line.startswith('-----'):
            in_environment = False
        elif in_environment and (entry := _ENVIRONMENT.match(line)):
            run.environment[entry[1]] = entry[2].strip()
    return went_on_from, (stamps[-1] - stamps[0]).total_seconds() if stamps else 0.0


def _read_scalars(run: Run, start: Path) -> Iterator[_Record]:
    lines = list(_json_lines(run, start / 'vis_data' / 'scalars.json'))
    if run.per_epoch is None:
        # A log without INFO does not tell; the last line of an epoch does.
        lengths = [x['iter'] / x['epoch'] for x in lines if x.get('epoch') and 'iter' in x]
        run.per_epoch = max(map(math.ceil, lengths), default=None)
    hooks = run.get('custom_hooks') or ()
    knn_by_iteration = any(
        hook.get('type') == 'KNNHook' and hook.get('by_epoch') is False for hook in hooks
    )
    for line in lines:
        if not _is_number(line.get('step')):
            continue
        step = line['step']
        monitored = any(key.startswith('monitor') for key in line)
        # kNN and validation count epochs where training does; all else counts iterations.
        if 'iter' not in line and not monitored and not (knn_by_iteration and 'knn/top1' in line):
            step *= run.per_epoch or 1
        for key, value in line.items():
            if key not in ('step', 'iter', 'epoch') and _is_number(value):
                yield _Record(int(step), 'curves', key, float(value))


def _read_monitor(run: Run, start: Path) -> Iterator[_Record]:
    for line in _json_lines(run, start / 'vis_data' / 'monitor.jsonl'):
        step = line.get('iter')
        if not _is_number(step):
            continue
        yield _Record(int(step), 'monitored', '', True)
        # Entries of a wrong type count as absent.
        for text in _entry(line, 'alarms', list):
            if isinstance(text, str):
                yield _Record(int(step), 'alarms', '', text)
        for part, width in _entry(line, 'width', dict).items():
            if _is_number(width):
                yield _Record(int(step), 'widths', part, width)
        for part, shares in _entry(line, 'spectrum', dict).items():
            if isinstance(shares, list) and all(map(_is_number, shares)):
                yield _Record(int(step), 'spectra', part, shares)


def _entry(line: dict, key: str, kind: type) -> Any:
    value = line.get(key)
    return value if isinstance(value, kind) else kind()


def _json_lines(run: Run, file: Path) -> Iterator[dict]:
    """The objects of a file with one JSON value a line; a missing file has none."""
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


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
