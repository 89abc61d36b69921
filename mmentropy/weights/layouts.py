"""Backbones into and out of the layouts of other libraries."""

import copy
import hashlib
import json
import math
import os
import re
import tempfile
from pathlib import Path
from types import ModuleType

import torch
from mmengine.config import Config
from mmpretrain.models import ResNet, VisionTransformer
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mmentropy.weights.backbone import load_backbone
from mmentropy.weights.reader import PathLike, read_checkpoint
from mmentropy.weights.stored_config import config_of

State = dict[str, Tensor]

TARGETS = ('mmpretrain', 'mmdet', 'torchvision', 'timm', 'huggingface')

# {} is the number of the block.
_TIMM_VIT = {
    'patch_embed.projection.': 'patch_embed.proj.',
    'layers.{}.ln1.': 'blocks.{}.norm1.',
    'layers.{}.ln2.': 'blocks.{}.norm2.',
    'layers.{}.attn.': 'blocks.{}.attn.',
    'layers.{}.ffn.layers.0.0.': 'blocks.{}.mlp.fc1.',
    'layers.{}.ffn.layers.1.': 'blocks.{}.mlp.fc2.',
    'ln1.': 'norm.',
}
# huggingface/transformers@v4.57.6:src/transformers/models/{vit/modeling_vit,
# resnet/modeling_resnet}.py; 5.x renames the former while loading.
_HF_VIT = {
    'cls_token': 'embeddings.cls_token',
    'pos_embed': 'embeddings.position_embeddings',
    'patch_embed.': 'embeddings.patch_embeddings.',
    'layers.{}.ln1.': 'encoder.layer.{}.layernorm_before.',
    'layers.{}.ln2.': 'encoder.layer.{}.layernorm_after.',
    'layers.{}.attn.proj.': 'encoder.layer.{}.attention.output.dense.',
    'layers.{}.ffn.layers.0.0.': 'encoder.layer.{}.intermediate.dense.',
    'layers.{}.ffn.layers.1.': 'encoder.layer.{}.output.dense.',
    'ln1.': 'layernorm.',
}
_HF_STEM = {
    'conv1.': 'embedder.embedder.convolution.',
    'bn1.': 'embedder.embedder.normalization.',
}
_HF_BLOCK = {
    'conv1': 'layer.0.convolution',
    'bn1': 'layer.0.normalization',
    'conv2': 'layer.1.convolution',
    'bn2': 'layer.1.normalization',
    'conv3': 'layer.2.convolution',
    'bn3': 'layer.2.normalization',
    'downsample.0': 'shortcut.convolution',
    'downsample.1': 'shortcut.normalization',
}
_HF_RESNET = _HF_STEM | {
    f'layer{i + 1}.{{}}.{old}.': f'encoder.stages.{i}.layers.{{}}.{new}.'
    for i in range(4)
    for old, new in _HF_BLOCK.items()
}
_HF_WEIGHTS = 'model.safetensors'
_HF_FILES = {_HF_WEIGHTS, 'config.json', 'preprocessor_config.json'}

# Where the weights lie, the more special first: name, online network,
# candidates of the EMA network, and a prefix that has to be there too.
# DDP's 'module.' is taken off before.
# MEC: xinliu20/MEC@ba6a025:mec/builder.py, SimSiam:
# facebookresearch/simsiam@39ac33e:simsiam/builder.py, MoCo v3:
# facebookresearch/moco-v3@0c5d00a:moco/builder.py, Barlow Twins:
# facebookresearch/barlowtwins@046eec3:main.py, BYOL:
# lucidrains/byol-pytorch@0095aa4:byol_pytorch/byol_pytorch.py.
_LAYOUTS = (
    ('MEC', 'encoder.', ('teacher.',), 'teacher.'),
    ('SimSiam', 'encoder.', (), 'predictor.'),
    ('MoCo v3', 'base_encoder.', ('momentum_encoder.',), ''),
    ('MoCo v1 or v2', 'encoder_q.', ('encoder_k.',), ''),
    ('BYOL', 'online_encoder.net.', ('target_encoder.net.',), ''),
    ('BYOL', 'online_encoder.0.', ('target_encoder.0.',), ''),
    ('BYOL', 'online_encoder.', ('target_encoder.',), ''),
    ('Barlow Twins or VICReg', 'backbone.', (), 'projector.'),
    (
        'mmpretrain or mmselfsup',
        'backbone.',
        (
            'target_net.module.0.',
            'target_net.0.',
            'momentum_encoder.module.0.',
            'momentum_encoder.0.',
            'encoder_k.module.0.',
            'encoder_k.0.',
        ),
        '',
    ),
    ('a bare backbone', '', (), ''),
)
_STEMS = ('conv1.weight', 'patch_embed.proj.weight', 'patch_embed.projection.weight')


