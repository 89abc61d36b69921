"""The weights of a backbone in a checkpoint, and how they get into a model."""

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress

from mmengine.logging import print_log
from torch import Tensor, nn

from mmentropy.checks.arguments import one_of, require
from mmentropy.weights.reader import PathLike, read_checkpoint

State = dict[str, Tensor]

_PREFIXES = dict(student='backbone.', teacher='target_net.module.0.')


def backbone_state_dict(path: PathLike, branch: str = 'student') -> State:
    """Return the weights of the backbone in a checkpoint, on the CPU.

    Args:
        path: a checkpoint of mmengine, or a plain state dict; there, and for the student only, the
            keys may be those of a bare backbone.
        branch: 'student' (``backbone.*``) or 'teacher', the EMA target of BYOL-like models
            (``target_net.module.0.*``).

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        ValueError: the file is unreadable, unsafe, or without such weights; one line.
    """
    require(one_of(_PREFIXES), branch=branch)
    checkpoint = read_checkpoint(path)
    state = checkpoint.get('state_dict', checkpoint)
    weights = tensors_in(state) if isinstance(state, dict) else {}
    if not weights:
        raise ValueError(f'{path} holds no weights; its keys are {_first_keys(checkpoint)}')
    prefix = _PREFIXES[branch]
    found = below(prefix, weights)
    if not found and branch == 'teacher':
        raise ValueError(
            f'{path} has no teacher: none of {len(weights)} keys '
            f'starts with {prefix!r}, e.g. {_first_keys(weights)}'
        )
    return found or weights


def tensors_in(state: dict) -> State:
    """Return the entries that are tensors."""
    return {k: v for k, v in state.items() if isinstance(v, Tensor)}


def below(prefix: str, state: State) -> State:
    """Return the weights whose names start with a prefix, without it."""
    return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}


def load_backbone(
    backbone: nn.Module, path: PathLike, branch: str = 'student', min_match: float = 0.95
) -> list[str]:
    """Load a backbone from a checkpoint; if an error is raised, the backbone is not changed.

    A key matches if name and shape are equal. Position embeddings of another image size are
    interpolated as the backbone does itself. One line is logged, a warning if keys differ.

    Args:
        path: see :func:`backbone_state_dict`, also for ``branch``.
        min_match: lowest accepted share, in (0, 1], of matched keys among the keys of either side.

    Returns:
        Keys of the backbone that were not loaded.

    Raises:
        ValueError: too few keys match; for other errors see :func:`backbone_state_dict`.
    """
    if not 0 < min_match <= 1:
        raise ValueError(f'min_match must be in (0, 1], got {min_match}')
    found = backbone_state_dict(path, branch)
    expected = backbone.state_dict()
    resized = _resize_pos_embed(backbone, found)
    matched = {k: v for k, v in found.items() if k in expected and v.shape == expected[k].shape}
    missing = [k for k in expected if k not in matched]
    unused = [k for k in found if k not in matched]
    total = len(expected.keys() | found.keys())
    unfit = f'{path} does not fit {type(backbone).__name__}'
    count = f'{len(matched)} of {total} keys match'
    if len(matched) < min_match * total or not matched:
        raise ValueError(
            f'{unfit}: {count}, {len(expected)} expected, e.g. '
            f'{_first_keys(missing or expected)}, and {len(found)} found, e.g. '
            f'{_first_keys(unused or found)}; likely cause: {likely_cause(expected, found)}'
        )
    if 'pos_embed' in missing and 'pos_embed' in found:
        raise ValueError(
            f'{unfit}: its position embedding {tuple(found["pos_embed"].shape)} cannot be brought '
            f'to {tuple(expected["pos_embed"].shape)}: set img_size and patch_size of the backbone '
            'to those of pre-training'
        )
    line = f'{path}: {count}, {len(missing)} missing, {len(unused)} unexpected{resized}'
    if missing or unused:
        line += f'; not loaded into the backbone: {missing or "none"}'
        line += f'; not used from the checkpoint: {unused or "none"}'
    level = logging.WARNING if missing or unused else logging.INFO
    print_log(line, logger='current', level=level)
    backbone.load_state_dict(matched, strict=False)
    return missing


def first_difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Return the first difference in keys or shapes in words, or '' if there is none."""
    for key in (*expected, *found):
        if key not in found:
            return f'{key} is missing'
        if key not in expected:
            return f'{key} is unexpected'
        if found[key].shape != expected[key].shape:
            return f'{key} is {tuple(found[key].shape)} instead of {tuple(expected[key].shape)}'
    return ''


def _resize_pos_embed(backbone: nn.Module, found: State) -> str:
    """Fit ``found['pos_embed']`` to the backbone, in place, and return what was done."""
    # mmpretrain's ViTs do it when a state dict is loaded, which is after keys are compared.
    prepare = getattr(backbone, '_prepare_pos_embed', None)
    if prepare is None or 'pos_embed' not in found:
        return ''
    before = tuple(found['pos_embed'].shape)
    # It fails if the embedding is no square grid, or has another number of extra tokens.
    with suppress(AssertionError, RuntimeError):
        prepare(found, '')
    after = tuple(found['pos_embed'].shape)
    return f'; pos_embed resized from {before} to {after}' if after != before else ''


def likely_cause(expected: State, found: State) -> str:
    """Guess why most keys of a checkpoint do not match those of a backbone."""
    for short, long, does in ((expected, found, 'adds'), (found, expected, 'lacks')):
        prefix = missing_prefix(short, long)
        if prefix:
            return f'wrong prefix, the checkpoint {does} {prefix!r}'
    same = {k: v for k, v in expected.items() if k in found}
    other = {k: v for k, v in same.items() if v.shape != found[k].shape}
    if len(other) > len(same) / 2:
        return f'other shapes (width or variant), {first_difference(found, other)}'
    return 'wrong depth or variant of the architecture' if same else 'another architecture'


def missing_prefix(short: State, long: State) -> str:
    """Return what has to precede most keys of ``short`` to find them in ``long``."""
    key = next(iter(short))
    for prefix in (other.removesuffix(key) for other in long if other.endswith(f'.{key}')):
        if sum(prefix + k in long for k in short) > len(short) / 2:
            return prefix
    return ''


def _first_keys(keys: Iterable) -> str:
    names = list(map(str, keys))
    return ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
