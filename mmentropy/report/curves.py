"""Sections of what was logged: curves, planes and spectra."""

import math
from collections.abc import Callable, Sequence
from html import escape

from mmentropy.functional.diagnostics import point_entropy
from mmentropy.report.charts import Line, line_chart, plane_chart, runaways, summary, text_of
from mmentropy.report.metrics import KNN, MONITORED, UNSHOWN, Metric, trained
from mmentropy.report.parts import badge, figure, grid, missing, points_table, table
from mmentropy.report.runs import Run

PARTS = dict(backbone='Backbone', projector='Projector')
# Spectra that are drawn of a run, at most.
SNAPSHOTS = 10
NO_MONITOR = (
    "Not measured in training: add <code>dict(type='EntropyMonitorHook')"
    '</code> to <code>custom_hooks</code>.'
)
NO_KNN = (
    "No kNN during training: add <code>dict(type='KNNHook')</code> to "
    '<code>custom_hooks</code> and name labelled '
    '<code>eval_datasets</code>.'
)


class Scale:
    """Epochs where all runs count them, iterations otherwise."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.epochs = all(run.per_epoch for run in runs)
        self.label = 'epoch' if self.epochs else 'iteration'

    def __call__(self, run: Run, step: float) -> float:
        return step / run.per_epoch if self.epochs and run.per_epoch else step


def lines_of(
    runs: Sequence[Run], key: str, scale: Scale, shift: Callable[[Run], float] = lambda run: 0.0
) -> list[Line]:
    """A curve of every run that logged it, with its alarms."""
    found = []
    for run in runs:
        if key in run.curves:
            steps, values = run.curves[key]
            by_step: dict[int, list[str]] = {}
            for step, text in run.alarms:
                by_step.setdefault(step, []).append(text)
            found.append(
                Line(
                    run.name,
                    run.key if len(runs) > 1 else '',
                    run.slot,
                    [scale(run, step) for step in steps],
                    [value - shift(run) for value in values],
                    marks=[
                        (scale(run, step), f'{run.name}, iteration {step}: {"; ".join(texts)}')
                        for step, texts in by_step.items()
                    ],
                )
            )
    return found


def curve_figure(
    lines: Sequence[Line],
    ident: str,
    label: str,
    metric: Metric,
    level: int,
    outside: Sequence[Line] = (),
) -> str:
    """A chart of one logged number.

    Args:
        lines: Of the runs.
        ident: Unique on the page.
        label: Of x.
        metric: What it is.
        level: Of the heading.
        outside: see :func:`line_chart`; they are named.
    """
    if outside:
        metric = metric._replace(
            text=metric.text + ' Beyond the plot: ' + '; '.join(map(summary, outside)) + '.'
        )
    ident = 'c-' + ''.join(c if c.isalnum() else '-' for c in ident)
    svg = line_chart(ident, f'{metric.title} by {label}', lines, label, outside=outside)
    return figure(metric, svg, points_table(lines, label, f'{metric.title}, some points'), level)


def training(runs: Sequence[Run]) -> str:
    """What the algorithm itself logged, and kNN."""
    keys = dict.fromkeys(
        key
        for run in runs
        for key in run.curves
        if key not in UNSHOWN and key != 'knn/top1' and not key.startswith('monitor')
    )
    # What is not of a method comes last.
    ordered = sorted(keys, key=lambda key: (key != 'loss', key in ('lr', 'grad_norm'), '/' in key))
    scale = Scale(runs)
    found = []
    for key in ordered:
        lines = lines_of(runs, key, scale)
        found.append(curve_figure(lines, key, scale.label, trained(key), 3, runaways(lines)))
    lines = lines_of(runs, 'knn/top1', scale)
    if lines:
        found.insert(1 if 'loss' in keys else 0, curve_figure(lines, 'knn', scale.label, KNN, 3))
    html = grid(found)
    without = [run for run in runs if 'knn/top1' not in run.curves]
    if without:
        html += missing(_who(without, runs) + NO_KNN)
    return html


def _who(some: Sequence[Run], runs: Sequence[Run]) -> str:
    """Which runs a line is about, where it is not about all."""
    if len(some) == len(runs):
        return ''
    return ', '.join(badge(run, runs) for run in some) + ': '


def point_of(part: str) -> Callable[[Run], float]:
    """The entropy of one point at the width of a run's features."""
    return lambda run: point_entropy(run.widths[part])


