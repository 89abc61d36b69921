"""Files of weights that are exchanged with other libraries: .pth and .safetensors."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch

from mmentropy.weights.backbone import State, tensors_in
from mmentropy.weights.files import put_whole, save_whole
from mmentropy.weights.reader import PathLike, read_checkpoint

# A header has about a hundred bytes for a tensor, and takes several times its length of memory.
_LONGEST_HEADER = 10_000_000


def load_weights(path: PathLike) -> tuple[State, dict]:
    """Read weights and meta from a .pth or .safetensors; nothing in the file is executed.

    Returns:
        The weights, which a .pth may hold under ``state_dict``, under ``model`` or bare, and
        the file's meta, empty if it has none.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: the file is unreadable or unsafe.
        ImportError: safetensors is needed and not installed.
    """
    if not str(path).endswith('.safetensors') or not os.path.isfile(path):
        checkpoint = read_checkpoint(path)
        dicts = {key: value for key, value in checkpoint.items() if isinstance(value, dict)}
        state = dicts.get('state_dict', dicts.get('model', checkpoint))
        return tensors_in(state), dicts.get('meta', {})
    safetensors = safetensors_package()
    with open(path, 'rb') as file:
        header = int.from_bytes(file.read(8), 'little')
    if header > _LONGEST_HEADER:
        reason = f'its header is {header:,} bytes long'
        raise ValueError(f'{path} is no file of safetensors, or a damaged one ({reason})')
    try:
        with safetensors.safe_open(path, 'pt') as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        message = f'{path} is no file of safetensors, or a damaged one ({reason})'
        raise ValueError(message) from error


def save_weights(state: State, meta: dict[str, str], out: Path) -> None:
    """Write weights and meta to a .pth, or to a .safetensors with the meta in its header.

    Raises:
        OSError: the file cannot be written; an earlier one is still there.
    """
    if out.suffix == '.pth':
        save_whole(dict(state_dict=state, meta=meta), out)
    else:
        put_whole(safetensors_package().torch.save(state, meta), out)


def check_place(out: Path, source: PathLike, what: str, endings: Sequence[str]) -> None:
    """Raise a ValueError unless ``what`` can be written to ``out``, and not over its source.

    Without ``endings`` it is a folder that is written.
    """
    if endings and (out.suffix not in endings or out.is_dir()):
        raise ValueError(f'{what} is written to a file *{" or *".join(endings)}, got {out}')
    if not out.absolute().parent.is_dir():
        raise ValueError(f'no folder {out.parent} to write {out.name} to')
    if out.exists() and os.path.exists(source) and out.samefile(source):
        raise ValueError(f'{out} is the checkpoint itself: name another file')


def sha256(state: State) -> str:
    """Return a digest of names, types, shapes and values, in the order of names."""
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().cpu().contiguous()
        digest.update(f'{key} {value.dtype} {tuple(value.shape)}\n'.encode())
        # The values go in byte by byte, because numpy has no bfloat16.
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def safetensors_package() -> ModuleType:
    """Import safetensors, an optional dependency, or raise an ImportError that says what to do."""
    try:
        import safetensors
        import safetensors.torch  # noqa: F401
    except ImportError as error:
        raise ImportError('.safetensors files need a package: pip install safetensors') from error
    return safetensors
