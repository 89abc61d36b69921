"""Masked convolution, which is one of the patches around some of the pixels."""

import torch.nn.functional as F
from torch import Tensor

from mmentropy.compat.mmcv_ops.operators import operator


@operator
def masked_im2col_forward(
    input: Tensor,
    rows: Tensor,
    columns: Tensor,
    output: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Copy the patches of one image (1, C, H, W) into ``output`` (C * k_h * k_w, P)."""
    padded = F.pad(input[0], (pad_w, pad_w, pad_h, pad_h))
    patches = padded.unfold(1, kernel_h, 1).unfold(2, kernel_w, 1)[:, rows, columns]
    output.copy_(patches.permute(0, 2, 3, 1).flatten(0, 2))


@operator
def masked_col2im_forward(
    values: Tensor, rows: Tensor, columns: Tensor, output: Tensor, **size: int
) -> None:
    """Copy ``values`` (C, P) to pixels of ``output`` (1, C, H, W)."""
    output[0][:, rows, columns] = values.to(output.dtype)
