"""Rank runs by what their features tell without labels.

python tools/select_runs.py work_dirs/mec/* --by lidar

Each work directory holds a run under EntropyMonitorHook. Where accuracies are
known, it also says how well each metric ranks the runs. Directories that
cannot be read are named and left out; it is an error if none is left.
"""

import argparse
import inspect
import json
import math
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from cli import errors_in_one_line
from scipy.stats import kendalltau, spearmanr

from mmentropy.engine.hooks.entropy_monitor import EntropyMonitorHook
from mmentropy.report.runs import Run, read_run

# What is larger in better features.
ORDER: dict[str, Callable[[float], float]] = dict(
    rankme=float,
    lidar=float,
    er_bound=float,
    effective_rank=float,
    # The paper found about 1 to transfer best.
    alpha_req=lambda value: -abs(value - 1),
    coding_length=float,
    entropy=float,
    feature_std=float,
    # Of 0 at a single point, falling as rows spread.
    uniformity=lambda value: -value,
)
# Of the table; effective_rank is rankme but for 1e-7.
COLUMNS = ('rankme', 'lidar', 'er_bound', 'alpha_req', 'coding_length', 'entropy', 'feature_std')


@dataclass
class Choice:
    """A run and one of its checkpoints.

    Attributes:
        step: Iteration of the measurement.
        checkpoint: The saved one nearest to it, '' if there is none.
        offset: Iterations from the measurement to the checkpoint.
        metrics: Of the held-out images, without those that are not finite.
        accuracy: In percent, by protocol.
        settings: What was measured, see :func:`settings`.
        notes: What of the run's files could not be read.
    """

    name: str
    step: int
    checkpoint: str
    offset: int
    metrics: dict[str, float]
    accuracy: dict[str, float]
    alarms: list[tuple[int, str]]
    settings: dict[str, str]
    notes: list[str]


def score(metrics: dict[str, float], key: str) -> float:
    """Larger is better; -inf if unknown."""
    return ORDER[key](metrics[key]) if key in metrics else -math.inf


# -- Reading -----------------------------------------------------------------


def choose(work_dir: Path, by: str, part: str, best: bool, results: str) -> Choice:
    """A run at its newest checkpoint, or at its ``best`` measurement.

    Raises:
        ValueError: Not a run under the monitor; one line.
    """
    run = read_run(work_dir)
    prefix = f'monitor/{part}/'
    found = measurements(run, prefix)
    if not found:
        raise ValueError(
            f'{work_dir} logged no {prefix}*: train with '
            "custom_hooks=[dict(type='EntropyMonitorHook')]"
        )
    saved = run.checkpoints()
    if best:
        step = max(found, key=lambda step: score(found[step], by))
    else:
        newest = max(
            (at for name, at in saved.items() if not name.startswith('best_')), default=max(found)
        )
        step = nearest(found, newest)
    name = min(saved, key=lambda name: abs(saved[name] - step), default='')
    knn = dict(run.points('knn/top1'))
    accuracy = {'knn': knn[nearest(knn, step)]} if knn else {}
    if not best:
        accuracy |= accuracies(work_dir / results)
    return Choice(
        name=str(work_dir),
        step=step,
        checkpoint=name,
        offset=saved[name] - step if name else 0,
        metrics=found[step],
        accuracy=accuracy,
        alarms=run.alarms,
        settings=settings(run, part),
        notes=run.notes,
    )


def measurements(run: Run, prefix: str) -> dict[int, dict[str, float]]:
    """By iteration, the values of the curves whose names start so."""
    found: dict[int, dict[str, float]] = {}
    for key in run.curves:
        if key.startswith(prefix):
            for step, value in run.points(key):
                found.setdefault(step, {})[key.removeprefix(prefix)] = value
    return dict(sorted(found.items()))


def nearest(steps: Iterable[int], step: int) -> int:
    return min(steps, key=lambda other: abs(other - step))


