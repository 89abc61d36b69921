"""What the tools share."""

import argparse
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def checkpoint_parser(doc: str) -> argparse.ArgumentParser:
    """A parser for CHECKPOINT, --config and --branch.

    Args:
        doc: docstring of the tool, whose first line is the description.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('--config', help='default: the config stored in the checkpoint')
    add_trust(parser)
    parser.add_argument(
        '--branch',
        default='student',
        choices=['student', 'teacher'],
        help='teacher: the EMA target of BYOL-like models',
    )
    return parser


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add --trust."""
    parser.add_argument(
        '--trust',
        action='store_true',
        help='import and run what a config that came with a file names; it can run any code',
    )


def aligned(rows: list[list[str]]) -> str:
    """Rows as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:])]
        lines.append('  '.join([first.ljust(widths[0]), *cells]))
    return '\n'.join(lines)


def score_table(results: dict[str, dict[str, float]]) -> str:
    """Scores with the columns of the first row; '-' where another row has none."""
    names = list(next(iter(results.values())))
    rows = [['', *names]]
    for row, scores in results.items():
        rows.append([row, *(f'{scores[n]:.2f}' if n in scores else '-' for n in names)])
    return aligned(rows)


def commit() -> str:
    """The commit of mmentropy, with '-dirty' if it was changed; '' outside of git."""
    try:
        found = subprocess.run(
            ['git', 'describe', '--always', '--dirty', '--abbrev=10'],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )
    except OSError:
        return ''
    return found.stdout.strip()


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Leave with 'error: ...' on what users cause.

    That is files, configs, unregistered names and absent modules.
    """
    try:
        yield
    except (
        ValueError,
        OSError,
        RuntimeError,
        KeyError,
        ImportError,
        TypeError,
        AssertionError,
    ) as error:
        # str() of a KeyError is in quotes.
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        lines = str(text).strip().splitlines()
        if not lines:
            # The source of a bare assertion names what is wrong.
            where = traceback.extract_tb(error.__traceback__)[-1]
            lines = [f'{type(error).__name__}: {where.line}']
        # Errors of loader processes end with the line that counts.
        line = lines[-1] if lines[0].startswith('Caught ') else lines[0]
        sys.exit(f'error: {line}')
