"""The report as one HTML file that needs nothing else."""

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

from mmentropy.report import palette
from mmentropy.report.curves import monitored, planes, spectra, training
from mmentropy.report.facts import backbone, data, facts, length, method, numbers
from mmentropy.report.gallery import images, sprite_style
from mmentropy.report.images import Features, Measured
from mmentropy.report.parts import badge, legend
from mmentropy.report.runs import Run


def report_html(runs: Sequence[Run], measured: dict[str, Measured] | None = None) -> str:
    """The page.

    Args:
        runs: At least one.
        measured: By key of a run. None leaves the section out.
    """
    style = (
        _asset('style.css')
        .replace('/*light*/', palette.variables(palette.LIGHT, palette.LIGHT_SERIES))
        .replace('/*dark*/', palette.variables(palette.DARK, palette.DARK_SERIES))
    )
    sprites = ''.join(
        sprite_style(key, found.features)
        for key, found in (measured or {}).items()
        if isinstance(found.features, Features)
    )
    script = _asset('script.js')
    digest = hashlib.sha256(script.encode()).digest()
    names = ', '.join(run.name for run in runs)
    sections = [
        ('runs', 'At a glance', numbers(runs, measured) + facts(runs)),
        ('training', 'Training', training(runs)),
        ('features', 'Features over training', monitored(runs)),
        ('plane', 'Entropy and reconstruction', planes(runs)),
        ('spectrum', 'Spectrum', spectra(runs)),
    ]
    if measured is not None:
        sections.append(('images', 'What it sees', images(runs, measured)))
    body = ''.join(
        f'<section id="{ident}" aria-labelledby="{ident}-h">'
        f'<h2 id="{ident}-h">{title}</h2>'
        f'{legend(runs) if ident != "runs" else ""}{content}</section>'
        for ident, title, content in sections
    )
    return Template(_asset('page.html')).substitute(
        title=escape(f'{names} – pre-training report'),
        hash=base64.b64encode(digest).decode(),
        style=style + sprites,
        script=script,
        heading=escape(runs[0].name) if len(runs) == 1 else f'{len(runs)} runs side by side',
        lead=lead(runs),
        nav=''.join(f'<a href="#{ident}">{title}</a>' for ident, title, _ in sections),
        alarms=alarms(runs),
        body=body,
    )


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding='utf-8')


def lead(runs: Sequence[Run]) -> str:
    """What was trained, in a line."""
    if len(runs) > 1:
        return legend(runs)
    run = runs[0]
    parts = [method(run), backbone(run), data(run), length(run)]
    return '<p class="lead">' + escape(' · '.join(part for part in parts if part)) + '</p>'


def alarms(runs: Sequence[Run]) -> str:
    """What the monitor warned of, and what could not be read."""
    items, count = '', 0
    for run in runs:
        texts = [f'<b>iteration {step:,}</b> – {escape(text)}' for step, text in run.alarms]
        count += len(texts)
        if texts and len(runs) > 1:
            rest = ''.join(f'<li>{text}</li>' for text in texts[1:])
            more = (
                f'<details><summary>{len(texts) - 1} more</summary><ul>{rest}</ul></details>'
                if rest
                else ''
            )
            items += f'<li>{badge(run, runs)}, {texts[0]}{more}</li>'
        else:
            items += ''.join(f'<li>{text}</li>' for text in texts)
    notes = [f'<li>{badge(run, runs)}: {escape(note)}</li>' for run in runs for note in run.notes]
    html = ''
    if items:
        html += (
            '<aside class="alarms" aria-labelledby="alarms-h"><h2 '
            'id="alarms-h"><span aria-hidden="true">▲</span> '
            f'{count} alarm{"s" * (count > 1)} of the monitor'
            f'</h2><ul>{items}</ul></aside>'
        )
    elif all(run.monitored for run in runs):
        html += '<p class="sound"><span aria-hidden="true">✓</span> The monitor gave no alarm.</p>'
    if notes:
        html += f'<ul class="notes">{"".join(notes)}</ul>'
    return html
