"""Time and memory of the objectives against their plain formulas.

python benchmarks/speed/losses.py
python benchmarks/speed/losses.py --peers    # time against other libraries
python benchmarks/speed/losses.py --device cuda
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from device_clock import device_clock
from machine import machine
from torch import Tensor

from mmentropy.functional import sphere
from mmentropy.models import DINOLoss, ERLoss, MECLoss

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'tools'))
from cli import keep_memory  # noqa: E402

Loss = Callable[[Tensor, Tensor], Tensor]
# (2, m, d) rows of two views, with gradient, and of their targets.
ViewsLoss = Callable[[Tensor, Tensor], Tensor]


def official_mec(pred: Tensor, target: Tensor) -> Tensor:
    """Transcribed, xinliu20/MEC@35045dc:main_pretrain.py#L365-L390."""
    p, z = F.normalize(pred), F.normalize(target)
    lambda_inv = 0.06 * len(p)
    c = p @ z.T / lambda_inv
    power, total = c, torch.zeros_like(c)
    for k in range(1, 5):
        if k > 1:
            power = power @ c
        total = total + (-1) ** (k + 1) * power / k
    return -torch.trace(total) / len(p) * lambda_inv


def plain_er(pred: Tensor, target: Tensor) -> Tensor:
    """The kernel matrix (m, m) as a whole."""
    p, t = F.normalize(pred), F.normalize(target)
    entropy = sphere.sphere_entropy(p, 10.0, log_normalizer=0.0)
    return sphere.sphere_reconstruction(p, t, 10.0, log_normalizer=0.0) - entropy


def mec(pred: Tensor, target: Tensor) -> Tensor:
    return MECLoss()(pred, target)['loss']


def er(pred: Tensor, target: Tensor) -> Tensor:
    return ERLoss()(pred, target, distill=True)['loss']


# Ours, theirs, and the sizes (m, d).
PAIRS: dict[str, tuple[Loss, Loss, list[tuple[int, int]]]] = {
    'MEC': (mec, official_mec, [(1024, 2048), (4096, 2048), (4096, 512)]),
    'ER': (er, plain_er, [(1024, 256), (4096, 256), (16384, 256)]),
}


def our_dino(width: int) -> ViewsLoss:
    """With the centring of ``DINO``, which lightly's loss has inside."""
    loss, center = DINOLoss(), torch.zeros(width)

    def forward(views: Tensor, targets: Tensor) -> Tensor:
        t1, t2 = [t - center for t in targets]
        center.lerp_(targets.mean(1).mean(0), 0.1)
        # Each index would fill a gradient of both views with zeros.
        z1, z2 = views.unbind()
        return 0.5 * (loss(z1, t2)['loss'] + loss(z2, t1)['loss'])

    return forward


def our_dino_er(width: int) -> ViewsLoss:
    loss = ERLoss('simplex', target_temperature=0.04)

    def forward(views: Tensor, targets: Tensor) -> Tensor:
        (z1, z2), (t1, t2) = views.unbind(), targets.unbind()
        return 0.5 * (loss(z1, t2, distill=True)['loss'] + loss(z2, t1, distill=True)['loss'])

    return forward


def our_simclr_er(width: int) -> ViewsLoss:
    loss = ERLoss()
    return lambda z, t: loss(*z)['loss']


def our_mec(width: int) -> ViewsLoss:
    def forward(views: Tensor, targets: Tensor) -> Tensor:
        (z1, z2), (t1, t2) = views.unbind(), targets.unbind()
        return 0.5 * (mec(z1, t2) + mec(z2, t1))

    return forward


def lightly_dino(width: int) -> ViewsLoss:
    from lightly.loss import DINOLoss

    loss = DINOLoss(width)
    return lambda z, t: loss(list(t), list(z))


def lightly_nt_xent(width: int) -> ViewsLoss:
    from lightly.loss import NTXentLoss

    loss = NTXentLoss()
    return lambda z, t: loss(*z)


