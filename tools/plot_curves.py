"""Draw logged scalars of one or several runs into a PNG.

python tools/plot_curves.py work_dirs/a work_dirs/b --keys entropy,loss
"""

import argparse
import json
from pathlib import Path

import matplotlib
from cli import errors_in_one_line

matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('work_dirs', nargs='+', type=Path)
    parser.add_argument(
        '--keys', default='loss', help='comma-separated, one panel each')
    parser.add_argument(
        '--names', help='comma-separated, of the runs; default: their folders')
    parser.add_argument('--out', type=Path, default=Path('curves.png'))
    return parser.parse_args()


def scalars(work_dir: Path) -> list[dict]:
    """What the newest run of a work directory logged, line by line."""
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    if not files:
        raise ValueError(f'{work_dir} holds no run: no */vis_data/'
                         'scalars.json')
    try:
        return [json.loads(line) for line in files[-1].open()]
    except ValueError as error:
        raise ValueError(f'{files[-1]} is damaged: {error}') from None


def curve(run: list[dict], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of a key; it may be logged rarely."""
    points = [(line['step'], line[key]) for line in run if key in line]
    return tuple(zip(*points)) if points else ((), ())


def main() -> None:
    args = parse_args()
    keys = args.keys.split(',')
    names = args.names.split(',') if args.names else [
        str(path) for path in args.work_dirs
    ]
    if len(names) != len(args.work_dirs):
        raise ValueError(f'{len(names)} names for {len(args.work_dirs)} runs')
    runs = [scalars(path) for path in args.work_dirs]
    logged = sorted({key for run in runs for line in run for key in line})
    for key in keys:
        if key not in logged:
            raise ValueError(f'no run logged {key!r}: choose from '
                             f'{", ".join(logged)}')
    fig, axes = plt.subplots(
        1,
        len(keys),
        figsize=(5 * len(keys), 3.6),
        squeeze=False,
        layout='constrained')
    for ax, key in zip(axes[0], keys):
        for name, run in zip(names, runs):
            marker = 'o' if '/' in key else None
            ax.plot(*curve(run, key), marker=marker, label=name)
        ax.set(xlabel='epoch' if '/' in key else 'iteration', ylabel=key)
        ax.grid(alpha=0.3)
    fig.legend(
        *axes[0][0].get_legend_handles_labels(),
        loc='outside upper center',
        # Paths are long.
        ncol=4 if sum(map(len, names)) < 60 * len(keys) else 1)
    fig.savefig(args.out, dpi=110)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    with errors_in_one_line():
        main()
