"""Pieces of HTML that the sections of a report share."""

from collections.abc import Iterable, Sequence
from html import escape

from mmentropy.report.charts import Line, text_of
from mmentropy.report.metrics import Metric
from mmentropy.report.palette import colour, dash
from mmentropy.report.runs import Run

# Rows of a table of numbers.
ROWS = 10


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    """A table of HTML cells, the first of a row its header; it scrolls."""
    heads = ''.join(f'<th scope="col">{cell}</th>' for cell in head)
    body = ''.join(
        f'<tr><th scope="row">{row[0]}</th>'
        + ''.join(f'<td>{cell}</td>' for cell in row[1:])
        + '</tr>'
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" '
        f'aria-label="{escape(caption)}"><table>'
        f'<caption>{escape(caption)}</caption><thead><tr>{heads}</tr>'
        f'</thead><tbody>{body}</tbody></table></div>'
    )


def missing(text: str) -> str:
    """A line in place of what is not there."""
    return f'<p class="missing">{text}</p>'


def swatch(run: Run) -> str:
    """A sample of a run's lines."""
    return (
        f'<svg class="swatch" viewBox="0 0 30 8" aria-hidden="true">'
        f'<path d="M0 4h30" style="stroke:{colour(run.slot)}" '
        f'stroke-dasharray="{dash(run.slot)}"/></svg>'
    )


def badge(run: Run, runs: Sequence[Run]) -> str:
    """A run's name, with its letter where there are several."""
    key = f'<b class="letter">{run.key}</b> ' if len(runs) > 1 else ''
    return key + escape(run.name)


def legend(runs: Sequence[Run]) -> str:
    """Lines and letters of the runs; nothing for one."""
    if len(runs) < 2:
        return ''
    items = ''.join(f'<li>{swatch(run)} {badge(run, runs)}</li>' for run in runs)
    return f'<ul class="legend" aria-label="Runs">{items}</ul>'


def figure(metric: Metric, svg: str, numbers: str, level: int) -> str:
    """A chart with what it shows and its numbers."""
    unit = f' <span class="unit">{escape(metric.unit)}</span>' if metric.unit else ''
    arrow = dict(higher='↑', lower='↓').get(metric.better)
    better = (
        f'<p class="better"><span aria-hidden="true">{arrow}</span> {metric.better} is better</p>'
        if arrow
        else ''
    )
    text = f'<p>{escape(metric.text)}</p>' if metric.text else ''
    return (
        f'<figure><figcaption><h{level}>{escape(metric.title)}{unit}'
        f'</h{level}>{better}{text}</figcaption>{svg}<details><summary>'
        f'Numbers<span class="hidden"> of {escape(metric.title)}</span>'
        f'</summary>{numbers}</details></figure>'
    )


def grid(figures: Iterable[str], wide: bool = False) -> str:
    """Figures beside each other where there is room."""
    return f'<div class="grid{" wide" if wide else ""}">' + ''.join(figures) + '</div>'


def points_table(lines: Sequence[Line], xlabel: str, caption: str) -> str:
    """Some points of curves, each the last one up to that x."""
    every = sorted({x for line in lines for x in line.x})
    count = min(ROWS, len(every))
    chosen = [every[round(i * (len(every) - 1) / max(1, count - 1))] for i in range(count)]
    rows = []
    for at in chosen:
        cells = [text_of(at)]
        for line in lines:
            before = [i for i, x in enumerate(line.x) if x <= at]
            cells.append(text_of(line.y[before[-1]]) if before else '–')
        rows.append(cells)
    head = [escape(xlabel), *(escape(line.name) for line in lines)]
    return table(head, rows, caption)
