"""Accuracy against minutes of one core: how far are 90 % kNN on CIFAR-10?"""

import math
from pathlib import Path
from statistics import linear_regression, mean

import cifar10
from comparisons import accuracies, spread

RECIPE = 'configs/er/er_simclr_fast_r18s_1xb256_10e_cifar10.py'
# The search of experiments/cifar10_table found these factors on the recipe's rate to be the best.
FACTORS = {'SimCLR+ER': 9.0}
LENGTHS = (3, 10, 30)
TARGET = 90.0


def runs(records: list[dict], seeds: int) -> list[dict]:
    """Trainings of each length with the recipe's own width, the short ones first."""
    changes = cifar10.budget(RECIPE, LENGTHS[0], FACTORS['SimCLR+ER'])
    changes = {key: value for key, value in changes.items() if not key.startswith('model.')}
    return [
        dict(
            label=dict(method='SimCLR+ER', epochs=epochs),
            recipe=RECIPE,
            changes=changes | {'train_cfg.max_epochs': epochs},
            seed=seed,
            evaluate=['--protocols', 'knn,linear'],
        )
        for epochs in LENGTHS
        for seed in range(seeds)
    ]


def smoke(run: dict) -> dict | None:
    """Two batches of the two shorter lengths."""
    if run['label']['epochs'] == LENGTHS[-1]:
        return None
    return {'train_cfg.max_epochs': 2, 'train_dataloader.batch_size': 16}


def points(records: list[dict]) -> dict[int, tuple[float, float]]:
    """Mean minutes and mean kNN accuracy, in percent, by the number of epochs."""
    found = {}
    for epochs in LENGTHS:
        some = [r for r in records if r['epochs'] == epochs]
        if some:
            knn = mean(accuracies(some, 'knn').values())
            found[epochs] = mean(r['minutes'] for r in some), knn
    return found


def falling_line(reached: list[tuple[float, float]]) -> tuple[float, float] | None:
    """Slope and intercept of the logarithm of the error over that of the minutes.

    None if the error does not fall, or all took as long.
    """
    if len({minutes for minutes, _ in reached}) < 2:
        return None
    x = [math.log(minutes) for minutes, _ in reached]
    y = [math.log(100 - knn) for _, knn in reached]
    slope, intercept = linear_regression(x, y)
    return (slope, intercept) if slope < 0 else None


def minutes_to(target: float, reached: list[tuple[float, float]]) -> float | None:
    """The minutes at which the error would have fallen to a target, if it goes on as it fell.

    The error is taken to be a power of the minutes. None if there is no :func:`falling_line`.
    """
    line = falling_line(reached)
    return line and math.exp((math.log(100 - target) - line[1]) / line[0])


def table(records: list[dict]) -> str:
    """A line for each length."""
    lines = ['| epochs | minutes | kNN, % | linear, % | seeds |', '|---|---|---|---|---|']
    for epochs, (minutes, _) in points(records).items():
        some = [r for r in records if r['epochs'] == epochs]
        scores = [[*accuracies(some, score).values()] for score in ('knn', 'linear')]
        cells = ' | '.join(map(spread, scores))
        lines.append(f'| {epochs} | {minutes:.0f} | {cells} | {len(scores[0])} |')
    lines += ['', '![Error against minutes](figure.png)']
    return '\n'.join(lines) if points(records) else 'No run is done.'


def extrapolation(records: list[dict]) -> str:
    """Where the target would be reached, marked as what it is."""
    found = [*points(records).values()]
    if len(found) < len(LENGTHS):
        return 'Not all lengths are run.'
    minutes = minutes_to(TARGET, found)
    if minutes is None:
        return 'The error does not fall with longer training, so that nothing is extrapolated.'
    # Three points do not carry more than a digit.
    hours = float(f'{minutes / 60:.1g}')
    return (
        f'**An extrapolation, not a measurement:** {TARGET:.0f} % would take about '
        f'{hours:,.0f} hours of one core.'
    )


def page(records: list[dict]) -> dict[str, str]:
    """The generated parts of the README."""
    return dict(table=table(records), extrapolation=extrapolation(records))


def draw(records: list[dict], folder: Path) -> None:
    """Draw the error against the minutes, both on logarithmic axes, with the fitted line."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(5, 3.5))
    errors = [100 - r['scores']['checkpoint']['knn'] for r in records]
    axis.loglog([r['minutes'] for r in records], errors, 'o', label='runs')
    found = [*points(records).values()]
    end = minutes_to(TARGET, found) if len(found) > 1 else None
    if end:
        first, _ = found[0]
        slope, intercept = falling_line(found)
        # A power is a line between logarithms.
        start = math.exp(slope * math.log(first) + intercept)
        axis.loglog([first, end], [start, 100 - TARGET], '--', label='extrapolated')
        axis.axhline(100 - TARGET, color='0.6', lw=0.8)
    for formatted in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
        formatted('{x:g}')
    axis.set_xlabel('minutes of one core')
    axis.set_ylabel('error of kNN, %')
    axis.legend()
    figure.tight_layout()
    figure.savefig(folder / 'figure.png', dpi=80, metadata=dict(Software=None))
    pyplot.close(figure)