def lightly_barlow_twins(width: int) -> ViewsLoss:
    from lightly.loss import BarlowTwinsLoss

    loss = BarlowTwinsLoss()
    return lambda z, t: loss(*z)


def lightly_frossl(width: int) -> ViewsLoss:
    from lightly.loss.frossl_loss import FroSSLLoss

    loss = FroSSLLoss()
    return lambda z, t: loss(list(z))


def stable_dino(width: int) -> ViewsLoss:
    from stable_pretraining.losses import DINOv1Loss

    loss = DINOv1Loss()

    def forward(views: Tensor, targets: Tensor) -> Tensor:
        value = loss(views, loss.softmax_center_teacher(targets, 0.04))
        loss.update_center(targets)
        return value

    return forward


def stable_nt_xent(width: int) -> ViewsLoss:
    from stable_pretraining.losses import NTXEntLoss

    loss = NTXEntLoss()
    return lambda z, t: loss(*z)


def stable_barlow_twins(width: int) -> ViewsLoss:
    from stable_pretraining.losses import BarlowTwinsLoss

    loss = BarlowTwinsLoss()
    return lambda z, t: loss(*z)


# Ours, theirs, which is also called so or is the nearest that they have, by
# library, and the sizes (m, d).
Make = Callable[[int], ViewsLoss]
PEERS: dict[str, tuple[Make, dict[str, Make], list[tuple[int, int]]]] = {
    'DINO, DINO': (
        our_dino,
        {'lightly': lightly_dino, 'stable-pretraining': stable_dino},
        [(256, 4096), (64, 65536)],
    ),
    'DINO+ER, DINO': (
        our_dino_er,
        {'lightly': lightly_dino, 'stable-pretraining': stable_dino},
        [(256, 4096), (64, 65536)],
    ),
    'SimCLR+ER, NT-Xent': (
        our_simclr_er,
        {'lightly': lightly_nt_xent, 'stable-pretraining': stable_nt_xent},
        [(1024, 256), (4096, 256)],
    ),
    'MEC, Barlow Twins': (
        our_mec,
        {'lightly': lightly_barlow_twins, 'stable-pretraining': stable_barlow_twins},
        [(1024, 2048), (4096, 2048)],
    ),
    'MEC, FroSSL': (our_mec, {'lightly': lightly_frossl}, [(1024, 2048), (4096, 2048)]),
}


# DINO compares cosines, of about this size. With larger logits most assignments are denormal
# numbers, which take a processor much longer.
COSINES = 0.2


def inputs(m: int, d: int, device: str = 'cpu') -> tuple[Tensor, Tensor]:
    """A prediction with gradient, and a target that correlates with it."""
    torch.manual_seed(0)
    target = torch.randn(m, d, device=device)
    return (target + torch.randn_like(target)).requires_grad_(), target


def seconds(loss: Loss, pair: tuple[Tensor, Tensor]) -> float:
    """CPU seconds of this thread, on a card seconds, forward and backward."""
    clock = device_clock if pair[0].is_cuda else time.thread_time
    pair[0].grad = None
    start = clock()
    loss(*pair).backward()
    return clock() - start


def resident(field: str) -> float:
    """MiB that this process holds ('VmRSS') or held at most ('VmHWM')."""
    with open('/proc/self/status') as status:
        line = next(line for line in status if line.startswith(field))
    return int(line.split()[1]) / 1024


