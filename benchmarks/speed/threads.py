"""Time of a training step with one thread and with all, alone and beside a busy process.

python benchmarks/speed/threads.py

A thread of libgomp that waits for the others first spins, GOMP_SPINCOUNT times, and then sleeps.
Every variant is a process of its own, and they take turns. The network is that of the quickstart.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
RECIPE = ROOT / 'configs/mec/r18s_1xb64_50e_digits.py'
VARIANTS = {
    'one thread': dict(OMP_NUM_THREADS='1'),
    'all cores, default of libgomp': {},
    **{f'all cores, spins {n:,}': dict(GOMP_SPINCOUNT=str(n)) for n in (0, 1000, 6000, 30000)},
}


def seconds_of_step(steps: int) -> float:
    """Seconds of the clock for a step of the backbone, forward, backward and optimiser."""
    import torch
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmpretrain.registry import MODELS

    cfg = Config.fromfile(RECIPE)
    init_default_scope('mmpretrain')
    model = MODELS.build(cfg.model.backbone)
    images = torch.randn(2 * cfg.batch_size, 1, 8, 8)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    start = 0.0
    for step in range(steps + 3):
        if step == 3:
            start = time.perf_counter()
        optimizer.zero_grad()
        model(images)[0].square().mean().backward()
        optimizer.step()
    return (time.perf_counter() - start) / steps


def measure(variables: dict[str, str], steps: int) -> float:
    """What ``seconds_of_step`` returns in a process with these variables."""
    others = {k: v for k, v in os.environ.items() if k not in ('OMP_NUM_THREADS', 'GOMP_SPINCOUNT')}
    command = [sys.executable, __file__, '--steps', str(steps), '--measure']
    done = subprocess.run(command, env=others | variables, capture_output=True, text=True)
    done.check_returncode()
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--steps', type=int, default=30)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--measure', action='store_true', help='one variant, in this process')
    args = parser.parse_args()
    if args.measure:
        print(seconds_of_step(args.steps))
        return
    print('| | alone, ms | beside a busy process, ms |\n|---|---|---|')
    found: dict[str, list[list[float]]] = {name: [[], []] for name in VARIANTS}
    for _ in range(args.rounds):
        for busy in (False, True):
            other = subprocess.Popen([sys.executable, '-c', 'while True: pass']) if busy else None
            for name, variables in VARIANTS.items():
                found[name][busy].append(measure(variables, args.steps))
            if other:
                other.kill()
                other.wait()
    for name, times in found.items():
        cells = [f'{1e3 * statistics.median(of_load):.1f}' for of_load in times]
        print(f'| {name} | {" | ".join(cells)} |')


if __name__ == '__main__':
    main()
