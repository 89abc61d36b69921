r"""Contrastive multiview coding (CMC), arXiv 1906.05849.

.. math:: L = -\frac{1}{N} \sum_i
          \log \frac{e^{z_i^\top z_i' / \tau}}{\sum_j e^{z_i^\top z_j' / \tau}} +
          \log \frac{e^{z_i^\top z_i' / \tau}}{\sum_j e^{z_j^\top z_i' / \tau}}

z and z' are unit projections of two parts of one image, each by an encoder of its own. The parts
are lightness and colour, L and ab of the Lab space. A gray image has no colour: there ab is
constant, and the paper's views do not exist. For gray images the parts are the low and the high
frequencies instead, which is an analogue of ours and not the paper's method.

The negatives are the other images of the batch, of all ranks, where the paper takes 16,384 from a
memory bank.

Source:
    arXiv 1906.05849, section 3; HobbitLong/CMC@7b227be:train_CMC.py, dataset.py.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank
from mmengine.model import BaseModule
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from torch import Tensor

from mmentropy.checks.arguments import DICT, NUMBER, POSITIVE, SEVERAL, Rule, one_of, require, some
from mmentropy.checks.tensors import check_pair
from mmentropy.distributed import gather
from mmentropy.functional.colour import rgb_to_lab
from mmentropy.functional.sphere import unit_rows
from mmentropy.models.base import (
    check_parts,
    encode_views,
    in_full_precision,
    mean_over_ranks,
    mean_terms,
)

TWO = Rule('two dicts', lambda x: some(DICT).test(x) and len(x) == 2)
CHANNELS = Rule('three numbers', lambda x: some(NUMBER).test(x) and len(x) == 3)
# Least and largest L, a and b of the colours of sRGB, as in the authors' code.
LAB_RANGE = ((0.0, 100.0), (-86.183, 98.233), (-107.857, 94.478))


@MODELS.register_module()
class TwoEncoders(BaseModule):
    """Two backbones, each for one part of the image; their maps are joined.

    Args:
        encoders: Configs of two backbones of equal output. With ``'lab'`` the first takes one
            channel and the second two, with ``'bands'`` each takes those of the image.
        split: ``'lab'``, lightness and colour of an RGB image, each channel scaled to [-1, 1], or
            ``'bands'``, the image after averaging ``factor`` x ``factor`` pixels, and what is left
            of it.
        mean: The mean per channel that the data preprocessor subtracted, in 0..255; for ``'lab'``.
        std: The standard deviation that it divided by; for ``'lab'``.
        factor: Pixels that are averaged along a side, >= 2; for ``'bands'``.
    """

    def __init__(
        self,
        encoders: Sequence[dict],
        split: str = 'lab',
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (255.0, 255.0, 255.0),
        factor: int = 4,
    ) -> None:
        super().__init__()
        require(TWO, encoders=encoders)
        require(one_of(('lab', 'bands')), split=split)
        require(CHANNELS, mean=mean, std=std)
        require(SEVERAL, factor=factor)
        self.split = split
        self.factor = factor
        self.encoders = torch.nn.ModuleList(MODELS.build(cfg) for cfg in encoders)
        for name, values in dict(mean=mean, std=std).items():
            self.register_buffer(
                name, torch.tensor(values, dtype=torch.float32).view(3, 1, 1), persistent=False
            )

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both parts of preprocessed images (N, C, H, W).

        Raises:
            ValueError: ``'lab'``, and the images have not three channels.
        """
        if self.split == 'bands':
            small = F.avg_pool2d(x, self.factor)
            low = F.interpolate(small, x.shape[2:], mode='bilinear', align_corners=False)
            return low, x - low
        if x.size(1) != 3:
            raise ValueError(
                f'TwoEncoders: split="lab" needs RGB images, got {x.size(1)} channels; a gray '
                'image has no colour: split="bands"'
            )
        lab = rgb_to_lab((x * self.std + self.mean) / 255)
        low, high = lab.new_tensor(LAB_RANGE).t().view(2, 3, 1, 1)
        lab = (2 * lab - low - high) / (high - low)
        return lab[:, :1], lab[:, 1:]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, C, H, W) to maps (N, 2 D, h, w), those of the first part before."""
        maps = [encode(part) for encode, part in zip(self.encoders, self.parts(x))]
        return tuple(torch.cat(pair, dim=1) for pair in zip(*maps, strict=True))


@MODELS.register_module()
class TwoProjectors(BaseModule):
    """One projector for each half of the channels.

    Args:
        projectors: Configs of two necks of equal output.
    """

    def __init__(self, projectors: Sequence[dict]) -> None:
        super().__init__()
        require(TWO, projectors=projectors)
        self.projectors = torch.nn.ModuleList(MODELS.build(cfg) for cfg in projectors)

    def forward(self, x: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Feature maps (N, 2 C, h, w) to a 1-tuple of (N, 2 D), both projections side by side."""
        halves = x[-1].chunk(2, dim=1)
        z = [project((half,))[0] for project, half in zip(self.projectors, halves)]
        return (torch.cat(z, dim=1),)


@MODELS.register_module()
class CMCHead(BaseModule):
    """The contrastive loss in both directions.

    Args:
        temperature: tau > 0, 0.07 in the paper.
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        require(POSITIVE, temperature=temperature)
        self.temperature = temperature

    @in_full_precision
    def forward(self, z1: Tensor, z2: Tensor) -> dict[str, Tensor]:
        """Compare (N, D) local rows of any length with those of all ranks.

        Returns:
            Scalar ``loss``, the sum of both directions.
        """
        check_pair(z1=z1, z2=z2)
        z1, z2 = unit_rows(z1), unit_rows(z2)
        own = torch.arange(len(z1), device=z1.device) + get_rank() * len(z1)
        directions = [
            F.cross_entropy(a @ gather(b).T / self.temperature, own)
            for a, b in ((z1, z2), (z2, z1))
        ]
        return dict(loss=directions[0] + directions[1])


@MODELS.register_module()
class CMC(BaseSelfSupervisor):
    """Contrastive multiview coding.

    The backbone is a ``TwoEncoders``, the neck a ``TwoProjectors``, the head a ``CMCHead``. The
    two views that are compared are the parts of an image; the loss is the mean over the views that
    the pipeline made of it.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_parts(self)

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Return ``loss`` of a batch.

        Args:
            inputs: Any number of augmentations, each (N, C, H, W).
            data_samples: Unused.

        Raises:
            FloatingPointError: The loss is not finite.
        """
        z = encode_views(self, inputs)
        terms = mean_terms(self.head(*rows.chunk(2, dim=1)) for rows in z)
        return mean_over_ranks('CMC', terms, z)
