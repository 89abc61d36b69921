"""Pooling of regions and masked convolution, called as mmcv calls them."""

import math
from itertools import product

import mmcv.ops
import pytest
import torch
from mmcv_operators import HALVES, assert_equal_with_gradients, rand, sample


def roi_align(images, rois, size, scale, ratio, mode, aligned):
    bins = []
    for n, *corners in rois.tolist():
        x1, y1, x2, y2 = (c * scale - 0.5 * aligned for c in corners)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        bin_h, bin_w = height / size[0], width / size[1]
        ny, nx = ratio or math.ceil(bin_h), ratio or math.ceil(bin_w)
        for plane in images[int(n)]:
            for i in range(size[0]):
                for j in range(size[1]):
                    values = torch.stack(
                        [
                            sample(
                                plane,
                                y1 + bin_h * (i + (k + 0.5) / ny),
                                x1 + bin_w * (j + (m + 0.5) / nx),
                            )
                            for k in range(ny)
                            for m in range(nx)
                        ]
                    )
                    bins.append(values.mean() if mode == 'avg' else values.max())
    return torch.stack(bins).view(len(rois), images.size(1), *size)


ROIS = torch.tensor(
    [
        [0, 1.3, 2.1, 9.2, 8.7],
        [1, -4.5, 3.3, 5.1, 14.9],
        [1, 6.2, 6.6, 6.9, 6.8],
        [0, 0.0, 0.0, 12.0, 10.0],
        [1, 11.7, 9.3, 19.1, 17.2],
    ],
    dtype=torch.float64,
)


@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('aligned', [True, False])
def test_roi_align(aligned, ratio, mode):
    # Some samples lie outside: of two images of 5 by 6 at half the scale.
    how = dict(mode=mode, ratio=ratio, scale=0.5, aligned=aligned)
    layer = mmcv.ops.RoIAlign((2, 3), 0.5, ratio, mode, aligned)
    assert_equal_with_gradients(
        lambda x: layer(x, ROIS),
        lambda x: roi_align(x, ROIS, (2, 3), **how),
        rand(2, 2, 5, 6) - 0.3,
    )


def test_roi_align_tie_takes_first():
    images = torch.zeros(1, 1, 4, 4, requires_grad=True)
    layer = mmcv.ops.RoIAlign(1, 1.0, 2, 'max')
    layer(images, torch.tensor([[0, 0.5, 0.5, 2.5, 2.5]])).backward()
    # The first of the four samples lies at (0.5, 0.5).
    expected = torch.zeros(4, 4)
    expected[:2, :2] = 0.25
    torch.testing.assert_close(images.grad[0, 0], expected)


def roi_pool(images, rois, size, scale):
    height, width = images.shape[2:]
    bins = []
    for n, x1, y1, x2, y2 in rois.tolist():
        x, y = x1 * scale, y1 * scale
        bin_w = ((x2 + 1) * scale - x) / size[1]
        bin_h = ((y2 + 1) * scale - y) / size[0]
        for plane in images[int(n)]:
            for i in range(size[0]):
                for j in range(size[1]):
                    rows = range(
                        max(math.floor(y + i * bin_h), 0),
                        min(math.ceil(y + (i + 1) * bin_h), height),
                    )
                    columns = range(
                        max(math.floor(x + j * bin_w), 0),
                        min(math.ceil(x + (j + 1) * bin_w), width),
                    )
                    pixels = [plane[r, c] for r in rows for c in columns]
                    bins.append(torch.stack(pixels).max() if pixels else plane.new_zeros(()))
    return torch.stack(bins).view(len(rois), images.size(1), *size)


@pytest.mark.parametrize('scale', [1.0, 0.5])
def test_roi_pool(scale):
    layer = mmcv.ops.RoIPool((2, 3), scale)
    assert_equal_with_gradients(
        lambda x: layer(x, ROIS), lambda x: roi_pool(x, ROIS, (2, 3), scale), rand(2, 2, 5, 6) - 0.5
    )


def test_roi_pool_tie_takes_first_and_nothing_gives_zero():
    images = torch.tensor([[0.0, 2, 1], [2, 0, 1], [0, 0, 2]])[None, None]
    images.requires_grad_()
    rois = torch.tensor(
        [[0.0, 0, 0, 2, 2], [0, 2, 2, 0, 0], [0, 2.5, 2.5, 1.5, 1.5], [0, 7, 7, 9, 9]]
    )
    output = mmcv.ops.RoIPool(1, 1.0)(images, rois)
    assert output.flatten().tolist() == [2, 0, 0, 0]
    output.sum().backward()
    assert images.grad.nonzero().tolist() == [[0, 0, 0, 1]]


