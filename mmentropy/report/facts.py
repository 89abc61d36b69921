"""The section of what was run and its last numbers."""

from collections.abc import Sequence
from html import escape

from mmentropy.report.charts import text_of
from mmentropy.report.images import Measured
from mmentropy.report.metrics import MONITORED
from mmentropy.report.parts import badge, missing, table
from mmentropy.report.runs import Run, base_differences, differences

# Entries of a config that are listed.
ENTRIES = 60


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


def data(run: Run) -> str:
    """The training set."""
    path = ['train_dataloader', 'dataset']
    while isinstance(run.get(*path, 'dataset'), dict):
        path.append('dataset')
    return str(run.get(*path, 'type') or '')


def length(run: Run) -> str:
    """How far training came, as far as what was logged and saved tells."""
    saved = run.checkpoints().values()
    done = max(run.last_iter, *saved, 0)
    most = run.get('train_cfg', 'max_epochs')
    if most and run.per_epoch:
        epochs = done / run.per_epoch
        return (
            f'{most} epochs' if epochs >= most - 1e-9 else f'{text_of(epochs, 3)} of {most} epochs'
        )
    most = run.get('train_cfg', 'max_iters')
    return f'{done:,} of {most:,} iterations' if most and done < most else f'{done:,} iterations'


def duration(seconds: float) -> str:
    """Hours, minutes or seconds."""
    if seconds >= 3600:
        return f'{seconds / 3600:.1f} h'
    return f'{seconds / 60:.1f} min' if seconds >= 120 else f'{seconds:.0f} s'


def summary_rows(
    runs: Sequence[Run], measured: dict[str, Measured] | None
) -> list[tuple[str, str, list[float | None]]]:
    """Titles, what is better, and the last values of the runs."""
    rows: list[tuple[str, str, list[float | None]]] = []
    for title, name in (('Linear probe, %', 'linear'), ('kNN, %', 'knn')):
        rows.append(
            (
                title,
                'higher',
                [
                    getattr(measured[run.key].features, name, None) if measured else None
                    for run in runs
                ],
            )
        )
    rows.append(('kNN in training, %', 'higher', [run.last('knn/top1') for run in runs]))
    for name in ('er_bound', 'rankme', 'lidar', 'coding_length', 'entropy'):
        metric = MONITORED[name]
        # Entropies of different widths do not compare.
        better = '' if name == 'entropy' else metric.better
        rows.append(
            (
                f'{metric.title}, {metric.unit}',
                better,
                [run.last(f'monitor/backbone/{name}') for run in runs],
            )
        )
    rows.append(('Loss', '', [run.last('loss') for run in runs]))
    return [row for row in rows if any(v is not None for v in row[2])]


def shown(title: str, value: float | None) -> str:
    """A last number; all percentages to two decimals."""
    return f'{value:.2f}' if value is not None and '%' in title else text_of(value)


def numbers(runs: Sequence[Run], measured: dict[str, Measured] | None) -> str:
    """The table of final numbers, as tiles for a single run."""
    rows = summary_rows(runs, measured)
    if len(runs) == 1:
        signs = dict(higher='↑ higher is better', lower='↓ lower is better')
        tiles = ''.join(
            f'<div><dt>{escape(title)}</dt><dd>{shown(title, values[0])}'
            f'<span>{signs.get(better, "")}</span></dd></div>'
            for title, better, values in rows
        )
        return f'<dl class="tiles">{tiles}</dl>' + BACKBONE_NOTE
    head = [
        'Run',
        'Alarms',
        *(
            escape(title) + dict(higher=' ↑', lower=' ↓').get(better, '')
            for title, better, _ in rows
        ),
        'Method',
        'Length',
        'Time',
    ]
    cells = []
    for i, run in enumerate(runs):
        row = [badge(run, runs), str(len(run.alarms)) if run.monitored else '–']
        for title, _, values in rows:
            text = shown(title, values[i])
            # Of accuracies only: a sick run can have the highest rank.
            best = '%' in title and values[i] == max(v for v in values if v is not None)
            row.append(f'<strong>{text}</strong>' if best else text)
        cells.append(
            [*row, escape(method(run)), length(run), duration(run.seconds) if run.seconds else '–']
        )
    return table(head, cells, 'Last numbers; ↑ higher is better, bold the best') + BACKBONE_NOTE


