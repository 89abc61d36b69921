"""Rank runs by what their features tell without labels.

python tools/select_runs.py work_dirs/mec/* --by lidar

Each work directory holds a run under EntropyMonitorHook. Where accuracies are known, the output
also says how well each metric ranks the runs. Directories that cannot be read are named and left
out; it is an error if none is left.
"""

import argparse
from pathlib import Path

from cli import Parser, add_trust, aligned, check_out, errors_in_one_line

# Columns of the table. The other two metrics tell little more: effective_rank nearly equals rankme.
COLUMNS = ('rankme', 'lidar', 'er_bound', 'alpha_req', 'coding_length', 'entropy', 'feature_std')
METRICS = (*COLUMNS, 'effective_rank', 'uniformity')
RESULTS = 'results.json'


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument('work_dirs', nargs='+', type=Path)
    metrics = f'one of {", ".join(METRICS)}; default rankme'
    parser.add_argument('--by', choices=METRICS, default='rankme', metavar='METRIC', help=metrics)
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
        help='in each work directory, written by tools/evaluate.py --out for the newest '
        f'checkpoint; default {RESULTS}',
    )
    parser.add_argument('--json', type=Path, help='write all of it here')
    add_trust(parser)
    args = parser.parse_args()
    if args.best and args.results:
        parser.error('--results is of the newest checkpoint: leave --best or --results out')
    args.results = args.results or RESULTS
    return args


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

import inspect
import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from scipy.stats import kendalltau, spearmanr

from mmentropy.checks.config_parts import preprocessor_of
from mmentropy.engine.hooks.entropy_monitor import EntropyMonitorHook
from mmentropy.report.runs import Run, read_run


