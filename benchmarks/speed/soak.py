"""Train for long, and look at memory, open files and speed on the way.

python benchmarks/speed/soak.py --iterations 2000

Digits, MEC, with views in batch, monitor, kNN and checkpoints. Memory is that
of the process without its loader, every 10 iterations; the slope is a line
through the second half.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

CONFIG = Path(__file__).resolve().parents[2] / 'configs/mec/fast_r18s_1xb64_50e_digits.py'
PAGE = os.sysconf('SC_PAGESIZE')


@HOOKS.register_module()
class SoakHook(Hook):
    """Notes seconds, resident bytes and open files."""

    def before_train(self, runner: Runner) -> None:
        self.rows: list[tuple[float, float, int, int]] = []

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        if (runner.iter + 1) % 10 == 0:
            pages = int(Path('/proc/self/statm').read_text().split()[1])
            self.rows.append(
                (
                    time.perf_counter(),
                    time.process_time(),
                    pages * PAGE,
                    len(os.listdir('/proc/self/fd')),
                )
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--iterations', type=int, default=2000)
    args = parser.parse_args()
    cfg = Config.fromfile(CONFIG)
    cfg.train_cfg.max_epochs = args.iterations // 20
    cfg.default_hooks.checkpoint.interval = 5
    cfg.custom_hooks = [
        dict(type='EntropyMonitorHook', interval=100),
        dict(type='KNNHook', interval=10),
        dict(type='SoakHook'),
    ]
    with tempfile.TemporaryDirectory() as cfg.work_dir:
        runner = Runner.from_cfg(cfg)
        runner.train()
    rows = np.array(next(hook for hook in runner.hooks if isinstance(hook, SoakHook)).rows)
    quarters = np.array_split(rows, 4)
    print(
        f'{args.iterations} iterations, torch {torch.__version__}, '
        f'{torch.get_num_threads()} threads'
    )
    print('| quarter | iterations/s | CPU ms an iteration | MiB | files |')
    print('|---|---|---|---|---|')
    for i, part in enumerate(quarters, 1):
        wall, cpu = (median(np.diff(part[:, column])) for column in (0, 1))
        print(
            f'| {i} | {10 / wall:.2f} | {100 * cpu:.1f} | '
            f'{part[:, 2].mean() / 2**20:.1f} | '
            f'{part[:, 3].min():.0f} to {part[:, 3].max():.0f} |'
        )
    half = rows[len(rows) // 2 :, 2]
    slope = np.polyfit(10 * np.arange(len(half)), half, 1)[0]
    print(f'memory: {slope / 2**10:+.2f} KiB an iteration')


if __name__ == '__main__':
    main()
