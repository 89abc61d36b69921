"""Linear probe and kNN against mmpretrain, scikit-learn and plain torch.

python benchmarks/speed/evaluation.py                   # Digits, random weights
python benchmarks/speed/evaluation.py CHECKPOINT --full # and mmpretrain's accuracy
python benchmarks/speed/evaluation.py CHECKPOINT --rates 0.3 1.0    # that alone

The linear probe: mmpretrain's linear config (ImageClassifier with a frozen
backbone, LinearClsHead, LARS, 90 epochs, in its Runner) with the images,
backbone and preprocessing of ours, one learning rate, without validation and
checkpoints. Its epochs are timed by turns with our whole probe: features of
both splits, the sweep, the test. Only --full trains all epochs; else their
time is the median of a few times 90. --rates trains its head by SGD at
several learning rates on features computed once, which the frozen backbone
does not change: same accuracy, not its time.

kNN: each method in a process of its own, on random features. Memory is the
peak during the call over what was there before. With one thread the clock is
CPU time, which other processes change little.
"""

import argparse
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from mmengine.config import Config, DictAction
from mmengine.hooks import Hook
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from mmentropy.evaluation import (
    LinearProbe,
    build_backbone,
    build_data_preprocessor,
    eval_datasets,
    extract_features,
    knn_accuracy,
    linear_probe,
)
from mmentropy.weights.backbone import load_backbone
from mmentropy.weights.stored_config import config_of

DIGITS = 'configs/mec/r18s_1xb64_50e_digits.py'
LINEAR = 'mmpretrain::simsiam/benchmarks/resnet50_8xb512-linear-coslr-90e_in1k.py'
KEY = 'val/accuracy/top1'
# (train_x, train_y, test_x, test_y, metric) -> percent
KNN = Callable[[Tensor, Tensor, Tensor, Tensor, str], float]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint', nargs='?')
    parser.add_argument('--images', type=int, help='of the training set; default: all')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--full', action='store_true', help='train all of its epochs')
    parser.add_argument(
        '--rates',
        type=float,
        nargs='+',
        help="only mmpretrain's accuracy at these learning rates of SGD",
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help="of mmpretrain's linear config"
    )
    parser.add_argument(
        '--rows',
        type=int,
        nargs='*',
        default=[15000, 30000],
        help='of the bank of kNN; none: no kNN',
    )
    parser.add_argument('--queries', type=int, default=5000)
    parser.add_argument('--width', type=int, default=128)
    parser.add_argument('--threads', type=int, default=1)
    return parser.parse_args()


def clock(threads: int) -> Callable[[], float]:
    return time.process_time if threads == 1 else time.perf_counter


# ------------------------------------------------------------ linear probe


class Probe:
    """Our whole linear probe, from images to the result."""

    def __init__(self, cfg: Config, checkpoint: str | None, images: int | None) -> None:
        self.backbone = build_backbone(cfg)
        if checkpoint:
            load_backbone(self.backbone, checkpoint)
        self.preprocessor = build_data_preprocessor(cfg)
        self.configs = eval_datasets(cfg)
        if images:
            self.configs[0]['indices'] = images
        self.train, self.test = map(DATASETS.build, self.configs)

    def __call__(self) -> LinearProbe:
        train, test = (
            extract_features(self.backbone, data, self.preprocessor)
            for data in (self.train, self.test)
        )
        return linear_probe(*train, *test)


class Turns(Hook):
    """Times each epoch, and our probe after the first ``rounds``."""

    def __init__(self, probe: Probe, rounds: int, threads: int) -> None:
        self.probe, self.rounds, self.now = probe, rounds, clock(threads)
        self.epochs: list[float] = []
        self.probes: list[float] = []

    def before_train_epoch(self, runner: Runner) -> None:
        self.start = self.now()

    def after_train_epoch(self, runner: Runner) -> None:
        self.epochs.append(self.now() - self.start)
        if len(self.probes) < self.rounds:
            start = self.now()
            self.result = self.probe()
            self.probes.append(self.now() - start)


