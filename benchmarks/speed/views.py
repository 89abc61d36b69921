"""Time mmpretrain's pipelines against loading plus views made in batch.

python benchmarks/speed/views.py --photos /path/to/jpegs

Both make the same views of the same images, by turns in one process on one
thread; ratios are medians over the rounds. CPU seconds are counted, so that a
busy machine matters little; with --device cuda, where the views are made then,
seconds. The process keeps freed memory, as tools/train.py does.
"""

import argparse
import copy
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import sklearn.datasets
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS, TRANSFORMS

from mmentropy.views.loading import collate_images

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools'))
from cli import keep_memory  # noqa: E402

# Data set, and the height, width and channels of its images; None for photos.
SHAPES: dict[str, tuple[int, ...] | None] = dict(
    digits=(8, 8),
    fashion_mnist=(28, 28),
    cifar10=(32, 32, 3),
    imagenet=None,
    imagenet_multicrop=None,
)
# Recipes that make views of them.
RECIPES = dict(
    digits='mec/r18s_1xb64_50e_digits.py',
    fashion_mnist='mec/r18s_1xb128_6e_fashion_mnist.py',
    cifar10='mec/r18_1xb1024_600e_cifar10.py',
    imagenet='mec/r50_8xb128_100e_in1k.py',
    imagenet_multicrop='mec/multicrop_r50_32xb128_800e_in1k.py',
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data', nargs='+', choices=SHAPES, default=SHAPES)
    parser.add_argument(
        '--photos',
        type=Path,
        default=Path(sklearn.datasets.__file__).with_name('images'),
        help='folder of JPEGs; default: the two of scikit-learn',
    )
    parser.add_argument('--batch-size', type=int, default=128)
    parser.add_argument('--photo-batch-size', type=int, default=16)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--device', default='cpu')
    return parser.parse_args()


def samples(name: str, args: argparse.Namespace) -> list[dict]:
    """What the data set gives to its pipeline, one batch."""
    shape = SHAPES[name]
    if shape:
        noise = np.random.default_rng(0).integers(0, 256, (args.batch_size, *shape), dtype=np.uint8)
        return [dict(img=img, gt_label=0) for img in noise]
    files = sorted(args.photos.rglob('*.jp*g'))
    if not files:
        raise SystemExit(f'error: no JPEGs in {args.photos}')
    return [
        dict(img_path=str(files[i % len(files)]), gt_label=0) for i in range(args.photo_batch_size)
    ]


def pipeline(steps: Iterable[dict]) -> Compose:
    return Compose([TRANSFORMS.build(dict(step)) for step in steps])


def contestants(name: str, device: str) -> list[Callable[[list], object]]:
    """Views by mmpretrain, loading alone, loading and views."""
    cfg = Config.fromfile(ROOT / 'configs' / RECIPES[name])
    steps = cfg.train_dataloader.dataset.pipeline
    theirs = pipeline(steps)
    normalize = MODELS.build(cfg.data_preprocessor)
    views = MODELS.build(dict(cfg.data_preprocessor, type='BatchViews', pipeline=steps))
    kind = 'photos' if SHAPES[name] is None else 'arrays'
    loader = Config.fromfile(ROOT / f'configs/_base_/views/{kind}.py')
    ours = pipeline(loader[f'{kind[:-1]}_loader'].dataset.pipeline)

    def mmpretrain(batch: list) -> object:
        data = default_collate([theirs(item) for item in batch])
        return normalize(data, True)

    def load(batch: list) -> dict:
        return collate_images([ours(item) for item in batch])

    def load_and_view(batch: list) -> object:
        result = views(load(batch), True)
        if device != 'cpu':
            torch.cuda.synchronize()
        return result

    views.to(device)
    return [mmpretrain, load, load_and_view]


def seconds(make: Callable[[list], object], batch: list, clock: Callable[[], float]) -> float:
    batch = [copy.copy(item) for item in batch]
    start = clock()
    make(batch)
    return clock() - start


def main() -> None:
    args = parse_args()
    keep_memory()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    init_default_scope('mmpretrain')
    # mmcv warns at every saturation by Pillow.
    warnings.filterwarnings('ignore', "Only use 'alpha'")
    where = '' if args.device == 'cpu' else f', views on {torch.cuda.get_device_name()}'
    print(
        f'one thread of {os.cpu_count()} cores, '
        f'{platform.machine()} {torch.backends.cpu.get_cpu_capability()}'
        f'{where}, torch {torch.__version__}, {args.rounds} rounds\n'
    )
    clock = time.process_time if args.device == 'cpu' else time.perf_counter
    print(
        '| views of | mmpretrain, images/s | loading alone | ratio | '
        'with views | ratio |\n|---|---|---|---|---|---|'
    )
    for name in args.data:
        batch = samples(name, args)
        makers = contestants(name, args.device)
        # The first round warms up.
        times = np.array(
            [[seconds(make, batch, clock) for make in makers] for _ in range(args.rounds + 1)]
        )[1:]
        rates = [f'{len(batch) / median(column):.0f}' for column in times.T]
        ratios = [f'{median(times[:, 0] / times[:, i]):.1f}' for i in (1, 2)]
        print(f'| {name} | {rates[0]} | {rates[1]} | {ratios[0]} | {rates[2]} | {ratios[1]} |')


if __name__ == '__main__':
    main()
