"""Charts as SVG: numbers in, text out, no script needed to read them.

Coordinates have two decimals, so that a page can give values back from them:
``data-box`` holds left, top, width and height of the plot, ``data-x`` and
``data-y`` the values at its ends, ``data-log`` says that y is logarithmic.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape

import numpy as np

from mmentropy.report.palette import colour, dash

WIDTH, HEIGHT = 360, 220
_TOP, _BOTTOM, _LEFT, _RIGHT = 14, 34, 46, 22
# Points that are drawn of a curve, at most.
POINTS = 400
# Lowest value on a logarithmic axis, as a share of the highest.
FLOOR = 1e-6


@dataclass
class Line:
    """A curve.

    Args:
        name: Of the run, or of what else it shows.
        key: A letter at its end.
        slot: Place in the palette.
        x: Growing, but in a plane.
        y: May hold nan and inf, which are gaps.
        opacity: Of the stroke.
        steps: What the points of a plane are, e.g. epochs.
        marks: Alarms on it, as x and text.
    """

    name: str
    key: str
    slot: int
    x: Sequence[float]
    y: Sequence[float]
    opacity: float = 1.0
    steps: Sequence[float] = ()
    marks: Sequence[tuple[float, str]] = ()


@dataclass
class Axis:
    """Linear, or logarithmic to the base 10."""

    low: float
    high: float
    log: bool = False
    label: str = ''
    ticks: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.ticks = log_ticks(self.low, self.high) if self.log else ticks(self.low, self.high)

    def at(self, value: float) -> float:
        """Place from 0 to 1."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = map(math.log10, (low, high, value))
        return (value - low) / (high - low)


def text_of(value: float | None, digits: int = 4) -> str:
    """A number to so many digits, with a true minus; a dash for none."""
    if value is None:
        return '–'
    if not math.isfinite(value):
        return str(value)
    return f'{value:.{digits}g}'.replace('-', '−')


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers from ``low`` to ``high``."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, at most six."""
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    every = max(1, math.ceil((last - first + 1) / 6))
    return [10.0**i for i in range(last, first - 1, -every)][::-1]


