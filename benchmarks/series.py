"""The series of log det(I + C), cut after some terms, beside the exact value: error and time.

python benchmarks/series.py                     # sizes 256 to 2048, one thread
python benchmarks/series.py --threads 8         # and on a GPU, if there is one

C is lambda Z Z^T of m rows of width d = m, the setting of figures 3 and 6 of arXiv 2210.11464, with
1 / lambda = m times the distortion. The figures name neither the data nor the distortion. Here the
covariance of the rows, before each is brought to unit length, has eigenvalues k^-a: a = 0 is
isotropic; a = 0.5 gives about the spectral norm that figure 4c has for m = 1024, d = 2048 and the
distortion 0.06, which is 0.18; and with a = 1 the norm passes 1, where the series diverges and the
guard of MECLoss lowers lambda. All contestants get C and return the value, or also the gradient.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from speed.machine import machine
from torch import Tensor

from mmentropy.functional.coding import log_det_exact, log_det_taylor

ORDERS = (1, 2, 3, 4, 5)
DECAYS = (0.0, 0.5, 1.0)
Contestant = Callable[[Tensor], Tensor]


def official_order_4(c: Tensor) -> Tensor:
    """Transcribed, xinliu20/MEC@35045dc:main_pretrain.py#L375-L390."""
    power, total = c, torch.zeros_like(c)
    for k in range(1, 5):
        if k > 1:
            power = torch.matmul(power, c)
        total = total + (-1) ** (k + 1) * power / k
    return torch.trace(total)


def by_slogdet(c: Tensor) -> Tensor:
    """The exact value by the factorisation of I + C, as MEC has it with ``exact=True``."""
    return log_det_exact(c)


def by_eigvalsh(c: Tensor) -> Tensor:
    """Exact for C that is symmetric, as that of the figures; that of two views is not."""
    return torch.linalg.eigvalsh(c).log1p().sum()


def by_eigvals(c: Tensor) -> Tensor:
    """Exact for every C."""
    return torch.linalg.eigvals(c).add(1).log().sum().real


def by_svd(c: Tensor) -> Tensor:
    """Exact for C that is symmetric and positive, where singular values are eigenvalues."""
    return torch.linalg.svdvals(c).log1p().sum()


def of_order(order: int) -> Contestant:
    return lambda c: log_det_taylor(c, order)


SERIES: dict[str, Contestant] = {f'order {order}': of_order(order) for order in ORDERS}
EXACT: dict[str, Contestant] = {
    'slogdet': by_slogdet,
    'eigvalsh': by_eigvalsh,
    'eigvals': by_eigvals,
    'SVD': by_svd,
}
CONTESTANTS = SERIES | {'official order 4': official_order_4} | EXACT


def gram(size: int, distortion: float, decay: float, seed: int) -> Tensor:
    """Return lambda Z Z^T in float64, of unit rows whose covariance has eigenvalues k^-decay."""
    seeded = torch.Generator().manual_seed(seed)
    z = torch.randn(size, size, generator=seeded, dtype=torch.float64)
    z *= torch.arange(1, size + 1, dtype=torch.float64).pow(-decay / 2)
    z = F.normalize(z)
    return z @ z.T / (size * distortion)


def errors(size: int, distortion: float, decay: float, seed: int) -> dict:
    """Errors by order, in percent of the exact value, and the spectral norm of C."""
    values = torch.linalg.eigvalsh(gram(size, distortion, decay, seed))
    exact = values.log1p().sum()
    found = {}
    for order in ORDERS:
        series = sum((-1) ** (k + 1) * values.pow(k).sum() / k for k in range(1, order + 1))
        found[f'order {order}'] = 100 * abs(float(series / exact) - 1)
    case = dict(decay=decay, distortion=distortion, size=size, norm=float(values[-1]))
    return case | dict(percent=found)


def errors_table(rows: list[dict]) -> str:
    """A line for each case."""
    lines = [
        'Error of the series in percent of the exact value, float64.\n',
        '| a | distortion | m = d | norm of C | ' + ' | '.join(SERIES) + ' |',
        '|---' * (4 + len(SERIES)) + '|',
    ]
    for row in rows:
        case = f'{row["decay"]:g} | {row["distortion"]} | {row["size"]} | {row["norm"]:.2f}'
        cells = [f'{value:.3g}' for value in row['percent'].values()]
        lines.append(f'| {case} | {" | ".join(cells)} |')
    return '\n'.join(lines)


