"""One HTML page about one or several pre-training runs.

python tools/report.py work_dirs/a work_dirs/b
"""

import argparse
from pathlib import Path

from cli import Parser, add_trust, check_out, errors_in_one_line, printing


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument('work_dirs', nargs='+', type=Path)
    parser.add_argument(
        '--out', type=Path, help='default: report.html in the work directory, or, for several, here'
    )
    parser.add_argument(
        '--checkpoint', help='file name in the work directories; default: the newest'
    )
    parser.add_argument(
        '--no-features', action='store_true', help='do not load checkpoints and images'
    )
    add_trust(parser)
    args = parser.parse_args()
    if args.checkpoint and args.no_features:
        parser.error('--checkpoint is not loaded with --no-features: leave one out')
    return args


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

import sys

from mmentropy.evaluation.progress import show_progress
from mmentropy.report import Run, measured_runs, read_runs, report_html, write_page


def main() -> None:
    args = parse_args()
    out = args.out or Path(args.work_dirs[0] if len(args.work_dirs) == 1 else '.', 'report.html')
    check_out('--out', out, endings=['.html'], makes_folder=True)
    show_progress()
    runs = read_runs(args.work_dirs, args.trust)
    if args.checkpoint:
        check_named(args.checkpoint, runs)
    measured = None
    if not args.no_features:
        measured = measured_runs(runs, args.checkpoint)
    page = report_html(runs, measured)
    for run in runs:
        found = measured[run.key] if measured else ()
        for note in [*run.notes, *(text for text in found if isinstance(text, str))]:
            print(f'note: {run.name}: {note}', file=sys.stderr)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_page(out, page)
    with printing():
        print(f'wrote {out} ({out.stat().st_size / 1e6:.1f} MB)')


def check_named(checkpoint: str, runs: list[Run]) -> None:
    """Raise FileNotFoundError if no run has the checkpoint that was named."""
    if not any((run.path / checkpoint).is_file() for run in runs):
        known = sorted({name for run in runs for name in run.checkpoints()})
        there = f'there are {", ".join(known[:5])}' if known else 'there is none'
        places = ', '.join(str(run.path) for run in runs)
        raise FileNotFoundError(f'--checkpoint: no {checkpoint} in {places}; {there}')


if __name__ == '__main__':
    with errors_in_one_line():
        main()
