"""Time and bytes per rank of the objectives, 1 to 8 gloo ranks.

python benchmarks/speed/ranks.py
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from mmentropy.distributed import gather
from mmentropy.functional import coding, sphere
from mmentropy.models import ERLoss, MECLoss

SENT = [0]


def mec_gathered(pred: Tensor, target: Tensor) -> Tensor:
    """What the official code does: every rank computes the whole from gathered rows."""
    p, t = (nn.functional.normalize(gather(x)) for x in (pred, target))
    lambda_inv = 0.06 * len(p)
    c = coding.cross_gram(p, t) / lambda_inv
    return -lambda_inv / len(p) * coding.log_det_taylor(c)


def er_gathered(z1: Tensor, z2: Tensor) -> Tensor:
    """The plain formula on gathered rows."""
    z = nn.functional.normalize(gather(z1))
    return -sphere.sphere_entropy(z, 10.0, log_normalizer=0.0)


def objectives() -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    mec, er = MECLoss(guard=False), ERLoss(gather=True)
    return {
        'MEC': lambda pred, target: mec(pred, target)['loss'],
        'MEC, gathered': mec_gathered,
        'ER': lambda z1, z2: er(z1, z2, distill=True)['loss'],
        'ER, gathered': er_gathered,
    }


def count_bytes() -> None:
    """Add what every collective sends to ``SENT``."""
    for name in ('all_reduce', 'all_gather'):
        function = getattr(dist, name)

        def counting(*args, function=function, **kwargs):
            tensor = next(a for a in args if isinstance(a, Tensor))
            SENT[0] += tensor.numel() * tensor.element_size()
            return function(*args, **kwargs)

        setattr(dist, name, counting)


def measure(rank: int, world: int, rows: int, width: int, rounds: int, folder: str) -> None:
    """Median over rounds of the main thread's CPU seconds; bytes of one."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}/{world}', rank=rank, world_size=world)
    count_bytes()
    torch.manual_seed(rank)
    z2 = torch.randn(rows, width)
    z1 = (z2 + torch.randn(rows, width)).requires_grad_()
    results = {}
    for name, loss in objectives().items():
        seconds = []
        for _ in range(rounds):
            z1.grad = None
            SENT[0] = 0
            dist.barrier()
            start = time.thread_time()
            loss(z1, z2).backward()
            seconds.append(time.thread_time() - start)
        results[name] = (statistics.median(seconds), SENT[0])
    torch.save(results, f'{folder}/{world}_{rank}.pt')
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rows', type=int, default=128, help='per rank')
    parser.add_argument('--width', type=int, default=512)
    parser.add_argument('--rounds', type=int, default=31)
    args = parser.parse_args()
    print(
        f'{args.rows} rows per rank, width {args.width}: ms of CPU per rank '
        'and its ratio to one rank; KiB sent by a rank'
    )
    first: dict[str, float] = {}
    for world in (1, 2, 4, 8):
        with tempfile.TemporaryDirectory() as folder:
            mp.spawn(measure, (world, args.rows, args.width, args.rounds, folder), world)
            ranks = [torch.load(f'{folder}/{world}_{rank}.pt') for rank in range(world)]
        for name in ranks[0]:
            ms = 1e3 * statistics.median(r[name][0] for r in ranks)
            first.setdefault(name, ms)
            print(
                f'{world} ranks  {name:<14} {ms:8.2f} '
                f'{ms / first[name]:6.2f} {ranks[0][name][1] / 1024:8.0f}'
            )


if __name__ == '__main__':
    main()