def linear_runner(cfg: Config, probe: Probe, args: argparse.Namespace, folder: str) -> Runner:
    """The linear config on our images, backbone and preprocessing."""
    linear = get_config(LINEAR)
    features, labels = extract_features(probe.backbone, probe.test, probe.preprocessor)
    linear.model.backbone = cfg.model.backbone
    weights = f'{folder}/backbone.pth'
    torch.save(probe.backbone.state_dict(), weights)
    linear.model.backbone.update(
        frozen_stages=cfg.model.backbone.num_stages,
        init_cfg=dict(type='Pretrained', checkpoint=weights),
    )
    linear.model.head.update(in_channels=features.shape[1], num_classes=int(labels.max()) + 1)
    del linear.model.head['topk']
    linear.data_preprocessor = dict(cfg.data_preprocessor, type='ClsDataPreprocessor')
    # The data preprocessor is a BatchViews.
    linear.data_preprocessor.pop('pipeline', None)
    loader = dict(batch_size=256, num_workers=0, collate_fn=dict(type='default_collate'))
    linear.train_dataloader = loader | dict(
        dataset=probe.configs[0], sampler=dict(type='DefaultSampler', shuffle=True)
    )
    epochs = linear.train_cfg.max_epochs
    linear.train_cfg.val_interval = epochs
    if args.full:
        linear.val_dataloader = loader | dict(
            dataset=probe.configs[1], sampler=dict(type='DefaultSampler', shuffle=False)
        )
        linear.val_evaluator = dict(type='Accuracy')
    else:
        linear.train_cfg.max_epochs = args.rounds + 1
        linear.val_dataloader = linear.val_evaluator = linear.val_cfg = None
    linear.test_dataloader = linear.test_evaluator = linear.test_cfg = None
    linear.default_hooks.checkpoint = None
    linear.merge_from_dict(args.cfg_options or {})
    linear.work_dir, linear.log_level = folder, 'ERROR'
    return Runner.from_cfg(linear)


class Same(nn.Module):
    """A backbone of images that are features already."""

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (x,)


def report_rates(args: argparse.Namespace) -> None:
    """Accuracy of the linear config by learning rate, on cached features."""
    cfg, probe = probe_of(args)
    splits = []
    for data in (probe.train, probe.test):
        rows = extract_features(probe.backbone, data, probe.preprocessor)
        splits.append(
            [
                dict(inputs=x[:, None, None], data_samples=DataSample().set_gt_label(int(y)))
                for x, y in zip(*rows, strict=True)
            ]
        )
    args.full = True
    options = dict(args.cfg_options or {})
    print(
        f'{len(probe.train)} + {len(probe.test)} images\n\n'
        '| SGD, learning rate | top-1 % |\n|---|---|'
    )
    for rate in args.rates:
        args.cfg_options = options | {
            'optim_wrapper.optimizer.type': 'SGD',
            'optim_wrapper.optimizer.lr': rate,
            'randomness.seed': 0,
        }
        with tempfile.TemporaryDirectory() as folder:
            runner = linear_runner(cfg, probe, args, folder)
            runner.model.backbone = Same()
            runner.model.data_preprocessor = ClsDataPreprocessor()
            # Still configs: a Runner builds its loaders in train().
            runner._train_dataloader['dataset'] = splits[0]
            runner._val_dataloader['dataset'] = splits[1]
            runner.train()
            top1 = runner.message_hub.log_scalars[KEY].current()
        print(f'| {rate} | {top1:.2f} |', flush=True)


def probe_of(args: argparse.Namespace) -> tuple[Config, Probe]:
    cfg = config_of(args.checkpoint) if args.checkpoint else Config.fromfile(DIGITS)
    return cfg, Probe(cfg, args.checkpoint, args.images)


def report_linear(args: argparse.Namespace) -> None:
    cfg, probe = probe_of(args)
    probe()
    with tempfile.TemporaryDirectory() as folder:
        runner = linear_runner(cfg, probe, args, folder)
        epochs = get_config(LINEAR).train_cfg.max_epochs
        turns = Turns(probe, args.rounds, args.threads)
        runner.register_hook(turns)
        runner.train()
        scalars = runner.message_hub.log_scalars
    top1 = f'{scalars[KEY].current():.2f}' if args.full else '-'
    # The first epoch warms up.
    theirs = sum(turns.epochs) if args.full else epochs * median(turns.epochs[1:])
    ours, result = median(turns.probes), turns.result
    how = 'trained' if args.full else f'{args.rounds} timed'
    print(
        f'{len(probe.train)} + {len(probe.test)} images\n\n'
        '| linear probe | trainings | s | ratio | top-1 % |\n'
        '|---|---|---|---|---|\n'
        f'| mmpretrain, {epochs} epochs, {how} | 1 | {theirs:.1f} | '
        f'{theirs / ours:.0f} | {top1} |\n'
        f'| ours | {len(result.val_accuracies)} + 1 | {ours:.2f} | 1 | '
        f'{result.accuracy:.2f} |\n'
    )


# --------------------------------------------------------------------- kNN


