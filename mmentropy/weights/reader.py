"""Reading a checkpoint without running anything that it names.

torch's weights-only reader makes tensors and plain values. A checkpoint of mmengine also names
numpy arrays, ``HistoryBuffer`` and a method of one scheduler. While torch reads, each of those
names stands for a record, a class of this module that keeps what the file says and does nothing.
Afterwards the records are replaced by what they describe, after a check of every part. The real
``getattr``, the real numpy functions and the real classes of mmengine are never given to the file.
"""

import inspect
import math
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, BinaryIO

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from torch import Tensor

from mmentropy.weights.checksum import check_file
from mmentropy.weights.declared_sizes import FalseSizeError, check_sizes

PathLike = str | os.PathLike


class _Refused(Exception):
    """The file holds something that is not data."""


class _Record:
    """What the file says about an object: its arguments and its state."""

    args: tuple = ()
    state: Any = None

    def __new__(cls, *args: object) -> '_Record':
        self = object.__new__(cls)
        self.args = args
        return self

    def __setstate__(self, state: object) -> None:
        self.state = state

    def value(self, restored: Callable[[Any], Any]) -> Any:
        """Return the object that is described, its parts turned by ``restored``."""
        raise _Refused(f'a bare {type(self).__name__}')


class _DType(_Record):
    def value(self, restored: Callable[[Any], Any]) -> np.dtype:
        kind = self.args[0]
        # The letters are those of numbers, booleans and texts. Objects and structures are no data.
        if not re.fullmatch(r'[biufcSU]\d{1,6}', kind):
            raise _Refused(f'numpy.dtype {kind!r}')
        return np.dtype(kind).newbyteorder(self.state[1] if self.state else '=')


class _Array(_Record):
    def value(self, restored: Callable[[Any], Any]) -> np.ndarray:
        _, shape, dtype, by_column, data = self.state
        # numpy raises an error if the data are too short for the shape.
        array: np.ndarray = np.ndarray(
            shape, restored(dtype), restored(data), order='F' if by_column else 'C'
        )
        return array.copy()


class _Scalar(_Record):
    def value(self, restored: Callable[[Any], Any]) -> np.generic:
        dtype, data = self.args
        array: Any = np.ndarray((), restored(dtype), restored(data))
        return array[()]


class _Bytes(_Record):
    """Stands for ``bytes()``; pickle writes the data of an empty array so."""

    def value(self, restored: Callable[[Any], Any]) -> bytes:
        if self.args:
            raise _Refused('a call of bytes')
        return b''


class _Slice(_Record):
    def value(self, restored: Callable[[Any], Any]) -> slice:
        if not all(part is None or type(part) is int for part in self.args):
            raise _Refused('a slice of something else than integers')
        return slice(*self.args)


class _History(_Record):
    def value(self, restored: Callable[[Any], Any]) -> HistoryBuffer:
        arrays = [restored(self.state[name]) for name in ('_log_history', '_count_history')]
        length = self.state['max_length']
        for array in arrays:
            if (
                not isinstance(array, np.ndarray)
                or array.ndim != 1
                or array.dtype.kind not in 'biuf'
            ):
                raise _Refused('a HistoryBuffer of something else than numbers')
        if type(length) is not int:
            raise _Refused('a HistoryBuffer of no known length')
        return HistoryBuffer(*arrays, length)


class _OneCycle(_Record):
    """Stands for the owner of a method; schedulers themselves are not saved."""


class _Method(_Record):
    """Stands for ``getattr(owner, name)``, by which pickle names a method."""

    known = {
        (_History, 'min'): HistoryBuffer.min,
        (_History, 'max'): HistoryBuffer.max,
        (_History, 'mean'): HistoryBuffer.mean,
        (_History, 'current'): HistoryBuffer.current,
        (_OneCycle, '_annealing_cos'): OneCycleParamScheduler._annealing_cos,
        (_OneCycle, '_annealing_linear'): OneCycleParamScheduler._annealing_linear,
    }

    def value(self, restored: Callable[[Any], Any]) -> Callable:
        owner, name = self.args
        for (kind, known), method in self.known.items():
            if issubclass(owner, kind) and name == known:
                return method
        raise _Refused(f'getattr(..., {name!r})')


def _named(name: str, record: type[_Record]) -> type[_Record]:
    """Return the record under the name by which torch looks it up."""
    module, _, name = name.rpartition('.')
    return type(name, (record,), dict(__module__=module))


_RECORDS: list[Callable | tuple[Callable, str]] = [
    _named('builtins.getattr', _Method),
    _named('builtins.bytes', _Bytes),
    _named('builtins.slice', _Slice),
    _named('mmengine.logging.history_buffer.HistoryBuffer', _History),
    _named('mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler', _OneCycle),
    _named('numpy.dtype', _DType),
    # `_reconstruct` is called with this type.
    _named('numpy.ndarray', _Record),
    # numpy 2 writes `_core`, numpy 1 writes `core`.
    _named('numpy._core.multiarray._reconstruct', _Array),
    _named('numpy.core.multiarray._reconstruct', _Array),
    _named('numpy._core.multiarray.scalar', _Scalar),
    _named('numpy.core.multiarray.scalar', _Scalar),
]