@dataclass
class Choice:
    """A run at the iteration ``step`` of a measurement.

    ``checkpoint`` is the saved file nearest to it, '' if there is none, ``offset`` iterations
    later. ``metrics`` are those of the chosen part of the network, ``accuracy`` is in percent by
    protocol, as far as it is known, ``settings`` say what was measured, and ``notes`` what of the
    run's files could not be read.
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

    def score(self, metric: str) -> float:
        """The metric, turned so that larger is better; -inf if it is unknown or not finite."""
        value = self.metrics.get(metric, math.nan)
        if not math.isfinite(value):
            return -math.inf
        # About 1 transferred best in the paper of alpha-ReQ; uniformity falls as rows spread.
        return {'alpha_req': -abs(value - 1), 'uniformity': -value}.get(metric, value)


def choose(work_dir: Path, args: argparse.Namespace) -> Choice:
    """A run at its newest checkpoint, or with ``args.best`` at its best measurement.

    Raises:
        ValueError: the directory holds no run under the monitor.
    """
    run = read_run(work_dir, args.trust)
    prefix = f'monitor/{args.part}/'
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for key in run.curves:
        if key.startswith(prefix):
            for at, value in run.points(key):
                found[at][key.removeprefix(prefix)] = value
    if not found:
        raise ValueError(f'{work_dir} logged no {prefix}*: {remedy(run)}')
    saved = run.checkpoints()
    knn = {at: value for at, value in run.points('knn/top1') if math.isfinite(value)}

    def at_step(step: int) -> Choice:
        file = min(saved, key=lambda file: abs(saved[file] - step), default='')
        return Choice(
            name=str(work_dir),
            step=step,
            checkpoint=file,
            offset=saved[file] - step if file else 0,
            metrics=found[step],
            accuracy={'knn': knn[nearest(knn, step)]} if knn else {},
            alarms=run.alarms,
            settings=settings(run, args.part),
            notes=run.notes,
        )

    if args.best:
        return max(map(at_step, sorted(found)), key=lambda choice: choice.score(args.by))
    regular = [at for name, at in saved.items() if not name.startswith('best_')]
    choice = at_step(nearest(found, max(regular, default=max(found))))
    choice.accuracy |= accuracies(work_dir / args.results)
    return choice


def remedy(run: Run) -> str:
    """What lets a run be measured that was not, or not in the part that is asked for."""
    if run.monitor_interval and not any(key.startswith('monitor/') for key in run.curves):
        return (
            f'its EntropyMonitorHook measures every {run.monitor_interval} iterations; a shorter '
            'run needs a lower interval'
        )
    return "train with custom_hooks=[dict(type='EntropyMonitorHook')]"


def nearest(steps: Iterable[int], step: int) -> int:
    return min(sorted(steps), key=lambda other: abs(other - step))


def accuracies(file: Path) -> dict[str, float]:
    """What tools/evaluate.py wrote; {} if there is no such file.

    Raises:
        ValueError: it holds something else, such as an accuracy that is not finite.
    """
    if not file.is_file():
        return {}
    try:
        row = json.loads(file.read_text()).get('checkpoint', {})
        found = {name: float(value) for name, value in row.items()}
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f'{file} is not what tools/evaluate.py --out writes') from None
    for name, value in found.items():
        if not math.isfinite(value):
            raise ValueError(f'{file}: {name} is {value}, evaluate the checkpoint again')
    return found


def settings(run: Run, part: str) -> dict[str, str]:
    """What was measured and how often: images, their source, views, network.

    Raises:
        ValueError: there is no config that can be read, or one without the hook.
    """
    if run.config is None:
        problem = f'{run.path} holds no config to be read, so what was measured is unknown'
        raise ValueError('; '.join([problem, *run.notes]))
    hooks = run.hooks('EntropyMonitorHook')
    if not hooks:
        raise ValueError(f'{run.path}: the config has no EntropyMonitorHook')
    defaults = inspect.signature(EntropyMonitorHook).parameters
    train = run.get('train_dataloader', 'dataset')
    if not isinstance(train, dict):
        train = {}
    data = dict(run.get('eval_datasets', 'test') or train, pipeline=None)
    found = dict(
        images=hooks[0].get('images', defaults['images'].default),
        data=data,
        interval=run.monitor_interval,
        views=(train.get('pipeline'), preprocessor_of(run.config).get('pipeline')),
        network=(run.get('model', 'backbone'), part == 'projector' and run.get('model', 'neck')),
    )
    return {key: str(value) for key, value in found.items()}


def check_comparable(choices: list[Choice]) -> list[str]:
    """What is to be kept in mind when the runs are compared.

    Raises:
        ValueError: the monitors measured different numbers of images, or other images.
    """
    names: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for choice in choices:
        for key, value in choice.settings.items():
            names[key][value].append(choice.name)
    for key in ('images', 'data'):
        if len(names[key]) > 1:
            found = '; '.join(
                f'{value} in {", ".join(some[:3])}' + f' and {len(some) - 3} more' * (len(some) > 3)
                for value, some in names[key].items()
            )
            raise ValueError(f"not comparable, the monitor's {key} differ: {found}")
    notes = dict(
        interval=f"the monitor's interval differs ({', '.join(names['interval'])}): with --best, "
        'more measurements find a better best',
        views=f'runs have {len(names["views"])} different views, and all metrics are of views, '
        'lidar and er_bound most',
        network=f'runs have {len(names["network"])} different networks: where widths differ, do '
        'not compare entropy, coding_length and er_bound',
    )
    return [text for key, text in notes.items() if len(names[key]) > 1]


def correlations(choices: list[Choice]) -> list[dict]:
    """Rank correlation of each metric with each accuracy that three runs or more know.

    It is positive where the better metric has the better accuracy. p is Kendall's, exact for few
    runs; it takes them for independent, which seeds of one method are not. What is the same in all
    runs is left out.
    """
    found = []
    for accuracy in sorted({key for choice in choices for key in choice.accuracy}):
        for metric in METRICS:
            known = [
                c for c in choices if math.isfinite(c.score(metric)) and accuracy in c.accuracy
            ]
            x, y = [c.score(metric) for c in known], [c.accuracy[accuracy] for c in known]
            if len(known) > 2 and len(set(x)) > 1 and len(set(y)) > 1:
                tau, rho = kendalltau(x, y), spearmanr(x, y)
                row = dict(accuracy=accuracy, metric=metric, runs=len(known))
                row |= dict(spearman=float(rho.statistic), kendall=float(tau.statistic))
                found.append(row | dict(p=float(tau.pvalue)))
    return found


def runs_table(choices: list[Choice], by: str) -> str:
    """The runs in the order given, and the alarms of those that are marked by '!'."""
    metrics = [by, *(metric for metric in COLUMNS if metric != by)]
    accuracy = sorted({key for choice in choices for key in choice.accuracy})
    rows = [['run', 'iter', *metrics, *accuracy, 'checkpoint']]
    alarms = ''
    for c in choices:
        values = [*map(c.metrics.get, metrics), *map(c.accuracy.get, accuracy)]
        cells = ['-' if value is None else f'{value:.2f}' for value in values]
        file = c.checkpoint + (f' ({c.offset:+d})' if c.offset else '')
        rows.append([c.name + '!' * bool(c.alarms), str(c.step), *cells, file or '-'])
        first: dict[str, int] = {}
        for step, text in c.alarms:
            first.setdefault(re.split('[:;,]', text)[0], step)
        if first:
            kinds = ', '.join(f'{kind} at {step}' for kind, step in first.items())
            alarms += f'\n! {c.name}: {kinds}'
    return aligned(rows) + alarms


def correlations_table(title: str, found: list[dict]) -> str:
    rows = [['accuracy', 'metric', 'runs', 'Spearman', 'Kendall', 'p']]
    formats = dict(spearman='+.2f', kendall='+.2f', p='.2g')
    rows += [[format(value, formats.get(key, '')) for key, value in row.items()] for row in found]
    return f'\n{title}\n{aligned(rows)}'


def read_choices(args: argparse.Namespace) -> list[Choice]:
    """The runs that can be read, best first, with short names where these tell them apart."""
    choices = []
    for work_dir in args.work_dirs:
        try:
            choices.append(choose(work_dir, args))
        except (ValueError, OSError) as error:
            print(f'left out: {str(error).splitlines()[0]}', file=sys.stderr)
    if not choices:
        raise ValueError(f'none of {len(args.work_dirs)} work directories can be ranked')
    unread = [f'{choice.name}: {note}' for choice in choices for note in choice.notes]
    unknown = [
        f'{choice.name}: {args.by} is not finite at iteration {choice.step}, ranked last'
        for choice in choices
        if not math.isfinite(choice.metrics.get(args.by, 0))
    ]
    for note in unread + unknown + check_comparable(choices):
        print(f'note: {note}', file=sys.stderr)
    if len({Path(choice.name).name for choice in choices}) == len(choices):
        for choice in choices:
            choice.name = Path(choice.name).name
    return sorted(choices, key=lambda choice: choice.score(args.by), reverse=True)


def as_json(choice: Choice) -> dict:
    """A choice as JSON can say it: a metric that is not finite is null."""
    metrics = {
        key: value if math.isfinite(value) else None for key, value in choice.metrics.items()
    }
    return asdict(choice) | dict(metrics=metrics)


def main() -> None:
    args = parse_args()
    if args.json:
        check_out('--json', args.json, [folder / args.results for folder in args.work_dirs])
    choices = read_choices(args)
    most = f'of {choices[0].settings["images"]} images, which no rank exceeds'
    print(f'{args.part}, by {args.by}, {most}\n{runs_table(choices, args.by)}')
    sound = [choice for choice in choices if not choice.alarms]
    everything, healthy = correlations(choices), correlations(sound)
    if everything:
        print(correlations_table('all runs', everything))
    if healthy and len(sound) < len(choices):
        print(correlations_table('runs without alarms', healthy))
    if args.json:
        found = dict(by=args.by, part=args.part, runs=[as_json(choice) for choice in choices])
        found |= dict(correlations=everything, correlations_without_alarms=healthy)
        args.json.write_text(json.dumps(found, indent=2) + '\n')


if __name__ == '__main__':
    with errors_in_one_line():
        main()
