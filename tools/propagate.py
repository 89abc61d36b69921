"""Score a checkpoint by video object segmentation with frozen features.

python tools/propagate.py CHECKPOINT --data data/DAVIS --layer layer3
"""

import argparse

from cli import checkpoint_parser, errors_in_one_line, read_config, seed

COLUMNS = ('J&F', 'J-mean', 'J-recall', 'J-decay', 'F-mean', 'F-recall', 'F-decay')
LAYERS = ('layer3', 'layer4', 'tokens')


def parse_args() -> argparse.Namespace:
    parser = checkpoint_parser(__doc__)
    parser.add_argument(
        '--data', required=True, help='folder of DAVIS-2017, or of digits_demos.py davis'
    )
    parser.add_argument(
        '--layer',
        default='layer3',
        choices=LAYERS,
        help='of a ResNet, at stride 8, or the tokens of a ViT',
    )
    parser.add_argument(
        '--random', action='store_true', help='also the same backbone, freshly initialised'
    )
    parser.add_argument(
        '--out',
        help="write the checkpoint's masks to this folder, as DAVIS's own evaluation takes them",
    )
    parser.add_argument('--seed', type=seed, default=0, help='of the fresh initialisation')
    return parser.parse_args()


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image
from torch import Tensor, nn

import mmentropy  # noqa: F401, registers the data sets
from mmentropy.checks.config_parts import is_bgr
from mmentropy.evaluation import build_backbone, build_data_preprocessor
from mmentropy.evaluation.davis import (
    Clip,
    Scores,
    frame_size,
    read_davis,
    read_ids,
    save_ids,
    score_clip,
)
from mmentropy.evaluation.features import turns_colours
from mmentropy.evaluation.label_propagation import dense_layer, segment_clip
from mmentropy.evaluation.progress import progress, show_progress
from mmentropy.weights.backbone import load_backbone
from mmentropy.weights.stored_config import chosen_config


def colours(cfg: Config, preprocessor: nn.Module) -> str:
    """Return the order of colours that the network takes: 'L', 'RGB' or 'BGR'.

    It is that of the training images. Without them the preprocessor tells, which turns BGR to RGB.
    """
    channels = cfg.model.backbone.get('in_channels', 3)
    if channels == 1:
        return 'L'
    trained = (cfg.get('train_dataloader') or {}).get('dataset')
    told = trained or len(getattr(preprocessor, 'mean', ())) == 3
    if channels != 3 or not told:
        raise ValueError(
            'the config does not tell the order of colours: it needs 3 channels, and a '
            'train_dataloader with a pipeline or a data_preprocessor with 3 means'
        )
    bgr = is_bgr(trained) if trained else turns_colours(preprocessor)
    return 'BGR' if bgr else 'RGB'


def read_frame(path: Path, order: str) -> Tensor:
    """Return a frame (C, H, W) uint8 in the order of colours."""
    with Image.open(path, formats=['JPEG', 'PNG']) as image:
        pixels = np.array(image.convert('L' if order == 'L' else 'RGB'))
    if order == 'L':
        return torch.from_numpy(pixels)[None]
    if order == 'BGR':
        pixels = pixels[..., ::-1].copy()
    return torch.from_numpy(pixels).permute(2, 0, 1)


def row(scores: list[Scores]) -> list[str]:
    """Return the means over objects in percent, in the columns of DAVIS's own table."""
    j, f = np.mean(scores, axis=0) * 100
    return [f'{value:.2f}' for value in ((j[0] + f[0]) / 2, *j, *f)]


def print_row(name: str, cells: Sequence[str], width: int) -> None:
    """Print a row of the table at once, so that a later error does not lose it."""
    print('  '.join([name.ljust(width), *(cell.rjust(8) for cell in cells)]), flush=True)


def main() -> None:
    args = parse_args()
    show_progress()
    own = read_config(args.config) if args.config else None
    with chosen_config(args.checkpoint, own, args.trust) as cfg:
        propagate(args, cfg)


def propagate(args: argparse.Namespace, cfg: Config) -> None:
    """Score the checkpoint, print its tables row by row, and write its masks."""
    checkpoint = build_backbone(cfg, args.seed)
    preprocessor = build_data_preprocessor(cfg)
    order = colours(cfg, preprocessor)
    load_backbone(checkpoint, args.checkpoint, args.branch)
    backbones = dict(checkpoint=dense_layer(checkpoint, args.layer))
    if args.random:
        backbones['random'] = dense_layer(build_backbone(cfg, args.seed), args.layer)
    clips = read_davis(args.data)
    if args.out:
        make_folder(Path(args.out), clips)
    for name, backbone in backbones.items():
        backbone.to('cuda' if torch.cuda.is_available() else 'cpu')
        print(f'{name}, {args.layer}')
        width = max(len(clip.name) for clip in clips)
        print_row('', COLUMNS, width)
        objects = []
        for clip in progress(clips, f'{name}, {args.layer}', 'clip'):
            try:
                found, scores = segmented(clip, backbone, preprocessor, order)
            except (OSError, ValueError) as error:
                raise ValueError(f'sequence {clip.name}: {error}') from error
            print_row(clip.name, row(scores), width)
            objects += scores
            if args.out and name == 'checkpoint':
                folder = Path(args.out) / clip.name
                folder.mkdir(parents=True, exist_ok=True)
                for path, ids in zip(clip.masks, found, strict=True):
                    save_ids(folder / path.name, ids)
        # DAVIS takes the mean over all objects, not over the means of clips.
        print_row('mean', row(objects), width)


def make_folder(out: Path, clips: Sequence[Clip]) -> None:
    """Make the folder that masks are written to, before the work.

    Raises:
        ValueError: It is a file, or a mask would be written over an annotation of a clip.
    """
    annotations = {identity(p) for clip in clips for p in (clip.masks[0].parent, *clip.masks)}
    for clip in clips:
        folder = out / clip.name
        for path in (folder, *(folder / mask.name for mask in clip.masks)):
            if path.exists() and identity(path) in annotations:
                raise ValueError(
                    f'--out: {path} is an annotation of the data, which the masks would '
                    'replace: name another folder'
                )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f'--out: {error.filename} is no folder: name another') from error


def identity(path: Path) -> tuple[int, int]:
    """Return what two names of the same file or folder have in common."""
    found = path.stat()
    return found.st_dev, found.st_ino


def segmented(
    clip: Clip, backbone: nn.Module, preprocessor: nn.Module, order: str
) -> tuple[list[np.ndarray], list[Scores]]:
    """Return the ids that were found in each frame of a clip, and the scores of its objects."""
    size = frame_size(clip.images[0])
    truth = [read_ids(path, size) for path in clip.masks]
    frames = (read_frame(path, order) for path in clip.images)
    found = list(segment_clip(backbone, preprocessor, frames, truth[0]))
    return found, score_clip(truth, found)


if __name__ == '__main__':
    with errors_in_one_line():
        main()
