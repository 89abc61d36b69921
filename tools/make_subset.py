"""List a share of a config's training images, drawn class by class.

python tools/make_subset.py CONFIG --fraction 0.01 --out 1percent.txt

The list holds one file name per line, like those of SimCLR; use it with
dict(type='LabelSubset', dataset=..., names='1percent.txt').
"""

import argparse
from pathlib import Path

from cli import errors_in_one_line
from mmengine.config import Config, DictAction

from mmentropy.datasets import check_dataset, label_subset, subset_names


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config')
    parser.add_argument('--fraction', type=float, required=True)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', required=True)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    dataset = dict(cfg.train_dataloader.dataset, pipeline=[])
    check_dataset(dataset)
    drawn = label_subset(dataset, fraction=args.fraction, seed=args.seed)
    names = sorted(subset_names(drawn))
    Path(args.out).write_text('\n'.join(names) + '\n')
    print(f'{len(names):,} names in {args.out}')


if __name__ == '__main__':
    with errors_in_one_line():
        main()
