"""The charts of what was logged: training, features, the entropy plane and spectra."""

import math
from collections.abc import Sequence

from mmentropy.functional.diagnostics import point_entropy
from mmentropy.report.charts import Chart, Line, line_chart, number_text, plane_chart, runaways
from mmentropy.report.metrics import FEATURES, NOT_SHOWN, Metric, training_metric
from mmentropy.report.runs import Run

PARTS = dict(backbone='Backbone', projector='Projector')
# Spectra that are drawn of a run, at most.
SNAPSHOTS = 10
PLANE = (
    'Up is spread, left is agreement of views. Along a thin line entropy minus reconstruction, '
    'the ER bound, is the same; it grows to the upper left. Ring: start, disc: end.'
)
SPECTRUM = (
    'Each singular value of the centred features as a share of their sum: a flat line uses all '
    'directions, a cliff few.'
)


class TimeAxis:
    """Epochs where all runs know how long an epoch is, iterations otherwise."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.epochs = all(run.per_epoch for run in runs)
        self.label = 'epoch' if self.epochs else 'iteration'

    def place(self, run: Run, step: float) -> float:
        """Where an iteration of a run lies on the axis."""
        return step / run.per_epoch if self.epochs and run.per_epoch else step


def runs_without(runs: Sequence[Run], prefix: str) -> list[Run]:
    """The runs that logged no key that begins so."""
    return [run for run in runs if not any(key.startswith(prefix) for key in run.curves)]


def training_charts(runs: Sequence[Run]) -> list[Chart]:
    """What the algorithm itself logged, and kNN during training."""
    keys = [
        key
        for key in dict.fromkeys(key for run in runs for key in run.curves)
        if key not in NOT_SHOWN and not key.startswith('monitor')
    ]
    # The loss comes first and kNN second; what no method computes comes last.
    first = ('loss', 'knn/top1')
    keys.sort(key=lambda key: (key not in first, key in ('lr', 'grad_norm'), '/' in key))
    return [_chart(runs, key, training_metric(key)) for key in keys]


def feature_charts(runs: Sequence[Run]) -> dict[str, list[Chart]]:
    """The monitor's metrics of every part of the network that was measured."""
    found = {}
    for part in PARTS:
        prefix = f'monitor/{part}/'
        logged = [key for run in runs for key in run.curves if key.startswith(prefix)]
        keys = {key.removeprefix(prefix) for key in logged}
        names = [*filter(keys.__contains__, FEATURES), *sorted(keys - {*FEATURES, *NOT_SHOWN})]
        origins = _entropy_origins(runs, part)
        charts = []
        for name in names:
            metric = FEATURES.get(name) or training_metric(name)
            if name in ('entropy', 'reconstruction'):
                metric = metric._replace(unit=_entropy_unit(origins))
                charts.append(_chart(runs, prefix + name, metric, origins))
            else:
                charts.append(_chart(runs, prefix + name, metric))
        if charts:
            found[part] = charts
    return found


def plane_charts(runs: Sequence[Run]) -> list[Chart]:
    """Paths of entropy against reconstruction, by part of the network."""
    axes, step = ('reconstruction', 'entropy', 'ER bound'), TimeAxis(runs).label
    charts = []
    for part, title in PARTS.items():
        origins = _entropy_origins(runs, part)
        paths = [path for run in runs if (path := _plane_path(run, runs, part, origins)).x]
        if paths:
            metric = Metric(title, _entropy_unit(origins), '', PLANE)
            charts.append(plane_chart(f'plane-{part}', metric, paths, axes, step))
    return charts


def final_spectrum_charts(runs: Sequence[Run]) -> list[Chart]:
    """The last spectrum of every run, by part of the network."""
    charts = []
    for part, title in PARTS.items():
        known = [run for run in runs if part in run.spectra]
        lines = [_spectrum(run, run.name, run.key, run.spectra[part][-1][1]) for run in known]
        if lines:
            charts.append(_spectrum_chart(f'spectrum-{part}', f'{title}, last', SPECTRUM, lines))
    return charts


