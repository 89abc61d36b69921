"""The report for a README: Markdown, and PNGs by matplotlib."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from mmentropy.report.curves import Scale, alike, lines_of, plane_paths, plane_unit
from mmentropy.report.facts import duration, length, method, shown, summary_rows
from mmentropy.report.images import Features, Measured
from mmentropy.report.metrics import KNN, MONITORED, TRAINED, Metric
from mmentropy.report.palette import LIGHT_SERIES, dash
from mmentropy.report.runs import Run, base_differences

# Entries of a config that are listed.
ENTRIES = 12
_PANELS: dict[str, Metric] = {
    'loss': TRAINED['loss'],
    'knn/top1': KNN,
    'monitor/backbone/rankme': MONITORED['rankme'],
    'monitor/backbone/er_bound': MONITORED['er_bound'],
}


def write_markdown(runs: Sequence[Run], measured: dict[str, Measured] | None, folder: Path) -> Path:
    """Write report.md and its pictures; the path of the former."""
    folder.mkdir(parents=True, exist_ok=True)
    title = plain(runs[0].name) if len(runs) == 1 else f'{len(runs)} pre-training runs'
    text = [f'# {title}', '', *numbers(runs, measured), '']
    for run in runs:
        for step, alarm in run.alarms[:1]:
            text.append(
                f'- {plain(run.name)}, {len(run.alarms)} alarm(s), '
                f'the first at iteration {step:,}: {plain(alarm)}'
            )
    text.append('')
    for name, alt in draw(runs, measured, folder).items():
        text += [f'![{alt}]({name})', '']
    for run in runs:
        base, found = base_differences(run)
        if found:
            text += [
                f'{plain(run.name)} differs from `{base}` in {len(found)} entries, among them',
                '',
            ]
            text += [
                f'- {code(key)}: {code(new)}, there {code(old)}'
                for key, (old, new) in list(found.items())[:ENTRIES]
            ]
            text.append('')
    path = folder / 'report.md'
    path.write_text('\n'.join(text).rstrip() + '\n', encoding='utf-8')
    return path


def plain(text: str) -> str:
    """Text that means nothing to Markdown, in one line."""
    text = escape(' '.join(text.split()), quote=False)
    return ''.join(f'\\{c}' if c in '\\`*_[]|#!' else c for c in text)


def code(text: str) -> str:
    """A short piece of code, without what would end it."""
    text = ' '.join(text.replace('`', "'").split()) or 'absent'
    return f'`{text[:60]}…`' if len(text) > 60 else f'`{text}`'


def numbers(runs: Sequence[Run], measured: dict[str, Measured] | None) -> list[str]:
    """The table of last numbers, a row per run."""
    rows = summary_rows(runs, measured)
    head = ['run', 'alarms', *(row[0] for row in rows), 'method', 'length', 'time']
    lines = ['| ' + ' | '.join(head) + ' |', '|---' * len(head) + '|']
    for i, run in enumerate(runs):
        cells = [
            run.name,
            str(len(run.alarms)) if run.monitored else '–',
            *(shown(title, values[i]) for title, _, values in rows),
            method(run),
            length(run),
            duration(run.seconds),
        ]
        lines.append('| ' + ' | '.join(map(plain, cells)) + ' |')
    return lines


def draw(runs: Sequence[Run], measured: dict[str, Measured] | None, folder: Path) -> dict[str, str]:
    """PNGs of what there is: file names and what they show."""
    import matplotlib.pyplot as plt

    scale = Scale(runs)
    files = {}

    def style(slot: int) -> dict:
        pattern = dash(slot)
        lines = (0, tuple(map(float, pattern.split()))) if pattern else '-'
        return dict(color=LIGHT_SERIES[slot % len(LIGHT_SERIES)], linestyle=lines, linewidth=1.4)

    def save(fig: plt.Figure, name: str, alt: str) -> None:
        handles = {}
        for ax in fig.axes:
            ax.grid(alpha=0.25)
            ax.spines[['top', 'right']].set_visible(False)
            for handle, label in zip(*ax.get_legend_handles_labels()):
                handles[label] = handle
        if len(runs) > 1 and handles:
            fig.legend(
                handles.values(),
                handles.keys(),
                loc='outside lower center',
                ncol=min(4, len(handles)),
                frameon=False,
            )
        fig.savefig(folder / name, dpi=110)
        plt.close(fig)
        files[name] = alt

    def panels(count: int, height: float = 3.2) -> tuple:
        return plt.subplots(
            1, count, figsize=(3.9 * count, height), squeeze=False, layout='constrained'
        )

    # A $ in a name would be mathematics, and a _ at its start hide it.
    names = {run.slot: '\u200b' + run.name.replace('$', r'\$') for run in runs}
    keys = [key for key in _PANELS if any(key in run.curves for run in runs)]
    if keys:
        fig, axes = panels(len(keys))
        for ax, key in zip(axes[0], keys):
            for line in lines_of(runs, key, scale):
                ax.plot(line.x, line.y, label=names[line.slot], **style(line.slot))
            metric = _PANELS[key]
            ax.set(title=metric.title, xlabel=scale.label, ylabel=metric.unit)
        save(fig, 'curves.png', ', '.join(_PANELS[key].title for key in keys) + ' over training')

    groups = [
        (part, group)
        for part in ('backbone', 'projector')
        for group in alike(plane_paths(runs, part))
    ]
    if groups:
        fig, axes = panels(len(groups), 3.6)
        for ax, (part, group) in zip(axes[0], groups):
            for line in group:
                ax.plot(line.x, line.y, label=names[line.slot], **style(line.slot))
                ax.plot(line.x[-1], line.y[-1], 'o', markersize=5, color=style(line.slot)['color'])
            unit = plane_unit(runs, part)
            ax.set(
                title=part.capitalize(), xlabel=f'reconstruction, {unit}', ylabel=f'entropy, {unit}'
            )
        save(fig, 'er_plane.png', 'Entropy against reconstruction over training, disc: end')

    parts = [
        part for part in ('backbone', 'projector') if any(run.spectra.get(part) for run in runs)
    ]
    if parts:
        fig, axes = panels(len(parts))
        for ax, part in zip(axes[0], parts):
            for run in runs:
                found = run.spectra.get(part) or []
                # All of one run's training, the last one of several.
                every = (
                    found[:: max(1, len(found) // 8)] + found[-1:] if len(runs) == 1 else found[-1:]
                )
                for i, (_, shares) in enumerate(every, 1):
                    shares = [s if s > 0 else math.nan for s in shares]
                    ax.semilogy(
                        range(1, len(shares) + 1),
                        shares,
                        alpha=min(1.0, 0.2 + 0.8 * i / len(every)),
                        label=names[run.slot],
                        **style(run.slot),
                    )
            ax.set(title=part.capitalize(), xlabel='singular value', ylabel='share of the sum')
        save(
            fig,
            'spectrum.png',
            'Spectra of features'
            + (' over training, later is stronger' if len(runs) == 1 else ' at the end'),
        )

    maps = [
        (run, measured[run.key].features)
        for run in runs
        if measured and isinstance(measured[run.key].features, Features)
    ]
    if maps:
        columns = min(4, len(maps))
        rows = -(-len(maps) // columns)
        fig, axes = plt.subplots(
            rows, columns, squeeze=False, figsize=(4 * columns, 4.2 * rows), layout='constrained'
        )
        for ax in axes.flat[len(maps) :]:
            ax.remove()
        for ax, (run, features) in zip(axes.flat, maps):
            assert isinstance(features, Features)
            for (x, y), label in zip(features.points, features.labels):
                ax.text(
                    x,
                    1 - y,
                    features.classes[label][:2],
                    fontsize=7,
                    ha='center',
                    va='center',
                    color=LIGHT_SERIES[label % len(LIGHT_SERIES)],
                )
            ax.set(
                title=names[run.slot], xticks=[], yticks=[], xlim=(-0.03, 1.03), ylim=(-0.03, 1.03)
            )
        fig.savefig(folder / 'map.png', dpi=110)
        plt.close(fig)
        files['map.png'] = 't-SNE of test images, a character per class'
    return files
