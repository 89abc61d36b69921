"""What the monitor costs in mmpretrain's own configs, cut down to Digits.

python benchmarks/monitor/overhead.py
bash tools/torchrun.sh 2 benchmarks/monitor/overhead.py    # two ranks

Each algorithm trains in two Runners by turns, without and with
``custom_hooks = [dict(type='EntropyMonitorHook')]``, for as many iterations
as lie between two measurements: CPU time of all ranks, medians over the
rounds. The share is that of the hook's own calls, which is less noisy than the
ratio.
"""

import argparse
import logging
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, get_world_size, is_main_process
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS, LOOPS

from mmentropy.distributed import cpu_wrapper
from mmentropy.engine.hooks.entropy_monitor import EntropyMonitorHook

DIGITS = Path(__file__).resolve().parents[2] / ('configs/baselines/simclr_r18s_1xb64_50e_digits.py')
NAMES = dict(
    simsiam='simsiam_resnet50_8xb32-coslr-100e_in1k',
    byol='byol_resnet50_16xb256-coslr-200e_in1k',
    simclr='simclr_resnet50_16xb256-coslr-200e_in1k',
    barlowtwins='barlowtwins_resnet50_8xb256-coslr-300e_in1k',
)
INTERVAL = 100


@LOOPS.register_module()
class PartLoop(EpochBasedTrainLoop):
    """Begins to train, and leaves the iterations to the caller."""

    def run(self) -> None:
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        self.batches = self.endless()

    def endless(self):
        while True:
            yield from self.dataloader

    def part(self, iterations: int) -> None:
        for _ in range(iterations):
            self.run_iter(self.iter, next(self.batches))


def cut(name: str, folder: str, hooks: list[dict]) -> Config:
    """A config of mmpretrain with a small network on Digits."""
    cfg = get_config(f'mmpretrain::{name}/{NAMES[name]}.py')
    digits = Config.fromfile(DIGITS)
    norm = dict(type='GlobalBN')
    cfg.model.backbone = digits.model.backbone
    cfg.model.neck.update(in_channels=128, hid_channels=256, out_channels=128, norm_cfg=norm)
    head = cfg.model.head
    if 'predictor' in head:
        head.predictor.update(in_channels=128, hid_channels=64, out_channels=128, norm_cfg=norm)
    if 'in_channels' in head:
        head.in_channels = 128
    for key in ('data_preprocessor', 'train_dataloader', 'eval_datasets', 'env_cfg', 'randomness'):
        cfg[key] = digits[key]
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.train_cfg.type = 'PartLoop'
    cfg.optim_wrapper.optimizer.lr = 0.01
    cfg.update(
        work_dir=folder,
        log_level='ERROR',
        custom_hooks=hooks,
        experiment_name=f'{name}_{len(hooks)}',
    )
    return cfg


@HOOKS.register_module()
class TimedHook(EntropyMonitorHook):
    """Counts its own CPU seconds."""

    spent = 0.0

    def after_train_iter(self, *args: Any, **kwargs: Any) -> None:
        start = time.process_time()
        super().after_train_iter(*args, **kwargs)
        TimedHook.spent += time.process_time() - start


def seconds(name: str, rounds: int, launcher: str) -> list[float]:
    """CPU seconds of all ranks in a part: without, with, in the monitor."""
    with tempfile.TemporaryDirectory() as folder:
        loops = []
        for hooks in ([], [dict(type='TimedHook')]):
            cfg = cut(name, folder, hooks)
            cfg.launcher = launcher
            if launcher == 'pytorch':
                cfg.model_wrapper_cfg = cpu_wrapper()
            runner = Runner.from_cfg(cfg)
            runner.train()
            loops.append(runner.train_loop)
        spent: list[list[float]] = [[], [], []]
        for _ in range(rounds + 1):
            TimedHook.spent = 0.0
            took = []
            for loop in loops:
                start = time.process_time()
                loop.part(INTERVAL)
                took.append(time.process_time() - start)
            total = torch.tensor([*took, TimedHook.spent])
            all_reduce(total)
            for found, value in zip(spent, total.tolist()):
                found.append(value)
    # The first part warms up.
    return [median(found[1:]) for found in spent]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('names', nargs='*', choices=[[], *NAMES], default=list(NAMES))
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--launcher', default='none')
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    init_default_scope('mmpretrain')
    if args.launcher == 'pytorch':
        torch.distributed.init_process_group('gloo')
    rows = {name: seconds(name, args.rounds, args.launcher) for name in args.names}
    if not is_main_process():
        return
    print(
        f'| {get_world_size()} rank(s), {INTERVAL} iterations | without, s '
        '| with, s | ratio | share, % |\n|---|---|---|---|---|'
    )
    for name, (without, with_hook, within) in rows.items():
        print(
            f'| {name} | {without:.2f} | {with_hook:.2f} | '
            f'{with_hook / without:.3f} | {100 * within / without:.2f} |'
        )


if __name__ == '__main__':
    main()
