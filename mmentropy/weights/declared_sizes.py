"""What a checkpoint says about its sizes, compared with what is there, before torch believes it.

torch trusts a checkpoint: it unpacks compressed parts of any size, and takes a storage to be as
large as the pickle says, although its part of the file may be shorter, and reads on in memory.
"""

import io
import pickle
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import torch

# The steps by which pickle builds the content. Each takes up to 450 bytes of memory here, and a
# checkpoint of a hundred million weights with its optimizer has some ten thousand.
_MOST_STEPS = 400_000
# The bytes of a zip's directory, of which each takes up to ten in memory. That of ten thousand
# tensors has one MiB.
_LARGEST_DIRECTORY = 2**24
# A file of torch before 1.6 begins with so many pickles.
_OLD_PICKLES = 5


class FalseSizeError(ValueError):
    """A file declares what it does not have."""


def check_sizes(file: BinaryIO) -> int:
    """Return the size of a file of torch, which declares nothing that it does not have.

    Raises:
        FalseSizeError: parts are compressed, overlap, are too many, or have one name; a storage is
            larger than its part; or the content has more steps than a checkpoint has. In one line,
            without the name of the file.
        Exception: a damaged file can fail at any place.
    """
    size = file.seek(0, io.SEEK_END)
    if zipfile.is_zipfile(file):
        if is_all_directory(file):
            raise FalseSizeError(f'it lists its parts in more than {_LARGEST_DIRECTORY:,} bytes')
        with zipfile.ZipFile(file) as archive:
            _check_archive(file, archive.infolist(), size)
    else:
        file.seek(0)
        _count_steps(op for _ in range(_OLD_PICKLES) for op in pickletools.genops(file))
    file.seek(0)
    return size


def is_all_directory(file: BinaryIO) -> bool:
    """Return whether the directory of a zip file is larger than that of any checkpoint."""
    # This is how zipfile finds out how much to read.
    end: Any = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    return end[zipfile._ECD_SIZE] > _LARGEST_DIRECTORY  # type: ignore[attr-defined]


def _check_archive(file: BinaryIO, members: list[zipfile.ZipInfo], size: int) -> None:
    packed = [m.filename for m in members if m.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise FalseSizeError(f'its part {packed[0][:80]!r} is compressed, which torch never does')
    if sum(m.file_size for m in members) > size:
        raise FalseSizeError('its parts are larger than the file')
    # torch finds a part without regard to upper and lower case.
    sizes = {m.filename.lower(): m.file_size for m in members}
    pickles = [m for m in members if m.filename.lower().endswith('/data.pkl')]
    if len(sizes) != len(members) or len(pickles) != 1:
        raise FalseSizeError('two of its parts have one name, or it has no data.pkl')
    # zipfile would compare the checksum, which a file need not have.
    file.seek(pickles[0].header_offset + 26)
    file.seek(sum(struct.unpack('<HH', file.read(4))), io.SEEK_CUR)
    content = file.read(pickles[0].file_size)
    if len(content) > _MOST_STEPS:
        _count_steps(pickletools.genops(content))
    _Storages(content, pickles[0].filename.lower().removesuffix('.pkl'), sizes).load()


def _count_steps(steps: Iterator) -> None:
    for count, _ in enumerate(steps):
        if count > _MOST_STEPS:
            raise FalseSizeError(f'its content has more than {_MOST_STEPS:,} steps')


class _Nothing:
    """Stands for every object that the pickle makes; it is given arguments and keeps none."""

    def __new__(cls, *args: object, **kwargs: object) -> '_Nothing':
        return object.__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def _ignore(self, *args: object) -> None:
        pass

    __setstate__ = __setitem__ = append = extend = add = _ignore


# The unpickler in C would fill a table up to any number that the file names.
class _Storages(pickle._Unpickler):  # type: ignore[name-defined, misc]
    """Follows a pickle to its storages, and makes nothing that it names."""

    def __init__(self, content: bytes, folder: str, sizes: dict[str, int]) -> None:
        super().__init__(io.BytesIO(content), encoding='latin1')
        self.folder = folder
        self.sizes = sizes

    def find_class(self, module: str, name: str) -> Any:
        """Return the bytes of an element of a storage, or the stand-in."""
        if module in ('torch', 'torch.storage') and name.endswith('Storage'):
            with warnings.catch_warnings():
                # torch warns of typed storages, but it writes their names.
                warnings.simplefilter('ignore')
                kind = getattr(torch, name)
                return 1 if kind is torch.UntypedStorage else kind.dtype.itemsize
        return _Nothing

    def persistent_load(self, pid: Any) -> _Nothing:
        """Check a storage against its part of the file."""
        _, width, key, _, count = pid
        if type(width) is not int or type(count) is not int or count < 0:
            raise FalseSizeError('it declares a storage of unknown size')
        held = self.sizes.get(f'{self.folder}/{key}'.lower(), 0)
        if width * count > held:
            raise FalseSizeError(f'it declares {width * count:,} bytes where it has {held:,}')
        return _Nothing()
