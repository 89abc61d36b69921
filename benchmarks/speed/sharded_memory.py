"""Memory per card of large transformers, whole as with DDP or sharded, computed.

python benchmarks/speed/sharded_memory.py

The networks are built on the meta device, which has no memory, from a recipe of MEC. Counted are
float32 weights, gradients and the two moments of AdamW, the averaged copy, and, where it is
sharded, the largest unit, which is put together with its gradient. Activations come on top.
"""

import argparse

import torch
from mmengine.config import Config
from mmengine.model import BaseAveragedModel
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from torch import nn

import mmentropy  # noqa: F401, registers its models
from mmentropy.engine.sharded_runner import blocks_of

RECIPE = 'configs/mec/vitb_16xb256_300e_in1k.py'
# Width, blocks, heads and hidden width, as in arXiv 2010.11929 and arXiv 2106.04560.
ARCHS = {
    'ViT-B': (768, 12, 12, 3072),
    'ViT-L': (1024, 24, 16, 4096),
    'ViT-H': (1280, 32, 16, 5120),
    'ViT-g': (1408, 40, 16, 6144),
}
CARDS = (1, 8, 64)
PARTS = ('embed_dims', 'num_layers', 'num_heads', 'feedforward_channels')


def built(arch: tuple[int, ...]) -> nn.Module:
    """The algorithm of the recipe with another transformer, without memory."""
    cfg = Config.fromfile(RECIPE).model
    cfg.backbone = dict(
        type='VisionTransformer',
        arch=dict(zip(PARTS, arch)),
        img_size=224,
        patch_size=14 if arch[0] > 1024 else 16,
        out_type='cls_token',
    )
    cfg.neck.in_channels = arch[0]
    with torch.device('meta'):
        return MODELS.build(cfg)


def size(network: nn.Module) -> int:
    """Bytes of its weights."""
    return sum(p.numel() * p.element_size() for p in network.parameters())


def per_card(model: nn.Module, cards: int) -> float:
    """GiB that a card holds."""
    averaged = sum(size(m) for m in model.modules() if isinstance(m, BaseAveragedModel))
    # Weight, gradient and two moments.
    whole = 4 * (size(model) - averaged) + averaged
    if cards == 1:
        return whole / 2**30
    blocks = blocks_of(model.backbone)
    units = [*blocks, model.neck, model.head]
    rest = size(model.backbone) - sum(map(size, blocks))
    return (whole / cards + 2 * max([rest, *map(size, units)])) / 2**30


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    init_default_scope('mmpretrain')
    print('| GiB a card | parameters that are trained, millions | whole | ', end='')
    print(' | '.join(f'{n} cards' for n in CARDS[1:]), '|\n|---|---|---|' + '---|' * len(CARDS[1:]))
    for name, arch in ARCHS.items():
        model = built(arch)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6
        found = ' | '.join(f'{per_card(model, cards):.1f}' for cards in CARDS)
        print(f'| {name} | {trained:,.0f} | {found} |')


if __name__ == '__main__':
    main()
