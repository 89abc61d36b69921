"""Angles between the gradients of MEC, cut after 1 to 4 terms, and of losses of other methods.

python benchmarks/low_orders.py
python benchmarks/low_orders.py --checkpoint epoch_50.pth --rows 64 256

The gradients are those with respect to the projections of both views. SimSiam's loss, SimCLR with
its InfoNCE and the head of Barlow Twins are mmpretrain's, run on these projections. Without a
checkpoint a network is trained first, by the recipe.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, load_checkpoint, set_random_seed
from mmpretrain.registry import MODELS
from speed.machine import machine
from torch import Tensor, nn

from mmentropy.functional.coding import cross_gram, spectral_norm
from mmentropy.models import MECLoss
from mmentropy.models.base import project

CONFIGS = Path(__file__).resolve().parent.parent / 'configs'
ORDERS = (1, 2, 3, 4)
# The projections (2, m, d) of both views to a scalar.
ViewsLoss = Callable[[Tensor], Tensor]


class Projections(nn.Module):
    """A neck whose input is projections already, as images of (d, 1, 1)."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (x.flatten(1),)


def info_nce(temperature: float) -> ViewsLoss:
    """The SimCLR of mmpretrain, with its gathering, masks and head."""
    model = Config.fromfile(CONFIGS / 'baselines/simclr_r18s_1xb64_50e_digits.py').model
    model.head.temperature = temperature
    simclr = MODELS.build(model)
    simclr.backbone, simclr.neck = nn.Identity(), Projections()
    return lambda z: simclr.loss(list(z[..., None, None]), [])['loss']


def barlow_twins(width: int) -> ViewsLoss:
    """The head of mmpretrain, with its batch norm and its default weight of 0.0051."""
    head = MODELS.build(
        dict(
            type='LatentCrossCorrelationHead',
            in_channels=width,
            loss=dict(type='CrossCorrelationLoss'),
        )
    )
    head.double()
    return lambda z: head.loss(*z)


def simsiam() -> ViewsLoss:
    """The loss of mmpretrain, minus the mean cosine, with gradient for both views."""
    loss = MODELS.build(dict(type='CosineSimilarityLoss'))
    return lambda z: loss(*z)


def mec(distortion: float, order: int) -> ViewsLoss:
    """The loss of the recipe: the guard lowers lambda where the norm passes 0.9."""
    loss = MECLoss(distortion, taylor_order=order)
    return lambda z: loss(*z)['loss']


def gradient(loss: ViewsLoss, z: Tensor) -> Tensor:
    z = z.clone().requires_grad_()
    return torch.autograd.grad(loss(z), z)[0].flatten()


def degrees(a: Tensor, b: Tensor) -> float:
    """The angle of two vectors, by Kahan's formula, which is exact for small ones."""
    a, b = F.normalize(a, dim=0), F.normalize(b, dim=0)
    return float(torch.rad2deg(2 * torch.atan2((a - b).norm(), (a + b).norm())))


# -- Projections -------------------------------------------------------------


def train(cfg: Config, epochs: int) -> nn.Module:
    """Train by the recipe, its warm-up as much shorter as its length, and say how good it is."""
    cfg = copy.deepcopy(cfg)
    share = epochs / cfg.train_cfg.max_epochs
    cfg.train_cfg.max_epochs = epochs
    for scheduler in cfg.param_scheduler:
        for key in {'begin', 'end'} & set(scheduler):
            scheduler[key] *= share
    cfg.custom_hooks = [dict(type='KNNHook', interval=epochs, k=20)]
    runner = Runner.from_cfg(cfg)
    runner.train()
    knn = runner.message_hub.get_scalar('val/knn_top1').current()
    print(f'kNN (k = 20) after {epochs} epochs: {knn:.1f} %; checkpoint in {cfg.work_dir}')
    return runner.model


def of_network(model: nn.Module, cfg: Config, rows: int, batches: int) -> Iterator[Tensor]:
    """Projections of two views, made and normalised as in training."""
    loader = copy.deepcopy(cfg.train_dataloader)
    loader.update(batch_size=rows, num_workers=0, persistent_workers=False)
    model.train()
    done = 0
    while done < batches:
        for data in Runner.build_dataloader(loader, seed=done):
            with torch.no_grad():
                views = model.data_preprocessor(data, True)['inputs']
                yield torch.stack(project(model, views)).double()
            done += 1
            if done == batches:
                return


def of_chance(noise: float | None, width: int, rows: int, batches: int) -> Iterator[Tensor]:
    """Normal rows; the second view is independent, or the first with noise."""
    for _ in range(batches):
        views = torch.randn(2, rows, width, dtype=torch.float64)
        if noise is not None:
            views[1] = views[0] + noise * views[1]
        yield views


# -- The table ---------------------------------------------------------------