def export_backbone(
    path: PathLike,
    target: str,
    out: PathLike,
    cfg: Config | None = None,
    branch: str = 'student',
    metrics: object = None,
) -> str:
    """Write a checkpoint's backbone as another library loads it.

    Args:
        path: see :func:`mmentropy.weights.backbone.backbone_state_dict`.
        target: one of ``TARGETS``.
        out: a .pth, ``dict(state_dict=..., meta=...)``; a .safetensors with
            the meta in its header (not for mmpretrain and mmdet, which read
            none); for huggingface a folder of config.json,
            model.safetensors and, if the config has its mean and std,
            preprocessor_config.json, complete or not there. ``meta`` maps
            strings to strings: target, branch, cfg, metrics (JSON) and
            sha256 of the tensors.
        cfg: config with ``model.backbone``; default: the checkpoint's.
        branch: 'student' or 'teacher'.
        metrics: stored as JSON.

    Returns:
        Python that loads what was written.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: unreadable, or not
            every key fits the config, or the target has no such network, or
            a wrong ``out``; one line, and nothing is written.
        ImportError: safetensors is needed and not installed.
    """
    out = Path(out)
    if target not in TARGETS:
        raise ValueError(f'target must be one of {TARGETS}, got {target!r}')
    _check_form(out, target)
    _check_place(out, path)
    if out.suffix != '.pth':
        _safetensors()
    cfg = config_of(path) if cfg is None else cfg
    backbone = _build(cfg)
    load_backbone(backbone, path, branch, min_match=1.0)
    state = convert(backbone, target)
    meta = dict(
        target=target,
        branch=branch,
        cfg=cfg.pretty_text,
        metrics=json.dumps(metrics),
        sha256=sha256(state),
    )
    if target == 'huggingface':
        _save_folder(state, meta, _hf_config(backbone), _hf_images(backbone, cfg), out)
    else:
        _save(state, meta, out)
    return _how_to_load(backbone, target, out)


def convert(backbone: nn.Module, target: str) -> State:
    """The backbone's weights under the names of another library.

    Args:
        backbone: of mmpretrain; for 'torchvision' and 'mmdet' a ResNet, for
            'timm' and 'huggingface' a ResNet or VisionTransformer (so
            MoCoV3ViT), of any depth, with nothing unlike the plain ones.
        target: one of ``TARGETS``. The ViT of 'huggingface' gets a pooler
            that returns the class token as it is.

    Raises:
        ValueError: the target has no network that computes the same.
    """
    state = {k: v.contiguous() for k, v in backbone.state_dict().items()}
    if target != 'mmpretrain':
        _check_plain(backbone, target)
    if target in ('mmpretrain', 'mmdet'):
        return {f'backbone.{k}': v for k, v in state.items()}
    vit = isinstance(backbone, VisionTransformer)
    if target == 'huggingface':
        return _hf_vit(state) if vit else _renamed(state, _HF_RESNET)
    # ResNets have the same names in torchvision and timm.
    return _renamed(state, _TIMM_VIT) if vit else state


