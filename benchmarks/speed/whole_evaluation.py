"""A whole evaluation, from files to accuracies, beside the forward passes that it consists of.

python benchmarks/speed/whole_evaluation.py --data data/cifar10_jpeg

CIFAR-10 as JPEG in class folders, the backbone of the zoo that was trained on it, kNN and the
linear probe. The forward passes are those of as many random images, in batches of 256. Both have
one thread and keep freed memory, as tools/evaluate.py does; seconds are those of the processor.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import init_default_scope

from mmentropy.evaluation import build_backbone, evaluate_checkpoint
from mmentropy.weights.backbone import load_backbone
from mmentropy.weights.stored_config import config_of

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools'))
from cli import keep_memory  # noqa: E402

CHECKPOINT = ROOT / 'configs/weights/mec_fast_r18s_1xb256_10e_cifar10.pth'
IMAGES, BATCH, SIDE = 60_000, 256, 32


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data', type=Path, required=True, help='images in SPLIT/CLASS/')
    parser.add_argument('--rounds', type=int, default=1)
    args = parser.parse_args()
    for split in ('train', 'test'):
        if not (args.data / split).is_dir():
            parser.error(f'--data: no folder {args.data / split} of class folders')
    return args


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the processor that a call takes, and what it returns."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def main() -> None:
    args = parse_args()
    keep_memory()
    torch.set_num_threads(1)
    init_default_scope('mmpretrain')
    logging.disable(logging.INFO)
    cfg = config_of(CHECKPOINT)
    pipeline = [
        dict(type='CheckedLoadImageFromFile', color_type='unchanged'),
        dict(type='PackInputs'),
    ]
    cfg.eval_datasets = {
        split: dict(type='ClassFolders', data_root=str(args.data / split), pipeline=pipeline)
        for split in ('train', 'test')
    }
    backbone = build_backbone(cfg)
    load_backbone(backbone, CHECKPOINT)
    backbone.eval()
    images = torch.randn(BATCH, 3, SIDE, SIDE)

    @torch.inference_mode()
    def forward_passes() -> None:
        for _ in range(-(-IMAGES // BATCH)):
            backbone(images)

    print('| forward passes, s | evaluation, s | ratio | kNN | linear |\n|---|---|---|---|---|')
    for _ in range(args.rounds):
        passes, _ = timed(forward_passes)
        whole, found = timed(lambda: evaluate_checkpoint(CHECKPOINT, cfg))
        scores = ' | '.join(f'{found["checkpoint"][name]:.2f}' for name in ('knn', 'linear'))
        print(f'| {passes:.1f} | {whole:.1f} | {whole / passes:.2f} | {scores} |')


if __name__ == '__main__':
    main()
