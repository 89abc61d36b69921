"""Test a checkpoint by any OpenMMLab config, such as that of a probe or a detector."""

import argparse

from cfg_options import add_cfg_options, merge_cfg_options
from cli import Parser, errors_in_one_line, leave_with_launcher, read_config


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('checkpoint', nargs='?', help='none for a tracker, whose parts name theirs')
    parser.add_argument('--work-dir', help='default: work_dirs/FOLDER/NAME')
    add_cfg_options(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    return parser.parse_args()


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

import torch
from mmengine.runner import Runner
from train import default_work_dir

from mmentropy.checks.config import check_changed
from mmentropy.datasets.loader_processes import guard_loader
from mmentropy.distributed import start_cpu_ranks, unwrapped


def main() -> None:
    args = parse_args()
    if args.launcher == 'pytorch':
        leave_with_launcher()
    cfg = read_config(args.config)
    if not cfg.get('test_dataloader'):
        raise ValueError(
            f'{args.config} has no test_dataloader; pre-training '
            'checkpoints are measured by tools/evaluate.py'
        )
    cfg.launcher = args.launcher
    cfg.load_from = args.checkpoint
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or default_work_dir(args.config)
    merge_cfg_options(cfg, args.cfg_options)
    check_changed(cfg, args.cfg_options or ())
    if not cfg.load_from and 'reid' not in cfg.model:
        raise ValueError('which checkpoint? test.py CONFIG CHECKPOINT')
    if args.launcher == 'pytorch' and not torch.cuda.is_available():
        start_cpu_ranks(cfg)
    runner = Runner.from_cfg(cfg)
    if not cfg.load_from:
        # Only a tracker comes here, which needs mmdet.
        from mmentropy.transfer.tracker_weights import load_tracker_weights

        load_tracker_weights(unwrapped(runner.model))
    guard_loader(runner.test_loop.dataloader)
    runner.test()


if __name__ == '__main__':
    with errors_in_one_line():
        main()