def monitored(runs: Sequence[Run]) -> str:
    """The metrics of the monitor, part by part."""
    html, scale = '', Scale(runs)
    for part, title in PARTS.items():
        prefix = f'monitor/{part}/'
        keys = {
            key[len(prefix) :] for run in runs for key in run.curves if key.startswith(prefix)
        } - {*UNSHOWN}
        if not keys:
            continue
        figures = []
        names = [name for name in MONITORED if name in keys]
        for name in [*names, *sorted(keys - {*MONITORED})]:
            metric = MONITORED.get(name) or trained(name)
            lines = lines_of(runs, prefix + name, scale)
            groups = [lines]
            if name in ('entropy', 'reconstruction'):
                if _widths(runs, part):
                    groups = [lines_of(runs, prefix + name, scale, point_of(part))]
                    metric = metric._replace(unit='nats above one point')
                else:
                    groups = alike(lines)
            figures += [
                curve_figure(group, f'{prefix}{name}-{i}', scale.label, metric, 4)
                for i, group in enumerate(groups)
            ]
        html += (
            f'<h3>{title}</h3><p class="note">Features of held-out '
            f'images{WHERE[part]}.</p>{grid(figures)}'
        )
    without = [run for run in runs if not _monitored(run)]
    return html + (missing(_who(without, runs) + NO_MONITOR) if without else '')


WHERE = dict(backbone=', as a later task takes them', projector=', as the loss sees them')


def _monitored(run: Run) -> bool:
    return any(key.startswith('monitor/') for key in run.curves)


def _widths(runs: Sequence[Run], part: str) -> bool:
    """Whether all runs with that part know how wide it is."""
    return all(part in run.widths for run in runs if f'monitor/{part}/entropy' in run.curves)


# Entropies of one width lie in a range of the log of the number of images;
# those of other widths further away.
RANGE = 8.0


def plane_paths(runs: Sequence[Run], part: str) -> list[Line]:
    """Reconstruction and entropy of every run that has both."""
    known, scale = _widths(runs, part), Scale(runs)
    paths = []
    for run in runs:
        entropy, error = [
            dict(zip(*run.curves.get(f'monitor/{part}/{name}', ([], []))))
            for name in ('entropy', 'reconstruction')
        ]
        steps = [
            step for step in entropy if step in error and math.isfinite(entropy[step] + error[step])
        ]
        if steps:
            shift = point_of(part)(run) if known else 0.0
            paths.append(
                Line(
                    run.name,
                    run.key if len(runs) > 1 else '',
                    run.slot,
                    [error[step] - shift for step in steps],
                    [entropy[step] - shift for step in steps],
                    steps=[scale(run, step) for step in steps],
                )
            )
    return paths


def plane_unit(runs: Sequence[Run], part: str) -> str:
    """What the paths of :func:`plane_paths` are measured in."""
    return 'nats above one point' if _widths(runs, part) else 'nats'


