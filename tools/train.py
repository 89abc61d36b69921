"""Train any OpenMMLab config, on one process or under torchrun or SLURM."""

import argparse

from cfg_options import add_cfg_options, merge_cfg_options, parsed
from cli import (
    Parser,
    commit,
    config_path,
    errors_in_one_line,
    keep_memory,
    leave_with_launcher,
    read_config,
    seed,
    traceback_in,
)

AMP_WRAPPERS = dict(float16='AmpOptimWrapper', bfloat16='BFloat16OptimWrapper')


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('--work-dir', help='default: work_dirs/FOLDER/NAME')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='continue from this checkpoint, or from the newest in the work directory',
    )
    parser.add_argument(
        '--resume-settings',
        choices=['checkpoint', 'config'],
        help='where a resumed run takes settings of optimiser and schedules from, if they differ',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='float16',
        choices=AMP_WRAPPERS,
        help='automatic mixed precision; bfloat16 also on CPU',
    )
    parser.add_argument(
        '--accumulate',
        type=int,
        metavar='K',
        help='encode each batch in K parts, with the gradient of the whole and the memory of one',
    )
    parser.add_argument(
        '--shard',
        action='store_true',
        help='share weights, gradients and optimiser state out over the processes (FSDP2)',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the actual over the base batch',
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='build everything, step a few times, print what training would '
        'do, and leave nothing behind',
    )
    parser.add_argument('--seed', type=seed)
    add_cfg_options(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    return parser.parse_args()


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

import tempfile
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.device import get_device
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import RUNNERS
from torch.distributed.elastic.multiprocessing.errors import record

from mmentropy.checks.config import OUR_HOOKS, check_config
from mmentropy.checks.ignored_settings import SHARDED, check_ignored, check_variables
from mmentropy.datasets import check_data
from mmentropy.distributed import start_cpu_ranks
from mmentropy.engine.accumulation import scale_lr_by_step
from mmentropy.engine.best_checkpoint import check_save_best
from mmentropy.engine.initial_weights import check_initial_weights
from mmentropy.engine.resume import choose_checkpoint, folder_of
from mmentropy.engine.resumed_settings import settle_settings
from mmentropy.engine.train_loop import use_train_loop
from mmentropy.engine.trial_run import try_run
from mmentropy.engine.work_dir_lock import lock_work_dir


def default_work_dir(config: str) -> str:
    """Return where a run of a config is kept, ``work_dirs/FOLDER/NAME``."""
    path = Path(config_path(config)).resolve()
    return str(Path('work_dirs', path.parent.name, path.stem))


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """Return the config with what the command line changes."""
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = default_work_dir(args.config)
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if args.amp == 'float16' and get_device() == 'cpu':
        raise ValueError('--amp float16 needs a GPU; on a CPU there is --amp bfloat16')
    if args.amp:
        if not cfg.get('optim_wrapper'):
            raise ValueError(f'{args.config} has no optim_wrapper = dict(...) for --amp to change')
        cfg.optim_wrapper.type = AMP_WRAPPERS[args.amp]
    if args.accumulate is not None:
        hook = dict(type='ExactAccumulationHook', parts=args.accumulate)
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or ()), hook]
    if args.shard:
        cfg.runner_type = SHARDED
    if args.auto_scale_lr:
        if not cfg.get('auto_scale_lr'):
            raise ValueError(
                f'{args.config} has no auto_scale_lr = dict(base_batch_size=...) to scale from'
            )
        cfg.auto_scale_lr.enable = True
    if args.seed is not None:
        cfg.randomness = dict(cfg.get('randomness', {}), seed=args.seed)
    merge_cfg_options(cfg, args.cfg_options)
    hooks = cfg.get('default_hooks') or {}
    # mmengine understands None only for its own hooks.
    for name in hooks.keys() & {*OUR_HOOKS}:
        if hooks[name] is None:
            hooks.pop(name)
    return cfg


def build(cfg: Config, weights: str | None, settings: str | None = None) -> Runner:
    """Return the Runner of a config, after everything was built that a config can break.

    Args:
        cfg: The config.
        weights: The checkpoint that training begins with if there is nothing to resume.
        settings: The choice by which a resumed run settles differences.

    Raises:
        ValueError: The config names no training, or a training set without a batch.
    """
    check_config(cfg)
    check_ignored(cfg)
    check_data(cfg)
    lock_work_dir(cfg.work_dir, cfg.launcher)
    choose_checkpoint(cfg, weights)
    resumed = settle_settings(cfg, settings)
    if cfg.launcher == 'pytorch' and not torch.cuda.is_available():
        start_cpu_ranks(cfg)
    # It is written into the dumped config and into every checkpoint.
    cfg.code = dict(commit=commit())
    runner = RUNNERS.get(cfg.get('runner_type') or 'Runner').from_cfg(cfg)
    runner.register_hook(resumed)
    check_initial_weights(runner)
    check_save_best(runner)
    # The Runner would build data and optimiser only when training starts.
    if runner.train_loop is None:
        raise ValueError('the config has no train_cfg: nothing to train')
    use_train_loop(runner)
    loader = runner.train_dataloader
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    # Samplers without end, which loops over iterations may have, give batches of any size.
    if (by_epoch or isinstance(loader.sampler, DefaultSampler)) and not len(loader):
        raise ValueError(
            f'train_dataloader gives no batch: it has {len(loader.dataset)} '
            f'images, fewer than its batch_size, {loader.batch_size}, and '
            'drop_last=True'
        )
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    scale_lr_by_step(runner)
    return runner


def show_plan(cfg: Config, weights: str | None, settings: str | None) -> None:
    """Print what training would do, tried in a folder that is removed."""
    choose_checkpoint(cfg, weights)
    folder = folder_of(cfg) or cfg.work_dir
    cfg.log_level = 'WARNING'
    with tempfile.TemporaryDirectory() as cfg.work_dir:
        # A run of the same name in the same second would share the folder, which is removed.
        cfg.experiment_name = Path(cfg.work_dir).name
        runner = build(cfg, weights, settings)
        lines = try_run(runner, Path(folder))
    if runner.rank == 0:
        print('\n'.join(['', *lines, 'nothing was trained or kept']))


# torchrun shows the traceback of the first rank that failed.
@record
def main() -> None:
    keep_memory()
    args = parse_args()
    if args.launcher == 'pytorch':
        leave_with_launcher()
    with errors_in_one_line():
        cfg = read_config(args.config)
        options = (args.cfg_options or {}).items()
        check_variables(cfg, {key: parsed(text) for key, text in options})
        weights = cfg.get('load_from')
        cfg = merge_args(cfg, args)
        if args.check:
            return show_plan(cfg, weights, args.resume_settings)
        runner = build(cfg, weights, args.resume_settings)
        with traceback_in(runner.log_dir, runner.rank):
            runner.train()


if __name__ == '__main__':
    main()
