"""CARAFE, called as mmcv calls it."""

import mmcv.ops
import torch
import torch.nn.functional as F
from mmcv_operators import assert_equal_with_gradients, rand


def reassemble(features, masks, k, groups, s):
    n, channels, height, width = features.shape
    padded = F.pad(features, [k // 2] * 4)
    output = []
    for image, mask in zip(padded, masks.view(n, groups, k, k, height * s, width * s)):
        for c, plane in enumerate(image):
            kernel = mask[c // (channels // groups)]
            output += [
                (plane[i // s : i // s + k, j // s : j // s + k] * kernel[:, :, i, j]).sum()
                for i in range(height * s)
                for j in range(width * s)
            ]
    return torch.stack(output).view(n, channels, height * s, width * s)


def test_carafe():
    features, masks = rand(2, 4, 2, 3), rand(2, 2 * 9, 4, 6)
    assert_equal_with_gradients(
        lambda x, m: mmcv.ops.carafe(x, m, 3, 2, 2),
        lambda x, m: reassemble(x, m, 3, 2, 2),
        features,
        masks,
    )
    # mmcv itself has no backward of this one on CPU.
    torch.testing.assert_close(
        mmcv.ops.carafe_naive(features, masks, 3, 2, 2), reassemble(features, masks, 3, 2, 2)
    )
    inputs = features.float(), masks.float()
    with torch.autocast('cpu', torch.bfloat16):
        output = mmcv.ops.carafe(*inputs, 3, 2, 2)
    torch.testing.assert_close(output, reassemble(*inputs, 3, 2, 2))
    layer = mmcv.ops.CARAFEPack(4, 2)
    layer(features.float()).sum().backward()
    assert layer.content_encoder.weight.grad.isfinite().all()
