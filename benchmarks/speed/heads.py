"""MinEnt's heads in one against one after the other.

python benchmarks/speed/heads.py

Forward and backward of the head, loss included, on the pooled features of two
views. Both forms live in one process and take turns, so that a change in the
machine's load meets both; medians over the rounds. Operators are those that
compute, each at least one kernel on a GPU. Collectives are counted on two
gloo ranks; there a batch norm costs three forward, and one with CUDA's.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from machine import machine
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmentropy.models.base import mean_terms

CIFAR = 'configs/minent/minent_r18_1xb128_1000e_cifar10.py'
DIGITS = 'configs/minent/minent_r18s_1xb64_50e_digits.py'
CASES: dict[str, tuple[str, dict]] = {
    'CIFAR-10, eight heads': (CIFAR, {}),
    'CIFAR-10, one head': (CIFAR, dict(out_channels=[128])),
    'Digits, four heads': (DIGITS, {}),
    'Digits, four equal heads': (DIGITS, dict(out_channels=[128] * 4)),
    'Digits, one head': (DIGITS, dict(out_channels=[128])),
}
Loss = Callable[[Tensor, Tensor], dict[str, Tensor]]


class Loop(nn.Module):
    """A ``NonLinearNeck`` per head, one after the other."""

    def __init__(
        self,
        in_channels: int,
        out_channels: list[int],
        loss: dict,
        hid_channels: int = 1024,
        num_layers: int = 3,
        **kwargs: str,
    ) -> None:
        super().__init__()
        self.projectors = nn.ModuleList(
            MODELS.build(
                dict(
                    type='NonLinearNeck',
                    in_channels=in_channels,
                    hid_channels=hid_channels,
                    out_channels=classes,
                    num_layers=num_layers,
                    with_bias=True,
                    with_last_bn=False,
                    with_last_bias=True,
                    with_avg_pool=False,
                    norm_cfg=dict(type='GlobalBN'),
                )
            )
            for classes in out_channels
        )
        self.loss_module = MODELS.build(loss)

    def loss(self, f1: Tensor, f2: Tensor) -> dict[str, Tensor]:
        return mean_terms(
            [
                self.loss_module(projector([f1])[0], projector([f2])[0])
                for projector in self.projectors
            ]
        )


class Operators(TorchDispatchMode):
    """Counts the operators that compute: views cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        self.count += not func.is_view
        return func(*args, **kwargs or {})


class Collectives:
    """Counts the calls to torch.distributed."""

    def __init__(self) -> None:
        self.count = 0
        for name in ('all_reduce', 'all_gather'):
            function = getattr(dist, name)

            def counting(*args: Any, function: Callable = function, **kwargs: Any) -> Any:
                self.count += 1
                return function(*args, **kwargs)

            setattr(dist, name, counting)


def heads_and_views(case: str) -> tuple[list[Loss], Tensor]:
    """The losses of both forms, loop first, and (2, N, C) features."""
    init_default_scope('mmpretrain')
    path, changes = CASES[case]
    cfg = Config.fromfile(path)
    head = cfg.model.head | changes
    rows = cfg.train_dataloader.batch_size
    views = torch.randn(2, rows, head['in_channels']).requires_grad_()
    return [Loop(**head).loss, MODELS.build(head).loss], views


def step(loss: Loss, views: Tensor) -> None:
    loss(*views)['loss'].backward()


def count_collectives(rank: int, case: str, folder: str) -> None:
    """Forward and all, of each form; saved by the first rank."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}/rendezvous', rank=rank, world_size=2)
    losses, views = heads_and_views(case)
    counts = []
    calls = Collectives()
    for loss in losses:
        calls.count = 0
        value = loss(*views)['loss']
        forward = calls.count
        value.backward()
        counts.append((forward, calls.count))
    if rank == 0:
        torch.save(counts, f'{folder}/counts')
    dist.destroy_process_group()


def measure(case: str, rounds: int) -> list[tuple[float, int, int, int]]:
    """Seconds, operators, collectives forward and in all, of each form."""
    losses, views = heads_and_views(case)
    results = []
    seconds: list[list[float]] = [[] for _ in losses]
    for _ in range(rounds + 1):
        for loss, spent in zip(losses, seconds):
            start = time.thread_time()
            step(loss, views)
            spent.append(time.thread_time() - start)
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(count_collectives, (case, folder), 2)
        collectives = torch.load(f'{folder}/counts')
    for loss, spent, calls in zip(losses, seconds, collectives):
        with Operators() as operators:
            step(loss, views)
        # The first round also allocates.
        results.append((statistics.median(spent[1:]), operators.count, *calls))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f'Loop / in one; CPU time of a step, median of {args.rounds} '
        f'rounds, 1 thread; {machine()}\n'
    )
    print('| | ms | ratio | operators | collectives forward | in all |\n|---|---|---|---|---|---|')
    for case in CASES:
        (loop, *counts), (one, *ours) = measure(case, args.rounds)
        pairs = ' | '.join(f'{a} / {b}' for a, b in zip(counts, ours))
        print(f'| {case} | {1e3 * loop:.1f} / {1e3 * one:.1f} | {loop / one:.2f} | {pairs} |')


if __name__ == '__main__':
    main()
