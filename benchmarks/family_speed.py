"""Time and memory of the family's losses against the authors' code and other libraries.

AUTHORS=work_dirs/authors python benchmarks/family_speed.py    # see family/contestants.py
python benchmarks/family_speed.py --objectives vicreg mmcr --sizes 256x256

Two views, forward and backward, float32, one thread. All take turns within one process; the ratio
is the median over turns of theirs to ours. Memory is the peak above inputs and gradients, in a
process of its own. The numbers go to benchmarks/family/results.json, the table to results.md beside
it; ``--objectives`` without a name writes the table only.
"""

import argparse
import ctypes
import json
import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from family.contestants import OURS, Loss, contestants
from speed.machine import machine
from torch import Tensor

RESULTS = Path(__file__).parent / 'family' / 'results.json'
HEAD = """# Losses of the family beside the authors' code and other libraries

Written by `benchmarks/family_speed.py`, on {machine}.
Two views, forward and backward, float32, one thread, CPU time; the first three columns say what,
*faster* is the median over turns of the others' time divided by ours, which is not the quotient of
the two medians; *less* is their memory divided by ours; *turns* is how often each was timed. Memory
is the peak above inputs and gradients. Up to 256 rows a matrix has 0.25 MiB, or 0.5 in float64, so
that memory there is good to some tenths. lightly is 1.6.0; the commits of the rest are in
[contestants.py](contestants.py). Its MMCR decomposes the views of each image in full, which needs
more than the 12 GiB that are allowed.

"""
SIZES = ['256x256', '1024x2048', '4096x2048']
# A contestant that needs more than this above what the process has is told so, in bytes.
MEMORY = 12 * 2**30
M_MMAP_THRESHOLD = -3


def views(n: int, d: int) -> list[Tensor]:
    """Two views that correlate, with zero gradients."""
    torch.manual_seed(0)
    first = torch.randn(n, d)
    second = first + torch.randn(n, d)
    for view in (first, second):
        view.requires_grad_().grad = torch.zeros(n, d)
    return [first, second]


def step(loss: Loss, pair: list[Tensor]) -> None:
    loss(*pair).backward()


def turns(objective: str, n: int, d: int, rounds: int, patience: float) -> dict[str, list[float]]:
    """CPU milliseconds of each contestant, turn by turn; [] for one that lacks memory."""
    pair, losses = views(n, d), contestants(objective, d)
    limit_memory()
    times: dict[str, list[float]] = {name: [] for name in losses}
    start = time.monotonic()
    for _ in range(rounds + 1):
        for name, loss in list(losses.items()):
            begin = time.thread_time()
            try:
                step(loss, pair)
            except RuntimeError as error:
                if 'memory' not in str(error):
                    raise
                del losses[name]
            else:
                times[name].append(1e3 * (time.thread_time() - begin))
        if time.monotonic() - start > patience:
            break
    # The first turn also allocates, and counts only where there is no other.
    return {name: found[1:] or found for name, found in times.items()}


def limit_memory() -> None:
    """Let allocations fail that go far beyond what this process has."""
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def resident(field: str) -> float:
    """MiB that this process holds ('VmRSS') or held at most ('VmHWM')."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def peak(objective: str, n: int, d: int, name: str) -> float:
    """MiB above inputs and gradients."""
    libc = ctypes.CDLL(None)
    # Freed memory goes back at once, so that none is used again unseen.
    libc.mallopt(M_MMAP_THRESHOLD, 65536)
    pair, loss = views(n, d), contestants(objective, d)[name]
    step(contestants(objective, d)[name], views(64, d))
    libc.malloc_trim(0)
    Path('/proc/self/clear_refs').write_text('5')
    before = resident('VmRSS')
    step(loss, pair)
    return resident('VmHWM') - before


def alone(function: Callable, *args: Any) -> Any:
    """What a function returns in a process of its own."""
    with ProcessPoolExecutor(1, get_context('fork')) as pool:
        return pool.submit(function, *args).result()


def measure(objective: str, size: str, rounds: int, patience: float) -> dict[str, dict]:
    """Milliseconds, MiB and the ratios to ours of all contestants."""
    n, d = map(int, size.split('x'))
    times = alone(turns, objective, n, d, rounds, patience)
    ours = dict(ms=times['ours'], mib=alone(peak, objective, n, d, 'ours'))
    found: dict[str, dict] = {}
    for name, spent in times.items():
        if not spent:
            found[name] = {}
            continue
        mib = ours['mib'] if name == 'ours' else alone(peak, objective, n, d, name)
        found[name] = dict(ms=statistics.median(spent), mib=mib, turns=len(spent))
        if name != 'ours':
            pairs = zip(spent, ours['ms'])
            found[name] |= dict(
                faster=statistics.median(theirs / mine for theirs, mine in pairs),
                less=mib / ours['mib'],
            )
    rounded = {
        name: {key: round(value, 3) for key, value in row.items()} for name, row in found.items()
    }
    git = ['git', 'rev-parse', '--short', 'HEAD']
    done = subprocess.run(git, capture_output=True, text=True, cwd=RESULTS.parent)
    rounded['ours'] |= dict(commit=done.stdout.strip(), date=str(date.today()))
    return rounded


def table(results: dict[str, dict[str, dict]]) -> str:
    """The rows of a Markdown table."""
    lines = [
        '| objective | N, D | whose | ms | faster | MiB | less | turns, commit |\n'
        + '|---' * 8
        + '|',
    ]
    for objective, sizes in results.items():
        for size, rows in sizes.items():
            for name, row in rows.items():
                cells = ['does not fit', '', '', '', '']
                if row:
                    cells = [
                        f'{row["ms"]:.4g}',
                        f'{row["faster"]:.2f}' if 'faster' in row else '',
                        f'{row["mib"]:.1f}',
                        f'{row["less"]:.2f}' if 'less' in row else '',
                        ', '.join([f'{row["turns"]:g}', *filter(None, [row.get('commit')])]),
                    ]
                start = f'| {objective} | {size.replace("x", ", ")} | {name} | '
                lines.append(start + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--objectives', nargs='*', choices=OURS, default=list(OURS))
    parser.add_argument('--sizes', nargs='+', default=SIZES, metavar='NxD')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--patience', type=float, default=40, help='seconds for a row of turns')
    args = parser.parse_args()
    torch.set_num_threads(1)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results = known.get('results', {})
    for objective in args.objectives:
        for size in args.sizes:
            rows = measure(objective, size, args.rounds, args.patience)
            results.setdefault(objective, {})[size] = rows
            print(table({objective: {size: rows}}), flush=True)
            text = json.dumps(dict(machine=machine(), results=results), indent=1)
            RESULTS.write_text(f'{text}\n')
    ordered = {name: results[name] for name in OURS if name in results}
    RESULTS.with_suffix('.md').write_text(HEAD.format(machine=machine()) + table(ordered) + '\n')


if __name__ == '__main__':
    main()
