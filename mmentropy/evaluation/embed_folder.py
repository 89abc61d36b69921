"""Features of all images in a folder, written to a file in bounded memory."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import barrier, get_rank, get_world_size
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from mmentropy.checks.arguments import COUNT, INDEX, require
from mmentropy.datasets import ImageFolder
from mmentropy.datasets.loader_processes import list_loader
from mmentropy.datasets.unreadable_images import reason
from mmentropy.evaluation.embedding_file import Parts, write_npz, write_parquet
from mmentropy.evaluation.file_encoder import FileEncoder, checkpoint_encoder, named_encoder
from mmentropy.evaluation.progress import progress
from mmentropy.weights.stored_config import chosen_config

WRITERS = {'.npz': write_npz, '.parquet': write_parquet}


class _Files(Dataset):
    """Row, pixels and thumbnail of the images in some rows; in place of pixels why there are none.

    ``images`` lists the files, and ``side`` is that of the thumbnails.
    """

    def __init__(self, images: Any, rows: range, encoder: FileEncoder, side: int) -> None:
        self.images, self.rows, self.encoder, self.side = images, rows, encoder, side

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[int, Any, Any]:
        row = self.rows[index]
        try:
            pixels = self.encoder.pixels(self.images.get_data_info(row)['img_path'])
        except OSError as error:
            return row, reason(error), None
        return row, pixels, thumbnail(pixels, self.encoder, self.side) if self.side else None


def thumbnail(pixels: torch.Tensor, encoder: FileEncoder, side: int) -> np.ndarray:
    """Return pixels (C, H, W) as RGB (side, side, 3) uint8.

    Of more than three channels the first three are shown, of two the first. Of 16 bits the
    brightest value of the image is white.
    """
    img = pixels.float().numpy()
    if pixels.dtype != torch.uint8:
        img = img * (255 / max(img.max(), 1))
    img = img[:3] if len(img) > 2 else img[[0, 0, 0]]
    img = img[::-1] if encoder.bgr and len(pixels) in (3, 4) else img
    rgb = Image.fromarray(np.ascontiguousarray(img.transpose(1, 2, 0)).astype(np.uint8))
    return np.asarray(rgb.resize((side, side), Image.Resampling.BOX))


def embed_checkpoint(
    checkpoint: str | os.PathLike,
    folder: str | os.PathLike,
    out: str | os.PathLike,
    cfg: Config | None = None,
    branch: str = 'student',
    size: int | None = None,
    trust: bool = False,
    **options: Any,
) -> list[tuple[str, str]]:
    """Write the features of all images in a folder by a checkpoint, on a GPU if there is one.

    Args:
        checkpoint: a file, or the name of a model of mmpretrain, whose weights are downloaded.
        folder: see :func:`embed_folder`, also for ``out``, ``options`` and the return value.
        cfg: default: the config stored in the checkpoint.
        branch: see :func:`checkpoint_encoder`, also for ``size``.
        trust: see :func:`chosen_config`.

    Raises:
        ValueError: ``cfg``, ``branch`` or ``trust`` is given for a model of mmpretrain.
        FileNotFoundError, ValueError, OSError, ImportError: see the functions named.
    """
    with ExitStack() as stack:
        # Names of models may have dots, in numbers.
        if Path(checkpoint).suffix[1:].isalpha() or Path(checkpoint).exists():
            chosen = stack.enter_context(chosen_config(checkpoint, cfg, trust))
            encoder = checkpoint_encoder(checkpoint, chosen, branch, size)
        else:
            options_of_files = dict(config=cfg is not None, branch=branch != 'student', trust=trust)
            refused = [name for name, given in options_of_files.items() if given]
            if refused:
                raise ValueError(
                    f'{checkpoint} is no file, and a model of mmpretrain is taken with its own '
                    f'config and weights: leave {" and ".join(refused)} out'
                )
            encoder = named_encoder(str(checkpoint), size)
        encoder.backbone.to('cuda' if torch.cuda.is_available() else 'cpu')
        return embed_folder(encoder, os.fspath(folder), out, **options)


def embed_folder(
    encoder: FileEncoder,
    folder: str,
    out: str | os.PathLike,
    batch_size: int = 256,
    num_workers: int = 0,
    thumbnails: int = 0,
) -> list[tuple[str, str]]:
    """Write the features of all images in a folder and below, on all ranks, sorted by path.

    Memory grows by the list of paths only. The file is whole or not there.

    Args:
        encoder: see :func:`checkpoint_encoder` and :func:`named_encoder`.
        folder: its images are those of :class:`ImageFolder`.
        out: an .npz of ``features`` (N, D) float32, ``paths`` (N,) below ``folder``, ``folder``
            and, if asked for, ``thumbnails`` (N, side, side, 3) uint8; or a .parquet with a row
            for each image.
        batch_size: images per rank and step.
        num_workers: loader processes per rank.
        thumbnails: side of the thumbnails in pixels; 0 writes none.

    Returns:
        Path and reason of each file that could not be read, or is so elongated that resizing it
        would take too much memory; it has no row.

    Raises:
        ValueError: Another ending or other channels than the backbone's; features not finite.
        FileNotFoundError: there is no image.
        OSError: none can be read, or the disk is full.
        ImportError: pyarrow is not installed, which a .parquet needs.
    """
    require(COUNT, batch_size=batch_size)
    require(INDEX, num_workers=num_workers, thumbnails=thumbnails)
    out = Path(out)
    if out.suffix not in WRITERS:
        raise ValueError(f'{out}: must end in {" or ".join(WRITERS)}')
    if out.suffix == '.parquet':
        # Its absence is told before the work, and not after it.
        if find_spec('pyarrow') is None:
            raise ImportError('a .parquet needs pyarrow: pip install pyarrow, or name an .npz')
    if not os.path.isdir(os.path.expanduser(folder)):
        raise FileNotFoundError(f'no folder {folder} of images')
    images = ImageFolder(folder)
    with _parts_of(out) as parts:
        rows = range(get_rank(), len(images), get_world_size())
        files = _Files(images, rows, encoder, thumbnails)
        loader = list_loader(files, batch_size, num_workers)
        encode_rows(loader, encoder, parts / str(get_rank()))
        barrier()
        if get_rank() != 0:
            return []
        found = Parts(parts, images, thumbnails)
        WRITERS[out.suffix](parts / 'whole', found)
        os.replace(parts / 'whole', out)
        return found.unreadable


@contextmanager
def _parts_of(out: Path) -> Iterator[Path]:
    """Yield a folder beside a file, in which all ranks write, and which is removed after."""
    parts = out.with_name(f'.{out.name}.parts')
    if get_rank() == 0:
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir(parents=True)
    barrier()
    try:
        yield parts
    finally:
        if get_rank() == 0:
            shutil.rmtree(parts, ignore_errors=True)


def encode_rows(loader: DataLoader, encoder: FileEncoder, part: Path) -> None:
    """Append features, rows and thumbnails to files that begin with ``part``, batch by batch."""
    with ExitStack() as stack:
        names = ('features', 'rows', 'thumbnails', 'unreadable')
        files = {n: stack.enter_context(open(f'{part}.{n}', 'wb')) for n in names}
        for items in progress(loader, 'embedding', 'batch'):
            good = [item for item in items if isinstance(item[1], torch.Tensor)]
            for row, why, _ in (item for item in items if not isinstance(item[1], torch.Tensor)):
                files['unreadable'].write(json.dumps([row, why]).encode() + b'\n')
            if good:
                rows, pixels, pictures = zip(*good)
                check_alike(pixels)
                features = encoder.features(torch.stack(pixels))
                if not features.isfinite().all():
                    raise ValueError('the backbone gives features that are not finite')
                files['features'].write(features.numpy().tobytes())
                files['rows'].write(np.array(rows).tobytes())
                for picture in pictures:
                    files['thumbnails'].write(b'' if picture is None else picture.tobytes())


def check_alike(images: Sequence[torch.Tensor]) -> None:
    """Raise ValueError if images (C, H, W) are of different channels, depths or sizes."""
    kinds = sorted({f'{len(image)} channels of {8 * image.itemsize} bits' for image in images})
    if len(kinds) > 1:
        raise ValueError(
            f'images of {" and of ".join(kinds[:3])}: put those that the network was trained on '
            'into a folder of their own'
        )
    sizes = sorted({tuple(image.shape[1:]) for image in images})
    if len(sizes) > 1:
        raise ValueError(
            f'images of different sizes {sizes[:3]}: set a size to which they are resized and '
            'cropped (--size 224)'
        )