# -- Time --------------------------------------------------------------------


class Clock:
    """Seconds of one call: of the processor with one thread, of the wall otherwise."""

    def __init__(self, device: str, threads: int) -> None:
        self.device = device
        self.now = time.process_time if device == 'cpu' and threads == 1 else time.perf_counter

    def seconds(self, contestant: Contestant, c: Tensor, backward: bool) -> float:
        c = c.detach().requires_grad_(backward)
        self.wait()
        start = self.now()
        value = contestant(c)
        if backward:
            value.backward()
        self.wait()
        return self.now() - start

    def wait(self) -> None:
        if self.device == 'cuda':
            torch.cuda.synchronize()


def medians(
    clock: Clock, c: Tensor, backward: bool, rounds: int, patience: float
) -> dict[str, float]:
    """Median milliseconds per contestant, who take turns.

    The first round, in which routines are chosen and memory is taken, does not count, but for a
    contestant that took longer than ``patience`` seconds in it and takes part in no other.
    """
    taken = {name: [clock.seconds(f, c, backward)] for name, f in CONTESTANTS.items()}
    quick = [name for name, (first,) in taken.items() if first <= patience]
    for name in quick:
        taken[name].clear()
    for _ in range(rounds):
        for name in quick:
            taken[name].append(clock.seconds(CONTESTANTS[name], c, backward))
    return {name: 1e3 * statistics.median(times) for name, times in taken.items()}


def times(device: str, backward: bool, args: argparse.Namespace) -> dict:
    """Milliseconds of all contestants by the size of C, with isotropic rows."""
    clock = Clock(device, args.threads)
    found = {}
    for size in args.sizes:
        c = gram(size, args.distortions[0], 0.0, args.seed).float().to(device)
        found[str(size)] = medians(clock, c, backward, args.rounds, args.patience)
    what = 'CPU time' if clock.now is time.process_time else 'wall time'
    case = dict(device=device, threads=args.threads, clock=what, gradient=backward)
    return case | dict(rounds=args.rounds, milliseconds=found)


def times_table(found: dict) -> str:
    """A line for each size; in brackets how many times order 4 is faster."""
    what = 'value and gradient' if found['gradient'] else 'value'
    where = 'GPU' if found['device'] == 'cuda' else f'{found["threads"]} thread(s)'
    lines = [
        f'Milliseconds for the {what}, float32, {where}, {found["clock"]}; median of '
        f'{found["rounds"]} rounds in turns.\nIn brackets: how many times order 4 is faster.\n',
        '| m = d | ' + ' | '.join(CONTESTANTS) + ' |',
        '|---' * (1 + len(CONTESTANTS)) + '|',
    ]
    for size, row in found['milliseconds'].items():
        cells = [
            number(value) + (f' ({value / row["order 4"]:.1f})' if name not in SERIES else '')
            for name, value in row.items()
        ]
        lines.append(f'| {size} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def number(milliseconds: float) -> str:
    """Three digits, no exponent."""
    digits = max(0, 2 - math.floor(math.log10(milliseconds)))
    return f'{milliseconds:.{digits}f}'


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--sizes', type=int, nargs='+', default=[256, 512, 1024, 2048])
    parser.add_argument(
        '--distortions', type=float, nargs='+', default=[0.06, 0.03125], help='paper and code'
    )
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--device', choices=['cpu', 'cuda'], help='default: all that there are')
    parser.add_argument(
        '--patience', type=float, default=10.0, help='seconds above which a call is made once'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--json', type=Path, help='also write all numbers to this file')
    args = parser.parse_args()
    if args.json and not args.json.absolute().parent.is_dir():
        parser.error(f'--json: no folder {args.json.parent}')
    torch.set_num_threads(args.threads)
    print(f'{machine()}; seed {args.seed}\n', flush=True)
    found: dict[str, list[dict]] = dict(errors=[], times=[])
    for distortion in args.distortions:
        for decay in DECAYS:
            for size in args.sizes:
                found['errors'].append(errors(size, distortion, decay, args.seed))
    print(errors_table(found['errors']), flush=True)
    devices = [args.device] if args.device else ['cpu'] + ['cuda'] * torch.cuda.is_available()
    for device in devices:
        for backward in (False, True):
            found['times'].append(times(device, backward, args))
            print('\n' + times_table(found['times'][-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(found) + '\n')


if __name__ == '__main__':
    main()