def planes(runs: Sequence[Run]) -> str:
    """Paths of entropy against reconstruction."""
    figures = []
    for part, title in PARTS.items():
        groups = alike(plane_paths(runs, part))
        text = PLANE + (
            ' Runs of another width are in another plane, for entropies of '
            'different widths do not compare.'
            if len(groups) > 1
            else ''
        )
        unit = plane_unit(runs, part)
        for i, group in enumerate(groups):
            svg = plane_chart(
                f'plane-{part}-{i}',
                f'{title}: entropy against reconstruction',
                group,
                f'reconstruction, {unit}',
                f'entropy, {unit}',
                Scale(runs).label,
            )
            rows = [
                [
                    escape(line.name),
                    text_of(line.steps[at]),
                    text_of(line.x[at], 6),
                    text_of(line.y[at], 6),
                    text_of(line.y[at] - line.x[at]),
                ]
                for line in group
                for at in sorted({0, len(line.x) // 2, len(line.x) - 1})
            ]
            figures.append(
                figure(
                    Metric(title, unit, '', text),
                    svg,
                    table(
                        ['Run', Scale(runs).label, 'reconstruction', 'entropy', 'ER bound'],
                        rows,
                        f'{title}, {unit}',
                    ),
                    3,
                )
            )
    return grid(figures, wide=True) if figures else missing(NO_MONITOR)


PLANE = (
    'Up is spread, left is agreement of views. Along a thin line entropy '
    'minus reconstruction, the ER bound, is the same; it grows to the '
    'upper left. Ring: start, disc: end.'
)


def alike(paths: Sequence[Line]) -> list[list[Line]]:
    """Paths whose entropies can be of features of one width."""
    groups: list[list[Line]] = []
    for path in sorted(paths, key=lambda path: path.y[-1]):
        if groups and path.y[-1] - groups[-1][0].y[-1] < RANGE:
            groups[-1].append(path)
        else:
            groups.append([path])
    return [sorted(group, key=lambda path: path.slot) for group in groups]


SHARES = 'share of the sum'


def spectra(runs: Sequence[Run]) -> str:
    """Singular values, at the end and over training."""
    html = ''
    scale = Scale(runs)
    if len(runs) > 1:
        figures = []
        for part, title in PARTS.items():
            lines = [
                Line(
                    run.name,
                    run.key,
                    run.slot,
                    range(1, len(run.spectra[part][-1][1]) + 1),
                    run.spectra[part][-1][1],
                )
                for run in runs
                if run.spectra.get(part)
            ]
            if lines:
                figures.append(
                    spectrum_figure(
                        f'spectrum-{part}', Metric(f'{title}, last', SHARES, '', FLAT), lines, 4
                    )
                )
        if figures:
            html += '<h3>All runs at their end</h3>' + grid(figures, True)
    for run in runs:
        figures = []
        for part, title in PARTS.items():
            found = run.spectra.get(part) or []
            count = min(SNAPSHOTS, len(found))
            rows = [round(i * (len(found) - 1) / max(1, count - 1)) for i in range(count)]
            lines = [
                Line(
                    f'{scale.label} {text_of(scale(run, step))}',
                    '',
                    run.slot,
                    range(1, len(shares) + 1),
                    shares,
                    0.2 + 0.8 * (i + 1) / count,
                )
                for i, (step, shares) in enumerate(found[r] for r in rows)
            ]
            if lines:
                lines[0].key, lines[-1].key = 's', 'e'
                text = f'{FLAT} Pale: early, strong: late; s is the start, e the end.'
                figures.append(
                    spectrum_figure(
                        f'spectrum-{run.key}-{part}',
                        Metric(title, SHARES, '', text),
                        lines,
                        4 if len(runs) > 1 else 3,
                    )
                )
        if figures:
            head = f'<h3>{badge(run, runs)} over training</h3>' if len(runs) > 1 else ''
            html += head + grid(figures, wide=True)
    return html or missing(NO_MONITOR)


FLAT = (
    'Each singular value of the centred features as a share of their sum: '
    'a flat line uses all directions, a cliff few.'
)


def spectrum_figure(ident: str, metric: Metric, lines: Sequence[Line], level: int) -> str:
    """Shares by rank on a logarithmic axis; one colour, later is stronger."""
    svg = line_chart(ident, f'Spectrum, {metric.title}', lines, 'singular value', log=True)
    return figure(
        metric,
        svg,
        points_table(lines, 'singular value', f'{metric.title}, some singular values'),
        level,
    )
