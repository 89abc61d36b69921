"""CPU time and memory of a training step where freed memory is kept, and where it is given back.

python benchmarks/speed/kept_memory.py

glibc gives large tensors back to the system when they are freed, and each page of the next one then
costs a fault; the tools keep it (:func:`cli.keep_memory`). Every variant is a process of its own,
and they take turns. "Shapes that change" are images of a new size in each step, as detectors have
them, which is where kept memory can fall into pieces.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
NARROW = dict(
    type='ResNet_CIFAR', depth=18, stem_channels=32, base_channels=32, num_stages=3,
    strides=(2, 2, 2), dilations=(1, 1, 1), out_indices=(2,),
)  # fmt: skip
# The network, the images of a step, and their sides, of which each step has the next.
WORKLOADS = {
    'narrow ResNet-18, 128 x 16 px (quickstart)': (dict(NARROW, in_channels=1), (128, 1), [16]),
    'narrow ResNet-18, 512 x 32 px (CIFAR-10)': (NARROW, (512, 3), [32]),
    'ResNet-18, 32 x 224 px': (dict(type='ResNet', depth=18), (32, 3), [224]),
    'ResNet-50, 8 x 224 px': (dict(type='ResNet', depth=50), (8, 3), [224]),
    'ResNet-18, 4 images, shapes that change': (
        dict(type='ResNet', depth=18), (4, 3), [*range(256, 640, 32)],
    ),
}  # fmt: skip


def step_of(workload: str, steps: int) -> dict[str, float]:
    """CPU milliseconds and page faults of a step, and the most memory that the process took."""
    import resource

    import torch
    from mmengine.registry import init_default_scope
    from mmpretrain.registry import MODELS

    torch.set_num_threads(1)
    init_default_scope('mmpretrain')
    network, shape, sides = WORKLOADS[workload]
    model = MODELS.build(network)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    for step in range(-len(sides), steps):
        if step == 0:
            start, faults = time.process_time(), resource.getrusage(0).ru_minflt
        side = sides[step * 7 % len(sides)]
        optimizer.zero_grad()
        model(torch.randn(*shape, side, side))[0].square().mean().backward()
        optimizer.step()
    used = resource.getrusage(0)
    return dict(
        milliseconds=1e3 * (time.process_time() - start) / steps,
        faults=(used.ru_minflt - faults) / steps,
        mib=used.ru_maxrss / 1024,
    )


def measure(workload: str, steps: int, kept: bool) -> dict[str, float]:
    """What ``step_of`` returns in a process of its own."""
    command = [sys.executable, __file__, '--steps', str(steps), '--measure', workload]
    done = subprocess.run(
        command + ['--keep'] * kept, env=dict(os.environ), capture_output=True, text=True
    )
    done.check_returncode()
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--steps', type=int, default=20)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--measure', choices=WORKLOADS, help=argparse.SUPPRESS)
    parser.add_argument('--keep', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        if args.keep:
            sys.path.insert(0, str(ROOT / 'tools'))
            from cli import keep_memory

            keep_memory()
        return print(json.dumps(step_of(args.measure, args.steps)))
    print('| | CPU ms, given back | kept | ratio | faults | kept | MiB | kept |')
    print('|---|---|---|---|---|---|---|---|')
    for workload in WORKLOADS:
        rounds = [
            [measure(workload, args.steps, kept) for kept in (False, True)]
            for _ in range(args.rounds)
        ]
        both = [
            {key: statistics.median(r[i][key] for r in rounds) for key in rounds[0][i]}
            for i in range(2)
        ]
        ratio = statistics.median(a['milliseconds'] / b['milliseconds'] for a, b in rounds)
        before, after = both
        print(
            f'| {workload} | {before["milliseconds"]:.0f} | {after["milliseconds"]:.0f} '
            f'| {ratio:.2f} | {before["faults"]:.0f} | {after["faults"]:.0f} '
            f'| {before["mib"]:.0f} | {after["mib"]:.0f} |',
            flush=True,
        )


if __name__ == '__main__':
    main()
