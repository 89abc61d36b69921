"""The facts about runs: what was trained, how long, where, and its last numbers."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mmentropy.checks.config_parts import innermost_dataset
from mmentropy.report.charts import number_text
from mmentropy.report.measured import Measured
from mmentropy.report.metrics import FEATURES
from mmentropy.report.runs import Run


class LastValues(NamedTuple):
    """A row of last numbers, a text for each run, and which of them are the best accuracies.

    ``better`` is 'higher', 'lower', or ''. Only accuracies have a best one: a network that
    collapsed can have the highest rank.
    """

    title: str
    better: str
    texts: list[str]
    best: list[bool]


def method(run: Run) -> str:
    """The algorithm and its loss."""
    kind = run.get('model', 'algorithm') or run.get('model', 'type') or ''
    loss = run.get('model', 'head', 'loss', 'type') or run.get('model', 'mec', 'type')
    return f'{kind} ({loss})' if loss else str(kind)


def backbone(run: Run) -> str:
    """The backbone and its depth or size."""
    kind, depth, arch = (run.get('model', 'backbone', key) for key in ('type', 'depth', 'arch'))
    size = depth or ('' if isinstance(arch, dict) else arch)
    return f'{kind or ""} {size or ""}'.strip()


def training_set(run: Run) -> str:
    """The type of the training set, within whatever wraps it."""
    found = run.get('train_dataloader', 'dataset')
    return str(innermost_dataset(found).get('type') or '') if isinstance(found, dict) else ''


def length(run: Run) -> str:
    """How far training came, as far as what was logged and saved tells."""
    done = max(run.last_iter, *run.checkpoints().values(), 0)
    most = run.get('train_cfg', 'max_epochs')
    if most and run.per_epoch:
        came = f'{number_text(done / run.per_epoch, 3)} of '
        return f'{"" if done >= most * run.per_epoch else came}{most:,} epochs'
    most = run.get('train_cfg', 'max_iters')
    return f'{done:,} of {most:,} iterations' if most and done < most else f'{done:,} iterations'


def duration(seconds: float) -> str:
    """Hours, minutes or seconds; '' for none."""
    if seconds >= 3600:
        return f'{seconds / 3600:.1f} h'
    if seconds >= 120:
        return f'{seconds / 60:.1f} min'
    return f'{seconds:.0f} s' if seconds else ''


def last_values(
    runs: Sequence[Run], measured: Mapping[str, Measured] | None = None
) -> list[LastValues]:
    """The last numbers that at least one of the runs has."""
    features = [measured[run.key].features if measured else '' for run in runs]
    rows: list[tuple[str, str, list[float | None]]] = [
        ('Linear probe, %', 'higher', [getattr(found, 'linear', None) for found in features]),
        ('kNN, %', 'higher', [getattr(found, 'knn', None) for found in features]),
        ('kNN in training, %', 'higher', [run.last('knn/top1') for run in runs]),
    ]
    for name in ('er_bound', 'rankme', 'lidar', 'coding_length', 'entropy'):
        metric = FEATURES[name]
        # Entropies of different widths do not compare.
        better = '' if name == 'entropy' else metric.better
        values = [run.last(f'monitor/backbone/{name}') for run in runs]
        rows.append((f'{metric.title}, {metric.unit}', better, values))
    rows.append(('Loss', '', [run.last('loss') for run in runs]))
    found = []
    for title, better, values in rows:
        known = [value for value in values if value is not None]
        if known and title.endswith('%'):
            texts = ['–' if value is None else f'{value:.2f}' for value in values]
            found.append(LastValues(title, better, texts, [v == max(known) for v in values]))
        elif known:
            texts = [number_text(value) for value in values]
            found.append(LastValues(title, better, texts, [False] * len(values)))
    return found


def facts(run: Run) -> dict[str, str]:
    """What was run, how and where; entries that are not known are absent."""
    environment = run.environment
    batch, ranks = run.get('train_dataloader', 'batch_size'), environment.get('GPU number', '?')
    seed = run.get('randomness', 'seed')
    settings = ('type', 'lr', 'momentum', 'weight_decay')
    optimizer = [(key, run.get('optim_wrapper', 'optimizer', key)) for key in settings]
    time = f'{duration(run.seconds)} by the log, {run.starts} start{"s" * (run.starts > 1)}'
    gpus = [v for k, v in environment.items() if k.startswith('GPU ') and k != 'GPU number']
    cpu = 'CPU' if environment.get('CUDA available') == 'False' else ''
    found = {
        'Method': method(run),
        'Backbone': backbone(run),
        'Data': training_set(run),
        'Batch': f'{batch} a process, {ranks} process(es)' if batch else '',
        'Optimiser': ', '.join(
            f'{key} {value}'.removeprefix('type ') for key, value in optimizer if value is not None
        ),
        'Length': length(run),
        'Time': time if run.seconds else '',
        'Seed': str(environment.get('seed', '') if seed is None else seed),
        'Commit': str(run.get('code', 'commit') or 'not recorded'),
        'Device': ', '.join(gpus) or cpu,
        'Python': environment.get('Python', '').split(' ')[0],
        'PyTorch': environment.get('PyTorch', ''),
        'MMEngine': environment.get('MMEngine', ''),
        'Config': run.config_name,
        'Work directory': str(run.path),
    }
    return {key: value for key, value in found.items() if value}
