"""The losses of other libraries beside the authors' code: equal, or what they give instead.

AUTHORS=work_dirs/authors python benchmarks/family_equality.py    # see family/contestants.py

Each check has one input and two numbers, what the authors' code gives and what the library gives,
in float64 where both take it. The table goes to the terminal; docs/peers.md holds it.
"""

import abc
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from family.contestants import (
    DIRECTIONS,
    LIBRARIES,
    SOURCES,
    THEIRS,
    contestants,
    definitions,
)
from speed.machine import machine
from torch import Tensor, nn

# Objective, library, input, expected, found.
Check = tuple[str, str, str, float, float]
Function = Callable[[Tensor, Tensor], Tensor]
EQUAL = 1e-6


def drawn(n: int, d: int, dtype: torch.dtype, seed: int = 0) -> list[Tensor]:
    """Two views that correlate."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(n, d, generator=generator, dtype=torch.float64)
    second = first + torch.randn(n, d, generator=generator, dtype=torch.float64)
    return [first.to(dtype), second.to(dtype)]


def value_and_slope(loss: Function, views: list[Tensor]) -> tuple[float, float]:
    """The loss, and the length of its gradient by the first view."""
    first = views[0].clone().requires_grad_()
    # The directions of LeJEPA are drawn by the global generator or by one with this seed.
    torch.manual_seed(0)
    value = loss(first, views[1])
    (slope,) = torch.autograd.grad(value, first)
    return float(value.detach()), float(slope.norm())


def losses() -> Iterator[Check]:
    """Value and gradient of the libraries' losses, more rows than columns and fewer."""
    for objective, others in THEIRS.items():
        if len(others) < 2:
            continue
        dtype = torch.float32 if objective == 'lejepa' else torch.float64
        for n, d in ((48, 24), (24, 48)):
            views = drawn(n, d, dtype)
            found = {
                name: value_and_slope(loss, views)
                for name, loss in contestants(objective, d).items()
                if name != 'ours'
            }
            for name in [name for name in found if name != 'authors']:
                for i, kind in enumerate(('value', 'gradient')):
                    shape = f'normal ({n}, {d}), {kind}'
                    yield objective, name, shape, found['authors'][i], found[name][i]


def scales_of_mmcr() -> Iterator[Check]:
    """Whether MMCR depends on the length of projections."""
    from lightly.loss import MMCRLoss

    theirs, authors = MMCRLoss(lmda=0.0), contestants('mmcr', 24)['authors']
    for scale in (1, 10, 100):
        a, b = (scale * x for x in drawn(48, 24, torch.float64))
        shape = f'normal (48, 24) times {scale}, value'
        found = theirs(a[:, None], b[:, None])
        yield 'mmcr', 'lightly', shape, float(authors(a, b)), float(found)


def rate_after_training() -> Iterator[Check]:
    """RankMe of free points after 500 steps on EMP-SSL."""
    ranks = []
    for whose in ('authors', 'lightly'):
        points = [x.requires_grad_() for x in drawn(48, 24, torch.float32)]
        loss, optimizer = contestants('emp_ssl', 24)[whose], torch.optim.Adam(points, 0.05)
        for _ in range(500):
            optimizer.zero_grad()
            loss(*points).backward()
            optimizer.step()
        p = torch.linalg.svdvals(F.normalize(points[0].detach()))
        ranks.append(float(torch.special.entr(p / p.sum()).sum().exp()))
    yield 'emp_ssl', 'lightly', 'RankMe of 48 free points after 500 steps of Adam', *ranks


def terms_of_lejepa() -> Iterator[Check]:
    """Both terms of two global views, and their sum, as stable-pretraining has them."""
    path = 'stable-pretraining/stable_pretraining/methods/lejepa.py'
    code = definitions(path, 'EppsPulley', 'SlicedEppsPulley', 'LeJEPA', Module=nn.Module)
    a, b = drawn(48, 24, torch.float32)
    sigreg = code.SlicedEppsPulley(DIRECTIONS)
    found = code.LeJEPA._compute_loss(torch.stack([a, b]), 2, sigreg, 0.05)
    whole = float(contestants('lejepa', 24)['authors'](a, b))
    invariance = float((a - b).square().mean() / 4)
    expected = (whole, invariance, (whole - 0.95 * invariance) / 0.05)
    for title, theirs, other in zip(('sum', 'invariance', 'SIGReg'), expected, found):
        shape = f'normal (48, 24), {title}'
        yield 'lejepa', 'stable_pretraining', shape, theirs, float(other)


def whitening() -> Iterator[Check]:
    """W-MSE of one sub-batch, which is all rows of a view."""
    given = dict(conv2d=F.conv2d, custom_fwd=lambda **_: lambda function: function, abc=abc)
    whiten = definitions('self-supervised/methods/whitening.py', 'Whitening2d', **given)
    norm_mse = definitions('self-supervised/methods/norm_mse.py', 'norm_mse_loss').norm_mse_loss
    for n, d in ((48, 8), (96, 24)):
        a, b = drawn(n, d, torch.float32)
        white = whiten.Whitening2d(d, track_running_stats=False)
        expected = float(norm_mse(white(a), white(b)))
        for name, found in of_libraries(a, b):
            yield 'wmse', name, f'normal ({n}, {d}), value', expected, found


def of_libraries(a: Tensor, b: Tensor) -> Iterator[tuple[str, float]]:
    """W-MSE as each library has it."""
    from lightly.loss import WMSELoss

    n, d = a.shape
    loss = WMSELoss(embedding_dim=d, w_size=n)
    yield 'lightly', float(loss(torch.cat([a, b])))
    path = 'stable-pretraining/stable_pretraining/methods/wmse.py'
    code = definitions(path, '_eigen_whiten', 'WMSE', Module=nn.Module, _cholesky_whiten=None)
    # The lines of WMSE.forward after the network.
    z = F.normalize(code._eigen_whiten(torch.cat([a, b])), dim=-1)
    yield 'stable_pretraining', float(F.mse_loss(*z.chunk(2)))


def ranks_of_simdino() -> Iterator[Check]:
    """The expansion term of two ranks whose rows are equal, against that of one rank with all."""
    names = ('half_logdet', 'DINOCenter', 'MCRLoss')
    path = 'SimDINO/simdinov2/loss/dino_clstoken_loss.py'
    (a, _) = drawn(48, 24, torch.float64)
    u = F.normalize(a)
    one = definitions(path, *names).MCRLoss(24).calc_expansion(torch.stack([u.repeat(2, 1)]))
    two = SimpleNamespace(is_initialized=lambda: True, get_world_size=lambda: 2)
    split = definitions(path, *names, dist=two).MCRLoss(24).calc_expansion(torch.stack([u]))
    shape = 'unit rows (96, 24), expansion, on 2 ranks against 1'
    yield 'simdino', 'authors', shape, float(one), float(split)


def main() -> None:
    torch.set_num_threads(1)
    print(f'{LIBRARIES}; {SOURCES}; {machine()}\n')
    print('| objective | library | input | expected | found | |\n' + '|---' * 6 + '|')
    checks = (losses, scales_of_mmcr, rate_after_training, terms_of_lejepa, whitening)
    for check in (*checks, ranks_of_simdino):
        for objective, name, shape, expected, found in check():
            equal = abs(expected - found) <= EQUAL * max(1.0, abs(expected))
            verdict = 'equal' if equal else 'differs'
            print(f'| {objective} | {name} | {shape} | {expected:.7g} | {found:.7g} | {verdict} |')


if __name__ == '__main__':
    main()
