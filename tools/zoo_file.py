"""Write a trained backbone to configs/weights, in half precision, and list it in configs/zoo.yml.

python tools/zoo_file.py CHECKPOINT mec_fast_r18s_1xb64_50e_digits

Its scores, of knn and linear, are those of the file that is written. Metafiles are written anew.
"""

import argparse

from cli import Parser, errors_in_one_line


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('name', help='of the model, as list_models has it')
    parser.add_argument('--commit', help='that trained it; default: the one in its config')
    return parser.parse_args()


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import torch
import yaml

import mmentropy
from mmentropy.weights.backbone import State, backbone_state_dict
from mmentropy.weights.reader import read_checkpoint
from mmentropy.weights.stored_config import config_of
from mmentropy.weights.zoo import CONFIGS, zoo

TOOLS = Path(__file__).resolve().parent
# Half precision may change a score by so much, in points.
TOLERANCE = 0.1


def main() -> None:
    args = parse_args()
    state = backbone_state_dict(args.checkpoint)
    commit = args.commit or config_of(args.checkpoint).get('code', {}).get('commit', '')
    check_commit(commit)
    exact = mmentropy.evaluate(args.checkpoint)['checkpoint']
    path = CONFIGS / 'weights' / f'{args.name}.pth'
    cfg = read_checkpoint(args.checkpoint)['meta']['cfg']
    # Others have no use for the folder that it was trained in.
    meta = dict(cfg=re.sub(r'^work_dir = .*\n', '', cfg, flags=re.MULTILINE))
    write(path, {key: v.half() if v.is_floating_point() else v for key, v in state.items()}, meta)
    scores = mmentropy.evaluate(path)['checkpoint']
    if any(abs(scores[name] - exact[name]) > TOLERANCE for name in exact):
        write(path, state, meta)
        scores = exact
    entry = dict(file=f'weights/{path.name}', sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    entry |= {name: round(score, 2) for name, score in scores.items()}
    known = zoo() | {args.name: entry | dict(commit=commit)}
    Path(CONFIGS / 'zoo.yml').write_text(yaml.safe_dump(known, sort_keys=True))
    subprocess.run([sys.executable, TOOLS / 'model_index.py'], check=True)
    print(f'wrote {path} ({path.stat().st_size / 1e6:.2f} MB): {scores}, in float32 {exact}')


def check_commit(commit: str) -> None:
    """Check that a commit is in the history of this one, so that others can check it out."""
    command = ['git', 'merge-base', '--is-ancestor', commit, 'HEAD']
    if subprocess.run(command, cwd=TOOLS, capture_output=True).returncode:
        raise ValueError(
            f'commit {commit!r} is none of the history: train from a commit of it, or name the '
            'one with the same code by --commit'
        )


def write(path: Path, state: State, meta: dict) -> None:
    """Write the weights of a backbone as a checkpoint."""
    path.parent.mkdir(exist_ok=True)
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in state.items()}, meta=meta), path)


if __name__ == '__main__':
    with errors_in_one_line():
        main()