@pytest.mark.parametrize(
    'layer',
    [mmcv.ops.RoIAlign(2, 0.5), mmcv.ops.RoIAlign(2, 0.5, 0, 'max'), mmcv.ops.RoIPool(2, 0.5)],
    ids=['mean', 'max', 'pool'],
)
def test_rois_of_halves_and_nothing(layer):
    images = rand(2, 2, 5, 6, dtype=torch.float32).requires_grad_()
    for dtype in HALVES:
        # The regions keep the precision that they have.
        output = layer(images.to(dtype), ROIS.float())
        assert output.dtype == dtype
        exact = layer(images.to(dtype).float(), ROIS.float())
        torch.testing.assert_close(output, exact.to(dtype))
        (ours,) = torch.autograd.grad(output.sum(), images)
        (theirs,) = torch.autograd.grad(exact.sum(), images)
        torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02)
    output = layer(images, torch.empty(0, 5))
    assert output.shape == (0, 2, 2, 2)
    output.sum().backward()
    assert not images.grad.any()


def deform_roi_pool(images, rois, offset, size, scale, ratio, gamma):
    bins = []
    for (n, *corners), moves in zip(rois.tolist(), offset):
        x1, y1, x2, y2 = (c * scale - 0.5 for c in corners)
        bin_h, bin_w = (y2 - y1) / size[0], (x2 - x1) / size[1]
        ny, nx = ratio or math.ceil(bin_h), ratio or math.ceil(bin_w)
        for plane in images[int(n)]:
            for i, j in product(range(size[0]), range(size[1])):
                y = y1 + gamma * (y2 - y1) * moves[1, i, j].item()
                x = x1 + gamma * (x2 - x1) * moves[0, i, j].item()
                values = [
                    sample(
                        plane, y + bin_h * (i + (k + 0.5) / ny), x + bin_w * (j + (m + 0.5) / nx)
                    )
                    for k, m in product(range(ny), range(nx))
                ]
                bins.append(torch.stack(values).mean())
    return torch.stack(bins).view(len(rois), images.size(1), *size)


@pytest.mark.parametrize('ratio', [0, 2])
def test_deform_roi_pool(ratio):
    images, rois = rand(2, 3, 9, 11), ROIS[[0, 1, 3, 4]].to(torch.float64)
    offset = rand(4, 2, 2, 3) - 0.5
    how = (2, 3), 0.8, ratio, 0.3
    assert_equal_with_gradients(
        lambda x: mmcv.ops.deform_roi_pool(x, rois, offset, *how),
        lambda x: deform_roi_pool(x, rois, offset, *how),
        images,
    )
    none = torch.zeros_like(offset)
    torch.testing.assert_close(
        mmcv.ops.deform_roi_pool(images, rois, None, *how),
        mmcv.ops.deform_roi_pool(images, rois, none, *how),
    )
    # The slopes of offsets are those of the value where no sample is beyond the outer pixels.
    inner = torch.tensor([[0, 3.1, 3.3, 8.2, 7.9], [1, 4.2, 2.7, 9.1, 9.3]]).double()
    inputs = images.requires_grad_(), offset[:2].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, moves: mmcv.ops.deform_roi_pool(x, inner, moves, *how), inputs, fast_mode=True
    )


@pytest.mark.parametrize('layer', ['DeformRoIPoolPack', 'ModulatedDeformRoIPoolPack'])
def test_deform_roi_pool_layers(layer):
    layer = getattr(mmcv.ops, layer)(2, 3, deform_fc_channels=8)
    images = torch.rand(2, 3, 9, 11, requires_grad=True)
    layer(images, ROIS.float()).sum().backward()
    assert images.grad.any() and layer.offset_fc[-1].weight.grad.any()
    nothing = mmcv.ops.deform_roi_pool(images, torch.empty(0, 5), None, (2, 2))
    assert nothing.shape == (0, 3, 2, 2)


@pytest.mark.filterwarnings('ignore:This overload of addmm')
def test_masked_conv_is_conv_where_the_mask_is():
    conv = mmcv.ops.MaskedConv2d(3, 4, (3, 5), padding=(1, 2))
    images, mask = torch.rand(1, 3, 6, 7), torch.rand(1, 6, 7) > 0.5
    torch.testing.assert_close(conv(images, mask), conv(images) * mask)
    assert not conv(images, mask & False).any()
