"""CARAFE, which upsamples by a kernel of its own for every output pixel."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmentropy.compat.mmcv_ops.operators import OPS, add_gradients, operator, widen_halves


def _reassemble(
    features: Tensor, masks: Tensor, kernel_size: int, group_size: int, scale_factor: int
) -> Tensor:
    n, channels, height, width = features.shape
    area = kernel_size**2
    patches = F.unfold(features, kernel_size, padding=kernel_size // 2)
    output = torch.einsum(
        'ngckhw,ngkhawb->ngchawb',
        patches.view(n, group_size, -1, area, height, width),
        masks.view(n, group_size, area, height, scale_factor, width, scale_factor),
    )
    return output.reshape(n, channels, height * scale_factor, width * scale_factor)


@operator
def carafe_naive_forward(features: Tensor, masks: Tensor, output: Tensor, **how: int) -> None:
    """(N, C, H, W) by masks (N, G * k * k, sH, sW) into (N, C, sH, sW)."""
    features, masks = widen_halves(features, masks)
    output.copy_(_reassemble(features, masks, **how))


@operator
def carafe_forward(
    features: Tensor, masks: Tensor, kept: Tensor, *buffers: Tensor, **how: int
) -> None:
    """See :func:`carafe_naive_forward`; the backward needs ``kept``."""
    carafe_naive_forward(features, masks, buffers[-1], **how)
    kept.copy_(features)


@operator
def carafe_backward(
    grad: Tensor, features: Tensor, masks: Tensor, *buffers: Tensor, **how: int
) -> None:
    """Add to the gradients of features and masks, the last two of ``buffers``."""
    add_gradients(lambda f, m: _reassemble(f, m, **how), (features, masks), grad, buffers[-2:])


OPS['carafe_naive_backward'] = carafe_backward