def squares(distortion: float, rows: bool) -> ViewsLoss:
    """Order 2 with C_ij^2 in place of C_ij C_ji, of the rows or of the features."""

    def loss(z: Tensor) -> Tensor:
        p, t = F.normalize(z, dim=2)
        m = len(p)
        c = p @ t.T if rows else t.T @ p
        norm = spectral_norm(cross_gram(p, t).detach())
        lambda_inv = (norm / 0.9).clamp_min(m * distortion)
        return (c.square().sum() / (2 * lambda_inv) - c.trace()) / m

    return loss


def angles(
    projections: list[Tensor], distortion: float, temperature: float
) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """What MEC is compared with, and the angles by order: mean and deviation over batches."""
    width = projections[0].size(2)
    losses = [mec(distortion, order) for order in ORDERS]
    others = [
        ('SimSiam', simsiam(), True),
        (f'InfoNCE, temperature {temperature}', info_nce(temperature), True),
        ('Barlow Twins', barlow_twins(width), False),
    ]
    for name, other, on_rows in others:
        found = []
        for z in projections:
            theirs = gradient(other, z)
            ours = [*losses, squares(distortion, on_rows)]
            found.append([degrees(gradient(loss, z), theirs) for loss in ours])
        columns = [*zip(*found, strict=True)]
        yield name, [(statistics.mean(column), statistics.stdev(column)) for column in columns]


def norm_of(projections: list[Tensor], distortion: float) -> float:
    """The mean spectral norm of lambda C, before the guard."""
    loss = MECLoss(distortion)
    return statistics.mean(float(loss(*z)['spectral_norm']) for z in projections)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', default=str(CONFIGS / 'mec/r18s_1xb64_50e_digits.py'))
    parser.add_argument('--checkpoint', help='of the config; without it, it is trained')
    parser.add_argument('--epochs', type=int, help="of that training; default: the recipe's")
    parser.add_argument('--rows', type=int, nargs='+', default=[64], help='batch sizes m')
    parser.add_argument(
        '--distortions', type=float, nargs='+', default=[0.06, 1.0], help='the guard is on'
    )
    parser.add_argument('--batches', type=int, default=20, help='the table has their mean')
    parser.add_argument('--temperature', type=float, default=0.1, help='of InfoNCE')
    parser.add_argument('--noise', type=float, default=0.5, help='of the second random view')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--json', type=Path, help='also write all numbers to this file')
    args = parser.parse_args()
    if args.json and not args.json.absolute().parent.is_dir():
        parser.error(f'--json: no folder {args.json.parent}')
    if args.checkpoint and not Path(args.checkpoint).is_file():
        parser.error(f'checkpoint {args.checkpoint} does not exist')
    torch.set_num_threads(args.threads)
    init_default_scope('mmpretrain')
    MMLogger.get_instance('low_orders', log_level='WARNING')
    start = time.perf_counter()

    cfg = Config.fromfile(args.config)
    cfg.randomness = dict(seed=args.seed)
    cfg.log_level = 'WARNING'
    cfg.work_dir = str(args.json.parent / 'training') if args.json else tempfile.mkdtemp()
    set_random_seed(args.seed)
    untrained = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    untrained.init_weights()
    if args.checkpoint:
        trained = copy.deepcopy(untrained)
        load_checkpoint(trained, args.checkpoint, map_location='cpu', strict=True)
    else:
        trained = train(cfg, args.epochs or cfg.train_cfg.max_epochs)

    width = cfg.model.neck.out_channels
    orders = ' | '.join(f'order {order}' for order in ORDERS)
    print(
        f'\n{machine()}; {args.threads} thread; seed {args.seed}; d = {width}, {args.batches} '
        f'batches\n\n| projections | m | distortion | norm | against | {orders} '
        '| order 2, squares |\n' + '|---' * 10 + '|'
    )
    found = []
    for rows in args.rows:
        kinds = {
            'trained': of_network(trained, cfg, rows, args.batches),
            'untrained': of_network(untrained, cfg, rows, args.batches),
            'random, views alike': of_chance(args.noise, width, rows, args.batches),
            'random, independent': of_chance(None, width, rows, args.batches),
        }
        for kind, batches in kinds.items():
            set_random_seed(args.seed)
            projections = list(batches)
            for distortion in args.distortions:
                norm = norm_of(projections, distortion)
                for name, measured in angles(projections, distortion, args.temperature):
                    case = dict(projections=kind, rows=rows, distortion=distortion, norm=norm)
                    found.append(case | dict(against=name, degrees=measured))
                    cells = [f'{mean:.2f} ± {deviation:.2f}' for mean, deviation in measured]
                    told = f'{kind} | {rows} | {distortion} | {norm:.2f} | {name}'
                    print(f'| {told} | {" | ".join(cells)} |', flush=True)
    print(f'\n{(time.perf_counter() - start) / 60:.1f} minutes')
    if args.json:
        args.json.write_text(json.dumps(found) + '\n')


if __name__ == '__main__':
    main()
