"""The charts of what was logged: training, features, the entropy plane and spectra."""

from collections.abc import Mapping, Sequence

import numpy as np

from mmentropy.engine.monitored_features import evenly
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
        keys = {key for run in runs for key in run.curves if key.startswith(prefix)}
        logged = {key.removeprefix(prefix) for key in keys}
        names = [name for name in FEATURES if name in logged]
        names += sorted(logged - {*FEATURES, *NOT_SHOWN})
        unit, origins = _entropy_scale(runs, part)
        charts = []
        for name in names:
            metric = FEATURES.get(name) or training_metric(name)
            if name in ('entropy', 'reconstruction'):
                charts.append(_chart(runs, prefix + name, metric._replace(unit=unit), origins))
            else:
                charts.append(_chart(runs, prefix + name, metric))
        if charts:
            found[part] = charts
    return found


def plane_charts(runs: Sequence[Run]) -> list[Chart]:
    """Paths of entropy against reconstruction, by part of the network."""
    unit_of_time, per_unit = _time_axis(runs)
    charts = []
    for part, title in PARTS.items():
        unit, origins = _entropy_scale(runs, part)
        paths = []
        for run in runs:
            entropy = dict(run.points(f'monitor/{part}/entropy'))
            error = dict(run.points(f'monitor/{part}/reconstruction'))
            steps = [at for at in entropy if np.isfinite(entropy[at] + error.get(at, np.nan))]
            if steps:
                points = np.array([(error[at], entropy[at]) for at in steps])
                x, y = points.T - origins.get(run.key, 0.0)
                times = [at / per_unit[run.key] for at in steps]
                letter = run.key if len(runs) > 1 else ''
                paths.append(Line(run.name, letter, run.slot, x, y, steps=times))
        if paths:
            names = ('reconstruction', 'entropy', 'ER bound')
            metric = Metric(title, unit, '', PLANE)
            charts.append(plane_chart(f'plane-{part}', metric, paths, names, unit_of_time))
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
    unit_of_time, per_unit = _time_axis(runs)
    charts = []
    for part, found in run.spectra.items():
        shown = [found[i] for i in evenly(len(found), SNAPSHOTS)]
        lines = []
        for i, (step, shares) in enumerate(shown, 1):
            name = f'{unit_of_time} {number_text(step / per_unit[run.key])}'
            lines.append(_spectrum(run, name, '', shares, 0.2 + 0.8 * i / len(shown)))
        lines[0].key, lines[-1].key = 's', 'e'
        text = f'{SPECTRUM} Pale: early, strong: late; s is the start, e the end.'
        ident, title = f'spectrum-{run.key}-{part}', PARTS.get(part, part)
        charts.append(_spectrum_chart(ident, title, text, lines))
    return charts


def _time_axis(runs: Sequence[Run]) -> tuple[str, dict[str, int]]:
    """The unit of time, and how many iterations it has by key of the run.

    It is the epoch where all runs know how long one is.
    """
    lengths = {run.key: run.per_epoch for run in runs if run.per_epoch}
    if len(lengths) == len(runs):
        return 'epoch', lengths
    return 'iteration', {run.key: 1 for run in runs}


def _chart(
    runs: Sequence[Run], key: str, metric: Metric, origins: Mapping[str, float] = {}
) -> Chart:
    """The curve of every run that logged it, with the run's alarms.

    ``origins`` holds what is to be subtracted from the values, by key of the run.
    """
    unit_of_time, per_unit = _time_axis(runs)
    lines = []
    for run in runs:
        if key in run.curves:
            steps, values = map(np.array, run.curves[key])
            x, y = steps / per_unit[run.key], values - origins.get(run.key, 0.0)
            marks = [
                (step / per_unit[run.key], f'{run.name}, iteration {step}: {text}')
                for step, text in run.alarms
            ]
            letter = run.key if len(runs) > 1 else ''
            lines.append(Line(run.name, letter, run.slot, x, y, marks=marks))
    ident = 'c-' + ''.join(c if c.isalnum() else '-' for c in key)
    # A loss that diverges may leave the plot; what was measured of features is shown whole.
    outside = [] if key.startswith(('monitor/', 'knn/')) else runaways(lines)
    return line_chart(ident, metric, lines, unit_of_time, outside=outside)


def _entropy_scale(runs: Sequence[Run], part: str) -> tuple[str, dict[str, float]]:
    """The unit of entropies, and what to subtract from them by key of the run.

    Above the entropy of one point, those of any width compare. They stay as they are where the
    width of some run is not known.
    """
    measured = [run for run in runs if f'monitor/{part}/entropy' in run.curves]
    if not all(part in run.widths for run in measured):
        return 'nats', {}
    origins = {run.key: point_entropy(run.widths[part]) for run in measured}
    return 'nats above one point', origins


def _spectrum(run: Run, name: str, key: str, shares: list[float], opacity: float = 1.0) -> Line:
    x = np.arange(1, len(shares) + 1)
    return Line(name, key, run.slot, x, np.array(shares, float), opacity)


def _spectrum_chart(ident: str, title: str, text: str, lines: list[Line]) -> Chart:
    metric = Metric(title, 'share of the sum', '', text)
    return line_chart(ident, metric, lines, 'singular value', log=True)
