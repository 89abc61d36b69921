"""What a run wrote into its work directory, over all its starts."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

# Of mmengine's log files, as EntropyMonitorHook gives its alarms.
ALARM = re.compile(r' - WARNING - monitor at iteration (\d+): (.*)')


@dataclass
class RunLog:
    """Scalars of a run, in the order of training.

    Attributes:
        lines: As LocalVisBackend writes them: each with ``step``, in
            iterations, or in epochs where the hook counts them (``knn/top1``).
        reached: The iteration that training had logged at each line.
        alarms: Of EntropyMonitorHook, iteration and text.
        folder: Of the newest start that logged: holds ``vis_data/config.py``.
        torn: Half lines, left out. A process that is killed leaves one.
    """
    lines: list[dict] = field(default_factory=list)
    reached: list[int] = field(default_factory=list)
    alarms: list[tuple[int, str]] = field(default_factory=list)
    folder: Path = Path()
    torn: int = 0

    def curve(self, key: str) -> tuple[list[int], list[float]]:
        """Steps and values of a key; empty where it was not logged."""
        points = [(line['step'], line[key]) for line in self.lines
                  if key in line]
        return [step for step, _ in points], [value for _, value in points]


def read_scalars(work_dir: Path) -> RunLog:
    """The log of a run, its starts merged.

    Each start has a folder ``{time}/vis_data/scalars.json``. A later start
    replaces what earlier ones logged from its first line on.

    Raises:
        ValueError: No such log, an empty one, or a line that is none, before
            the last of a file.
    """
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    if not files:
        raise ValueError(f'{work_dir} holds no run: no */vis_data/'
                         'scalars.json')
    log = RunLog()
    for file in files:
        lines, torn = _read_lines(file)
        log.torn += torn
        if not lines:
            continue
        first = lines[0]['step']
        kept = sum(step < first for step in log.reached)
        log.lines[kept:], log.reached[kept:] = lines, _iterations(lines)
        log.folder = file.parents[1]
        log.alarms = [alarm for alarm in log.alarms if alarm[0] < first]
        log.alarms += _alarms(log.folder)
    if not log.lines:
        raise ValueError(f'{work_dir} holds an empty run: no line in '
                         f'{files[-1]}')
    return log


def _read_lines(file: Path) -> tuple[list[dict], int]:
    """Lines, and how many half ones, 0 or 1, were at the end."""
    texts = file.read_text(errors='replace').splitlines()
    lines: list[dict] = []
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
            line['step'] + 0
        except (ValueError, TypeError, KeyError):
            if number == len(texts):
                return lines, 1
            raise ValueError(f'{file} is damaged: line {number} is no scalars '
                             'of a step') from None
        lines.append(line)
    return lines, 0


def _iterations(lines: list[dict]) -> list[int]:
    """Iterations logged up to each line.

    A step in epochs is never above the iterations so far.
    """
    reached, found = 0, []
    for line in lines:
        reached = max(reached, line['step'])
        found.append(reached)
    return found


def _alarms(folder: Path) -> list[tuple[int, str]]:
    file = folder / f'{folder.name}.log'
    text = file.read_text(errors='replace') if file.is_file() else ''
    return [(int(step), message) for step, message in ALARM.findall(text)]
