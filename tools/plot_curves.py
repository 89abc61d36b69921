"""Draw logged scalars of one or several runs into a PNG.

python tools/plot_curves.py work_dirs/a work_dirs/b --keys entropy,loss
"""

import argparse
from pathlib import Path

import matplotlib
from cli import errors_in_one_line

from mmentropy.report.curves import Scale
from mmentropy.report.runs import read_runs

matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402

# Points that are marked, e.g. of kNN every few epochs.
FEW = 30


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('work_dirs', nargs='+', type=Path)
    parser.add_argument('--keys', default='loss', help='comma-separated, one panel each')
    parser.add_argument('--names', help='comma-separated, of the runs; default: their folders')
    parser.add_argument('--out', type=Path, default=Path('curves.png'))
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    keys = args.keys.split(',')
    names = args.names.split(',') if args.names else [str(path) for path in args.work_dirs]
    if len(names) != len(args.work_dirs):
        raise ValueError(f'{len(names)} names for {len(args.work_dirs)} runs')
    runs = read_runs(args.work_dirs)
    scale = Scale(runs)
    logged = sorted({key for run in runs for key in run.curves})
    for key in keys:
        if key not in logged:
            raise ValueError(f'no run logged {key!r}: choose from {", ".join(logged)}')
    fig, axes = plt.subplots(
        1, len(keys), figsize=(5 * len(keys), 3.6), squeeze=False, layout='constrained'
    )
    for ax, key in zip(axes[0], keys):
        for name, run in zip(names, runs):
            points = run.points(key)
            ax.plot(
                [scale(run, step) for step, _ in points],
                [value for _, value in points],
                marker='o' if len(points) <= FEW else None,
                label=name,
            )
        ax.set(xlabel=scale.label, ylabel=key)
        ax.grid(alpha=0.3)
    fig.legend(
        *axes[0][0].get_legend_handles_labels(),
        loc='outside upper center',
        # Paths are long.
        ncol=4 if sum(map(len, names)) < 60 * len(keys) else 1,
    )
    fig.savefig(args.out, dpi=110)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    with errors_in_one_line():
        main()
