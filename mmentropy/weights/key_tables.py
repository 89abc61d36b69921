"""Names of weights: mmpretrain's in other libraries, and where official codes keep a backbone.

A table for another library maps the start of mmpretrain's keys to the start of that library's;
``{}`` is the number of the block. ResNets need none for torchvision, timm and mmdet, which name
their weights as mmpretrain does. The layouts of official codes are prefixes, because the
backbones behind them are those of torchvision and timm.
"""

import re
from typing import NamedTuple

import torch

from mmentropy.weights.backbone import State

TIMM_VIT = {
    'patch_embed.projection.': 'patch_embed.proj.',
    'layers.{}.ln1.': 'blocks.{}.norm1.',
    'layers.{}.ln2.': 'blocks.{}.norm2.',
    'layers.{}.attn.': 'blocks.{}.attn.',
    'layers.{}.ffn.layers.0.0.': 'blocks.{}.mlp.fc1.',
    'layers.{}.ffn.layers.1.': 'blocks.{}.mlp.fc2.',
    'ln1.': 'norm.',
}

# huggingface/transformers@v4.57.6:src/transformers/models/vit/modeling_vit.py;
# transformers 5 renames these keys while it loads them.
TRANSFORMERS_VIT = {
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

# huggingface/transformers@v4.57.6:src/transformers/models/resnet/modeling_resnet.py
_TRANSFORMERS_BLOCK = {
    **{f'conv{i + 1}': f'layer.{i}.convolution' for i in range(3)},
    **{f'bn{i + 1}': f'layer.{i}.normalization' for i in range(3)},
    'downsample.0': 'shortcut.convolution',
    'downsample.1': 'shortcut.normalization',
}
TRANSFORMERS_RESNET = {
    f'layer{i + 1}.{{}}.{old}.': f'encoder.stages.{i}.layers.{{}}.{new}.'
    for i in range(4)
    for old, new in _TRANSFORMERS_BLOCK.items()
}
TRANSFORMERS_RESNET['conv1.'] = 'embedder.embedder.convolution.'
TRANSFORMERS_RESNET['bn1.'] = 'embedder.embedder.normalization.'


class OfficialLayout(NamedTuple):
    """Where the checkpoints of a code keep the backbone, without DDP's ``module.``.

    Attributes:
        student: prefix of the backbone in the online network.
        teachers: prefixes that the backbone in the EMA network may have.
        sign: prefix of a key that has to be there, too, for the layout to be this one.
        small_heads: heads of a ViT of width 384, which weights do not show.
    """

    name: str
    student: str
    teachers: tuple[str, ...] = ()
    sign: str = ''
    small_heads: int = 6


# The first layout that fits is taken, so the more special ones come first.
BARE = 'a bare backbone'
OFFICIAL_LAYOUTS = (
    # xinliu20/MEC@ba6a025:mec/builder.py, whose ViTs are those of MoCo v3.
    OfficialLayout('MEC', 'encoder.', ('teacher.',), sign='teacher.', small_heads=12),
    # facebookresearch/simsiam@39ac33e:simsiam/builder.py
    OfficialLayout('SimSiam', 'encoder.', sign='predictor.'),
    # facebookresearch/moco-v3@0c5d00a:moco/builder.py
    OfficialLayout('MoCo v3', 'base_encoder.', ('momentum_encoder.',), small_heads=12),
    # facebookresearch/moco@4397a04:moco/builder.py
    OfficialLayout('MoCo v1 or v2', 'encoder_q.', ('encoder_k.',)),
    # lucidrains/byol-pytorch@0095aa4:byol_pytorch/byol_pytorch.py
    OfficialLayout('BYOL', 'online_encoder.net.', ('target_encoder.net.',)),
    # Other codes of BYOL keep the encoder before its projector in a Sequential, or alone.
    OfficialLayout('BYOL', 'online_encoder.0.', ('target_encoder.0.',)),
    OfficialLayout('BYOL', 'online_encoder.', ('target_encoder.',)),
    # facebookresearch/barlowtwins@046eec3:main.py
    OfficialLayout('Barlow Twins or VICReg', 'backbone.', sign='projector.'),
    OfficialLayout(
        'MoCo v3 of mmpretrain or mmselfsup',
        'backbone.',
        ('momentum_encoder.module.0.', 'momentum_encoder.0.'),
        sign='momentum_encoder.',
        small_heads=12,
    ),
    OfficialLayout(
        'mmpretrain or mmselfsup',
        'backbone.',
        tuple(
            f'{network}.{wrapper}0.'
            for network in ('target_net', 'encoder_k')
            for wrapper in ('module.', '')
        ),
    ),
    OfficialLayout(BARE, ''),
)

# Below its prefix, a backbone has one of these keys: a ResNet, timm's ViT, mmpretrain's ViT.
STEMS = ('conv1.weight', 'patch_embed.proj.weight', 'patch_embed.projection.weight')


def renamed(state: State, table: dict[str, str]) -> State:
    """Replace the start of each key by the first entry that fits; other keys stay as they are."""
    result = {}
    for key, value in state.items():
        block = re.search(r'\.(\d+)\.', key)
        number = block[1] if block else ''
        starts = ((old.format(number), new.format(number)) for old, new in table.items())
        old, new = next((pair for pair in starts if key.startswith(pair[0])), ('', ''))
        result[new + key.removeprefix(old)] = value
    return result


def to_transformers_vit(state: State) -> State:
    """Return the weights of mmpretrain's ViT under the names of transformers.

    Queries, keys and values are three layers there. The pooler, which mmpretrain has not,
    returns the class token as it is.
    """
    result = {}
    for key, value in renamed(state, TRANSFORMERS_VIT).items():
        if '.attn.qkv.' not in key:
            result[key] = value
            continue
        _, block, _, _, leaf = key.split('.')
        for layer, rows in zip(('query', 'key', 'value'), value.chunk(3)):
            result[f'encoder.layer.{block}.attention.attention.{layer}.{leaf}'] = rows
    width = state['cls_token'].size(-1)
    result['pooler.dense.weight'] = torch.eye(width)
    result['pooler.dense.bias'] = torch.zeros(width)
    return result
