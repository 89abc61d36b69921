"""List a share of a config's training images, drawn class by class.

python tools/make_subset.py CONFIG --fraction 0.01 --out 1percent.txt

The list holds one file name per line, like those of SimCLR; use it with
dict(type='LabelSubset', dataset=..., names='1percent.txt').
"""

import argparse

from cfg_options import add_cfg_options, merge_cfg_options
from cli import Parser, check_out, config_path, errors_in_one_line, read_config, seed


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument('config')
    parser.add_argument('--fraction', type=float, required=True)
    parser.add_argument('--seed', type=seed, default=0)
    parser.add_argument('--out', required=True)
    add_cfg_options(parser)
    return parser.parse_args()


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

from collections import Counter
from pathlib import Path

from mmentropy.checks.config import check_changed
from mmentropy.datasets import check_dataset, label_subset, subset_names


def main() -> None:
    args = parse_args()
    check_out('--out', args.out, [config_path(args.config)])
    cfg = read_config(args.config)
    merge_cfg_options(cfg, args.cfg_options)
    check_changed(cfg, args.cfg_options or ())
    found = (cfg.get('train_dataloader') or {}).get('dataset')
    if not found:
        raise ValueError(f'{args.config} has no train_dataloader.dataset to draw from')
    dataset = dict(found, pipeline=[])
    check_dataset(dataset)
    drawn = label_subset(dataset, fraction=args.fraction, seed=args.seed)
    names = sorted(subset_names(drawn))
    known = Counter(subset_names(label_subset(dataset, fraction=1)))
    repeated = [name for name in names if known[name] > 1]
    if repeated:
        raise ValueError(
            f'{len(repeated)} of {len(names)} names are those of several images, such as '
            f'{repeated[0]}, which a list cannot tell apart: draw the same images by '
            f"dict(type='LabelSubset', dataset=..., fraction={args.fraction}, seed={args.seed})"
        )
    Path(args.out).write_text('\n'.join(names) + '\n')
    print(f'{len(names):,} names in {args.out}')


if __name__ == '__main__':
    with errors_in_one_line():
        main()