def whole_matrix(
    train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, metric: str
) -> float:
    """What :func:`knn_accuracy` computes, without blocks."""
    k = 20 if metric == 'cosine' else 5
    if metric == 'cosine':
        similarity = F.normalize(test_x) @ F.normalize(train_x).T
        score, rows = similarity.topk(k)
        weight = (score / 0.07).exp()
    else:
        distance = torch.cdist(test_x.double(), train_x.double())
        rows = distance.topk(k, largest=False).indices
        weight = torch.ones(rows.shape)
    votes = weight.new_zeros(len(test_x), int(train_y.max()) + 1)
    votes.scatter_add_(1, train_y[rows], weight)
    return 100 * (votes.argmax(1) == test_y).double().mean().item()


def scikit_learn(
    train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, metric: str
) -> float:
    if metric == 'cosine':
        witness = KNeighborsClassifier(
            20,
            metric='cosine',
            algorithm='brute',
            weights=lambda distance: np.exp((1 - distance) / 0.07),
        )
    else:
        witness = KNeighborsClassifier(5, algorithm='brute')
        train_x, test_x = train_x.double(), test_x.double()
    witness.fit(train_x.numpy(), train_y.numpy())
    return 100 * witness.score(test_x.numpy(), test_y.numpy())


def ours(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, metric: str) -> float:
    k = 20 if metric == 'cosine' else 5
    return knn_accuracy(train_x, train_y, test_x, test_y, k, metric)


def peak() -> float:
    """Highest resident memory of this process so far, in MiB."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('VmHWM'):
            return int(line.split()[1]) / 1024
    raise OSError('/proc/self/status has no VmHWM: run on Linux')


def measure(
    rank: int, world: int, knn: KNN, metric: str, rows: int, args: argparse.Namespace, folder: str
) -> None:
    """Seconds, MiB and percent of one call, to a file of the rank."""
    torch.set_num_threads(args.threads)
    if world > 1:
        dist.init_process_group('gloo', f'file://{folder}/ranks', rank=rank, world_size=world)
    torch.manual_seed(0)
    centres = 0.3 * torch.randn(10, args.width)
    train_y, test_y = (torch.randint(10, (n,)) for n in (rows, args.queries))
    train_x, test_x = (centres[y] + torch.randn(len(y), args.width) for y in (train_y, test_y))
    knn(train_x[:500], train_y[:500], test_x[:50], test_y[:50], metric)
    Path('/proc/self/clear_refs').write_text('5')  # forget the peak
    now, before = clock(args.threads), peak()
    start = now()
    percent = knn(train_x, train_y, test_x, test_y, metric)
    torch.save((now() - start, peak() - before, percent), f'{folder}/{rank}')
    if world > 1:
        dist.destroy_process_group()


def report_knn(args: argparse.Namespace) -> None:
    print(
        f'kNN, {args.queries} queries, width {args.width}\n\n'
        '| | bank | s | ratio | MiB | top-1 % |\n|---|---|---|---|---|---|'
    )
    for metric in ('cosine', 'euclidean'):
        for rows in args.rows:
            first = 0.0
            for name, knn, world in [
                ('ours', ours, 1),
                ('ours, each of 2 ranks', ours, 2),
                ('whole matrix', whole_matrix, 1),
                ('scikit-learn', scikit_learn, 1),
            ]:
                with tempfile.TemporaryDirectory() as folder:
                    mp.spawn(measure, (world, knn, metric, rows, args, folder), world)
                    ranks = [torch.load(f'{folder}/{r}') for r in range(world)]
                seconds, memory, percent = map(max, zip(*ranks, strict=True))
                first = first or seconds
                print(
                    f'| {name}, {metric} | {rows} | {seconds:.2f} | '
                    f'{seconds / first:.2f} | {memory:.0f} | '
                    f'{percent:.2f} |',
                    flush=True,
                )


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    # Of the processes that kNN starts, which import numpy anew.
    for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'):
        os.environ[name] = str(args.threads)
    torch.manual_seed(0)
    init_default_scope('mmpretrain')
    logging.disable(logging.INFO)
    print(
        f'{args.threads} thread(s), '
        f'{"CPU" if args.threads == 1 else "wall"} time; '
        f'{os.cpu_count()} cores {platform.machine()}, '
        f'{torch.backends.cpu.get_cpu_capability()}, torch '
        f'{torch.__version__}'
    )
    if args.rates:
        report_rates(args)
        return
    report_linear(args)
    if args.rows:
        report_knn(args)


if __name__ == '__main__':
    main()
