"""Backbones and configs out of checkpoints, without trusting the file."""

import ast
import logging

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.utils import import_modules_from_strings
from torch import Tensor, nn

from mmentropy.weights.reader import PathLike, read_checkpoint

_PREFIXES = dict(student='backbone.', teacher='target_net.module.0.')


def backbone_state_dict(path: PathLike, branch: str = 'student') -> dict[str, Tensor]:
    """Weights of the backbone in a checkpoint, on the CPU.

    Args:
        path: a checkpoint of mmengine, or a plain state dict; there, and for
            the student only, the keys may be those of a bare backbone.
        branch: 'student' (``backbone.*``) or 'teacher', the EMA target of
            BYOL-like models (``target_net.module.0.*``).

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: unreadable, unsafe,
            or without such weights; one line.
    """
    if branch not in _PREFIXES:
        raise ValueError(f'branch must be one of {tuple(_PREFIXES)}, got {branch!r}')
    checkpoint = read_checkpoint(path)
    state = checkpoint.get('state_dict', checkpoint)
    state = state if isinstance(state, dict) else {}
    weights = {k: v for k, v in state.items() if isinstance(v, Tensor)}
    if not weights:
        raise ValueError(f'{path} holds no weights; its keys are {_some(checkpoint)}')
    prefix = _PREFIXES[branch]
    found = {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}
    if found:
        return found
    if branch == 'teacher':
        raise ValueError(
            f'{path} has no teacher: none of {len(weights)} keys '
            f'starts with {prefix!r}, e.g. {_some(weights)}'
        )
    return weights