def import_backbone(path: PathLike, out: PathLike, branch: str = 'student') -> str:
    """Write another library's backbone as mmpretrain's.

    Args:
        path: .pth of the official MEC, SimSiam, MoCo, BYOL, Barlow Twins or
            VICReg, of mmselfsup or mmpretrain, or a bare ResNet or ViT of
            torchvision or timm; a .safetensors of the latter.
        out: .pth with ``backbone.*`` and a config of the backbone.
        branch: 'student' or 'teacher', the EMA network.

    Returns:
        One line: what was recognised, taken and left.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: unreadable, unsafe,
            changed since its sha256, of an unknown layout, or not exactly a
            ResNet or ViT; one line, and nothing is written.
        ImportError: safetensors is needed and not installed.
    """
    out = Path(out)
    if branch not in ('student', 'teacher'):
        raise ValueError(f"branch must be 'student' or 'teacher', got {branch!r}")
    if out.suffix != '.pth' or out.is_dir():
        raise ValueError(f'a backbone is written to a file *.pth, got {out}')
    _check_place(out, path)
    weights, meta = _load(path)
    if 'sha256' in meta and meta['sha256'] != sha256(weights):
        raise ValueError(
            f'{path} was changed: its tensors do not have the sha256 that it states; get it again'
        )
    name, found = _recognised(path, weights, branch)
    state = {k: v for k, v in found.items() if not k.startswith(('fc.', 'head.', 'projector.'))}
    if 'patch_embed.proj.weight' in state:
        state = _renamed(state, {v: k for k, v in _TIMM_VIT.items()})
    entry = _entry(path, state, name)
    differ = _difference(state, MODELS.build(entry).state_dict())
    if differ:
        raise ValueError(f'{path} ({name}) is no plain {_describe(entry)}: {differ}')
    cfg = meta.get('cfg')
    heads = ''
    if not isinstance(cfg, str):
        cfg = f'model = {dict(backbone=entry)!r}\n'
        if 'arch' in entry:
            heads = f', {entry["arch"]["num_heads"]} heads assumed'
    torch.save(
        dict(state_dict={f'backbone.{k}': v for k, v in state.items()}, meta=dict(cfg=cfg)), out
    )
    return (
        f'{path}: {name}, {branch}, {_describe(entry)}{heads}; '
        f'{len(state)} tensors taken, {len(weights) - len(state)} left'
    )


def sha256(state: State) -> str:
    """Digest of names, types, shapes and values, in the order of names."""
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().cpu().contiguous()
        digest.update(f'{key} {value.dtype} {tuple(value.shape)}\n'.encode())
        # As bytes, because numpy has no bfloat16.
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _check_form(out: Path, target: str) -> None:
    if target == 'huggingface':
        if out.is_file() or out.suffix in ('.pth', '.safetensors'):
            raise ValueError(f'{target} is written to a folder, got {out}')
        # It will be replaced.
        others = sorted({p.name for p in out.glob('*')} - _HF_FILES)
        if others:
            raise ValueError(
                f'{out} holds {others[0]}, which is not of an export: name another folder'
            )
        return
    endings = ['.pth', '.safetensors']
    if target in ('mmpretrain', 'mmdet'):
        endings = ['.pth']
    if out.suffix not in endings or out.is_dir():
        raise ValueError(f'{target} is written to a file *{" or *".join(endings)}, got {out}')


def _check_place(out: Path, path: PathLike) -> None:
    if not out.absolute().parent.is_dir():
        raise ValueError(f'no folder {out.parent} to write {out.name} to')
    if out.exists() and os.path.exists(path) and out.samefile(path):
        raise ValueError(f'{out} is the checkpoint itself: name another file')


def _build(cfg: Config) -> nn.Module:
    entry = copy.deepcopy((cfg.get('model') or {}).get('backbone'))
    if not entry:
        raise ValueError('the config has no model.backbone: pass another')
    entry.pop('init_cfg', None)
    return MODELS.build(entry)


