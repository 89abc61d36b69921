"""Writing the backbone of a checkpoint as another library loads it."""

import copy
import json
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from mmpretrain.models import ResNet, VisionTransformer
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mmentropy.checks.arguments import one_of, require
from mmentropy.checks.config_parts import is_bgr, preprocessor_of
from mmentropy.weights.backbone import State, first_difference, load_backbone
from mmentropy.weights.exchange_files import check_place, safetensors_package, save_weights, sha256
from mmentropy.weights.huggingface_folder import (
    check_folder,
    image_size,
    image_statistics,
    save_folder,
)
from mmentropy.weights.key_tables import TIMM_VIT, TRANSFORMERS_RESNET, renamed, to_transformers_vit
from mmentropy.weights.reader import PathLike
from mmentropy.weights.stored_config import chosen_config

TARGETS = ('mmpretrain', 'mmdet', 'torchvision', 'timm', 'huggingface')
# These libraries give a network RGB images, the others what the config says.
_OF_RGB = ('torchvision', 'timm', 'huggingface')


def export_backbone(
    path: PathLike,
    target: str,
    out: PathLike,
    cfg: Config | None = None,
    branch: str = 'student',
    metrics: object = None,
) -> str:
    """Write a checkpoint's backbone as another library loads it.

    A backbone that was trained on BGR images is written as one of RGB images, unless the target is
    mmpretrain or mmdet: the input channels of its first layer are reversed.

    Args:
        path: see :func:`mmentropy.weights.backbone.backbone_state_dict`, also for ``branch``.
        target: one of ``TARGETS``.
        out: a .pth, ``dict(state_dict=..., meta=...)``; a .safetensors with the meta in its header
            (not for mmpretrain and mmdet, which read none); for huggingface a folder, see
            :func:`mmentropy.weights.huggingface_folder.save_folder`. ``meta`` maps strings to
            strings: target, branch, cfg, metrics (JSON) and sha256 of the tensors.
        cfg: config with ``model.backbone``; default: the checkpoint's.

    Returns:
        Python that loads what was written.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such checkpoint.
        ValueError: the checkpoint is unreadable, or not every key fits the config, or the target
            has no such network, or ``out`` is wrong; one line, and nothing is written.
        ImportError: safetensors is needed and not installed.
    """
    out = Path(out)
    require(one_of(TARGETS), target=target)
    endings = ['.pth'] if target in ('mmpretrain', 'mmdet') else ['.pth', '.safetensors']
    if target == 'huggingface':
        check_folder(out)
        endings = []
    check_place(out, path, target, endings)
    if out.suffix != '.pth':
        safetensors_package()
    with chosen_config(path, cfg) as chosen:
        entry = copy.deepcopy((chosen.get('model') or {}).get('backbone'))
        if not entry:
            raise ValueError('the config has no model.backbone: pass another')
        entry.pop('init_cfg', None)
        backbone = MODELS.build(entry)
    load_backbone(backbone, path, branch, min_match=1.0)
    if target in _OF_RGB and _takes_bgr(chosen):
        chosen = _with_rgb(chosen)
        _reverse_input(backbone)
    state = convert(backbone, target)
    meta = dict(target=target, branch=branch, cfg=chosen.pretty_text)
    meta |= dict(metrics=json.dumps(metrics), sha256=sha256(state))
    if target == 'huggingface':
        save_folder(backbone, state, meta, chosen, out)
    else:
        save_weights(state, meta, out)
    return _how_to_load(backbone, target, out, chosen)


def _takes_bgr(cfg: Config) -> bool:
    """Return whether the backbone of a config was trained on BGR images."""
    images = preprocessor_of(cfg)
    turned = images.get('to_rgb') or images.get('bgr_to_rgb')
    return is_bgr(cfg.get('train_dataloader') or {}) and not turned


def _with_rgb(cfg: Config) -> Config:
    """Return a config that turns the BGR images of another one to RGB."""
    cfg = copy.deepcopy(cfg)
    place = cfg.model if cfg.model.get('data_preprocessor') else cfg
    images = dict(preprocessor_of(cfg))
    images['bgr_to_rgb' if 'bgr_to_rgb' in images else 'to_rgb'] = True
    for key in ('mean', 'std'):
        if images.get(key):
            images[key] = list(images[key])[::-1]
    place['data_preprocessor'] = images
    return cfg


def _reverse_input(backbone: BaseModule) -> None:
    """Let a network compute of RGB images what it computed of BGR images."""
    first = next(m for m in backbone.modules() if isinstance(m, nn.Conv2d))
    first.weight.data = first.weight.data.flip(1)


