"""The file of features: merged of what ranks wrote, and read again."""

import io
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.dist import get_world_size
from numpy.lib import format as npy
from PIL import Image

from mmentropy.datasets import ImageFolder
from mmentropy.evaluation.features import BLOCK

# The reader raises one of these at a file that is damaged or something else.
UNREADABLE = (
    *(KeyError, ValueError, OSError, EOFError, MemoryError),
    *(zipfile.BadZipFile, Image.DecompressionBombError),
)


class Embedding(NamedTuple):
    """What a file of features holds, of N images.

    Args:
        features: (N, D) float32.
        paths: N paths below ``folder``.
        folder: the folder, absolute.
        thumbnails: (N, side, side, 3) uint8, or None.
    """

    features: np.ndarray
    paths: list[str]
    folder: str
    thumbnails: np.ndarray | None


class Parts:
    """What all ranks wrote, by rows of the folder.

    Raises:
        OSError: no file could be read.
    """

    def __init__(self, folder: Path, images: ImageFolder, side: int) -> None:
        self.images, self.side = images, side
        ranks = range(get_world_size())
        rows = [np.fromfile(folder / f'{rank}.rows', np.int64) for rank in ranks]
        lines = [
            json.loads(line)
            for rank in ranks
            for line in (folder / f'{rank}.unreadable').read_bytes().splitlines()
        ]
        self.unreadable = [(self.path(row), why) for row, why in sorted(lines)]
        every = np.concatenate(rows)
        if not len(every):
            raise OSError(f'no image can be read, e.g. {" (".join(self.unreadable[0])})')
        self.features = [self._mapped(folder / f'{r}.features', rows[r], np.float32) for r in ranks]
        self.pictures = [self._mapped(folder / f'{r}.thumbnails', rows[r], np.uint8) for r in ranks]
        self.width = max(part.shape[1] for part in self.features)
        # The rank and the place in its files of each row.
        order = every.argsort()
        self.rows = every[order]
        self.rank = np.repeat(ranks, [*map(len, rows)])[order]
        self.place = np.concatenate([np.arange(len(part)) for part in rows])[order]

    @staticmethod
    def _mapped(path: Path, rows: np.ndarray, dtype: type) -> np.ndarray:
        if not path.stat().st_size:
            return np.empty((len(rows), 0), dtype)
        return np.memmap(path, dtype, 'r').reshape(len(rows), -1)

    def path(self, row: int) -> str:
        """Return the path of a row below the folder."""
        return os.path.relpath(self.images.get_data_info(int(row))['img_path'], self.root)

    @property
    def root(self) -> str:
        return os.path.abspath(self.images.img_prefix)

    def blocks(self, parts: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the rows of the ranks' arrays in the order of the folder, block by block."""
        for first in range(0, len(self.rows), BLOCK):
            at = slice(first, first + BLOCK)
            rank, place = self.rank[at], self.place[at]
            block = np.empty((len(rank), max(p.shape[1] for p in parts)), parts[0].dtype)
            for r in np.unique(rank):
                block[rank == r] = parts[r][place[rank == r]]
            yield block

    def paths(self) -> Iterator[list[str]]:
        for first in range(0, len(self.rows), BLOCK):
            yield [self.path(row) for row in self.rows[first : first + BLOCK]]


def write_npz(path: Path, found: Parts) -> None:
    """Write an .npz block by block."""
    count, longest = len(found.rows), max(max(map(len, block)) for block in found.paths())
    arrays: dict[str, tuple[tuple, str, Iterable[np.ndarray]]] = {
        'features': ((count, found.width), '<f4', found.blocks(found.features)),
        'paths': ((count,), f'<U{longest}', map(np.array, found.paths())),
        'folder': ((), f'<U{len(found.root)}', [np.array(found.root)]),
    }
    if found.side:
        shape = count, found.side, found.side, 3
        arrays['thumbnails'] = shape, '|u1', found.blocks(found.pictures)
    with zipfile.ZipFile(path, 'w', allowZip64=True) as archive:
        for name, (shape, dtype, blocks) in arrays.items():
            with archive.open(f'{name}.npy', 'w', force_zip64=True) as file:
                npy.write_array_header_2_0(
                    file, dict(descr=dtype, fortran_order=False, shape=shape)
                )
                for block in blocks:
                    file.write(block.astype(dtype).tobytes())


def write_parquet(path: Path, found: Parts) -> None:
    """Write a .parquet with a group of rows for each block; thumbnails are PNGs."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            pa.field('path', pa.string()),
            pa.field('feature', pa.list_(pa.float32(), found.width)),
            *([pa.field('thumbnail', pa.binary())] if found.side else []),
        ],
        metadata=dict(folder=utf8(found.root)),
    )
    pictures = found.blocks(found.pictures) if found.side else repeat(None)
    with pq.ParquetWriter(path, schema) as writer:
        for paths, rows, tiles in zip(found.paths(), found.blocks(found.features), pictures):
            feature = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), found.width)
            columns = [pa.array([*map(utf8, paths)]), feature]
            if tiles is not None:
                shape = found.side, found.side, 3
                columns.append(pa.array([png(tile.reshape(shape)) for tile in tiles], pa.binary()))
            writer.write_table(pa.table(columns, schema=schema))


def utf8(text: str) -> str:
    """Return a path with what is not Unicode in it written as an escape."""
    return text.encode('utf-8', 'backslashreplace').decode()


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, 'PNG')
    return stream.getvalue()


def read_embedding(path: str | os.PathLike) -> Embedding:
    """Read what :func:`embed_folder` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else; one line.
        ImportError: pyarrow is not installed, which a .parquet needs.
    """
    path = Path(path)
    if path.is_dir() or not path.exists():
        raise FileNotFoundError(f'{path} is no file of features: tools/embed.py writes one')
    try:
        return checked(read_parquet(path) if path.suffix == '.parquet' else read_npz(path))
    except UNREADABLE as error:
        raise ValueError(f'{path} holds no features of tools/embed.py ({error})') from error


def checked(found: Embedding) -> Embedding:
    """Return what was read, or raise ValueError if its parts do not fit together."""
    features, count = found.features, len(found.paths)
    if features.ndim != 2 or len(features) != count or features.dtype.kind != 'f':
        raise ValueError(f'features are {features.dtype} {features.shape}, of {count} paths')
    pictures = found.thumbnails
    if pictures is not None:
        side = pictures.shape[1:2]
        if pictures.dtype != np.uint8 or pictures.shape != (count, *side, *side, 3):
            raise ValueError(f'thumbnails are {pictures.dtype} {pictures.shape}, of {count} paths')
    return found


def read_npz(path: Path) -> Embedding:
    if not zipfile.is_zipfile(path):
        raise ValueError('it is no .npz')
    with zipfile.ZipFile(path) as archive:
        if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
            raise ValueError('its parts are larger than the file')
    # It runs nothing: pickles are refused.
    with np.load(path, allow_pickle=False) as file:
        try:
            features, paths, folder = (file[name] for name in ('features', 'paths', 'folder'))
            pictures = file['thumbnails'] if 'thumbnails' in file else None
        # The text of numpy tells how to run them.
        except ValueError as error:
            raise ValueError('an array in it is none of numbers or text') from error
    return Embedding(features, paths.tolist(), str(folder), pictures)


def read_parquet(path: Path) -> Embedding:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    features = np.stack(table['feature'].to_numpy()).astype(np.float32)
    pictures = None
    if 'thumbnail' in table.column_names:
        files = [
            Image.open(io.BytesIO(data), formats=['PNG']) for data in table['thumbnail'].to_pylist()
        ]
        pictures = np.stack([np.asarray(file) for file in files])
    folder = (table.schema.metadata or {}).get(b'folder', b'').decode()
    return Embedding(features, table['path'].to_pylist(), folder, pictures)
