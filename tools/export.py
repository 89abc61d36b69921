"""Write the backbone of a checkpoint as another library loads it.

python tools/export.py CHECKPOINT --to timm --out backbone.safetensors
"""

import argparse

from cli import checkpoint_parser, errors_in_one_line, read_config

TARGETS = ('mmpretrain', 'mmdet', 'torchvision', 'timm', 'huggingface', 'onnx')


def parse_args() -> argparse.Namespace:
    parser = checkpoint_parser(__doc__)
    parser.add_argument('--to', required=True, choices=TARGETS)
    parser.add_argument(
        '--out',
        required=True,
        help='*.pth, or *.safetensors for torchvision and timm; for huggingface a folder; *.onnx',
    )
    parser.add_argument(
        '--size', type=int, help='of --to onnx: side of the images; default: as trained'
    )
    parser.add_argument('--metrics', help='JSON to store along, e.g. of tools/evaluate.py')
    return parser.parse_args()


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

import json
from pathlib import Path

import mmentropy  # noqa: F401, registers the norm layers
from mmentropy.evaluation.file_encoder import checkpoint_encoder
from mmentropy.evaluation.onnx_file import export_onnx
from mmentropy.weights.export import export_backbone
from mmentropy.weights.stored_config import chosen_config


def main() -> None:
    args = parse_args()
    metrics = None
    if args.metrics:
        try:
            metrics = json.loads(Path(args.metrics).read_text())
        except ValueError as error:
            raise ValueError(f'--metrics: {args.metrics} is no JSON: {error}') from error
    own = read_config(args.config) if args.config else None
    if args.to != 'onnx' and args.size:
        raise ValueError('--size is of --to onnx only')
    with chosen_config(args.checkpoint, own, args.trust) as cfg:
        if args.to == 'onnx':
            encoder = checkpoint_encoder(args.checkpoint, cfg, args.branch, args.size)
            return print(export_onnx(encoder, args.out, args.checkpoint, cfg, metrics))
        print(export_backbone(args.checkpoint, args.to, args.out, cfg, args.branch, metrics))


if __name__ == '__main__':
    with errors_in_one_line():
        main()
