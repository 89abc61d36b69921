"""Writing the backbone of another code's checkpoint as mmpretrain's."""

import math
from pathlib import Path

import torch
from mmpretrain.models import ResNet
from mmpretrain.registry import MODELS

from mmentropy.checks.stored_types import check_stored
from mmentropy.weights.backbone import State, below, first_difference
from mmentropy.weights.exchange_files import check_place, load_weights, save_weights, sha256
from mmentropy.weights.key_tables import (
    BARE,
    OFFICIAL_LAYOUTS,
    STEMS,
    TIMM_VIT,
    OfficialLayout,
    renamed,
)
from mmentropy.weights.reader import PathLike
from mmentropy.weights.stored_config import no_larger_networks, plain_config

# mmpretrain's preprocessors do this to images in BGR, as its loaders give them.
IMAGENET = dict(
    type='SelfSupDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)


def import_backbone(
    path: PathLike,
    out: PathLike,
    branch: str = 'student',
    trust: bool = False,
    num_heads: int | None = None,
) -> str:
    """Write another library's backbone as mmpretrain's.

    Args:
        path: .pth of the official MEC, SimSiam, MoCo, BYOL, Barlow Twins or VICReg, of mmselfsup or
            mmpretrain, or a bare ResNet or ViT of torchvision or timm; a .safetensors of the
            latter.
        out: .pth with ``backbone.*`` and a config of the backbone.
        branch: 'student' or 'teacher', the EMA network.
        trust: copy a stored config that names what could run code.
        num_heads: heads of a ViT. Weights do not show them; default: a head has 64 channels, except
            in the ViT-S of MoCo v3 and MEC, which has 12 heads.

    Returns:
        One line: what was recognised, taken and left.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such checkpoint.
        ValueError: the checkpoint is unreadable, unsafe, changed since its sha256, of an unknown
            layout, or not exactly a ResNet or ViT, or stores a config that could run code, or
            ``num_heads`` does not fit; one line, and nothing is written.
        ImportError: safetensors is needed and not installed.
    """
    out = Path(out)
    if branch not in ('student', 'teacher'):
        raise ValueError(f"branch must be 'student' or 'teacher', got {branch!r}")
    check_place(out, path, 'a backbone', ['.pth'])
    weights, meta = load_weights(path)
    if 'sha256' in meta and meta['sha256'] != sha256(weights):
        why = 'its tensors do not have the sha256 that it states'
        raise ValueError(f'{path} was changed: {why}; get it again')
    layout, found = _recognised(path, weights, branch)
    name = layout.name
    state = {k: v for k, v in found.items() if not k.startswith(('fc.', 'head.', 'projector.'))}
    if 'patch_embed.proj.weight' in state:
        state = renamed(state, {theirs: ours for ours, theirs in TIMM_VIT.items()})
    entry = _entry(state, layout.small_heads, f'{path} ({name})')
    _set_heads(entry, num_heads, stored=isinstance(meta.get('cfg'), str))
    with no_larger_networks(path):
        backbone = MODELS.build(entry)
    differ = first_difference(state, backbone.state_dict())
    if differ:
        raise ValueError(f'{path} ({name}) is no plain {_describe(entry)}: {differ}')
    cfg, what, images = meta.get('cfg'), _describe(entry), ''
    if not isinstance(cfg, str):
        cfg, images = _new_config(entry, name)
        if 'arch' in entry:
            what += f', {entry["arch"]["num_heads"]} heads'
            what += ' assumed, see --num-heads' if num_heads is None else ''
    elif not trust:
        check_stored(plain_config(cfg).to_dict())
    save_weights({f'backbone.{k}': v for k, v in state.items()}, dict(cfg=cfg), out)
    counts = f'{len(state)} tensors taken, {len(weights) - len(state)} left'
    return f'{path}: {name}, {branch}, {what}; {counts}{images}'


def _new_config(entry: dict, layout: str) -> tuple[str, str]:
    """Return the config of a backbone that came without one, and what it says of images."""
    cfg = f'model = {dict(backbone=entry)!r}\n'
    if normalised_as_imagenet(entry, layout):
        return f'{cfg}data_preprocessor = {IMAGENET!r}\n', '; images normalised as ImageNet'
    return cfg, '; images of unknown normalisation'


def normalised_as_imagenet(entry: dict, layout: str) -> bool:
    """Whether networks like this one take RGB images with mean and deviation of ImageNet.

    That is so of the codes of the layouts, and of the ResNets of torchvision and timm, but not of
    all of timm's ViTs, and not of networks for small images.
    """
    return entry['type'] != 'ResNet_CIFAR' and (layout != BARE or 'depth' in entry)


def _set_heads(entry: dict, num_heads: int | None, stored: bool) -> None:
    """Give the config of a backbone this number of heads, unless a config is ``stored``."""
    if num_heads is None:
        return
    if 'arch' not in entry or stored:
        why = 'its config is stored beside it' if stored else 'it is a ResNet'
        raise ValueError(f'num_heads={num_heads} does not concern this checkpoint: {why}')
    width = entry['arch']['embed_dims']
    if num_heads < 1 or width % num_heads:
        raise ValueError(f'num_heads must divide the width of the ViT, {width}, got {num_heads}')
    entry['arch']['num_heads'] = num_heads


def _recognised(path: PathLike, weights: State, branch: str) -> tuple[OfficialLayout, State]:
    """Return the layout, and the weights below the prefix of the branch."""
    state = {k.removeprefix('module.'): v for k, v in weights.items()}

    def has_backbone(prefix: str) -> bool:
        return any(prefix + stem in state for stem in STEMS)

    for layout in OFFICIAL_LAYOUTS:
        if has_backbone(layout.student) and any(k.startswith(layout.sign) for k in state):
            prefixes = layout.teachers if branch == 'teacher' else (layout.student,)
            prefix = next(filter(has_backbone, prefixes), None)
            if prefix is None:
                raise ValueError(f'{path} ({layout.name}) has no teacher: take the student')
            return layout, below(prefix, state)
    known = ', '.join(f'{n.name} ({n.student}*)' for n in OFFICIAL_LAYOUTS if n.student)
    keys = ', '.join(list(weights)[:3]) or 'none'
    raise ValueError(
        f'{path} is of no known layout: its first keys are {keys}; known are {known}, '
        'and bare ResNets and ViTs of torchvision, timm and mmpretrain'
    )


def _entry(state: State, small_heads: int, where: str) -> dict:
    """Return the config of the ResNet or ViT that has these weights, judged by their shapes."""
    if 'conv1.weight' in state:
        return _resnet_entry(state, where)
    dims, channels, patch, _ = _shape(state, 'patch_embed.projection.weight', 4, where)
    side = math.isqrt(max(_shape(state, 'pos_embed', 3, where)[1] - 1, 1))
    # A head has 64 channels, except in the small ViT of facebookresearch/moco-v3@1c6b717:vits.py.
    return dict(
        type='VisionTransformer',
        arch=dict(
            embed_dims=dims,
            num_layers=_count_blocks(state, 'layers'),
            num_heads=small_heads if dims == 384 else max(dims // 64, 1),
            feedforward_channels=_shape(state, 'layers.0.ffn.layers.0.0.weight', 2, where)[0],
        ),
        in_channels=channels,
        img_size=side * patch,
        patch_size=patch,
    )


def _resnet_entry(state: State, where: str) -> dict:
    stages = tuple(_count_blocks(state, f'layer{i}') for i in range(1, 5))
    block = 'Bottleneck' if 'layer1.0.conv3.weight' in state else 'BasicBlock'
    known = {(kind.__name__, sizes): depth for depth, (kind, sizes) in ResNet.arch_settings.items()}
    if (block, stages) not in known:
        raise ValueError(
            f'{where} has {stages} blocks, which is no ResNet of '
            f'depth {", ".join(map(str, ResNet.arch_settings))}'
        )
    width, channels, kernel, _ = _shape(state, 'conv1.weight', 4, where)
    return dict(
        type='ResNet_CIFAR' if kernel == 3 else 'ResNet',
        depth=known[block, stages],
        in_channels=channels,
        stem_channels=width,
        base_channels=_shape(state, 'layer1.0.conv1.weight', 4, where)[0],
    )


def _count_blocks(state: State, start: str) -> int:
    return len({key.split('.')[1] for key in state if key.startswith(f'{start}.')})


def _shape(state: State, key: str, ndim: int, where: str) -> torch.Size:
    if key not in state:
        raise ValueError(f'{where} is incomplete: {key} is missing')
    shape = state[key].shape
    if len(shape) != ndim:
        found = f'{tuple(shape)}, which are not {ndim} dimensions'
        raise ValueError(f'{where} is no plain network: {key} is {found}')
    return shape


def _describe(entry: dict) -> str:
    if 'depth' in entry:
        return f'{entry["type"]}-{entry["depth"]}'
    arch = entry['arch']
    return f'ViT of {arch["num_layers"]} blocks of {arch["embed_dims"]}'
