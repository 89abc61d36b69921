"""Files that are whole or absent, checkpoints that carry their checksum.

torch's checkpoints are zip files. The seal is their comment, ``sha256:`` and
the digest of everything before it, so it travels with the file, and torch,
mmengine and other readers are not aware of it.
"""

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch
from mmengine.fileio import LocalBackend, register_backend

from mmentropy.weights.files import put_whole

# Zip's record of the end, without its comment, and where in it the length of
# the comment is; PKWARE's APPNOTE 6.3.10, section 4.3.16.
_END, _END_SIZE = b'PK\x05\x06', 22
_SEAL = b'sha256:'
_SEAL_SIZE = len(_SEAL) + 64


def sealed(data: bytes) -> bytes:
    """A zip file with its checksum as comment.

    Args:
        data: of a zip file without comment; anything else is returned as it
            is.
    """
    if data[-_END_SIZE:][:4] != _END or data[-2:] != b'\0\0':
        return data
    body = data[:-2] + _SEAL_SIZE.to_bytes(2, 'little')
    return body + _SEAL + hashlib.sha256(body).hexdigest().encode()


def check_seal(path: str | os.PathLike) -> bool:
    """Whether a file has a seal, which then is right.

    Raises:
        OSError: it cannot be read.
        ValueError: it was changed or cut off after it was sealed; one line.
    """
    damaged = ValueError(f'{path} is damaged: its checksum does not fit its content')
    with open(path, 'rb') as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END_SIZE - _SEAL_SIZE))
        tail = file.read()
        end = tail.rfind(_END)
        if end < 0 or len(tail) < end + _END_SIZE:
            return False
        comment = tail[end + _END_SIZE :]
        length = tail[end + _END_SIZE - 2 : end + _END_SIZE]
        if int.from_bytes(length, 'little') != len(comment):
            raise damaged
        if not comment:
            return False
        file.seek(0)
        digest = hashlib.sha256()
        left = size - len(comment)
        while left:
            chunk = file.read(min(left, 2**20))
            digest.update(chunk)
            left -= len(chunk)
    if comment != _SEAL + digest.hexdigest().encode():
        raise damaged
    return True


def serialized(value: Any) -> bytes:
    """What ``torch.save`` writes, sealed."""
    with io.BytesIO() as stream:
        torch.save(value, stream)
        return sealed(stream.getvalue())


class WholeFiles(LocalBackend):
    """mmengine's local files, written aside, sealed and renamed.

    ``backend_args=dict(backend='whole')``.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        put_whole(sealed(obj), filepath)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        put_whole(obj.encode(encoding), filepath)


register_backend('whole', WholeFiles, force=True)
