"""Read work directories of mmengine: what was run, logged and measured, and where."""

import inspect
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmentropy.checks.config_parts import dicts_in, kind_of
from mmentropy.checks.files import read_text, size_of
from mmentropy.engine.hooks.entropy_monitor import EntropyMonitorHook
from mmentropy.weights.stored_config import LONGEST_CONFIG, plain_config

_STAMP = re.compile(r'^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - ', re.M)
_RESUMED = re.compile(r'resumed epoch: \d+, iter: (\d+)')
_LOADED = re.compile(r'Load checkpoint from .*?([^/\s]+\.pth)$', re.M)
_SAVED = re.compile(r'Saving checkpoint at (\d+) (epoch|iter)|(interrupted_\d+\.pth) is saved')
_EPOCH = re.compile(r'Epoch\(train\) +\[\d+\]\[ *\d+/(\d+)\]')
_HEADER = re.compile(r'^System environment:(.*?)^-----', re.M | re.S)
_ENTRY = re.compile(r'^ {4}([^:\n]+): (.*)', re.M)
# Logs are larger than this only by mistake or malice.
_LONGEST_LOG = 500_000_000

# An iteration, the field of a run, the curve or part of the network, and the value.
Record = tuple[int, str, str, Any]


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
    entries of the log's header, and ``notes`` say which files could not be read. ``trusted`` says
    that what the config names may be imported and run.
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
    trusted: bool = False

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

    def hooks(self, kind: str) -> list[dict]:
        """The custom hooks of a type, whatever its scope, in the configuration."""
        return [hook for hook in dicts_in(self.get('custom_hooks')) if kind_of(hook) == kind]

    @property
    def monitor_interval(self) -> int | None:
        """The interval of the configuration's EntropyMonitorHook, None if it has none."""
        default = inspect.signature(EntropyMonitorHook).parameters['interval'].default
        hooks = self.hooks('EntropyMonitorHook')
        return hooks[0].get('interval', default) if hooks else None

    def get(self, *names: str) -> Any:
        """An entry of the configuration by its path, or None."""
        value: Any = self.config
        for name in names:
            value = value.get(name) if isinstance(value, (dict, Config)) else None
        return value


def read_runs(paths: list[Path], trust: bool = False) -> list[Run]:
    """Read several runs and give them names and letters that tell them apart.

    Args:
        paths: work directories.
        trust: execute configs that are not made of plain values.

    Raises:
        ValueError: a path is no work directory with a training log.
    """
    runs = [read_run(path, trust) for path in paths]
    names = [run.name for run in runs]
    for i, run in enumerate(runs):
        run.slot = i
        run.key = chr(65 + i) if len(runs) <= 26 else str(i + 1)
        if names.count(run.name) > 1:
            run.name = str(run.path)
    return runs


def read_run(path: Path, trust: bool = False) -> Run:
    """Read one work directory, as :func:`read_runs` does.

    Raises:
        ValueError: there is no training log, or nothing in it.
    """
    starts = sorted(file.parent.parent for file in path.glob('*/vis_data/scalars.json'))
    if not starts:
        # mmentropy pretrain has it one folder below its own.
        below = next(path.glob('*/*/vis_data/scalars.json'), None)
        where = below.parents[2] if below else 'a work directory of tools/train.py'
        raise ValueError(f'{path}: no training log; give {where}')
    run = Run(path, path.resolve().name, starts=len(starts), trusted=trust)
    _read_config(run, starts[-1])
    records: list[Record] = []
    for start in _in_order(starts):
        # The log comes first: it may tell how long an epoch is, which the scalars need.
        kept = _read_log(run, start)
        try:
            found = [*_scalars(run, start), *_monitored(run, start)]
        except (AttributeError, LookupError, TypeError) as error:
            problem = f'{start.name}/vis_data is not what mmengine and EntropyMonitorHook write'
            raise ValueError(f'{path}: {problem} ({one_line(error)})') from error
        if found:
            # A log that is silent about it is taken to go on where its first record is.
            kept = min(step for step, *_ in found) - 1 if kept is None else kept
            records = [record for record in records if record[0] <= kept] + found
    _fill(run, records)
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


def _in_order(starts: list[Path]) -> list[Path]:
    """The starts by the time in their names, but each after the one that saved what it resumed.

    A clock that jumped back would put a start before those that it goes on from.
    """
    waiting, ordered = [*starts], []
    saved: set[str] = set()
    texts = {start: _log_text(start) for start in starts}

    def is_ready(start: Path) -> bool:
        loaded = _LOADED.findall(texts[start])
        return not _RESUMED.search(texts[start]) or not loaded or loaded[-1] in saved

    while waiting:
        start = next(filter(is_ready, waiting), waiting[0])
        waiting.remove(start)
        ordered.append(start)
        for number, unit, name in _SAVED.findall(texts[start]):
            saved.add(name or f'{unit}_{number}.pth')
    return ordered