def card_peak(loss: Loss, m: int, d: int) -> float:
    """MiB above inputs and gradient on a CUDA card."""
    loss(*inputs(64, d, 'cuda')).backward()
    pair = inputs(m, d, 'cuda')
    pair[0].grad = torch.zeros_like(pair[0])
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loss(*pair).backward()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def peak(name: str, index: int, m: int, d: int) -> float:
    """MiB above inputs and gradient, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, '--peak', json.dumps([name, index, m, d])],
        # Freed memory goes back at once, so that none is used again unseen.
        env=os.environ | dict(MALLOC_MMAP_THRESHOLD_='65536'),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def measure_peak(name: str, index: int, m: int, d: int) -> None:
    loss = PAIRS[name][index]
    loss(*inputs(64, d)).backward()
    pair = inputs(m, d)
    pair[0].grad = torch.zeros(m, d)
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')
    before = resident('VmRSS')
    loss(*pair).backward()
    print(resident('VmHWM') - before)


def installed_peers() -> list[str]:
    """Libraries of PEERS that can be used, each with a line."""
    found = []
    for library, make in PEERS['DINO, DINO'][1].items():
        try:
            make(2)
        except ImportError as error:
            print(f'{library} is left out: {error}')
        else:
            print(f'{library} {version(library)}')
            found.append(library)
    return found


def report_peers(rounds: int, device: str) -> None:
    """Milliseconds of two views, ours and theirs by turns."""
    libraries = installed_peers()
    print(
        '\n| ours, theirs | m, d | ours, ms |'
        + ''.join(f' {library}, ms | faster |' for library in libraries)
        + '\n'
        + '|---' * (3 + 2 * len(libraries))
        + '|'
    )
    for name, (ours, theirs, sizes) in PEERS.items():
        for m, d in sizes:
            scale = COSINES if 'DINO' in name else 1.0
            views = scale * torch.randn(2, m, d, device=device)
            noise = scale * torch.randn_like(views)
            pair = noise.add_(views).requires_grad_(), views
            makes = {'ours': ours} | {
                library: theirs[library] for library in libraries if library in theirs
            }
            with torch.device(device):  # where their buffers are
                losses = {name: make(d) for name, make in makes.items()}
            for loss in losses.values():  # the first call also allocates
                seconds(loss, pair)
            times = [[seconds(loss, pair) for loss in losses.values()] for _ in range(rounds)]
            columns = zip(*times, strict=True)
            median = dict(zip(losses, map(statistics.median, columns)))
            first = median['ours']
            cells = ''.join(
                f' {1e3 * median[library]:.2f} | {median[library] / first:.1f} |'
                if library in median
                else ' | |'
                for library in libraries
            )
            print(f'| {name} | {m}, {d} | {1e3 * first:.2f} |{cells}', flush=True)


def report_plain(rounds: int, device: str) -> None:
    """Milliseconds and MiB, ours and the plain formulas'."""
    print(
        '| | m, d | ours, ms | plain, ms | faster | ours, MiB | plain, MiB '
        '| less |\n' + '|---' * 8 + '|'
    )
    for name, (ours, plain, sizes) in PAIRS.items():
        for m, d in sizes:
            pair = inputs(m, d, device)
            times = [[seconds(loss, pair) for loss in (ours, plain)] for _ in range(rounds)]
            fast, slow = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
            if device == 'cpu':
                small, large = (peak(name, index, m, d) for index in (0, 1))
            else:
                small, large = (card_peak(loss, m, d) for loss in (ours, plain))
            print(
                f'| {name} | {m}, {d} | {fast:.2f} | {slow:.2f} | '
                f'{slow / fast:.1f} | {small:.0f} | {large:.0f} | '
                f'{large / small:.1f} |',
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument(
        '--peers', action='store_true', help='against lightly and stable-pretraining'
    )
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--peak', type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.peak:
        measure_peak(*args.peak)
        return
    clock = 'CPU time of 1 thread' if args.device == 'cpu' else 'wall time'
    print(
        f'Forward and backward, float32, median of {args.rounds} rounds in '
        f'turns, {clock}; {machine()}\n'
    )
    if args.peers:
        # As tools/train.py does.
        keep_memory()
        report_peers(args.rounds, args.device)
    else:
        report_plain(args.rounds, args.device)


if __name__ == '__main__':
    main()
