"""Write the backbone of another library's checkpoint as mmpretrain's.

python tools/import_official.py FILE --out backbone.pth
"""

import argparse

from cli import Parser, add_trust, errors_in_one_line


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'file',
        help='a checkpoint of the official MEC, SimSiam, MoCo, BYOL, Barlow Twins or '
        'VICReg, mmselfsup, mmpretrain, torchvision or timm',
    )
    parser.add_argument('--out', required=True, help='*.pth')
    parser.add_argument(
        '--branch',
        default='student',
        choices=['student', 'teacher'],
        help='teacher: the EMA network',
    )
    parser.add_argument(
        '--num-heads',
        type=int,
        help='heads of a ViT, which weights do not show; default: width / 64, and 12 in the ViT-S '
        'of MoCo v3 and MEC',
    )
    add_trust(parser)
    return parser.parse_args()


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

from mmentropy.weights.import_official import import_backbone
from mmentropy.weights.zoo import PREFIX


def main() -> None:
    args = parse_args()
    if args.file.startswith(PREFIX):
        raise ValueError(
            f'{args.file} is a backbone of mmpretrain already: the other tools take it as it is, '
            'and tools/export.py --to mmpretrain writes it to a file'
        )
    print(import_backbone(args.file, args.out, args.branch, args.trust, args.num_heads))


if __name__ == '__main__':
    with errors_in_one_line():
        main()