def _log_text(start: Path) -> str:
    """The log of a start; '' if there is none."""
    # With log_level DEBUG every rank writes one; the first in order is that of rank 0.
    files = sorted(start.glob(f'{start.name}*.log'))
    return read_text(files[0], _LONGEST_LOG) if files else ''


def _fill(run: Run, records: list[Record]) -> None:
    """Put records into a run; of two values of a curve at one iteration the later stays."""
    curves: dict[str, dict[int, float]] = {}
    for step, name, key, value in sorted(records, key=lambda record: record[0]):
        run.monitored |= name != 'curves'
        if name == 'curves':
            curves.setdefault(key, {})[step] = value
        elif name == 'alarms':
            run.alarms.append((step, value))
        elif name == 'widths':
            run.widths[key] = value
        else:
            run.spectra.setdefault(key, []).append((step, value))
    run.curves = {key: (list(points), list(points.values())) for key, points in curves.items()}


def _read_config(run: Run, start: Path) -> None:
    dumped = sorted(run.path.glob('*.py'))
    run.config_name = dumped[0].name if dumped else ''
    for file in [start / 'vis_data' / 'config.py', *dumped]:
        if file.exists():
            try:
                run.config_text = read_text(file, LONGEST_CONFIG)
                run.config = _config(file, run)
                return
            # A trusted config is a program, so it can fail in any way.
            except Exception as error:
                run.notes.append(f'{file.name} cannot be read: {one_line(error)}')


def _config(file: Path, run: Run) -> Config:
    """Return the config in a file, which is executed only if the run is trusted."""
    try:
        return plain_config(run.config_text)
    except ValueError as error:
        if run.trusted:
            return Config.fromfile(file, import_custom_modules=False)
        raise ValueError(
            f'refused: it is not made of plain values ({error}), and to execute it could run any '
            'code; if you trust where it comes from, add --trust'
        ) from error


def _read_log(run: Run, start: Path) -> int | None:
    """The iteration that a start went on from, if the log tells.

    The time, the environment and the length of an epoch go to ``run``.
    """
    text = _log_text(start)
    if not text:
        run.notes.append(f'{start.name} has no log: time and environment are not known')
        return None
    if stamps := _STAMP.findall(text):
        first, last = (datetime.strptime(stamps[i], '%Y/%m/%d %H:%M:%S') for i in (0, -1))
        run.seconds += (last - first).total_seconds()
    if lengths := _EPOCH.findall(text):
        run.per_epoch = int(lengths[-1])
    for header in _HEADER.findall(text):
        run.environment |= {name: value.strip() for name, value in _ENTRY.findall(header)}
    if resumed := _RESUMED.findall(text):
        return int(resumed[-1])
    # mmengine tells of a resumption at level INFO; a log without INFO tells nothing.
    return 0 if ' - INFO - ' in text else None


def _scalars(run: Run, start: Path) -> Iterator[Record]:
    lines = list(_json_lines(run, start / 'vis_data' / 'scalars.json'))
    if run.per_epoch is None:
        # A log without INFO does not tell; the last line of an epoch does.
        lengths = [x['iter'] / x['epoch'] for x in lines if x.get('epoch') and 'iter' in x]
        run.per_epoch = max(map(math.ceil, lengths), default=None)
    # kNN and validation count epochs where training does; all else counts iterations.
    by_iteration = ['iter', 'monitor']
    if any(hook.get('by_epoch') is False for hook in run.hooks('KNNHook')):
        by_iteration.append('knn')
    for line in lines:
        if not isinstance(line.get('step'), int):
            continue
        counts_iterations = any(key.startswith(tuple(by_iteration)) for key in line)
        step = line['step'] * (1 if counts_iterations else run.per_epoch or 1)
        for key, value in line.items():
            if key not in ('step', 'iter', 'epoch') and isinstance(value, (int, float)):
                yield step, 'curves', key, float(value)


def _monitored(run: Run, start: Path) -> Iterator[Record]:
    for line in _json_lines(run, start / 'vis_data' / 'monitor.jsonl'):
        for text in line.get('alarms', ()):
            yield line['iter'], 'alarms', '', text
        for part, width in line.get('width', {}).items():
            yield line['iter'], 'widths', part, width
        for part, shares in line.get('spectrum', {}).items():
            yield line['iter'], 'spectra', part, shares


def _json_lines(run: Run, file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file with one JSON value a line; a missing file has none."""
    damaged = 0
    if file.exists():
        size_of(file, _LONGEST_LOG)
    for text in file.open(errors='replace') if file.exists() else ():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            damaged += 1
            continue
        if isinstance(line, dict):
            yield line
    if damaged:
        run.notes.append(
            f'{file.parent.parent.name}/{file.name}: {damaged} damaged line(s) left out'
        )
