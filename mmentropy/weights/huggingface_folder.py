"""The folder from which transformers loads a model: its config, weights and preprocessor."""

import json
import shutil
from pathlib import Path

from mmengine.config import Config
from mmengine.model import BaseModule
from mmpretrain.models import ResNet

from mmentropy.checks.config_parts import preprocessor_of, view_side
from mmentropy.weights.backbone import State
from mmentropy.weights.exchange_files import safetensors_package
from mmentropy.weights.files import whole_folder

_WEIGHTS, _CONFIG, _PREPROCESSOR = 'model.safetensors', 'config.json', 'preprocessor_config.json'
_FILES = {_WEIGHTS, _CONFIG, _PREPROCESSOR}


def check_folder(out: Path) -> None:
    """Raise a ValueError unless ``out`` is a new folder, or holds nothing but an earlier export."""
    if out.is_file() or out.suffix in ('.pth', '.safetensors'):
        raise ValueError(f'huggingface is written to a folder, got {out}')
    others = sorted({p.name for p in out.glob('*')} - _FILES)
    if others:
        raise ValueError(f'{out} holds {others[0]}, which is not of an export: name another folder')


def save_folder(
    backbone: BaseModule, state: State, meta: dict[str, str], cfg: Config, out: Path
) -> None:
    """Write all files or none, in place of those of an earlier export.

    They are config.json, model.safetensors with ``meta`` in its header and, if ``cfg`` has mean and
    std of the images, preprocessor_config.json. ``state`` has the weights of the ResNet or
    VisionTransformer under the names of transformers, and :func:`check_folder` accepts ``out``.
    """
    # The folder that a link leads to is replaced, and the link stays.
    out = out.resolve()
    contents = {_CONFIG: _model_config(backbone), _PREPROCESSOR: _image_config(backbone, cfg)}
    # transformers asks for the format in the header. The bytes are written by hand, because a file
    # from save_file could be read by nobody but its owner.
    weights = safetensors_package().torch.save(state, dict(meta, format='pt'))
    with whole_folder(out) as new:
        (new / _WEIGHTS).write_bytes(weights)
        for name, content in contents.items():
            if content:
                (new / name).write_text(json.dumps(content, indent=2) + '\n')
        if out.exists():
            shutil.rmtree(out)


def _model_config(backbone: BaseModule) -> dict:
    """Return config.json, which says how the network differs from the default of transformers."""
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
        # The default of transformers is 1e-12.
        layer_norm_eps=1e-6,
        pooler_act='linear',
    )


def _side(size: tuple[int, int]) -> int | list[int]:
    return size[0] if size[0] == size[1] else list(size)


def _image_config(backbone: BaseModule, cfg: Config) -> dict | None:
    """Return preprocessor_config.json, or None if the config has no mean and std."""
    statistics = image_statistics(cfg)
    if statistics is None:
        return None
    height, width = image_size(backbone, cfg)
    # The short side becomes the larger of the two, and the centre is cropped.
    return dict(
        image_processor_type='BitImageProcessor',
        size=dict(shortest_edge=max(height, width)),
        crop_size=dict(height=height, width=width),
        image_mean=[*statistics[0]],
        image_std=[*statistics[1]],
    )


def image_size(backbone: BaseModule, cfg: Config) -> tuple[int, int]:
    """Return height and width of the images that a backbone takes.

    They are fixed for a ViT; for others they are those of the training views, and 224 if the config
    has no random crop.
    """
    side = view_side(cfg) or 224
    return getattr(backbone, 'img_size', (side, side))


def image_statistics(cfg: Config) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and standard deviation of images in [0, 1] that a config has, or None."""
    images = preprocessor_of(cfg)
    if not images.get('mean') or not images.get('std'):
        return None
    mean, std = (tuple(round(x / 255, 6) for x in images[key]) for key in ('mean', 'std'))
    return mean, std
