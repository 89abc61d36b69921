"""Bytes that a GPU receives for each objective in a step, by the number of GPUs.

python benchmarks/speed/collectives.py

Nothing is sent: a process group of PyTorch's own tests stands for the others, and the bytes are
computed from what is handed to each collective, for rings: all_gather receives the parts of all
others, all_reduce 2 (W - 1) / W times the tensor. The last row is what data-parallel training
exchanges anyway.
"""

import argparse
from collections.abc import Callable

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from torch import Tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from mmentropy.models import (
    EMPSSLLoss,
    ERLoss,
    LeJEPALoss,
    MECLoss,
    MinEntLoss,
    VICRegLoss,
)

RECIPE = 'configs/mec/r50_8xb64_100e_in1k.py'
# The objective of two views of projections.
OBJECTIVES: dict[str, Callable[[Tensor, Tensor], dict]] = {
    'MEC': MECLoss(guard=False),
    'ER': lambda a, b: ERLoss()(a, b, distill=True),
    'ER, entropy of all rows': lambda a, b: ERLoss(gather=True)(a, b, distill=True),
    'MinEnt': lambda a, b: MinEntLoss()(a, b),
    'VICReg': lambda a, b: VICRegLoss()(a, b),
    'EMP-SSL': lambda a, b: EMPSSLLoss()(a, b),
    'LeJEPA': lambda a, b: LeJEPALoss()(a, b),
}
RANKS = (2, 8, 64)
RECEIVED = [0.0]


def count_bytes() -> None:
    """Add what every collective receives to ``RECEIVED``, and send nothing."""

    def count(tensor: Tensor, share: float) -> None:
        RECEIVED[0] += tensor.numel() * tensor.element_size() * share

    def all_reduce(tensor: Tensor, *_: object, **__: object) -> None:
        ranks = dist.get_world_size()
        count(tensor, 2 * (ranks - 1) / ranks)

    def all_gather(found: list[Tensor], tensor: Tensor, *_: object, **__: object) -> None:
        count(tensor, len(found) - 1)
        for part in found:
            part.copy_(tensor)

    dist.all_reduce, dist.all_gather = all_reduce, all_gather


def step(objective: Callable, ranks: int, rows: int, width: int) -> float:
    """MiB that a rank receives in a forward and a backward pass."""
    dist.init_process_group('fake', store=FakeStore(), rank=0, world_size=ranks)
    torch.manual_seed(0)
    views = [torch.randn(rows, width, requires_grad=True) for _ in range(2)]
    RECEIVED[0] = 0.0
    objective(*views)['loss'].backward()
    dist.destroy_process_group()
    return RECEIVED[0] / 2**20


def gradients() -> float:
    """MiB of the gradients of a recipe's network, as each rank has them."""
    init_default_scope('mmpretrain')
    model = MODELS.build(Config.fromfile(RECIPE).model)
    return sum(p.numel() for p in model.parameters() if p.requires_grad) * 4 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rows', type=int, default=64, help='images per GPU')
    parser.add_argument('--width', type=int, default=2048)
    args = parser.parse_args()
    count_bytes()
    print(f'| MiB a step | {" | ".join(f"{n} GPUs" for n in RANKS)} |\n|---|' + '---|' * len(RANKS))
    for name, objective in OBJECTIVES.items():
        found = [step(objective, n, args.rows, args.width) for n in RANKS]
        print(f'| {name} | {" | ".join(f"{mib:.2f}" for mib in found)} |')
    anyway = [gradients() * 2 * (n - 1) / n for n in RANKS]
    print(f'| gradients of the network | {" | ".join(f"{mib:.0f}" for mib in anyway)} |')


if __name__ == '__main__':
    main()