def load_backbone(
    backbone: nn.Module, path: PathLike, branch: str = 'student', min_match: float = 0.95
) -> list[str]:
    """Load a backbone from a checkpoint, all or nothing.

    A key matches if name and shape are equal. Position embeddings of another
    image size are interpolated as the backbone does itself. One line is
    logged, a warning if keys differ.

    Args:
        backbone: is changed only if no error is raised.
        path: see :func:`backbone_state_dict`.
        branch: see :func:`backbone_state_dict`.
        min_match: lowest accepted share, in (0, 1], of matched keys among
            the keys of either side.

    Returns:
        Keys of the backbone that were not loaded.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: as
            :func:`backbone_state_dict`; too few keys match.
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
    if len(matched) < min_match * total or not matched:
        raise ValueError(
            f'{path} does not fit {type(backbone).__name__}: {len(matched)} '
            f'of {total} keys match, {len(expected)} expected, e.g. '
            f'{_some(missing or expected)}, and {len(found)} found, e.g. '
            f'{_some(unused or found)}; likely cause: '
            f'{_cause(expected, found)}'
        )
    if 'pos_embed' in missing and 'pos_embed' in found:
        raise ValueError(
            f'{path} does not fit {type(backbone).__name__}: its position '
            f'embedding {tuple(found["pos_embed"].shape)} cannot be brought '
            f'to {tuple(expected["pos_embed"].shape)}: set img_size and '
            'patch_size of the backbone to those of pre-training'
        )
    differ = ''
    if missing or unused:
        differ = (
            f'; not loaded into the backbone: {missing or "none"}; not '
            f'used from the checkpoint: {unused or "none"}'
        )
    print_log(
        f'{path}: {len(matched)} of {total} keys match, {len(missing)} '
        f'missing, {len(unused)} unexpected{resized}{differ}',
        logger='current',
        level=logging.WARNING if differ else logging.INFO,
    )
    backbone.load_state_dict(matched, strict=False)
    return missing


def _resize_pos_embed(backbone: nn.Module, found: dict[str, Tensor]) -> str:
    """Fit ``found['pos_embed']`` to the backbone, in place; what was done.

    mmpretrain's ViTs do it when a state dict is loaded, which is after keys
    are compared.
    """
    key = 'pos_embed'
    prepare = getattr(backbone, '_prepare_pos_embed', None)
    if prepare is None or key not in found:
        return ''
    before = found[key]
    try:
        prepare(found, '')
    except (AssertionError, RuntimeError):
        # No square grid, or other extra tokens.
        return ''
    if found[key].shape == before.shape:
        return ''
    return f'; {key} resized from {tuple(before.shape)} to {tuple(found[key].shape)}'


# In mmengine's root registry, so that every OpenMMLab scope finds it.
@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """Initialise the backbone of any OpenMMLab config from a checkpoint.

    ``backbone=dict(..., init_cfg=dict(type='PretrainedBackbone',
    checkpoint='epoch_100.pth'))``; in a list of initialisers it comes last.
    Unlike mmengine's 'Pretrained' it refuses a checkpoint that does not fit.

    Args:
        checkpoint: see :func:`backbone_state_dict`.
        branch: 'student' or 'teacher', see there.
        min_match: see :func:`load_backbone`.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: when the weights are
            initialised: no checkpoint named, or as :func:`load_backbone`.
    """

    def __init__(
        self, checkpoint: PathLike | None = None, branch: str = 'student', min_match: float = 0.95
    ) -> None:
        self.checkpoint = checkpoint
        self.branch = branch
        self.min_match = min_match

    def __call__(self, module: nn.Module) -> None:
        """Load; what mmengine and the module would do next is called off."""
        if not self.checkpoint:
            raise ValueError(
                f'PretrainedBackbone of {type(module).__name__} has no '
                'checkpoint: add --cfg-options '
                'model.backbone.init_cfg.checkpoint=PATH'
            )
        # mmengine initialises the submodules after this call. Do it now, for
        # keys that the checkpoint lacks, and keep it from doing it again.
        for child in module.children():
            if hasattr(child, 'init_weights'):
                if not getattr(child, 'is_init', False):
                    child.init_weights()
                child.is_init = True
        load_backbone(module, self.checkpoint, self.branch, self.min_match)
        # By this name backbones know that their weights are not to be
        # touched: ResNet would set the last gammas to 0, ViTs start over.
        module.init_cfg = dict(type='Pretrained', checkpoint=self.checkpoint)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'PretrainedBackbone: {self.checkpoint}')


def config_of(path: PathLike) -> Config:
    """The config that a checkpoint was trained with.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: unreadable, unsafe,
            or without a config; one line.
        ImportError: a module of ``custom_imports`` is not installed.
    """
    meta = read_checkpoint(path).get('meta')
    text = meta.get('cfg') if isinstance(meta, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f'{path} holds no config (meta.cfg): pass one')
    # Config.fromstring would run the text, and checkpoints come from anywhere.
    # What mmengine wrote itself is literals.
    try:
        values = {}
        for line in ast.parse(text).body:
            if not isinstance(line, ast.Assign):
                raise ValueError(f'line {line.lineno} is no assignment')
            values.update({t.id: _value(line.value) for t in line.targets})
        cfg = Config(values, cfg_text=text)
    except (SyntaxError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f'the config in {path} is not made of plain values and is not '
            f'run: pass a config file ({str(error).splitlines()[0]})'
        ) from error
    if cfg.get('custom_imports'):
        import_modules_from_strings(**cfg.custom_imports)
    return cfg


def _value(node: ast.expr) -> object:
    """As ast.literal_eval, and dict(a=...)."""
    if isinstance(node, ast.Dict):
        items = zip(node.keys, node.values, strict=True)
        return {_value(k): _value(v) for k, v in items}
    if isinstance(node, (ast.List, ast.Tuple)):
        return (list if isinstance(node, ast.List) else tuple)(_value(item) for item in node.elts)
    if (
        isinstance(node, ast.Call)
        and not node.args
        and getattr(node.func, 'id', None) == 'dict'
        and all(k.arg for k in node.keywords)
    ):
        return {k.arg: _value(k.value) for k in node.keywords}
    return ast.literal_eval(node)


def _cause(expected: dict[str, Tensor], found: dict[str, Tensor]) -> str:
    prefix = _prefix(expected, found)
    if prefix:
        return f'wrong prefix, the checkpoint adds {prefix!r}'
    prefix = _prefix(found, expected)
    if prefix:
        return f'wrong prefix, the checkpoint lacks {prefix!r}'
    same = [k for k in expected if k in found]
    other = [k for k in same if expected[k].shape != found[k].shape]
    if len(other) > len(same) / 2:
        key = other[0]
        return (
            f'other shapes (width or variant), {key} is '
            f'{tuple(found[key].shape)} instead of '
            f'{tuple(expected[key].shape)}'
        )
    if same:
        return 'wrong depth or variant of the architecture'
    return 'another architecture'


def _prefix(short: dict[str, Tensor], long: dict[str, Tensor]) -> str:
    """What has to precede most keys of ``short`` to find them in ``long``."""
    key = next(iter(short))
    for other in long:
        if other.endswith('.' + key):
            prefix = other[: -len(key)]
            if sum(prefix + k in long for k in short) > len(short) / 2:
                return prefix
    return ''


def _some(keys: dict | list) -> str:
    keys = list(keys)
    return ', '.join(map(str, keys[:3])) + (', ...' if len(keys) > 3 else '')
