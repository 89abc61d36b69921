"""Write a trained backbone to configs/weights, in half precision, and list it in configs/zoo.yml.

python tools/zoo_file.py CHECKPOINT mec_fast_r18s_1xb64_50e_digits
"""

import argparse

from cli import Parser, commit, errors_in_one_line


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('name', help='of the model, as list_models has it')
    return parser.parse_args()


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

import hashlib
from pathlib import Path

import torch
import yaml

import mmentropy
from mmentropy.weights.backbone import backbone_state_dict
from mmentropy.weights.reader import read_checkpoint
from mmentropy.weights.zoo import CONFIGS, zoo


def main() -> None:
    args = parse_args()
    state = backbone_state_dict(args.checkpoint)
    half = {f'backbone.{k}': v.half() if v.is_floating_point() else v for k, v in state.items()}
    path = CONFIGS / 'weights' / f'{args.name}.pth'
    path.parent.mkdir(exist_ok=True)
    meta = dict(cfg=read_checkpoint(args.checkpoint)['meta']['cfg'])
    torch.save(dict(state_dict=half, meta=meta), path)
    # The scores are those of the file that is shipped.
    scores = mmentropy.evaluate(path)['checkpoint']
    entry = dict(file=f'weights/{path.name}', sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    entry |= {name: round(score, 2) for name, score in scores.items()}
    known = zoo() | {args.name: entry | dict(commit=commit())}
    Path(CONFIGS / 'zoo.yml').write_text(yaml.safe_dump(known, sort_keys=True))
    print(f'wrote {path} ({path.stat().st_size / 1e6:.2f} MB): {scores}')


if __name__ == '__main__':
    with errors_in_one_line():
        main()