def _check_plain(backbone: nn.Module, target: str) -> None:
    """That the target's network computes the same with the same weights."""
    name = type(backbone).__name__
    vit = isinstance(backbone, VisionTransformer)
    if not vit and not isinstance(backbone, ResNet):
        raise ValueError(
            f'{target} gets a ResNet or VisionTransformer, not {name}: use --to mmpretrain'
        )
    if vit and target in ('torchvision', 'mmdet'):
        raise ValueError(
            f'{target} gets a ResNet, not {name}: use --to mmpretrain, timm or huggingface'
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if vit:
            patch = backbone.patch_embed.projection.kernel_size
            plain = VisionTransformer(
                arch=backbone.arch_settings,
                img_size=backbone.img_size,
                patch_size=patch,
                out_indices=list(backbone.out_indices),
                out_type='cls_token' if backbone.out_type == 'avg_featmap' else backbone.out_type,
            )
            image = torch.randn(1, 3, 2 * patch[0], 2 * patch[1])
        else:
            plain = ResNet(backbone.depth, out_indices=backbone.out_indices)
            image = torch.randn(1, 3, 64, 64)
    differ = _difference(backbone.state_dict(), plain.state_dict())
    if not differ:
        # Strides, dilation, epsilons and the like cannot be read off weights.
        other = copy.deepcopy(backbone)
        other.load_state_dict(plain.state_dict())
        other.eval()  # returns nothing
        plain.eval()
        with torch.no_grad():
            pairs = zip(other(image), plain(image), strict=True)
            if not all(torch.equal(a, b) for a, b in pairs):
                differ = 'with the same weights its outputs are others'
    if differ:
        raise ValueError(
            f'{target} has no such {name}, it differs from the '
            f'plain one: {differ}; use --to mmpretrain'
        )


def _difference(found: State, expected: State) -> str:
    for key in expected:
        if key not in found:
            return f'{key} is missing'
        if found[key].shape != expected[key].shape:
            return f'{key} is {tuple(found[key].shape)} instead of {tuple(expected[key].shape)}'
    for key in found:
        if key not in expected:
            return f'{key} is unexpected'
    return ''


def _renamed(state: State, names: dict[str, str]) -> State:
    """Each key by the name whose start it has; others stay as they are."""
    result = {}
    for key, value in state.items():
        block = re.search(r'\.(\d+)\.', key)
        number = block[1] if block else ''
        for old, new in names.items():
            old = old.format(number)
            if key.startswith(old):
                key = new.format(number) + key[len(old) :]
                break
        result[key] = value
    return result


def _hf_vit(state: State) -> State:
    """Queries, keys and values apart, and a pooler that changes nothing."""
    result = {}
    for key, value in _renamed(state, _HF_VIT).items():
        if '.attn.qkv.' not in key:
            result[key] = value
            continue
        _, block, _, _, leaf = key.split('.')
        for part, rows in zip(('query', 'key', 'value'), value.chunk(3)):
            name = f'encoder.layer.{block}.attention.attention.{part}.{leaf}'
            result[name] = rows
    width = state['cls_token'].size(-1)
    result['pooler.dense.weight'] = torch.eye(width)
    result['pooler.dense.bias'] = torch.zeros(width)
    return result


def _hf_config(backbone: nn.Module) -> dict:
    """config.json: what the plain networks do not have in common."""
    if isinstance(backbone, ResNet):
        bottleneck = backbone.block.__name__ == 'Bottleneck'
        return dict(
            architectures=['ResNetModel'],
            model_type='resnet',
            depths=list(backbone.stage_blocks),
            hidden_sizes=[backbone.feat_dim // 2**i for i in (3, 2, 1, 0)],
            layer_type='bottleneck' if bottleneck else 'basic',
        )
    arch = backbone.arch_settings
    return dict(
        architectures=['ViTModel'],
        model_type='vit',
        hidden_size=arch['embed_dims'],
        num_hidden_layers=arch['num_layers'],
        num_attention_heads=arch['num_heads'],
        intermediate_size=arch['feedforward_channels'],
        image_size=_side(backbone.img_size),
        patch_size=_side(backbone.patch_embed.projection.kernel_size),
        # transformers' own is 1e-12.
        layer_norm_eps=1e-6,
        pooler_act='linear',
    )


def _side(size: tuple[int, int]) -> int | list[int]:
    return size[0] if size[0] == size[1] else list(size)


def _hf_images(backbone: nn.Module, cfg: Config) -> dict | None:
    """preprocessor_config.json: short side 224, or the ViT's, centre crop."""
    images = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    if not images or not images.get('mean') or not images.get('std'):
        return None
    height, width = getattr(backbone, 'img_size', (224, 224))
    return dict(
        image_processor_type='BitImageProcessor',
        size=dict(shortest_edge=max(height, width)),
        crop_size=dict(height=height, width=width),
        image_mean=[round(x / 255, 6) for x in images['mean']],
        image_std=[round(x / 255, 6) for x in images['std']],
    )


def _how_to_load(backbone: nn.Module, target: str, out: Path) -> str:
    file = str(out)
    if target == 'huggingface':
        return f'transformers.AutoModel.from_pretrained({file!r})'
    if target in ('mmpretrain', 'mmdet'):
        return f"init_cfg=dict(type='Pretrained', checkpoint={file!r}, prefix='backbone.')"
    if target == 'timm':
        if isinstance(backbone, ResNet):
            network = f"'resnet{backbone.depth}'"
        else:
            arch = backbone.arch_settings
            ratio = arch['feedforward_channels'] / arch['embed_dims']
            network = (
                f"'vit_base_patch16_224', img_size={backbone.img_size}, "
                f'patch_size={backbone.patch_embed.projection.kernel_size}, '
                f'embed_dim={arch["embed_dims"]}, depth={arch["num_layers"]}, '
                f'num_heads={arch["num_heads"]}, mlp_ratio={ratio}'
            )
        return f'timm.create_model({network}, num_classes=0, checkpoint_path={file!r})'
    load = f'safetensors.torch.load_file({file!r})'
    if out.suffix == '.pth':
        load = f"torch.load({file!r}, weights_only=True)['state_dict']"
    return (
        f'model = torchvision.models.resnet{backbone.depth}(); '
        f'model.fc = torch.nn.Identity(); model.load_state_dict({load})'
    )


def _save(state: State, meta: dict[str, str], out: Path) -> None:
    if out.suffix == '.pth':
        torch.save(dict(state_dict=state, meta=meta), out)
    else:
        _safetensors().torch.save_file(state, out, meta)


def _save_folder(
    state: State, meta: dict[str, str], config: dict, images: dict | None, out: Path
) -> None:
    """All files or none, in place of those of an earlier export."""
    with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix='.export-') as aside:
        new = Path(aside) / 'new'
        new.mkdir()
        # transformers asks for the format; save_file would let nobody else
        # read the file.
        (new / _HF_WEIGHTS).write_bytes(_safetensors().torch.save(state, dict(meta, format='pt')))
        for name, content in (('config.json', config), ('preprocessor_config.json', images)):
            if content:
                (new / name).write_text(json.dumps(content, indent=2) + '\n')
        if out.exists():
            out.rename(Path(aside) / 'old')
        new.rename(out)


def _load(path: PathLike) -> tuple[State, dict]:
    """(weights, meta); nothing in the file is executed."""
    if not str(path).endswith('.safetensors') or not os.path.isfile(path):
        checkpoint = read_checkpoint(path)
        state = checkpoint
        for key in ('state_dict', 'model'):
            if isinstance(checkpoint.get(key), dict):
                state = checkpoint[key]
                break
        meta = checkpoint.get('meta')
        weights = {k: v for k, v in state.items() if isinstance(v, Tensor)}
        return weights, meta if isinstance(meta, dict) else {}
    safetensors = _safetensors()
    try:
        with safetensors.safe_open(path, 'pt') as file:
            weights = {key: file.get_tensor(key) for key in file.keys()}
            return weights, file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(
            f'{path} is no file of safetensors, or a damaged one ({str(error).splitlines()[0]})'
        ) from error


def _safetensors() -> ModuleType:
    try:
        import safetensors
        import safetensors.torch  # noqa: F401
    except ImportError as error:
        raise ImportError('.safetensors files need a package: pip install safetensors') from error
    return safetensors


def _recognised(path: PathLike, weights: State, branch: str) -> tuple[str, State]:
    """(name of the layout, weights below the prefix of the branch)."""
    state = {k.removeprefix('module.'): v for k, v in weights.items()}
    for name, student, teachers, mark in _LAYOUTS:
        if not any(student + stem in state for stem in _STEMS) or not any(
            k.startswith(mark) for k in state
        ):
            continue
        prefixes = (
            [student]
            if branch == 'student'
            else [t for t in teachers if any(t + stem in state for stem in _STEMS)]
        )
        if not prefixes:
            raise ValueError(f'{path} ({name}) has no teacher: take the student')
        start = prefixes[0]
        return name, {k[len(start) :]: v for k, v in state.items() if k.startswith(start)}
    known = ', '.join(f'{n} ({s}*)' for n, s, _, _ in _LAYOUTS if s)
    keys = ', '.join(list(weights)[:3]) or 'none'
    raise ValueError(
        f'{path} is of no known layout: its first keys are {keys}; known are '
        f'{known}, and bare ResNets and ViTs of torchvision, timm and '
        'mmpretrain'
    )


def _entry(path: PathLike, state: State, name: str) -> dict:
    """Config of the ResNet or ViT that has these weights, by their shapes."""

    def blocks(start: str) -> int:
        return 1 + max(
            (int(m[1]) for m in (re.match(rf'{start}\.(\d+)\.', k) for k in state) if m), default=-1
        )

    def shape(key: str, ndim: int) -> torch.Size:
        if key not in state:
            raise ValueError(f'{path} ({name}) is incomplete: {key} is missing')
        if state[key].ndim != ndim:
            raise ValueError(
                f'{path} ({name}) is no plain network: {key} is '
                f'{tuple(state[key].shape)}, which are not '
                f'{ndim} dimensions'
            )
        return state[key].shape

    if 'conv1.weight' in state:
        stages = tuple(blocks(f'layer{i}') for i in range(1, 5))
        bottleneck = 'layer1.0.conv3.weight' in state
        depth = next(
            (
                d
                for d, (block, expected) in ResNet.arch_settings.items()
                if expected == stages and (block.__name__ == 'Bottleneck') == bottleneck
            ),
            None,
        )
        if depth is None:
            raise ValueError(
                f'{path} ({name}) has {stages} blocks, which is no ResNet of '
                f'depth {", ".join(map(str, ResNet.arch_settings))}'
            )
        width, channels, kernel, _ = shape('conv1.weight', 4)
        entry = dict(type='ResNet_CIFAR' if kernel == 3 else 'ResNet', depth=depth)
        plain = dict(in_channels=3, stem_channels=64, base_channels=64)
        sizes = dict(
            in_channels=channels,
            stem_channels=width,
            base_channels=shape('layer1.0.conv1.weight', 4)[0],
        )
        return entry | {k: v for k, v in sizes.items() if v != plain[k]}
    dims, channels, patch, _ = shape('patch_embed.projection.weight', 4)
    side = math.isqrt(max(shape('pos_embed', 3)[1] - 1, 1))
    return dict(
        type='VisionTransformer',
        arch=dict(
            embed_dims=dims,
            num_layers=blocks('layers'),
            # Not to be seen in weights: 64 channels each, but for the small
            # one of facebookresearch/moco-v3@1c6b717:vits.py.
            num_heads=12 if name == 'MoCo v3' and dims == 384 else max(dims // 64, 1),
            feedforward_channels=shape('layers.0.ffn.layers.0.0.weight', 2)[0],
        ),
        in_channels=channels,
        img_size=side * patch,
        patch_size=patch,
    )


def _describe(entry: dict) -> str:
    if 'depth' in entry:
        return f'{entry["type"]}-{entry["depth"]}'
    arch = entry['arch']
    return f'ViT of {arch["num_layers"]} blocks of {arch["embed_dims"]}'