def spectrum_charts(run: Run, runs: Sequence[Run]) -> list[Chart]:
    """The spectra of one of the runs over training, by part of the network."""
    axis = TimeAxis(runs)
    charts = []
    for part, found in run.spectra.items():
        count = min(SNAPSHOTS, len(found))
        lines = []
        for i in range(count):
            step, shares = found[round(i * (len(found) - 1) / max(1, count - 1))]
            name = f'{axis.label} {number_text(axis.place(run, step))}'
            lines.append(_spectrum(run, name, '', shares, 0.2 + 0.8 * (i + 1) / count))
        lines[0].key, lines[-1].key = 's', 'e'
        text = f'{SPECTRUM} Pale: early, strong: late; s is the start, e the end.'
        ident, title = f'spectrum-{run.key}-{part}', PARTS.get(part, part)
        charts.append(_spectrum_chart(ident, title, text, lines))
    return charts


def _chart(
    runs: Sequence[Run], key: str, metric: Metric, origins: dict[str, float] | None = None
) -> Chart:
    """The curve of every run that logged it, with the run's alarms.

    ``origins`` holds what is to be subtracted from the values, by key of the run.
    """
    axis = TimeAxis(runs)
    lines = []
    for run in runs:
        if key not in run.curves:
            continue
        steps, values = run.curves[key]
        origin = origins[run.key] if origins else 0.0
        texts: dict[int, list[str]] = {}
        for step, text in run.alarms:
            texts.setdefault(step, []).append(f'{run.name}, iteration {step}: {text}')
        lines.append(
            Line(
                run.name,
                run.key if len(runs) > 1 else '',
                run.slot,
                [axis.place(run, step) for step in steps],
                [value - origin for value in values],
                marks=[(axis.place(run, step), '\n'.join(texts[step])) for step in texts],
            )
        )
    ident = 'c-' + ''.join(c if c.isalnum() else '-' for c in key)
    # A loss that diverges may leave the plot; what was measured of features is shown whole.
    outside = [] if key.startswith(('monitor/', 'knn/')) else runaways(lines)
    return line_chart(ident, metric, lines, axis.label, outside=outside)


def _entropy_origins(runs: Sequence[Run], part: str) -> dict[str, float] | None:
    """The entropy of one point at each run's width, by key of the run.

    Above it, entropies of any width compare. None if the width of some run is not known.
    """
    measured = [run for run in runs if f'monitor/{part}/entropy' in run.curves]
    if not all(part in run.widths for run in measured):
        return None
    return {run.key: point_entropy(run.widths[part]) for run in runs if part in run.widths}


def _entropy_unit(origins: dict[str, float] | None) -> str:
    return 'nats' if origins is None else 'nats above one point'


def _plane_path(run: Run, runs: Sequence[Run], part: str, origins: dict[str, float] | None) -> Line:
    """Reconstruction and entropy where a run has both; empty if it has not."""
    axis = TimeAxis(runs)
    entropy = dict(run.points(f'monitor/{part}/entropy'))
    error = dict(run.points(f'monitor/{part}/reconstruction'))
    steps = [at for at in entropy if at in error and math.isfinite(entropy[at] + error[at])]
    origin = origins[run.key] if origins and steps else 0.0
    return Line(
        run.name,
        run.key if len(runs) > 1 else '',
        run.slot,
        [error[step] - origin for step in steps],
        [entropy[step] - origin for step in steps],
        steps=[axis.place(run, step) for step in steps],
    )


def _spectrum(run: Run, name: str, key: str, shares: list[float], opacity: float = 1.0) -> Line:
    return Line(name, key, run.slot, range(1, len(shares) + 1), shares, opacity)


def _spectrum_chart(ident: str, title: str, text: str, lines: list[Line]) -> Chart:
    metric = Metric(title, 'share of the sum', '', text)
    return line_chart(ident, metric, lines, 'singular value', log=True)
