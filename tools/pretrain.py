"""Pre-train a backbone on a folder of images, with settings chosen for them and this machine.

mmentropy pretrain PHOTOS --method mec --minutes 5
"""

import argparse

from cli import Parser, errors_in_one_line, keep_memory, seed


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument('photos', help='a folder of images, flat or nested')
    parser.add_argument('--method', help='mec (default), er, minent, dino, vicreg, simdino, ...')
    parser.add_argument(
        '--backbone',
        choices=['resnet18s', 'resnet18', 'resnet34', 'resnet50'],
        help='default: resnet18 on a GPU, else resnet18s, which is narrow',
    )
    parser.add_argument('--epochs', type=int, help='default: as many as fit --minutes')
    parser.add_argument('--minutes', type=float, help='that training may take; default 5')
    parser.add_argument('--out', help='a new folder; default work_dirs/pretrain/NAME')
    parser.add_argument('--seed', type=seed, help='default 0')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on with the run in --out by its config.py, of the same PHOTOS',
    )
    parser.add_argument('--dry-run', action='store_true', help='print the plan and stop')
    return parser.parse_args()


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

import mmentropy
from mmentropy.evaluation.progress import show_progress


def main() -> None:
    keep_memory()
    show_progress()
    mmentropy.pretrain(**vars(parse_args()))


if __name__ == '__main__':
    with errors_in_one_line():
        main()
