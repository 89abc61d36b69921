"""Score the backbone of a checkpoint, frozen or fine-tuned.

python tools/evaluate.py CHECKPOINT --protocols knn,linear --random
"""

import argparse

from cfg_options import add_cfg_options, merge_cfg_options
from cli import (
    check_out,
    checkpoint_parser,
    config_path,
    errors_in_one_line,
    join_ranks,
    keep_memory,
    read_config,
    score_table,
    seed,
)


def parse_args() -> argparse.Namespace:
    parser = checkpoint_parser(__doc__)
    parser.add_argument('--data', help='a config whose labelled data sets to take instead')
    parser.add_argument(
        '--protocols',
        default='knn,linear',
        help='comma-separated, of knn, knn200, knn5, linear, linear_wd, minent_linear, lowshot, '
        'svm, semi1, semi10; default knn,linear',
    )
    parser.add_argument(
        '--random', action='store_true', help='also the same backbone, freshly initialised'
    )
    parser.add_argument('--pixels', action='store_true', help='also raw pixels')
    parser.add_argument('--out', help='write the accuracies to this JSON file')
    parser.add_argument('--batch-size', type=int, default=256)
    parser.add_argument('--workers', type=int, default=0, help='loader processes')
    parser.add_argument('--seed', type=seed, default=0)
    add_cfg_options(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch'], default='none')
    return parser.parse_args()


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

import json
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process

import mmentropy  # noqa: F401, registers the data sets
from mmentropy.checks.config import check_changed
from mmentropy.evaluation import eval_datasets, evaluate_checkpoint, parse_protocols
from mmentropy.evaluation.progress import show_progress
from mmentropy.weights.stored_config import chosen_config


def main() -> None:
    keep_memory()
    args = parse_args()
    show_progress()
    protocols = parse_protocols(args.protocols)
    if args.out:
        configs = [config_path(path) for path in (args.config, args.data) if path]
        check_out('--out', args.out, [args.checkpoint, *configs], ['.json'])
    own = read_config(args.config) if args.config else None
    data = eval_datasets(read_config(args.data)) if args.data else None
    with chosen_config(args.checkpoint, own, args.trust) as cfg:
        if data:
            cfg.eval_datasets = dict(train=data[0], test=data[1])
        results = evaluate(args, cfg, protocols)
    if not is_main_process():
        return
    print(score_table(results))
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=2) + '\n')


def evaluate(
    args: argparse.Namespace, cfg: Config, protocols: list[str]
) -> dict[str, dict[str, float]]:
    """Return the scores of the checkpoint and its baselines."""
    merge_cfg_options(cfg, args.cfg_options)
    check_changed(cfg, args.cfg_options or ())
    if args.launcher == 'pytorch':
        join_ranks()
    return evaluate_checkpoint(
        args.checkpoint,
        cfg,
        protocols,
        branch=args.branch,
        random=args.random,
        pixels=args.pixels,
        batch_size=args.batch_size,
        num_workers=args.workers,
        device='cuda' if torch.cuda.is_available() else 'cpu',
        seed=args.seed,
        data=eval_datasets(cfg) if args.data else None,
    )


if __name__ == '__main__':
    with errors_in_one_line():
        main()
