"""What EntropyMonitorHook found in runs: for the records of experiments, and for their pages."""

import sys
from pathlib import Path
from statistics import mean

from mmentropy.engine.collapse_alarms import (
    COLLAPSED_STD,
    DEAD_PROTOTYPES,
    DEAD_TARGETS,
    ENTROPY_SHARE,
    LENGTH_SHARE,
    PATIENCE,
    RANK_SHARE,
)
from mmentropy.functional.diagnostics import point_entropy
from mmentropy.report.runs import Run, read_run

sys.path.append(str(Path(__file__).resolve().parent.parent / 'tools'))
import select_runs  # noqa: E402

# The monitor's alarms look at these: the first as shares of their highest value before, the others
# as they are.
SHARES = ('rankme', 'entropy', 'feature_length')
VALUES = ('feature_std', 'assignment_entropy', 'target_entropy')


def monitored(folder: Path) -> dict:
    """The metrics at the end of a run, its alarms, and how near it came to others.

    ``metrics`` has the last values by part of the network and metric, of held-out images.
    ``lowest`` has, for each sign that an alarm looks at, the lowest level below which the run
    stayed for as many measurements in a row as an alarm waits for.
    """
    run = read_run(folder)
    prefix = 'monitor/'
    names = [name for name in sorted(run.curves) if name.startswith(prefix)]
    metrics = {name.removeprefix(prefix): round(run.last(name), 4) for name in names}
    return dict(metrics=metrics, lowest=lowest(run), alarms=run.alarms)


def lowest(run: Run) -> dict[str, float]:
    """The lowest sustained level of each sign, over both parts and held-out or trained images.

    Heads are taken one by one, though the alarm counts measurements in a row in which any is low.
    """
    found: dict[str, float] = {}
    for name in run.curves:
        batch, _, rest = name.partition('/')
        part, _, metric = rest.partition('/')
        sign = 'target_entropy' if metric.endswith('_target_entropy') else metric
        if not batch.startswith('monitor') or sign not in (*SHARES, *VALUES):
            continue
        values = [value for _, value in run.points(name)]
        if sign in SHARES:
            values = shares(values, point_entropy(run.widths[part]) if sign == 'entropy' else 0.0)
        level = sustained(values)
        found[sign] = round(min(level, found.get(sign, level)), 4)
    return found


def shares(values: list[float], zero: float) -> list[float]:
    """What each value above zero is of the highest until then; 1 while none was above."""
    highest, found = 0.0, []
    for value in values:
        highest = max(highest, value - zero)
        found.append((value - zero) / highest if highest > 0 else 1.0)
    return found


def sustained(values: list[float]) -> float:
    """The lowest level that PATIENCE values in a row do not exceed; of fewer, the highest."""
    windows = range(max(1, len(values) - PATIENCE + 1))
    return min(max(values[i : i + PATIENCE]) for i in windows)


def correlations_table(runs: dict[str, list[dict]]) -> str:
    """Rank correlation of each metric with each accuracy over methods, by means over their seeds.

    Metrics are those of the backbone at the end, turned so that larger is said to be better.
    """
    choices = [
        select_runs.Choice(
            name=name,
            step=0,
            checkpoint='',
            offset=0,
            metrics=means([backbone_metrics(r) for r in found]),
            accuracy=means([r['scores']['checkpoint'] for r in found]),
            alarms=[],
            settings={},
            notes=[],
        )
        for name, found in runs.items()
    ]
    found = select_runs.correlations(choices)
    if not found:
        return 'Fewer than three methods are done.'
    accuracies = sorted({row['accuracy'] for row in found})
    lines = [
        f'| Spearman; Kendall (p) | {" | ".join(accuracies)} |',
        '|---|' + '---|' * len(accuracies),
    ]
    for metric in select_runs.METRICS:
        rows = {row['accuracy']: row for row in found if row['metric'] == metric}
        cells = [
            '{spearman:+.2f}; {kendall:+.2f} ({p:.2g})'.format(**rows[a])
            if a in rows
            else 'the same in all'
            for a in accuracies
        ]
        lines.append(f'| {metric} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def backbone_metrics(record: dict) -> dict[str, float]:
    """The metrics of the backbone at the end of a run."""
    part = 'backbone/'
    metrics = record['metrics']
    return {n.removeprefix(part): value for n, value in metrics.items() if n.startswith(part)}


def means(rows: list[dict[str, float]]) -> dict[str, float]:
    """The means of what all rows have."""
    common = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: mean(row[name] for row in rows) for name in common}


def alarms_table(runs: dict[str, list[dict]]) -> str:
    """How near runs came to alarms, the nearest of the seeds, and which alarms were given."""
    signs = [*SHARES, *VALUES]
    lines = [f'| | {" | ".join(signs)} | alarms |', '|---|' + '---|' * (len(signs) + 1)]
    bounds = {
        'rankme': RANK_SHARE,
        'entropy': ENTROPY_SHARE,
        'feature_length': LENGTH_SHARE,
        'feature_std': COLLAPSED_STD,
        'assignment_entropy': DEAD_PROTOTYPES,
        'target_entropy': DEAD_TARGETS,
    }
    lines.append(f'| alarm below | {" | ".join(str(bounds[sign]) for sign in signs)} | |')
    for name, found in runs.items():
        levels = [[r['lowest'][sign] for r in found if sign in r['lowest']] for sign in signs]
        cells = [f'{min(values):.2f}' if values else '' for values in levels]
        given = [f'{text.split(":")[0]} at {step}' for r in found for step, text in r['alarms']]
        lines.append(f'| {name} | {" | ".join(cells)} | {"; ".join(given) or "none"} |')
    return '\n'.join(lines) if runs else 'No run of the table is done.'
