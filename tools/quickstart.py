"""Pre-train on scikit-learn's digits without labels and measure it.

Writes the table as results.json, a picture of the embedding and a page about
the runs, report.html, to work_dirs/quickstart.
"""

import argparse
from pathlib import Path

from cli import Parser, commit, errors_in_one_line, seed

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = dict(
    mec='configs/mec/r18s_1xb64_50e_digits.py',
    er='configs/er/er_byol_r18s_1xb64_50e_digits.py',
    minent='configs/minent/minent_r18s_1xb64_50e_digits.py',
)


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('method', nargs='?', default='mec', choices=[*CONFIGS, 'all'])
    parser.add_argument('--seed', type=seed, default=0)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/quickstart'))
    return parser.parse_args()


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

import json
import time

import matplotlib
import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS
from torch import Tensor

from mmentropy.evaluation import (
    build_backbone,
    build_data_preprocessor,
    eval_datasets,
    extract_features,
    knn_accuracy,
    linear_probe,
    pixel_features,
)
from mmentropy.evaluation.progress import show_progress
from mmentropy.report import measured_runs, read_runs, report_html, write_page
from mmentropy.report.measured import tsne
from mmentropy.weights.backbone import load_backbone

matplotlib.use('Agg')
import matplotlib.pyplot as plt

TITLES = dict(
    raw_pixels='raw pixels', random_init='random backbone', mec='MEC', er='ER', minent='MinEnt'
)


def pretrain(config: str, work_dir: Path, seed: int) -> tuple[Config, float]:
    """Train one config; the config as run and the seconds it took."""
    cfg = Config.fromfile(ROOT / config)
    cfg.work_dir = str(work_dir)
    cfg.randomness = dict(seed=seed)
    cfg.code = dict(commit=commit())
    cfg.custom_hooks.append(dict(type='EntropyMonitorHook', interval=50))
    # The Runner starts with hundreds of lines about environment and config;
    # here only its progress is wanted.
    cfg.log_level = 'WARNING'
    start = time.perf_counter()
    runner = Runner.from_cfg(cfg)
    for logger in (runner.logger, *runner.logger.handlers):
        logger.setLevel('INFO')
    runner.train()
    return cfg, time.perf_counter() - start


# Features and labels of training and test images.
Features = list[tuple[Tensor, Tensor]]


def score(features: Features) -> dict[str, float]:
    """KNN and linear accuracy in percent."""
    train, test = features
    return dict(
        knn=round(knn_accuracy(*train, *test, k=20), 2),
        linear=round(linear_probe(*train, *test).accuracy, 2),
    )


def backbone_features(backbone: torch.nn.Module, cfg: Config) -> Features:
    """Features of the config's labelled data."""
    preprocessor = build_data_preprocessor(cfg)
    return [
        extract_features(backbone, DATASETS.build(entry), preprocessor)
        for entry in eval_datasets(cfg)
    ]


def draw(maps: dict[str, tuple[Tensor, Tensor]], path: Path) -> None:
    """One t-SNE map of the test images per row of the table."""
    fig, axes = plt.subplots(1, len(maps), figsize=(4 * len(maps), 4.4), squeeze=False)
    for ax, (name, (x, y)) in zip(axes[0], maps.items()):
        points = tsne(x)
        ax.scatter(*points.T, c=y.numpy(), cmap='tab10', s=8)
        for digit in range(10):
            ax.annotate(
                str(digit),
                np.median(points[y.numpy() == digit], axis=0),
                fontsize=14,
                weight='bold',
                ha='center',
                va='center',
                bbox=dict(boxstyle='round,pad=0.15', fc='w', alpha=0.7),
            )
        ax.set(title=TITLES[name], xticks=[], yticks=[])
    fig.suptitle('500 test digits, t-SNE of the features, colour = class')
    fig.tight_layout()
    fig.savefig(path, dpi=110)


def show(results: dict[str, dict[str, float]]) -> None:
    """Print the table of the methods."""
    print(f'\n{"":18}{"kNN %":>8}{"linear %":>10}{"seconds":>9}')
    for name, row in results.items():
        seconds = f'{row["seconds"]:.0f}' if 'seconds' in row else ''
        print(f'{TITLES[name]:18}{row["knn"]:8.2f}{row["linear"]:10.2f}{seconds:>9}')


def main() -> None:
    args = parse_args()
    methods = list(CONFIGS) if args.method == 'all' else [args.method]
    args.work_dir.mkdir(parents=True, exist_ok=True)
    features: dict[str, Features] = {}
    seconds: dict[str, float] = {}
    for method in methods:
        work_dir = args.work_dir / method
        cfg, seconds[method] = pretrain(CONFIGS[method], work_dir, args.seed)
        if not features:
            features['raw_pixels'] = [
                pixel_features(DATASETS.build(entry)) for entry in eval_datasets(cfg)
            ]
            features['random_init'] = backbone_features(build_backbone(cfg, args.seed), cfg)
        backbone = build_backbone(cfg)
        load_backbone(backbone, Path((work_dir / 'last_checkpoint').read_text()))
        features[method] = backbone_features(backbone, cfg)
    show_progress()
    results = {name: score(pair) for name, pair in features.items()}
    for method in methods:
        results[method]['seconds'] = round(seconds[method], 1)
    draw({name: pair[1] for name, pair in features.items()}, args.work_dir / 'embedding.png')
    path = args.work_dir / 'results.json'
    path.write_text(json.dumps(results, indent=2) + '\n')
    runs = read_runs([args.work_dir / method for method in methods])
    page = args.work_dir / 'report.html'
    write_page(page, report_html(runs, measured_runs(runs)))
    show(results)
    print(
        f'\nkNN: 20 nearest of 1,297 training digits by cosine; linear: a '
        f'probe on frozen features; 500 test digits\nWrote {path}, '
        f'{path.with_name("embedding.png")} and {page}'
    )


if __name__ == '__main__':
    with errors_in_one_line():
        main()