BACKBONE_NOTE = (
    '<p class="note">Ranks, lengths and entropies are of '
    'backbone features on held-out images. Losses of different methods do not '
    'compare.</p>'
)


def facts(runs: Sequence[Run]) -> str:
    """What was run, where, and how it differs from its base."""
    html = ''
    for run in runs:
        environment = run.environment
        seed = run.get('randomness', 'seed')
        gpus = [
            value
            for key, value in environment.items()
            if key.startswith('GPU ') and key != 'GPU number'
        ]
        batch = run.get('train_dataloader', 'batch_size')
        ranks = environment.get('GPU number')
        kind = run.get('optim_wrapper', 'optimizer', 'type')
        numbers = [
            (key, run.get('optim_wrapper', 'optimizer', key))
            for key in ('lr', 'momentum', 'weight_decay')
        ]
        rows = {
            'Method': method(run),
            'Backbone': backbone(run),
            'Data': data(run),
            'Batch': f'{batch} a process, {ranks or "?"} process(es)' if batch else '',
            'Optimiser': ', '.join(
                [
                    *([str(kind)] if kind else []),
                    *(f'{key} {value}' for key, value in numbers if value is not None),
                ]
            ),
            'Length': length(run),
            'Time': f'{duration(run.seconds)} by the log, {run.starts} '
            f'start{"s" * (run.starts > 1)}'
            if run.seconds
            else '',
            'Seed': str(seed if seed is not None else environment.get('seed', '')),
            'Commit': str(run.get('code', 'commit') or 'not recorded'),
            'Device': ', '.join(gpus)
            or ('CPU' if environment.get('CUDA available') == 'False' else ''),
            'Python': environment.get('Python', '').split(' ')[0],
            'PyTorch': environment.get('PyTorch', ''),
            'MMEngine': environment.get('MMEngine', ''),
            'Config': run.config_name,
            'Work directory': str(run.path),
        }
        listed = ''.join(
            f'<div><dt>{key}</dt><dd>{escape(value)}</dd></div>'
            for key, value in rows.items()
            if value
        )
        opened = ' open' if len(runs) == 1 else ''
        html += (
            f'<details class="facts"{opened}><summary>How '
            f'{badge(run, runs)} was run</summary><dl>{listed}</dl>'
            f'{config_of(run)}</details>'
        )
    if len(runs) > 1:
        html += between(runs)
    return html


def config_of(run: Run) -> str:
    """Differences to the base config, and the whole."""
    if not run.config_text:
        return missing('The work directory holds no config.')
    name, found = base_differences(run)
    if not name:
        html = missing(
            'No config of this name is in the repository’s '
            '<code>configs/</code>, so there is nothing to compare '
            'with.'
        )
    elif not found:
        html = f'<p>As <code>{escape(name)}</code>, nothing changed.</p>'
    else:
        html = entries_table(
            ['Entry', escape(name), 'this run'],
            {key: list(pair) for key, pair in found.items()},
            'Differences from the config of this name',
        )
    return html + (
        '<details><summary>Whole config</summary><pre tabindex="0">'
        f'{escape(run.config_text)}</pre></details>'
    )


def entries_table(head: list[str], rows: dict[str, list[str]], caption: str) -> str:
    """Config entries, code in each cell."""
    cells = [
        [
            f'<code>{escape(key)}</code>',
            *(f'<code>{escape(value)}</code>' if value else '–' for value in row),
        ]
        for key, row in rows.items()
    ]
    more = len(cells) - ENTRIES
    return table(head, cells[:ENTRIES], caption) + (
        f'<p class="note">And {more} more.</p>' if more > 0 else ''
    )


def between(runs: Sequence[Run]) -> str:
    """In what the configs of the runs differ."""
    known = [run for run in runs if run.config is not None]
    if len(known) < 2:
        return ''
    found = differences([run.config for run in known if run.config])
    content = (
        entries_table(
            ['Entry', *(badge(run, runs) for run in known)],
            found,
            'Entries that differ between the runs',
        )
        if found
        else '<p>Their configs are equal.</p>'
    )
    return (
        '<details class="facts"><summary>Differences between the runs '
        f'({len(found)} entries)</summary>{content}</details>'
    )