def accuracies(file: Path) -> dict[str, float]:
    """As tools/evaluate.py writes them; {} if there is no such file."""
    if not file.is_file():
        return {}
    try:
        row = json.loads(file.read_text()).get('checkpoint', {})
        return {name: float(value) for name, value in row.items()}
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f'{file} is not what tools/evaluate.py --out writes') from None


def settings(run: Run, part: str) -> dict[str, str]:
    """What was measured how often: images, their source, views, network.

    Raises:
        ValueError: No config that can be read, or one without the hook.
    """
    if run.config is None:
        raise ValueError(
            '; '.join(
                [
                    f'{run.path} holds no config to be read, so what was measured is unknown',
                    *run.notes,
                ]
            )
        )
    hooks = [hook for hook in run.get('custom_hooks') or [] if hook['type'] == 'EntropyMonitorHook']
    if not hooks:
        raise ValueError(f'{run.path}: the config has no EntropyMonitorHook')
    defaults = {
        key: value.default
        for key, value in inspect.signature(EntropyMonitorHook).parameters.items()
    }
    train = run.get('train_dataloader', 'dataset') or {}
    data = dict(run.get('eval_datasets', 'test') or train)
    data.pop('pipeline', None)
    return dict(
        images=str(hooks[0].get('images', defaults['images'])),
        data=str(data),
        interval=str(hooks[0].get('interval', defaults['interval'])),
        views=str((train.get('pipeline'), run.get('data_preprocessor', 'pipeline'))),
        network=str(
            (run.get('model', 'backbone'), part == 'projector' and run.get('model', 'neck'))
        ),
    )