def convert(backbone: BaseModule, target: str) -> State:
    """Return the weights of mmpretrain's ``backbone`` under the names of one of ``TARGETS``.

    Raises:
        ValueError: the target has no network that computes the same: 'torchvision' and 'mmdet' have
            the plain ResNets, 'timm' and 'huggingface' also VisionTransformers (so MoCoV3ViT).
    """
    state = {k: v.contiguous() for k, v in backbone.state_dict().items()}
    if target != 'mmpretrain':
        _check_plain(backbone, target)
    if target in ('mmpretrain', 'mmdet'):
        return {f'backbone.{k}': v for k, v in state.items()}
    vit = isinstance(backbone, VisionTransformer)
    if target == 'huggingface':
        return to_transformers_vit(state) if vit else renamed(state, TRANSFORMERS_RESNET)
    return renamed(state, TIMM_VIT) if vit else state


def _check_plain(backbone: BaseModule, target: str) -> None:
    """Check that the target's network computes the same with the same weights."""
    name = type(backbone).__name__
    if not isinstance(backbone, (ResNet, VisionTransformer)):
        kinds = 'ResNet or VisionTransformer'
        raise ValueError(f'{target} gets a {kinds}, not {name}: use --to mmpretrain')
    if isinstance(backbone, VisionTransformer) and target in ('torchvision', 'mmdet'):
        others = 'mmpretrain, timm or huggingface'
        raise ValueError(f'{target} gets a ResNet, not {name}: use --to {others}')
    plain, image = _plain_network(backbone)
    differ = first_difference(backbone.state_dict(), plain.state_dict())
    if not differ:
        # Strides, dilation, epsilons and the like cannot be read off weights.
        other = copy.deepcopy(backbone)
        other.load_state_dict(plain.state_dict())
        for network in (other, plain):
            network.eval()
        with torch.no_grad():
            pairs = zip(other(image), plain(image), strict=True)
            if not all(torch.equal(a, b) for a, b in pairs):
                differ = 'with the same weights its outputs are others'
    if differ:
        differ = f'it differs from the plain one: {differ}'
        raise ValueError(f'{target} has no such {name}, {differ}; use --to mmpretrain')


def _plain_network(backbone: BaseModule) -> tuple[BaseModule, Tensor]:
    """Return mmpretrain's plain network of the same kind and size, and an image for both."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        if isinstance(backbone, ResNet):
            plain = ResNet(backbone.depth, out_indices=backbone.out_indices)
            return plain, torch.randn(1, 3, 64, 64)
        patch = backbone.patch_embed.projection.kernel_size
        plain = VisionTransformer(
            arch=backbone.arch_settings,
            img_size=backbone.img_size,
            patch_size=patch,
            out_indices=list(backbone.out_indices),
            out_type='cls_token' if backbone.out_type == 'avg_featmap' else backbone.out_type,
        )
        return plain, torch.randn(1, 3, 2 * patch[0], 2 * patch[1])


def _how_to_load(backbone: BaseModule, target: str, out: Path, cfg: Config) -> str:
    """Return a line that loads the backbone, and says of what images where it can."""
    file, statistics = str(out), image_statistics(cfg)
    height, width = image_size(backbone, cfg)
    if target == 'huggingface':
        return f'transformers.AutoModel.from_pretrained({file!r})'
    if target in ('mmpretrain', 'mmdet'):
        return f"init_cfg=dict(type='Pretrained', checkpoint={file!r}, prefix='backbone.')"
    if target == 'timm':
        if isinstance(backbone, ResNet):
            network = f"'resnet{backbone.depth}'"
        else:
            arch = backbone.arch_settings
            dims, patch = arch['embed_dims'], backbone.patch_embed.projection.kernel_size
            network = (
                f"'vit_base_patch16_224', img_size={backbone.img_size}, patch_size={patch}, "
                f'embed_dim={dims}, depth={arch["num_layers"]}, num_heads={arch["num_heads"]}, '
                f'mlp_ratio={arch["feedforward_channels"] / dims}'
            )
        if statistics:
            mean, std = statistics
            size = f'input_size=(3, {height}, {width})'
            network += f', pretrained_cfg_overlay=dict(mean={mean}, std={std}, {size})'
        return f'timm.create_model({network}, num_classes=0, checkpoint_path={file!r})'
    load = f'safetensors.torch.load_file({file!r})'
    if out.suffix == '.pth':
        load = f"torch.load({file!r}, weights_only=True)['state_dict']"
    line = (
        f'model = torchvision.models.resnet{backbone.depth}(); '
        f'model.fc = torch.nn.Identity(); model.load_state_dict({load})'
    )
    if statistics:
        line += f'  # of {height} x {width} RGB images in [0, 1], '
        line += 'normalised by mean {} and std {}'.format(*statistics)
    return line
