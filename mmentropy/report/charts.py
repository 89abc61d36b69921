"""Charts as data: what uPlot is given to draw, and the same in words and in a table."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mmentropy.report.metrics import Metric

# Points that are drawn of a curve, at most.
POINTS = 400
# Rows of a table of points, at most.
TABLE_ROWS = 10
# On a logarithmic axis, values below this share of the highest are left out.
LOG_FLOOR = 1e-6
# Colours are the CSS variables --s0 to --s9 of style.css.
COLOURS = 10
DASHES = ('', '7 3', '2 3', '9 3 2 3', '5 2 2 2 2 2', '14 4', '1 2')


@dataclass
class Line:
    """A curve, or a path in a plane, with a letter at its end and a place in the palette.

    x grows, but for a path; nan and inf in y are gaps. ``steps`` say when the points of a path
    were measured, in epochs or iterations; ``marks`` are alarms, their x and their texts.
    """

    name: str
    key: str
    slot: int
    x: Sequence[float]
    y: Sequence[float]
    opacity: float = 1.0
    steps: Sequence[float] = ()
    marks: Sequence[tuple[float, str]] = ()


class Table(NamedTuple):
    """Cells as text; the first cell of a row is its header."""

    caption: str
    head: list[str]
    rows: list[list[str]]


@dataclass
class Chart:
    """A chart as the page shows it: as a drawing, in words, and some of its points in a table.

    ``ident`` is unique on the page, ``label`` a title that is understood on its own, and
    ``drawing`` what script.js draws, as JSON.
    """

    ident: str
    metric: Metric
    label: str
    summary: str
    table: Table
    drawing: dict[str, Any]


def colour(slot: int) -> str:
    """The name of the CSS variable that is the colour of a run or class."""
    return f's{slot % COLOURS}'


def dash(slot: int) -> str:
    """The dash pattern of a run; no two of 50 runs share both pattern and colour."""
    return DASHES[(slot + slot // COLOURS) % len(DASHES)]


def number_text(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits and a true minus; a dash for None."""
    if value is None:
        return '–'
    if not math.isfinite(value):
        return str(value)
    return f'{value:.{digits}g}'.replace('-', '−')


def line_chart(
    ident: str,
    metric: Metric,
    lines: Sequence[Line],
    xlabel: str,
    *,
    log: bool = False,
    outside: Sequence[Line] = (),
) -> Chart:
    """At least one curve over x, which counts ``xlabel``.

    The y axis need not reach to the lines ``outside``; the text names them.
    """
    if outside:
        beyond = '; '.join(map(line_summary, outside))
        metric = metric._replace(text=f'{metric.text} Beyond the plot: {beyond}.')
    inside = [line for line in lines if line not in outside]
    drawn = [_drawn(line, *thinned(line.x, line.y), log) for line in lines]
    return Chart(
        ident,
        metric,
        label=f'{metric.title} by {xlabel}',
        summary='; '.join(map(line_summary, lines[:10])),
        table=_points_table(lines, xlabel, f'{metric.title}, some points'),
        drawing=dict(
            xlabel=xlabel,
            log=log,
            y=_span(y for line in inside for y in line.y) if outside else None,
            lines=drawn,
        ),
    )