def check_comparable(choices: list[Choice]) -> list[str]:
    """What is to be kept in mind.

    Raises:
        ValueError: Ranks of different numbers of images, or of other images.
    """

    def groups(key: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for choice in choices:
            found.setdefault(choice.settings[key], []).append(choice.name)
        return found

    for key in ('images', 'data'):
        if len(groups(key)) > 1:
            raise ValueError(
                f"not comparable, the monitor's {key} differ: "
                + '; '.join(
                    f'{value} in {", ".join(names[:3])}'
                    + (f' and {len(names) - 3} more' if len(names) > 3 else '')
                    for value, names in groups(key).items()
                )
            )
    notes = []
    if len(groups('interval')) > 1:
        notes.append(
            "the monitor's interval differs "
            f'({", ".join(groups("interval"))}): with --best, more '
            'measurements find a better best'
        )
    if len(groups('views')) > 1:
        notes.append(
            f'runs have {len(groups("views"))} different views, and '
            'all metrics are of views, lidar and er_bound most'
        )
    if len(groups('network')) > 1:
        notes.append(
            f'runs have {len(groups("network"))} different networks: '
            'where widths differ, do not compare entropy, '
            'coding_length and er_bound'
        )
    return notes


# -- How well a metric ranks -------------------------------------------------


def correlations(choices: list[Choice]) -> list[dict]:
    """Rank correlation of each metric with each accuracy.

    Positive where the better metric has the better accuracy. p is Kendall's,
    exact for few runs; it takes them for independent, which seeds of one
    method are not.

    Returns:
        Of those with three runs or more, not all alike: accuracy, metric,
        runs, spearman, kendall, p.
    """
    found = []
    for accuracy in sorted({key for c in choices for key in c.accuracy}):
        for metric in ORDER:
            pairs = [
                (score(c.metrics, metric), c.accuracy[accuracy])
                for c in choices
                if metric in c.metrics and accuracy in c.accuracy
            ]
            x, y = zip(*pairs) if pairs else ((), ())
            if len(pairs) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
                continue
            tau = kendalltau(x, y)
            found.append(
                dict(
                    accuracy=accuracy,
                    metric=metric,
                    runs=len(pairs),
                    spearman=float(spearmanr(x, y).statistic),
                    kendall=float(tau.statistic),
                    p=float(tau.pvalue),
                )
            )
    return found


# -- Writing -----------------------------------------------------------------


def columns(rows: list[list[str]]) -> str:
    """Rows as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, cells)) for cells in zip(*rows)]
    return '\n'.join(
        '  '.join(
            f'{cell:<{w}}' if i == 0 else f'{cell:>{w}}'
            for i, (cell, w) in enumerate(zip(row, widths))
        )
        for row in rows
    )


def table(choices: list[Choice], by: str) -> str:
    """The runs in the order given; '!' marks alarms, '-' what is unknown."""
    metrics = [by, *(key for key in COLUMNS if key != by)]
    accuracy = sorted({key for c in choices for key in c.accuracy})
    rows = [['run', 'iter', *metrics, *accuracy, 'checkpoint']]
    for c in choices:
        values = [c.metrics.get(key) for key in metrics] + [c.accuracy.get(key) for key in accuracy]
        file = c.checkpoint + (f' ({c.offset:+d})' if c.offset else '')
        rows.append(
            [
                c.name + ('!' if c.alarms else ''),
                str(c.step),
                *('-' if value is None else f'{value:.2f}' for value in values),
                file or '-',
            ]
        )
    return columns(rows)


def alarms(choice: Choice) -> str:
    """Kinds, each with its first iteration."""
    kinds: dict[str, int] = {}
    for step, text in choice.alarms:
        kinds.setdefault(re.split('[:;,]', text)[0], step)
    return f'! {choice.name}: ' + ', '.join(f'{kind} at {step}' for kind, step in kinds.items())


def correlation_table(found: list[dict]) -> str:
    return columns(
        [['accuracy', 'metric', 'runs', 'Spearman', 'Kendall', 'p']]
        + [
            [
                row['accuracy'],
                row['metric'],
                str(row['runs']),
                f'{row["spearman"]:+.2f}',
                f'{row["kendall"]:+.2f}',
                f'{row["p"]:.2g}',
            ]
            for row in found
        ]
    )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('work_dirs', nargs='+', type=Path)
    parser.add_argument(
        '--by',
        choices=ORDER,
        default='rankme',
        metavar='METRIC',
        help=f'of {", ".join(ORDER)}; default rankme',
    )
    parser.add_argument('--part', choices=['backbone', 'projector'], default='backbone')
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        '--last', action='store_true', help='each run at its newest checkpoint (default)'
    )
    which.add_argument(
        '--best', action='store_true', help='each run at its best measurement; without --results'
    )
    parser.add_argument(
        '--results',
        default='results.json',
        help='in each work directory, written by tools/evaluate.py --out for '
        'the newest checkpoint; default results.json',
    )
    parser.add_argument('--json', type=Path, help='write all of it here')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    choices = []
    for work_dir in args.work_dirs:
        try:
            choices.append(choose(work_dir, args.by, args.part, args.best, args.results))
        except (ValueError, OSError) as error:
            print(f'left out: {str(error).splitlines()[0]}', file=sys.stderr)
    if not choices:
        raise ValueError(f'none of {len(args.work_dirs)} work directories can be ranked')
    unread = [f'{c.name}: {note}' for c in choices for note in c.notes]
    for note in unread + check_comparable(choices):
        print(f'note: {note}', file=sys.stderr)
    names = [Path(c.name).name for c in choices]
    if len(set(names)) == len(names):
        for choice, name in zip(choices, names):
            choice.name = name
    choices.sort(key=lambda c: score(c.metrics, args.by), reverse=True)
    print(f'{args.part}, by {args.by}\n' + table(choices, args.by))
    marked = [c for c in choices if c.alarms]
    for choice in marked:
        print(alarms(choice))
    everything = correlations(choices)
    healthy = correlations([c for c in choices if not c.alarms])
    if everything:
        print('\nall runs\n' + correlation_table(everything))
    if healthy and marked:
        print('\nruns without alarms\n' + correlation_table(healthy))
    if args.json:
        args.json.write_text(
            json.dumps(
                dict(
                    by=args.by,
                    part=args.part,
                    runs=[asdict(c) for c in choices],
                    correlations=everything,
                    correlations_without_alarms=healthy,
                ),
                indent=2,
            )
            + '\n'
        )


if __name__ == '__main__':
    with errors_in_one_line():
        main()