def thinned(
    x: Sequence[float], y: Sequence[float], points: int = POINTS
) -> tuple[list[float], list[float]]:
    """Ends, and lowest and highest of equal parts: no extreme is lost.

    Args:
        x: (N,).
        y: (N,), may hold nan and inf; the first gap of a part is kept.
        points: More than that are thinned.
    """
    if len(x) <= points:
        return list(x), list(y)
    keep = {0, len(x) - 1}
    parts = points // 3
    for part in range(parts):
        span = range(part * len(x) // parts, (part + 1) * len(x) // parts)
        finite = [i for i in span if math.isfinite(y[i])]
        gaps = [i for i in span if not math.isfinite(y[i])]
        keep |= set(gaps[:1])
        if finite:
            keep |= {min(finite, key=lambda i: y[i]), max(finite, key=lambda i: y[i])}
    rows = sorted(keep)
    return [x[i] for i in rows], [y[i] for i in rows]


def span(values: Sequence[float], log: bool = False, margin: float = 0.05) -> tuple[float, float]:
    """Ends of an axis for finite values, never equal."""
    values = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
    if not values:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = min(values), max(values)
    if log:
        return max(low, high * FLOOR) / 1.3, high * 1.3
    if low == high:
        # Of one value, or all alike.
        return low - (abs(low) * 0.05 or 1.0), high + (abs(low) * 0.05 or 1.0)
    return low - (high - low) * margin, high + (high - low) * margin


class Frame:
    """Axes with ticks; a chart is its parts in order."""

    def __init__(
        self,
        ident: str,
        title: str,
        desc: str,
        x: Axis,
        y: Axis,
        height: int = HEIGHT,
        step: str = '',
    ) -> None:
        self.x, self.y, self.ident = x, y, ident
        self.box = (_LEFT, _TOP, WIDTH - _LEFT - _RIGHT, height - _TOP - _BOTTOM)
        left, top, width, tall = self.box
        self.parts = [
            f'<svg class="chart" role="img" viewBox="0 0 {WIDTH} {height}" '
            f'aria-labelledby="{ident}-t {ident}-d" data-step="{step}" '
            f'data-box="{left} {top} {width} {tall}" '
            f'data-x="{x.low:.9g} {x.high:.9g}" '
            f'data-y="{y.low:.9g} {y.high:.9g}" '
            f'data-xlabel="{escape(x.label)}"'
            f'{" data-log" if y.log else ""}>'
            f'<title id="{ident}-t">{escape(title)}</title>'
            f'<desc id="{ident}-d">{escape(desc)}</desc>'
            f'<clipPath id="{ident}-c"><rect x="{left}" y="{top - 2}" '
            f'width="{width + 2}" height="{tall + 3}"/></clipPath>'
        ]
        digits = _digits(y.ticks)
        for tick in y.ticks:
            at = self.py(tick)
            self.parts.append(
                f'<path class="rule" d="M{left} {at:.2f}h{width}"/>'
                f'<text class="tick" x="{left - 6}" y="{at + 3.5:.2f}" '
                f'text-anchor="end">{_tick(tick, digits, y.log)}</text>'
            )
        digits = _digits(x.ticks)
        for tick in x.ticks:
            self.parts.append(
                f'<text class="tick" x="{self.px(tick):.2f}" '
                f'y="{top + tall + 14}" text-anchor="middle">'
                f'{_tick(tick, digits, x.log)}</text>'
            )
        self.parts.append(
            f'<path class="axis" d="M{left} {top + tall}h{width}"/>'
            f'<text class="tick" x="{left + width}" y="{top + tall + 28}" '
            f'text-anchor="end">{escape(x.label)}</text>'
        )
        if y.label:
            self.parts.append(
                f'<text class="tick" x="{left}" y="{top - 4}">{escape(y.label)}</text>'
            )

    def px(self, value: float) -> float:
        """Horizontal place of a value."""
        return self.box[0] + self.box[2] * self.x.at(value)

    def py(self, value: float) -> float:
        """Vertical place of a value."""
        return self.box[1] + self.box[3] * (1 - self.y.at(value))

    def draw(self, line: Line) -> None:
        """The strokes of a curve; a point of its own is a dot."""
        stroke = dash(line.slot)
        dashes = f' stroke-dasharray="{stroke}"' if stroke else ''
        faint = f' stroke-opacity="{line.opacity:.2f}"' if line.opacity < 1 else ''
        name = escape(line.name)
        for rows in _pieces(line.y, self.y.log):
            places = [(self.px(line.x[i]), self.py(line.y[i])) for i in rows]
            points = ' '.join(f'{x:.2f},{y:.2f}' for x, y in places)
            steps = ''
            if line.steps:
                steps = ' data-t="' + ' '.join(f'{line.steps[i]:g}' for i in rows) + '"'
            self.parts.append(
                f'<polyline class="line" data-name="{name}"{steps} '
                f'style="stroke:{colour(line.slot)}"{dashes}{faint} '
                f'clip-path="url(#{self.ident}-c)" points="{points}"/>'
            )
            if len(rows) == 1:
                self.parts.append(_dot(*places[0], line.slot))

    def label_ends(self, lines: Sequence[Line]) -> None:
        """Letters right of the plot, moved apart."""
        ends = []
        for line in lines:
            pieces = _pieces(line.y, self.y.log)
            if pieces and line.key:
                last = self.y.at(line.y[pieces[-1][-1]])
                ends.append((self.box[1] + self.box[3] * (1 - min(1.0, max(0.0, last))), line))
        ends.sort(key=lambda end: end[0])
        places = apart([at for at, _ in ends], self.box[1] + 4, self.box[1] + self.box[3])
        for at, (_, line) in zip(places, ends):
            self.parts.append(
                f'<text class="key" x="{self.box[0] + self.box[2] + 5}" '
                f'y="{at + 3.5:.2f}" style="fill:{colour(line.slot)}">'
                f'{escape(line.key)}</text>'
            )

    def draw_marks(self, line: Line) -> None:
        """Alarms as triangles on their curve."""
        finite = [i for i, y in enumerate(line.y) if math.isfinite(y)]
        for at, text in line.marks:
            if not finite or not self.x.low <= at <= self.x.high:
                continue
            y = np.interp(at, [line.x[i] for i in finite], [line.y[i] for i in finite])
            place = min(max(self.py(float(y)), self.box[1]), self.box[1] + self.box[3])
            self.parts.append(
                f'<g class="alarm"><title>{escape(text)}</title><path '
                f'd="M{self.px(at):.2f} {place - 6:.2f}l5.5 9.5h-11z"/></g>'
            )

    def done(self) -> str:
        """The SVG."""
        return ''.join(self.parts) + '</svg>'


def line_chart(
    ident: str,
    title: str,
    lines: Sequence[Line],
    xlabel: str,
    log: bool = False,
    outside: Sequence[Line] = (),
) -> str:
    """Curves over a common x.

    Args:
        ident: Unique on the page.
        title: Of the metric.
        lines: At least one.
        xlabel: Of the axis.
        log: y is logarithmic.
        outside: Lines that y need not reach to.
    """
    thin = []
    for line in lines:
        x, y = thinned(line.x, line.y)
        thin.append(replace(line, x=x, y=y))
    values = [y for line in lines if line not in outside for y in line.y]
    across = Axis(*span([x for line in thin for x in line.x], margin=0.0), label=xlabel)
    frame = Frame(
        ident, title, '; '.join(map(summary, lines[:10])), across, Axis(*span(values, log), log)
    )
    for line in thin:
        frame.draw(line)
    for line in thin:
        frame.draw_marks(line)
    frame.label_ends(thin)
    return frame.done()


def plane_chart(
    ident: str, title: str, lines: Sequence[Line], xlabel: str, ylabel: str, step: str = 'epoch'
) -> str:
    """Paths, with lines where y - x is the same.

    The start of a path is a ring, its end a disc; ``step`` is what its points
    are counted in.
    """
    x = Axis(*span([x for line in lines for x in line.x]), label=xlabel)
    y = Axis(*span([y for line in lines for y in line.y]), label=ylabel)
    desc = '; '.join(
        f'{line.name} from ({text_of(line.x[0])}, {text_of(line.y[0])}) to '
        f'({text_of(line.x[-1])}, {text_of(line.y[-1])})'
        for line in lines
    )
    frame = Frame(ident, title, desc, x, y, 300, step)
    for bound in ticks(y.low - x.high, y.high - x.low, 7):
        # Where the line enters and leaves the plot.
        left, right = max(x.low, y.low - bound), min(x.high, y.high - bound)
        if frame.px(right) - frame.px(left) < 12:
            continue
        ends = [(frame.px(at), frame.py(at + bound)) for at in (left, right)]
        frame.parts.append(
            '<path class="iso" d="M{:.2f} {:.2f}L{:.2f} {:.2f}"/>'.format(*ends[0], *ends[1])
        )
        frame.parts.append(
            f'<text class="tick iso-label" x="{ends[1][0] - 3:.2f}" '
            f'y="{ends[1][1] + 10:.2f}" text-anchor="end">'
            f'{text_of(bound)}</text>'
        )
    for line in lines:
        # As many points as can be seen, evenly in time.
        every = -(-len(line.x) // POINTS)
        rows = sorted({*range(0, len(line.x), every), len(line.x) - 1})
        frame.draw(
            replace(
                line,
                x=[line.x[i] for i in rows],
                y=[line.y[i] for i in rows],
                steps=[line.steps[i] for i in rows],
            )
        )
        frame.parts.append(_dot(frame.px(line.x[0]), frame.py(line.y[0]), line.slot, ring=True))
        at = frame.px(line.x[-1]), frame.py(line.y[-1])
        frame.parts.append(_dot(*at, line.slot))
        frame.parts.append(
            f'<text class="key" x="{at[0] + 7:.2f}" y="{at[1] + 4:.2f}" '
            f'style="fill:{colour(line.slot)}">{escape(line.key)}</text>'
        )
    return frame.done()


def map_chart(
    ident: str, title: str, desc: str, marks: Sequence[tuple[float, float, str, int, bool, str]]
) -> str:
    """A scatter of characters.

    Args:
        ident: Unique on the page.
        title: Of the map.
        desc: In words.
        marks: Place in 0..1 from the upper left, character, slot, whether to
            put a ring around it, and what it is.
    """
    parts = [
        f'<svg class="map" role="img" viewBox="0 0 {WIDTH} {WIDTH}" '
        f'aria-labelledby="{ident}-t {ident}-d">'
        f'<title id="{ident}-t">{escape(title)}</title>'
        f'<desc id="{ident}-d">{escape(desc)}</desc>'
    ]
    for i, (x, y, sign, slot, ring, text) in enumerate(marks):
        x, y = 10 + x * (WIDTH - 20), 10 + y * (WIDTH - 20)
        circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6.5"/>' if ring else ''
        parts.append(
            f'<g class="mark" data-i="{i}" style="--c:{colour(slot)}">'
            f'<title>{escape(text)}</title>{circle}'
            f'<text x="{x:.1f}" y="{y + 3:.1f}">{escape(sign)}</text></g>'
        )
    return ''.join(parts) + '</svg>'


def apart(places: Sequence[float], low: float, high: float, room: float = 11.0) -> list[float]:
    """Growing places moved as little as keeps ``room`` between them."""
    moved: list[float] = []
    for at in places:
        moved.append(max(at, moved[-1] + room if moved else low))
    for i in reversed(range(len(moved))):
        after = moved[i + 1] - room if i + 1 < len(moved) else high
        moved[i] = min(moved[i], after)
    return moved


def runaways(lines: Sequence[Line]) -> list[Line]:
    """Curves that would flatten all others, of which two at least remain.

    With one of them the values span more than 5 times what they do without.
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


def _range(lines: Sequence[Line]) -> float:
    values = [y for line in lines for y in line.y if math.isfinite(y)]
    return max(values) - min(values)


def summary(line: Line) -> str:
    """A curve in words."""
    finite = [y for y in line.y if math.isfinite(y)]
    if not finite:
        return f'{line.name}: no finite value'
    return (
        f'{line.name}: from {text_of(finite[0])} to '
        f'{text_of(finite[-1])}, lowest {text_of(min(finite))}, highest '
        f'{text_of(max(finite))}'
    )


def _pieces(values: Sequence[float], log: bool) -> list[list[int]]:
    """Rows between gaps."""
    pieces: list[list[int]] = [[]]
    for i, value in enumerate(values):
        if math.isfinite(value) and (value > 0 or not log):
            pieces[-1].append(i)
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _dot(x: float, y: float, slot: int, ring: bool = False) -> str:
    return (
        f'<circle class="{"ring" if ring else "dot"}" cx="{x:.2f}" '
        f'cy="{y:.2f}" r="3.5" style="--c:{colour(slot)}"/>'
    )


def _digits(ticks: Sequence[float]) -> int:
    """Decimals that tell ticks apart."""
    if len(ticks) < 2:
        return 4
    step = ticks[1] - ticks[0]
    return max(
        0, -math.floor(math.log10(abs(step)) + 1e-9) + (f'{step:.2e}'.split('e')[0] == '2.50')
    )


def _tick(value: float, digits: int, log: bool) -> str:
    if log:
        power = round(math.log10(value))
        return (
            f'{10.0**power:g}'
            if -4 < power < 5
            else f'10<tspan dy="-4" font-size="8">{text_of(power)}</tspan>'
        )
    text = f'{value:,.{digits}f}' if abs(value) < 1e6 else f'{value:g}'
    return text.replace(',', '\u202f').replace('-', '−')
