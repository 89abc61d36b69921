"""How far healthy and collapsing runs are from the alarms; a figure of both.

python benchmarks/monitor/margins.py WORK_DIR --figure FILE

WORK_DIR holds the runs of study.py.
"""

import argparse
import re
from collections import defaultdict
from pathlib import Path

import matplotlib
from study import HEALTHY, RUNS

from mmentropy.engine.collapse_alarms import COLLAPSED_STD, ENTROPY_SHARE, RANK_SHARE, Alarms
from mmentropy.functional.diagnostics import point_entropy
from mmentropy.report.runs import Run, read_run

matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402

# Of the iterations, within which an alarm should come.
EARLY = 0.2
NAMES = [
    f'{prefix}/{part}'
    for prefix in ('monitor', 'monitor_train')
    for part in ('backbone', 'projector')
]
PAIRS = dict(
    mec=('mec', 'mec_diverging', 'MEC, without guard'),
    minent=('minent', 'minent_none', 'MinEnt, without normalisation'),
    dino=('dino', 'dino_nocentring', 'DINO, without centring'),
    simsiam=('simsiam', 'simsiam_attached', 'SimSiam, without stop-gradient'),
)


def width(run: Run, name: str) -> int:
    """The number of features that a run has under a name."""
    model = run.get('model')
    if name.endswith('backbone'):
        return 128
    if model.type == 'MinEnt':
        out = model.head.out_channels
        return out if isinstance(out, int) else sum(out)
    return model.neck.get('num_prototypes') or model.neck.out_channels


def margins(run: Run, until: float) -> dict[str, float]:
    """The lowest value of what the alarms look at."""
    last = run.last_iter
    lowest: dict[str, float] = defaultdict(lambda: 1.0)
    for name in NAMES:
        point = point_entropy(width(run, name))
        for key, offset in (('rankme', 0.0), ('entropy', point)):
            best = 0.0
            for step, value in run.points(f'{name}/{key}'):
                best = max(best, value - offset)
                if step <= until * last and best > 0:
                    lowest[key] = min(lowest[key], (value - offset) / best)
        for step, value in run.points(f'{name}/feature_std'):
            if step <= until * last:
                lowest['feature_std'] = min(lowest['feature_std'], value)
    return lowest


def kind(text: str) -> str:
    return re.split('[:;,]', text)[0].split(' of ')[0]


def alarms(run: Run) -> dict[str, int]:
    """Kinds that today's thresholds report, with their first iteration.

    The runs may have been watched with others. MEC's norm is as it was.
    """
    watch, first = Alarms(), dict[str, int]()
    for step, text in run.alarms:
        if kind(text) == 'spectral_norm':
            first.setdefault(kind(text), step)
    steps = [step for step, _ in run.points('monitor/backbone/rankme')]
    measured = {key: dict(run.points(key)) for key in run.curves if 'monitor' in key}
    for step in steps:
        for name in NAMES:
            found = {
                key.rpartition('/')[2]: values[step]
                for key, values in measured.items()
                if key.rpartition('/')[0] == name and step in values
            }
            watch.look(name, found, width(run, name))
        for text in watch.given():
            first.setdefault(kind(text), step)
    return first


def table(root: Path) -> None:
    """Lowest shares per run, and alarms with their iteration."""
    print(
        '| run, seeds | lowest RankMe, share of highest | lowest entropy, '
        'share | lowest std | kNN | first alarms, iteration of 1000 |'
    )
    print('|---|---|---|---|---|---|')
    for name in RUNS:
        runs = [
            read_run(path)
            for path in sorted(root.glob(f'{name}_?'))
            if (path / 'results.json').exists()
        ]
        if not runs:
            continue
        until = 1.0 if name in HEALTHY else EARLY
        found = [margins(run, until) for run in runs]
        cells = [
            ' / '.join(f'{m[key]:.2f}' for m in found)
            for key in ('rankme', 'entropy', 'feature_std')
        ]
        knn = ' / '.join(f'{run.last("knn/top1"):.1f}' for run in runs)
        rang = [
            ', '.join(f'{text} {step}' for text, step in alarms(run).items()) or '-' for run in runs
        ]
        print(f'| {name}, {len(runs)} | {" | ".join(cells)} | {knn} | {"; ".join(rang)} |')
    print(
        '\nAlarms, given after three measurements: RankMe below '
        f'{RANK_SHARE} of its highest, entropy below {ENTROPY_SHARE}, std '
        f'below {COLLAPSED_STD}. Runs that collapse: lowest within '
        f'{EARLY:.0%} of training.'
    )


def figure(root: Path, file: Path) -> None:
    """A healthy and a sick run of each method, seed 0."""
    rows = {
        'rankme': 'RankMe of the projector',
        'er_bound': "ER's bound, nats",
        'knn/top1': 'kNN, %',
    }
    fig, axes = plt.subplots(len(rows), len(PAIRS), figsize=(13, 7), sharex=True, squeeze=False)
    for column, (good, bad, title) in zip(axes.T, PAIRS.values()):
        for ax, key in zip(column, rows):
            for name, style in (
                (good, dict(color='#0072B2')),
                (bad, dict(color='#D55E00', ls='--')),
            ):
                run = read_run(root / f'{name}_0')
                curve = key if '/' in key else f'monitor/projector/{key}'
                ax.plot(
                    *run.curves[curve],
                    label='healthy' if name == good else title.split(', ')[1],
                    **style,
                )
                if name == bad and alarms(run):
                    ax.axvline(min(alarms(run).values()), color='0.5', ls=':', lw=1.5)
            ax.grid(alpha=0.3)
        column[0].set_title(title.split(',')[0], weight='bold')
        column[0].legend(frameon=False, fontsize=9)
        column[-1].set_xlabel('iteration')
    for ax, text in zip(axes[:, 0], rows.values()):
        ax.set_ylabel(text)
    fig.tight_layout()
    fig.savefig(file, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('work_dir', type=Path)
    parser.add_argument('--figure', type=Path)
    args = parser.parse_args()
    table(args.work_dir)
    if args.figure:
        figure(args.work_dir, args.figure)


if __name__ == '__main__':
    main()
