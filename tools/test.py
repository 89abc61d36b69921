"""Test a checkpoint by any OpenMMLab config, such as that of a probe or a detector."""

import argparse

import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner
from train import default_work_dir

from mmentropy.distributed import start_cpu_ranks


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('checkpoint', nargs='?', help='none for a tracker, whose parts name theirs')
    parser.add_argument('--work-dir', help='default: work_dirs/FOLDER/NAME')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    if not cfg.get('test_dataloader'):
        raise SystemExit(
            f'error: {args.config} has no test_dataloader; pre-training '
            'checkpoints are measured by tools/evaluate.py'
        )
    cfg.launcher = args.launcher
    cfg.load_from = args.checkpoint
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or default_work_dir(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    if not args.checkpoint and 'reid' not in cfg.model:
        raise SystemExit('error: which checkpoint? test.py CONFIG CHECKPOINT')
    if args.launcher == 'pytorch' and not torch.cuda.is_available():
        start_cpu_ranks(cfg)
    Runner.from_cfg(cfg).test()


if __name__ == '__main__':
    main()
