"""The report as one HTML file that needs nothing else, neither files nor a network."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from mmentropy.report import charts, config_differences, curves, overview
from mmentropy.report.measured import Measured
from mmentropy.report.runs import Run
from mmentropy.report.unlabelled import Unlabelled


def embedding_html(found: Unlabelled) -> str:
    """The page about a file of features."""
    return _template('embedding.html').render(found=found, style=Markup(_file('style.css')))


def report_html(runs: Sequence[Run], measured: Mapping[str, Measured] | None = None) -> str:
    """The page.

    Args:
        runs: At least one.
        measured: What was measured, by the key of a run. None leaves the section about images out.
    """
    style = _file('uplot/uPlot.min.css') + _file('style.css')
    script = _file('uplot/uPlot.iife.min.js') + _file('script.js')
    known = [run for run in runs if run.config is not None]
    return _template('page.html').render(
        runs=runs,
        many=len(runs) > 1,
        measured=measured,
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        charts=charts,
        curves=curves,
        overview=overview,
        base_differences=config_differences.base_differences,
        with_config=known,
        differences=config_differences.differences([run.config for run in known]),
    )


def write_page(path: Path, page: str) -> None:
    """Write a page, in which names of files that are not Unicode are escaped."""
    path.write_text(page, encoding='utf-8', errors='backslashreplace')


def _template(name: str) -> Template:
    return Environment(
        loader=FunctionLoader(_file),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template(name)


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding='utf-8')
