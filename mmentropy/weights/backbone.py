"""The weights of a backbone in a checkpoint, and how they get into a model."""

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress

from mmengine.logging import print_log
from torch import Tensor, nn

from mmentropy.checks.arguments import POSITIVE_SHARE, one_of, require
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
    backbone: nn.Module,
    path: PathLike,
    branch: str = 'student',
    min_match: float = 0.95,
    part: str = '',
) -> list[str]:
    """Load a backbone from a checkpoint; if an error is raised, the backbone is not changed.

    A key matches if name and shape are equal. Position embeddings of another image size are
    interpolated as the backbone does itself. One line is logged, a warning if keys differ.

    Args:
        path: see :func:`backbone_state_dict`, also for ``branch``.
        min_match: lowest accepted share, in (0, 1], of matched keys among the keys of either side.
        part: start of the keys that are compared and loaded, e.g. ``layer4.``; default: all.

    Returns:
        Keys of the backbone that were not loaded.

    Raises:
        ValueError: too few keys match, or a key has another shape on either side; for other errors
            see :func:`backbone_state_dict`.
    """
    require(POSITIVE_SHARE, min_match=min_match)
    found = _starting_with(part, backbone_state_dict(path, branch))
    expected = _starting_with(part, backbone.state_dict())
    if not found:
        raise ValueError(
            f'{path} has no {part}*, which {type(backbone).__name__} is to be filled with'
        )
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
    _refuse_other_shapes(found, expected, unfit)
    line = f'{path}: {count}, {len(missing)} missing, {len(unused)} unexpected{resized}'
    if missing or unused:
        line += f'; not loaded into the backbone: {missing or "none"}'
        line += f'; not used from the checkpoint: {unused or "none"}'
    level = logging.WARNING if missing or unused else logging.INFO
    print_log(line, logger='current', level=level)
    backbone.load_state_dict(matched, strict=False)
    return missing


def _starting_with(start: str, state: State) -> State:
    return {k: v for k, v in state.items() if k.startswith(start)}


def _refuse_other_shapes(found: State, expected: State, unfit: str) -> None:
    """Raise a ValueError if a key of both sides would stay random because its shape differs."""
    both = {
        k: (tuple(v.shape), tuple(expected[k].shape)) for k, v in found.items() if k in expected
    }
    other = {k: shapes for k, shapes in both.items() if shapes[0] != shapes[1]}
    if not other:
        return
    if 'pos_embed' in other:
        theirs, ours = other['pos_embed']
        raise ValueError(
            f'{unfit}: its position embedding {theirs} cannot be brought to {ours}: set img_size '
            'and patch_size of the backbone to those of pre-training'
        )
    key, (theirs, ours) = next(iter(other.items()))
    cause = _cause_of_shape(key, theirs, ours)
    raise ValueError(
        f'{unfit}: {key} is {theirs} instead of {ours}; {cause}: give the backbone the type and '
        'the arguments of pre-training'
    )


def _cause_of_shape(key: str, theirs: tuple[int, ...], ours: tuple[int, ...]) -> str:
    """Guess why a weight of a checkpoint has another shape than that of the backbone."""
    if 'relative_position' in key:
        return 'likely cause: another img_size or window_size in pre-training'
    if len(theirs) == len(ours) == 4 and theirs[1] != ours[1]:
        return f'likely cause: in_channels={theirs[1]} in pre-training'
    if len(theirs) == len(ours) == 4 and theirs[2:] != ours[2:]:
        return 'likely cause: another stem, as that of ResNet_CIFAR, or another patch_size'
    return 'likely cause: another width or variant of the architecture'


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
