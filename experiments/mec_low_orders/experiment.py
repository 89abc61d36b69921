"""Angles between the gradients of MEC's first orders and of the losses that they are said to be."""

import json
from pathlib import Path
from statistics import mean

ORDERS = ('order 1', 'order 2', 'order 3', 'order 4', 'order 2, squares')
# Gradients that are nearer than this are called the same.
SAME_DEGREES = 1.0
# At this distortion the spectral norm of the trained network is about that of the paper's networks.
DISTORTION = 1.0


def runs(records: list[dict], seeds: int) -> list[dict]:
    """The benchmark, which trains a network first, once a seed."""
    changes = {'--config': ['configs/mec/fast_r18s_1xb64_50e_digits.py'], '--rows': [64, 256]}
    changes['--json'] = ['{out}']
    common = dict(
        label=dict(program='low orders', epochs=50),
        recipe='benchmarks/low_orders.py',
        changes=changes,
    )
    return [dict(common, seed=seed) for seed in range(seeds)]


def smoke(run: dict) -> dict:
    """An epoch, and two batches for the angles."""
    return {'--epochs': [1], '--batches': [2], '--rows': [64]}


def measured(run: dict, folder: Path) -> dict:
    """All angles of the benchmark."""
    return dict(angles=json.loads((folder / 'measured.json').read_text()))


def cases(records: list[dict]) -> dict[tuple, list[dict]]:
    """The rows of all seeds by projections, rows, distortion and the other loss."""
    found: dict[tuple, list[dict]] = {}
    for row in (row for r in records for row in r['angles']):
        key = tuple(row[name] for name in ('projections', 'rows', 'distortion', 'against'))
        found.setdefault(key, []).append(row)
    return found


def means(rows: list[dict]) -> list[float]:
    """The mean angle by order over seeds."""
    return [mean(row['degrees'][i][0] for row in rows) for i in range(len(ORDERS))]


def page(records: list[dict]) -> dict[str, str]:
    """The generated part of the README."""
    if not records:
        return dict(angles='Not run.')
    lines = [
        f'| projections | m | distortion | norm | against | {" | ".join(ORDERS)} |',
        '|---' * (5 + len(ORDERS)) + '|',
    ]
    for (kind, size, distortion, other), rows in cases(records).items():
        norm = mean(row['norm'] for row in rows)
        cells = ' | '.join(f'{value:.1f}' for value in means(rows))
        lines.append(f'| {kind} | {size} | {distortion} | {norm:.2f} | {other} | {cells} |')
    return dict(angles='\n'.join(lines))


def verdicts(records: list[dict]) -> list[dict]:
    """What each of the low orders is said to be."""
    if not records:
        return []
    found = {
        other.split(',')[0]: means(rows)
        for (kind, size, distortion, other), rows in cases(records).items()
        if (kind, size, distortion) == ('trained', 64, DISTORTION)
    }
    source = 'arXiv 2210.11464, appendix E'
    # The paper calls the first and the last equivalent, and the second similar, for which it gives
    # no measure.
    claims = [
        ('The first term of the series is the loss of SimSiam', 'SimSiam', 0, True),
        (
            'Two terms on the batch side have an effect like that of the loss of SimCLR',
            'InfoNCE',
            1,
            False,
        ),
        ('Two terms on the feature side are the loss of Barlow Twins', 'Barlow Twins', 1, True),
    ]
    return [
        dict(
            claim=claim,
            source=source,
            verdict=same(found[other][order]) if equal else 'undecided',
            numbers=f'{found[other][order]:.1f} degrees between the gradients on a trained network'
            + (f', {found[other][0]:.1f} with one term' if order else ''),
        )
        for claim, other, order, equal in claims
    ]


def same(degrees: float) -> str:
    """Whether two losses are the same, by the angle between their gradients."""
    return 'confirmed' if degrees < SAME_DEGREES else 'refuted'
