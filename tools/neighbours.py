"""Near-duplicates, nearest neighbours and a map of what tools/embed.py wrote.

python tools/neighbours.py features.npz --of cat/0001.jpg --duplicates 0.98 --page map.html
"""

import argparse
import csv
import os
import sys
from pathlib import Path

from cli import Parser, check_out, errors_in_one_line, printing


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument('features', type=Path, help='.npz or .parquet')
    parser.add_argument('--of', nargs='+', default=[], help='paths of images among the features')
    parser.add_argument('-k', type=int, default=6, help='neighbours of each; default 6')
    parser.add_argument(
        '--duplicates', type=float, help='cosine from which on two images are near-duplicates'
    )
    parser.add_argument('--page', type=Path, help='an HTML page with a map and neighbours')
    return parser.parse_args()


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

from mmentropy.checks.arguments import COUNT, SHARE, require
from mmentropy.evaluation.embedding_file import Embedding, read_embedding
from mmentropy.evaluation.neighbours import check_distinct, near_duplicates, nearest_rows
from mmentropy.evaluation.progress import show_progress
from mmentropy.report import embedding_html, write_page
from mmentropy.report.unlabelled import of_embedding


def main() -> None:
    args = parse_args()
    show_progress()
    if not args.of and args.duplicates is None and not args.page:
        raise ValueError('nothing to do: add --of PATH, --duplicates 0.98 or --page map.html')
    if args.page:
        check_out('--page', args.page, [args.features], ['.html'])
    require(COUNT, k=args.k)
    if args.duplicates is not None:
        require(SHARE, duplicates=args.duplicates)
    found = read_embedding(args.features)
    check_distinct(found.features)
    rows = [row_of(path, found.folder, found.paths) for path in args.of]
    # The page comes first, because a reader of the tables may leave early.
    if args.page:
        page = embedding_html(of_embedding(found, args.features.name))
        write_page(args.page, page)
        size = args.page.stat().st_size
        print(f'wrote {args.page} ({size / 1e6:.1f} MB)', file=sys.stderr)
    with printing():
        print_tables(args, found, rows)


def print_tables(args: argparse.Namespace, found: Embedding, rows: list[int]) -> None:
    """Print the neighbours of the rows, and the near-duplicates, that were asked for."""
    table = csv.writer(sys.stdout, delimiter='\t', lineterminator='\n')
    if rows:
        cosines, near = nearest_rows(found.features, found.features[rows], args.k + 1)
        table.writerow(['image', 'neighbour', 'cosine'])
        for row, values, others in zip(rows, cosines.tolist(), near.tolist()):
            pairs = [(cosine, i) for cosine, i in zip(values, others) if i != row][: args.k]
            for cosine, other in pairs:
                table.writerow([found.paths[row], found.paths[other], f'{cosine:.4f}'])
    if args.duplicates is not None:
        table.writerow(['image', 'duplicate', 'cosine'])
        for cosine, row, other in near_duplicates(found.features, args.duplicates):
            table.writerow([found.paths[row], found.paths[other], f'{cosine:.4f}'])


def row_of(path: str, folder: str, paths: list[str]) -> int:
    """Return the row of a path, which is one on disk or one below the folder."""
    for name in (os.path.relpath(path, folder), path):
        if name in paths:
            return paths.index(name)
    raise ValueError(f'{path} is not among the {len(paths):,} images of the file, {paths[0]}, ...')


if __name__ == '__main__':
    with errors_in_one_line():
        main()