@contextmanager
def records_allowed() -> Iterator[None]:
    """Let ``torch.load(weights_only=True)`` make records, and nothing else.

    What the process allowed before is put aside, because either of two classes of one name may win.
    """
    known = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(_RECORDS)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(known)


def restored(content: Any, size: int | None = None) -> Any:
    """Return what torch read, its records replaced by what they describe.

    Dicts and lists are changed in place.

    Args:
        content: what ``torch.load`` returned within :func:`records_allowed`.
        size: bytes of the file. Tensors and arrays, which can show one part of it again and again,
            may together have twice as many, and 100 million more.

    Raises:
        _Refused: the content holds code, or a record with parts that do not fit.
        FalseSizeError: it has more elements than the file.
    """
    left = math.inf if size is None else 2 * size + 100_000_000
    done: dict[int, Any] = {}
    # It keeps what was seen alive, so that no other object gets its id.
    seen: dict[int, Any] = {}

    def walk(value: Any) -> Any:
        nonlocal left
        if id(value) not in done:
            if id(value) in seen:
                raise _Refused('a tuple or a record that contains itself')
            seen[id(value)] = value
            if isinstance(value, (dict, list)):
                done[id(value)] = value
            done[id(value)] = turned(value)
            left -= _bytes_of(done[id(value)])
            if left < 0:
                raise FalseSizeError(f'its tensors are larger than the file of {size:,} bytes')
        return done[id(value)]

    def turned(value: Any) -> Any:
        if isinstance(value, _Record):
            try:
                return value.value(walk)
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                raise _Refused(f'a malformed {type(value).__name__}') from error
        if inspect.isclass(value) or inspect.isroutine(value):
            raise _Refused(getattr(value, '__qualname__', 'a function'))
        if isinstance(value, OrderedDict) and vars(value).keys() - {'_metadata'}:
            raise _Refused('an OrderedDict with attributes')
        if isinstance(value, (Tensor, OrderedDict)):
            walk(vars(value))
        if isinstance(value, dict):
            # An attribute from the file could hide value.items().
            for key, item in list(dict.items(value)):
                name = walk(key)
                if name is not key:
                    del value[key]
                value[name] = walk(item)
        elif isinstance(value, list):
            value[:] = map(walk, value)
        elif type(value) in (tuple, set):
            return type(value)(map(walk, value))
        return value

    return walk(content)


def _bytes_of(value: Any) -> int:
    """Return the memory that the elements of an array or tensor would take; else 0."""
    if isinstance(value, np.ndarray) or isinstance(value, Tensor) and not value.is_sparse:
        return value.nbytes
    return 0


def load(path: PathLike | BinaryIO, map_location: Any = 'cpu') -> Any:
    """Return what ``torch.save`` wrote; nothing in the file is executed.

    Raises:
        ValueError: the file is none of torch, is damaged, or holds more than weights, plain values
            and what mmengine writes; one line.
    """
    try:
        file = open(path, 'rb') if isinstance(path, (str, os.PathLike)) else nullcontext(path)
        with file as stream:
            size = check_sizes(stream)
        with records_allowed():
            content = torch.load(path, map_location, weights_only=True)
        return restored(content, size)
    # A damaged file can fail at any place of the reader.
    except Exception as error:
        raise refused(path, error) from error


def read_checkpoint(path: PathLike, map_location: Any = 'cpu') -> dict:
    """Read a checkpoint by :func:`load`, and check that it is as it was written.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        ValueError: the file is damaged, refused by :func:`load`, or holds no dict; one line.
    """
    check_file(path)
    checkpoint = load(path, map_location)
    if not isinstance(checkpoint, dict):
        raise ValueError(f'{path} holds a {type(checkpoint).__name__}, not a checkpoint')
    return checkpoint


def refused(path: PathLike | BinaryIO, error: Exception) -> ValueError:
    """Return an error that says in one line why a checkpoint was not read."""
    name = str(error)
    if isinstance(error, FalseSizeError):
        return ValueError(f'{path} refused: {name}; no checkpoint is like that, get it again')
    if not isinstance(error, _Refused):
        if 'Unsupported global' not in name and 'Trying to load' not in name:
            kind = type(error).__name__
            return ValueError(f'{path} is no checkpoint of torch, or a damaged one ({kind})')
        name = name.split('GLOBAL ')[-1].split(' ')[0]
    return ValueError(
        f'{path} refused: it holds {name}, which is neither a weight nor written by mmengine, and '
        'could run anything when it is read. If you trust its source, write its weights anew, '
        "torch.save(torch.load(FILE, weights_only=False)['state_dict'], NEW)"
    )
