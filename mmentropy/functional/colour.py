"""Colours: tensors in, tensors out."""

import torch
from torch import Tensor

from mmentropy.checks.tensors import check_floats

# Linear sRGB to XYZ under D65. Below, each row is divided by its sum, so that white is (1, 1, 1).
TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """CIE Lab, white D65, of sRGB images.

    Args:
        rgb: (N, 3, H, W), R, G, B in [0, 1]; what lies outside is clamped.

    Returns:
        (N, 3, H, W): L in [0, 100], a and b, 0 where the pixel is gray.
    """
    check_floats('rgb', rgb)
    if rgb.dim() != 4 or rgb.size(1) != 3:
        raise ValueError(f'rgb must have shape (N, 3, H, W), got {tuple(rgb.shape)}')
    rgb = rgb.clamp(0, 1)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = rgb.new_tensor(TO_XYZ)
    matrix = matrix / matrix.sum(1, keepdim=True)
    # A product of matrices would be rounded to half precision by autocast.
    xyz = (matrix[..., None, None] * linear[:, None]).sum(dim=2)
    # The cube root, and its tangent near 0.
    delta = 6 / 29
    f = torch.where(
        xyz > delta**3, xyz.clamp_min(delta**3) ** (1 / 3), xyz / (3 * delta**2) + 4 / 29
    )
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)
