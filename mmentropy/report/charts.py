"""Charts as data: what uPlot is given to draw, and the same in words and in a table."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

from mmentropy.engine.monitored_features import evenly
from mmentropy.report.metrics import Metric

# Points that are drawn of a curve, at most.
POINTS = 400
# Rows of a table of points, at most.
TABLE_ROWS = 10
# On a logarithmic axis, values below this share of the highest are left out.
LOG_FLOOR = 1e-6
# Colours are the CSS variables --s0 to --s9 of style.css.
COLOURS = 10
# The room beside the values along an axis, as a share of it.
MARGIN = 0.05
# Larger numbers are written with an exponent.
LARGEST_COUNT = 1e9
DASHES = ('', '7 3', '2 3', '9 3 2 3', '5 2 2 2 2 2', '14 4', '1 2')


@dataclass(eq=False)
class Line:
    """A curve, or a path in a plane, with a letter at its end and a place in the palette.

    x grows, but for a path; nan and inf in y are gaps. ``steps`` say when the points of a path
    were measured, in epochs or iterations; ``marks`` are alarms, their x and their texts.
    """

    name: str
    key: str
    slot: int
    x: np.ndarray
    y: np.ndarray
    opacity: float = 1.0
    steps: Sequence[float] = ()
    marks: Sequence[tuple[float, str]] = ()

    def finite(self) -> np.ndarray:
        """The values of y that are no gaps."""
        return self.y[np.isfinite(self.y)]


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
    """A number with so many significant digits and a true minus; a dash for None.

    Counts, such as iterations, and what has more digits before its point are whole numbers.
    """
    if value is None:
        return '–'
    text = f'{value:.{digits}g}'
    rounded = abs(float(text))
    if rounded < LARGEST_COUNT and (rounded >= 10**digits or value == round(value)):
        text = f'{value:,.0f}'
    return text.replace('-', '−')


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
    y = None
    if outside:
        y = _span([line.y for line in lines if line not in outside])
        beyond = '; '.join(map(line_summary, outside))
        metric = metric._replace(text=f'{metric.text} Beyond the plot: {beyond}.')
    drawn = [_drawn(line, thinned(line.y), log) for line in lines]
    return Chart(
        ident,
        metric,
        label=f'{metric.title} by {xlabel}',
        summary='; '.join(map(line_summary, lines[:10])),
        table=_points_table(lines, xlabel, f'{metric.title}, some points'),
        drawing=dict(xlabel=xlabel, log=log, y=y, lines=drawn),
    )


def plane_chart(
    ident: str, metric: Metric, paths: Sequence[Line], names: tuple[str, str, str], step: str
) -> Chart:
    """At least one path without gaps in a plane, with lines along which y - x is the same.

    The unit of ``metric`` is that of both axes. ``names`` say what x, y and y - x are, and
    ``step`` what the steps of the paths count.
    """
    x, y = _span([path.x for path in paths]), _span([path.y for path in paths])
    drawn, rows, words = [], [], []
    for path in paths:
        kept = evenly(len(path.x), POINTS)
        steps = _rounded(path.steps[i] for i in kept)
        drawn.append(_drawn(path, kept) | dict(steps=steps))
        for i in evenly(len(path.x), 3):
            point = (path.steps[i], path.x[i], path.y[i], path.y[i] - path.x[i])
            rows.append([path.name, *(number_text(value, 6) for value in point)])
        start, end = [f'({number_text(path.x[i])}, {number_text(path.y[i])})' for i in (0, -1)]
        words.append(f'{path.name} from {start} to {end}')
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


def thinned(y: np.ndarray) -> list[int]:
    """The points of a curve to be drawn; all of them where they are ``POINTS`` or fewer.

    Else they are the ends and, of equal stretches, the lowest, the highest and the first gap, so
    that no extreme is lost.
    """
    if len(y) <= POINTS:
        return [*range(len(y))]
    kept = {0, len(y) - 1}
    for rows in np.array_split(np.arange(len(y)), POINTS // 3):
        finite = rows[np.isfinite(y[rows])]
        ordered = finite[y[finite].argsort()]
        kept |= {*ordered[:1], *ordered[-1:], *np.setdiff1d(rows, finite)[:1]}
    return sorted(kept)


def runaways(lines: Sequence[Line]) -> list[Line]:
    """Curves that would flatten all others; at least two curves remain.

    A curve is one if the values of all span more than 5 times what they span without it.
    """
    gone: list[Line] = []
    rest = [line for line in lines if len(line.finite())]
    while len(rest) > 2:
        without = [_range(rest[:i] + rest[i + 1 :]) for i in range(len(rest))]
        if not 0 < 5 * min(without) < _range(rest):
            break
        gone.append(rest.pop(without.index(min(without))))
    return gone


def line_summary(line: Line) -> str:
    """A curve in words."""
    found = line.finite()
    if not len(found):
        return f'{line.name}: no finite value'
    first, last, low, high = map(number_text, (found[0], found[-1], found.min(), found.max()))
    return f'{line.name}: from {first} to {last}, lowest {low}, highest {high}'


def _points_table(lines: Sequence[Line], xlabel: str, caption: str) -> Table:
    """Some points of curves, each the last one up to that x."""
    every = np.unique(np.concatenate([line.x for line in lines]))
    rows = []
    for at in every[evenly(len(every), TABLE_ROWS)]:
        before = [line.y[line.x <= at] for line in lines]
        rows.append([number_text(at), *(number_text(y[-1] if len(y) else None) for y in before)])
    return Table(caption, [xlabel, *(line.name for line in lines)], rows)


def _drawn(line: Line, kept: list[int], log: bool = False) -> dict[str, Any]:
    """Points of a line as script.js takes them; null is a gap, and marks lie on the curve."""
    finite = np.isfinite(line.y)
    lowest = max(line.y[finite], default=0.0) * LOG_FLOOR if log else -math.inf
    marks = []
    for at, text in line.marks:
        height = np.interp(at, line.x[finite], line.y[finite]) if finite.any() else math.nan
        marks.append([*_rounded((at, height)), text])
    return dict(
        name=line.name,
        key=line.key,
        colour=colour(line.slot),
        dash=[float(length) for length in dash(line.slot).split()],
        opacity=round(line.opacity, 2),
        x=_rounded(line.x[kept]),
        y=_rounded(value if value > lowest else math.nan for value in line.y[kept]),
        marks=marks,
    )


def _rounded(values: Iterable[float]) -> list[float | None]:
    """Nine digits, which no screen resolves, in few characters."""
    return [float(f'{value:.9g}') if math.isfinite(value) else None for value in values]


def _range(lines: Sequence[Line]) -> float:
    return float(np.ptp(np.concatenate([line.finite() for line in lines])))


def _span(parts: Sequence[np.ndarray]) -> tuple[float, float]:
    """Ends of an axis for the finite values, of which there are some; never equal."""
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    room = MARGIN * (high - low or abs(low)) or 1.0
    return low - room, high + room


def _diagonals(x: tuple[float, float], y: tuple[float, float]) -> list[tuple[float, float, float]]:
    """Lines y = x + bound for round bounds: the bound, and x where it enters and leaves."""
    found = []
    for bound in map(float, MaxNLocator(7).tick_values(y[0] - x[1], y[1] - x[0])):
        left, right = max(x[0], y[0] - bound), min(x[1], y[1] - bound)
        if right - left > 0.04 * (x[1] - x[0]):
            found.append((bound, left, right))
    return found
