"""Mean and deviation of each channel of the images in a folder, as lines for a config.

python tools/folder_statistics.py /path/to/images
"""

import argparse
import sys

from cli import Parser, errors_in_one_line


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument('folder')
    parser.add_argument(
        '--color-type',
        default='unchanged',
        choices=['unchanged', 'color', 'grayscale'],
        help='of CheckedLoadImageFromFile; default: the channels and depth of the files',
    )
    parser.add_argument(
        '--most', type=int, default=2000, help='images to read, evenly spaced; default 2000'
    )
    return parser.parse_args()


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

from mmentropy.datasets import ImageFolder
from mmentropy.engine.monitored_features import evenly
from mmentropy.evaluation.progress import progress, show_progress
from mmentropy.views import CheckedLoadImageFromFile
from mmentropy.views.statistics import channel_statistics


def main() -> None:
    args = parse_args()
    if args.most < 1:
        raise ValueError(f'--most: must be above 0, got {args.most}')
    show_progress()
    dataset = ImageFolder(args.folder)
    rows = evenly(len(dataset), args.most)
    paths = [dataset.get_data_info(row)['img_path'] for row in rows]
    load = CheckedLoadImageFromFile(color_type=args.color_type)
    found = channel_statistics(progress(paths, 'reading', 'image'), load)
    for text in found.unreadable[:5]:
        print(f'left out: {text}', file=sys.stderr)
    share = f' of {len(dataset):,}' if found.images < len(dataset) else ''
    channels, (least, most) = len(found.mean), found.sides
    print(
        f'# {found.images:,}{share} images of {found.depth}, {channels} channels, sides of '
        f'{least} to {most} pixels, {len(found.unreadable)} unreadable'
    )
    # The loader gives colours as BGR, and statistics are of RGB.
    bgr = args.color_type == 'color'
    mean, std = found.for_config(bgr)
    to_rgb = ', to_rgb=True' if bgr else ''
    print(f"load = dict(type='CheckedLoadImageFromFile', color_type={args.color_type!r})")
    print(f'model = dict(backbone=dict(in_channels={channels}))')
    print(f'data_preprocessor = dict(mean={mean}, std={std}{to_rgb})')


if __name__ == '__main__':
    with errors_in_one_line():
        main()