def plane_chart(
    ident: str, metric: Metric, paths: Sequence[Line], names: tuple[str, str, str], step: str
) -> Chart:
    """At least one path without gaps in a plane, with lines along which y - x is the same.

    The unit of ``metric`` is that of both axes. ``names`` say what x, y and y - x are, and
    ``step`` what the steps of the paths count.
    """
    x = _span(value for path in paths for value in path.x)
    y = _span(value for path in paths for value in path.y)
    drawn, rows, words = [], [], []
    for path in paths:
        # As many points as can be seen, evenly in time, and the last.
        kept = sorted({*range(0, len(path.x), -(-len(path.x) // POINTS)), len(path.x) - 1})
        columns = [[values[i] for i in kept] for values in (path.x, path.y, path.steps)]
        drawn.append(_drawn(path, columns[0], columns[1]) | dict(steps=_rounded(columns[2])))
        for i in sorted({0, len(path.x) // 2, len(path.x) - 1}):
            point = (path.steps[i], path.x[i], path.y[i], path.y[i] - path.x[i])
            rows.append([path.name, *(number_text(value, 6) for value in point)])
        ends = [f'({number_text(path.x[i])}, {number_text(path.y[i])})' for i in (0, -1)]
        words.append(f'{path.name} from {ends[0]} to {ends[1]}')
    return Chart(
        ident,
        metric,
        label=f'{metric.title}: {names[1]} against {names[0]}',
        summary='; '.join(words),
        table=Table(f'{metric.title}, {metric.unit}', ['Run', step, *names], rows),
        drawing=dict(
            xlabel=f'{names[0]}, {metric.unit}',
            ylabel=f'{names[1]}, {metric.unit}',
            names=names,
            step=step,
            x=x,
            y=y,
            diagonals=_diagonals(x, y),
            lines=drawn,
        ),
    )


def thinned(
    x: Sequence[float], y: Sequence[float], points: int = POINTS
) -> tuple[list[float], list[float]]:
    """Keep the ends and, of equal stretches, the lowest, the highest and the first gap.

    So no extreme is lost. ``points`` or fewer points are all kept.
    """
    if len(x) <= points:
        return list(x), list(y)
    keep = {0, len(x) - 1}
    stretches = points // 3
    for i in range(stretches):
        rows = range(i * len(x) // stretches, (i + 1) * len(x) // stretches)
        finite = [row for row in rows if math.isfinite(y[row])]
        gaps = [row for row in rows if not math.isfinite(y[row])]
        keep |= {*gaps[:1]}
        if finite:
            keep |= {min(finite, key=lambda row: y[row]), max(finite, key=lambda row: y[row])}
    kept = sorted(keep)
    return [x[row] for row in kept], [y[row] for row in kept]


def runaways(lines: Sequence[Line]) -> list[Line]:
    """Curves that would flatten all others; at least two curves remain.

    A curve is one if the values of all span more than 5 times what they span without it.
    """
    gone: list[Line] = []
    rest = [line for line in lines if any(map(math.isfinite, line.y))]
    while len(rest) > 2:
        spans = [_range(rest[:i] + rest[i + 1 :]) for i in range(len(rest))]
        least = min(range(len(rest)), key=lambda i: spans[i])
        if not 0 < 5 * spans[least] < _range(rest):
            break
        gone.append(rest.pop(least))
    return gone


def line_summary(line: Line) -> str:
    """A curve in words."""
    finite = [y for y in line.y if math.isfinite(y)]
    if not finite:
        return f'{line.name}: no finite value'
    first, last, low, high = map(number_text, (finite[0], finite[-1], min(finite), max(finite)))
    return f'{line.name}: from {first} to {last}, lowest {low}, highest {high}'


def _points_table(lines: Sequence[Line], xlabel: str, caption: str) -> Table:
    """Some points of curves, each the last one up to that x."""
    every = sorted({x for line in lines for x in line.x})
    count = min(TABLE_ROWS, len(every))
    chosen = [every[round(i * (len(every) - 1) / max(1, count - 1))] for i in range(count)]
    rows = []
    for at in chosen:
        before = [[y for x, y in zip(line.x, line.y) if x <= at] for line in lines]
        rows.append([number_text(at), *(number_text(ys[-1] if ys else None) for ys in before)])
    return Table(caption, [xlabel, *(line.name for line in lines)], rows)


def _drawn(line: Line, x: Sequence[float], y: Sequence[float], log: bool = False) -> dict[str, Any]:
    """A line as script.js takes it; null is a gap, and marks lie on the curve."""
    lowest = max(filter(math.isfinite, y), default=0.0) * LOG_FLOOR if log else -math.inf
    finite = [(at, value) for at, value in zip(x, y) if math.isfinite(value)]
    places, heights = [at for at, _ in finite], [value for _, value in finite]
    marks = [
        (at, float(np.interp(at, places, heights)) if finite else math.nan) for at, _ in line.marks
    ]
    return dict(
        name=line.name,
        key=line.key,
        colour=colour(line.slot),
        dash=[float(length) for length in dash(line.slot).split()],
        opacity=round(line.opacity, 2),
        x=_rounded(x),
        y=_rounded(value if value > lowest else math.nan for value in y),
        marks=[[*_rounded(place), text] for place, (_, text) in zip(marks, line.marks)],
    )


def _rounded(values: Iterable[float]) -> list[float | None]:
    """Nine digits, which no screen resolves, in few characters."""
    return [float(f'{value:.9g}') if math.isfinite(value) else None for value in values]


def _range(lines: Sequence[Line]) -> float:
    values = [y for line in lines for y in line.y if math.isfinite(y)]
    return max(values) - min(values)


def _span(values: Iterable[float], margin: float = 0.05) -> tuple[float, float]:
    """Ends of an axis for the finite values, never equal."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    room = (high - low) * margin or abs(low) * margin or 1.0
    return low - room, high + room


def _diagonals(x: tuple[float, float], y: tuple[float, float]) -> list[tuple[float, float, float]]:
    """Lines y = x + bound for round bounds: the bound, and x where it enters and leaves."""
    found = []
    for bound in round_numbers(y[0] - x[1], y[1] - x[0], 7):
        left, right = max(x[0], y[0] - bound), min(x[1], y[1] - bound)
        if right - left > 0.04 * (x[1] - x[0]):
            found.append((bound, left, right))
    return found


def round_numbers(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round numbers from ``low`` to ``high``."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]
