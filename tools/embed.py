"""Write the features of all images in a folder, labelled or not.

python tools/embed.py CHECKPOINT FOLDER --out features.npz --thumbnails 32
"""

import argparse
import sys
from pathlib import Path

from cli import (
    check_out,
    checkpoint_parser,
    config_path,
    errors_in_one_line,
    join_ranks,
    keep_memory,
    read_config,
)


def parse_args() -> argparse.Namespace:
    parser = checkpoint_parser(__doc__)
    parser.add_argument('folder', help='of images, flat or nested')
    parser.add_argument(
        '--out', default='features.npz', help='.npz or .parquet; default %(default)s'
    )
    parser.add_argument(
        '--size', type=int, help='side that images are resized and cropped to; default: as trained'
    )
    parser.add_argument('--thumbnails', type=int, default=0, help='their side in pixels')
    parser.add_argument('--batch-size', type=int, default=256)
    parser.add_argument('--workers', type=int, default=0, help='loader processes')
    parser.add_argument('--launcher', choices=['none', 'pytorch'], default='none')
    for action in parser._actions:
        if action.dest == 'checkpoint':
            action.help = 'a file, zoo://NAME, or the name of a model of mmpretrain'
    return parser.parse_args()


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

from mmengine.dist import is_main_process

from mmentropy.evaluation.embed_folder import WRITERS, embed_checkpoint
from mmentropy.evaluation.progress import show_progress


def main() -> None:
    keep_memory()
    args = parse_args()
    configs = [config_path(args.config)] if args.config else []
    check_out('--out', args.out, [args.checkpoint, *configs], [*WRITERS], makes_folder=True)
    show_progress()
    if args.launcher == 'pytorch':
        join_ranks()
    bad = embed_checkpoint(
        args.checkpoint,
        args.folder,
        args.out,
        read_config(args.config) if args.config else None,
        args.branch,
        args.size,
        args.trust,
        batch_size=args.batch_size,
        num_workers=args.workers,
        thumbnails=args.thumbnails,
    )
    if is_main_process():
        report_bad(bad, Path(args.out))
        print(f'wrote {args.out} ({Path(args.out).stat().st_size / 1e6:.1f} MB)')


def report_bad(bad: list[tuple[str, str]], out: Path) -> None:
    """Name the files that could not be read in a file beside the features."""
    file = out.with_name(f'{out.stem}_bad_images.txt')
    # One of an earlier run would name files that were read this time.
    file.unlink(missing_ok=True)
    if bad:
        text = ''.join(f'{path!r}\t{why}\n' for path, why in bad)
        file.write_text(text, encoding='utf-8', errors='replace')
        print(f'left out: {len(bad)} files, named in {file} with the reasons', file=sys.stderr)


if __name__ == '__main__':
    with errors_in_one_line():
        main()
