"""The ops that stand in for mmcv's compiled ones, called as mmcv calls them.

Expected numbers come from loops written for one element at a time, from a
closed form, or from the compiled ops of onedl-mmcv 2.3.6.
"""

import math
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from itertools import product

import forked
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from mmengine.utils.dl_utils import mmcv_full_available

from mmentropy.compat import mmcv_extension

# Importing mmentropy lets them be found, and mmcv.ops can be imported.
if find_spec('mmcv._ext').origin != mmcv_extension.__file__:
    pytest.skip('this mmcv has compiled ops', allow_module_level=True)

import mmcv.ops  # noqa: E402
from mmcv.ops import sigmoid_focal_loss, softmax_focal_loss  # noqa: E402
from mmcv.ops.multi_scale_deform_attn import (  # noqa: E402
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)

HALVES = [torch.float16, torch.bfloat16]


def rand(*shape, dtype=torch.float64):
    return torch.rand(*shape, dtype=dtype)


def assert_equal_with_gradients(ours, theirs, *inputs):
    """Value and gradients agree, and no gradient is zero altogether."""
    results = []
    for function in (ours, theirs):
        leaves = [x.detach().clone().requires_grad_() for x in inputs]
        value = function(*leaves)
        by = torch.linspace(-1, 2, value.numel(), dtype=value.dtype)
        grads = torch.autograd.grad(value, leaves, by.view_as(value))
        results.append((value, *grads))
    for our, their in zip(*results):
        assert their.abs().max() > 1e-6
        torch.testing.assert_close(our, their, rtol=1e-9, atol=1e-9)


# -- boxes -------------------------------------------------------------------


def random_boxes(n, size=20.0, dtype=torch.float32):
    corners = torch.rand(2, n, 2, dtype=dtype) * size
    return torch.cat([corners.amin(0), corners.amax(0)], 1)


def area(box, offset):
    return (box[2] - box[0] + offset) * (box[3] - box[1] + offset)


def iou(a, b, offset=0, over_a=False):
    """Of two lists of four numbers."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    both = max(width, 0) * max(height, 0)
    if over_a:
        return both / area(a, offset)
    return both / (area(a, offset) + area(b, offset) - both)


def kept_by_nms(boxes, scores, threshold, offset=0):
    boxes = boxes.tolist()
    kept = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if all(iou(boxes[i], boxes[j], offset) <= threshold for j in kept):
            kept.append(i)
    return kept


def chosen_by_soft_nms(boxes, scores, threshold, sigma, min_score, method, offset):
    """Pairs of an index and its decayed score; scores without ties."""
    boxes, left = boxes.tolist(), dict(enumerate(scores.tolist()))
    chosen = []
    while left:
        i = max(left, key=left.get)
        chosen.append((i, left.pop(i)))
        for j in list(left):
            overlap = iou(boxes[i], boxes[j], offset)
            if method == 'gaussian':
                left[j] *= math.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                left[j] *= 1 - overlap if method == 'linear' else 0
            if left[j] < min_score:
                del left[j]
    return chosen


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.1, 0.5, 0.8])
def test_nms(threshold, offset):
    for n in (1, 5, 60):
        boxes, scores = random_boxes(n), torch.rand(n)
        kept = kept_by_nms(boxes, scores, threshold, offset)
        dets, index = mmcv.ops.nms(boxes, scores, threshold, offset)
        assert index.tolist() == kept
        torch.testing.assert_close(dets, torch.cat([boxes, scores[:, None]], 1)[kept])
        limited = mmcv.ops.nms(boxes, scores, threshold, offset, score_threshold=0.3, max_num=4)
        assert limited[1].tolist() == [i for i in kept if scores[i] > 0.3][:4]


def test_nms_offset_is_a_pixel():
    boxes = torch.tensor([[0.0, 0, 4, 0], [0, 0, 3, 0]])
    scores = torch.tensor([0.9, 0.8])
    # Rows of 5 and 4 pixels, or lines without an area.
    assert mmcv.ops.nms(boxes, scores, 0.7, offset=1)[1].tolist() == [0]
    assert mmcv.ops.nms(boxes, scores, 0.7, offset=0)[1].tolist() == [0, 1]


def test_nms_threshold_itself_does_not_suppress():
    boxes = torch.tensor([[0.0, 0, 5, 1], [0, 0, 3, 1]])
    scores = torch.tensor([0.9, 0.8])
    assert mmcv.ops.nms(boxes, scores, 0.6)[1].tolist() == [0, 1]
    assert mmcv.ops.nms(boxes, scores, 0.599)[1].tolist() == [0]


def test_nms_order_of_equal_scores():
    boxes = torch.arange(40.0)[:, None] * 10 + torch.tensor([0.0, 0, 5, 5])
    scores = torch.tensor([0.5, 0.7] * 20)
    index = mmcv.ops.nms(boxes, scores, 0.5)[1]
    assert index.tolist() == [*range(1, 40, 2), *range(0, 40, 2)]


def test_nms_of_arrays_halves_and_nothing():
    boxes, scores = random_boxes(30), torch.rand(30)
    dets, index = mmcv.ops.nms(boxes.numpy(), scores.numpy(), 0.3)
    assert isinstance(dets, np.ndarray)
    assert index.tolist() == kept_by_nms(boxes, scores, 0.3)
    for dtype in HALVES:
        dets, index = mmcv.ops.nms(boxes.to(dtype), scores.to(dtype), 0.3)
        assert dets.dtype == dtype
        assert index.tolist() == kept_by_nms(boxes.to(dtype), scores.to(dtype), 0.3)
    dets, index = mmcv.ops.nms(torch.empty(0, 4), torch.empty(0), 0.5)
    assert dets.shape == (0, 5) and index.dtype == torch.int64


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_nms(method, offset):
    for n, min_score in ((1, 1e-3), (7, 0.0), (50, 1e-3), (50, 0.2)):
        boxes, scores = random_boxes(n), torch.rand(n)
        how = dict(threshold=0.3, sigma=0.5, min_score=min_score, method=method, offset=offset)
        expected = chosen_by_soft_nms(boxes, scores, **how)
        dets, index = mmcv.ops.soft_nms(boxes, scores, iou_threshold=how.pop('threshold'), **how)
        # Scores of zero tie, so their order is not compared.
        positive = [i for i, score in expected if score > 0]
        assert index.tolist()[: len(positive)] == positive
        assert set(index.tolist()) == {i for i, _ in expected}
        torch.testing.assert_close(dets[:, 4], torch.tensor([s for _, s in expected]))
        torch.testing.assert_close(dets[:, :4], boxes[index])


def test_soft_nms_ties_as_compiled():
    """Indices from mmcv's compiled op: ties follow from how it swaps boxes."""
    boxes = torch.tensor(
        [
            [9.0, 1, 9, 5],
            [5, 2, 6, 6],
            [1, 2, 9, 5],
            [2, 0, 8, 6],
            [3, 3, 7, 8],
            [3, 0, 8, 8],
            [0, 1, 4, 6],
            [2, 2, 6, 9],
        ]
    )
    scores = torch.tensor([0.5, 0.5, 0.25, 0.75, 0.5, 0.25, 0.75, 0.5])
    for method, min_score, expected in (
        ('naive', 0.2, [3, 6, 1, 0, 4]),
        ('linear', 0.2, [3, 6, 0, 4, 1]),
        ('linear', 0.01, [3, 6, 0, 4, 1, 7, 2, 5]),
        ('gaussian', 0.2, [3, 6, 0, 1, 4, 7]),
    ):
        index = mmcv.ops.soft_nms(boxes, scores, method=method, min_score=min_score)[1]
        assert index.tolist() == expected


def test_soft_nms_without_areas_halves_and_nothing():
    points = torch.tensor([[3.0, 1, 3, 1]] * 3)
    for method in ('naive', 'linear', 'gaussian'):
        dets, index = mmcv.ops.soft_nms(points, torch.tensor([0.5, 0.7, 0.6]), method=method)
        assert index.tolist() == [1, 2, 0]
        assert dets[:, 4].tolist() == pytest.approx([0.7, 0.6, 0.5])
    boxes, scores = random_boxes(20).half(), torch.rand(20).half()
    dets, index = mmcv.ops.soft_nms(boxes, scores, method='naive')
    assert dets.dtype == torch.float16 and torch.equal(dets[:, :4], boxes[index])
    dets, index = mmcv.ops.soft_nms(torch.empty(0, 4), torch.empty(0))
    assert dets.shape == (0, 5) and index.shape == (0,)


@pytest.mark.parametrize('kind', ['nms', 'soft_nms'])
def test_batched_nms(kind):
    boxes, scores = random_boxes(40), torch.rand(40)
    classes = torch.randint(3, (40,))
    expected = []
    for c in range(3):
        of_class = (classes == c).nonzero()[:, 0]
        if kind == 'nms':
            kept = kept_by_nms(boxes[of_class], scores[of_class], 0.3)
            expected += [(scores[i].item(), i) for i in of_class[kept].tolist()]
        else:
            expected += [
                (score, of_class[i].item())
                for i, score in chosen_by_soft_nms(
                    boxes[of_class], scores[of_class], 0.3, 0.5, 1e-3, 'linear', 0
                )
            ]
    expected.sort(reverse=True)
    for split in (10000, 5):
        dets, index = mmcv.ops.batched_nms(
            boxes, scores, classes, dict(type=kind, iou_threshold=0.3, split_thr=split)
        )
        assert index.tolist() == [i for _, i in expected]
        assert dets[:, 4].tolist() == pytest.approx([s for s, _ in expected])
        torch.testing.assert_close(dets[:, :4], boxes[index])


def test_batched_nms_of_all_classes_together():
    boxes, scores = random_boxes(40), torch.rand(40)
    index = mmcv.ops.batched_nms(
        boxes, scores, torch.randint(3, (40,)), dict(iou_threshold=0.3), class_agnostic=True
    )[1]
    assert index.tolist() == kept_by_nms(boxes, scores, 0.3)


@pytest.mark.parametrize('as_array', [False, True])
def test_nms_match(as_array):
    boxes, scores = random_boxes(40), torch.rand(40)
    kept = kept_by_nms(boxes, scores, 0.3)
    dets = torch.cat([boxes, scores[:, None]], 1)
    groups = mmcv.ops.nms_match(dets.numpy() if as_array else dets, 0.3)
    assert [group[0].item() for group in groups] == kept
    assert sorted(i.item() for group in groups for i in group) == [*range(40)]
    corners = boxes.tolist()
    for order, group in enumerate(groups):
        for i in group[1:].tolist():
            # Each goes to the best box that suppresses it.
            first = next(k for k in kept if iou(corners[k], corners[i]) >= 0.3)
            assert first == kept[order]
        assert scores[group].tolist() == sorted(scores[group], reverse=True)
    # Here the threshold itself suppresses, and points do not.
    dets = torch.tensor([[0.0, 0, 5, 1, 0.9], [0, 0, 3, 1, 0.8]])
    assert len(mmcv.ops.nms_match(dets, 0.6)) == 1
    assert len(mmcv.ops.nms_match(torch.zeros(2, 5), 0.5)) == 2
    assert mmcv.ops.nms_match(torch.empty(0, 5), 0.5) == []


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('mode', ['iou', 'iof'])
def test_bbox_overlaps(mode, offset):
    a = random_boxes(5, dtype=torch.float64)
    b = random_boxes(6, dtype=torch.float64)
    expected = [[iou(x, y, offset, mode == 'iof') for y in b.tolist()] for x in a.tolist()]
    found = mmcv.ops.bbox_overlaps(a, b, mode, offset=offset)
    torch.testing.assert_close(found, found.new_tensor(expected))
    found = mmcv.ops.bbox_overlaps(a, b[:5], mode, aligned=True, offset=offset)
    torch.testing.assert_close(found, found.new_tensor([expected[i][i] for i in range(5)]))
    # A product of half-precision widths would overflow.
    large = torch.tensor([[0, 0, 1000, 1000]]).half()
    assert mmcv.ops.bbox_overlaps(large, large, mode, offset=offset) == 1
    assert mmcv.ops.bbox_overlaps(a[:0], b).shape == (0, 6)


def lane(start, points, x):
    return [0, 0, start / 71, 0, points, *x]


@pytest.mark.skipif(not hasattr(mmcv.ops, 'line_nms'), reason='mmcv 2.1 has no line_nms')
def test_line_nms():
    """Lanes are near where the mean distance in common rows is below the threshold."""
    column = torch.arange(72.0)
    lanes = torch.tensor(
        [
            lane(0, 30, column + 2),
            lane(10, 40, column),
            lane(50, 20, column + 1),
            lane(35, 30, column * 0 + 500),
            lane(20, 20, column + 1),
        ]
    )
    scores = torch.tensor([0.5, 0.9, 0.8, 0.7, 0.6])
    # The third begins where the second ends.
    for threshold, expected, parents in (
        (1.0, [1, 2, 3, 4, 0], [5, 1, 2, 3, 4]),
        (1.5, [1, 2, 3, 0], [4, 1, 2, 3, 1]),
        (2.5, [1, 2, 3], [1, 1, 2, 3, 1]),
    ):
        kept, number, parent = mmcv.ops.line_nms(lanes, scores, threshold, 5)
        assert kept.tolist() == expected + [0] * (5 - len(expected))
        assert number == len(expected)
        assert parent.tolist() == parents
    assert mmcv.ops.line_nms(lanes, scores, 1.0, 2)[1] == 2
    assert mmcv.ops.line_nms(lanes[:0], scores[:0], 1.0, 2)[1] == 0


# -- regions of interest -----------------------------------------------------


def sample(plane, y, x):
    """Bilinear; outside the outer pixel centres the nearest, then zero."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return plane.new_zeros(())
    y, x = (min(max(at, 0.0), n - 1.0) for at, n in ((y, height), (x, width)))
    value = 0.0
    for i in (math.floor(y), math.floor(y) + 1):
        for j in (math.floor(x), math.floor(x) + 1):
            weight = (1 - abs(y - i)) * (1 - abs(x - j))
            if weight > 0:
                value = value + weight * plane[i, j]
    return value


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


# -- deformable convolutions -------------------------------------------------

GEOMETRY = dict(stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2)


def conv_tensors(deform_groups=1):
    """Input, offset, mask, weight and bias; an output of 3 by 7."""
    offset = rand(2, deform_groups * 2 * 6, 3, 7) * 3 - 1.5
    # Away from pixels, where the interpolation has kinks.
    offset += (0.1 - offset % 1).clamp(min=0) - (offset % 1 - 0.9).clamp(min=0)
    return (
        rand(2, 4, 5, 7),
        offset,
        rand(2, deform_groups * 6, 3, 7),
        rand(6, 2, 2, 3) - 0.5,
        rand(6),
    )


def deform_conv(x, offset, weight):
    return mmcv.ops.deform_conv2d(x, offset, weight, *GEOMETRY.values(), offset.size(1) // 12)


def modulated(x, offset, mask, weight, bias=None):
    return mmcv.ops.modulated_deform_conv2d(
        x, offset, mask, weight, bias, *GEOMETRY.values(), mask.size(1) // 6
    )


def test_deform_conv_without_offset_is_conv():
    x, offset, mask, weight, bias = conv_tensors()
    zero, one = torch.zeros_like(offset), torch.ones_like(mask)
    assert_equal_with_gradients(
        lambda x, w: deform_conv(x, zero, w), lambda x, w: F.conv2d(x, w, **GEOMETRY), x, weight
    )
    assert_equal_with_gradients(
        lambda x, w, b: modulated(x, zero, one, w, b),
        lambda x, w, b: F.conv2d(x, w, b, **GEOMETRY),
        x,
        weight,
        bias,
    )


def test_deform_conv_of_whole_offset_is_shifted_conv():
    x, weight = rand(1, 2, 6, 6), rand(3, 2, 3, 3)
    offset = torch.zeros(1, 2 * 9, 4, 4, dtype=x.dtype)
    # Pairs of y and x: one down and two to the left, zero beyond the edge.
    offset[:, 0::2], offset[:, 1::2] = 1, -2
    shifted = torch.zeros_like(x)
    shifted[:, :, :-1, 2:] = x[:, :, 1:, :-2]
    torch.testing.assert_close(mmcv.ops.deform_conv2d(x, offset, weight), F.conv2d(shifted, weight))


def test_deform_conv_gradients():
    x, offset, mask, weight, bias = conv_tensors()
    inputs = [t.requires_grad_() for t in (x, offset, weight)]
    assert torch.autograd.gradcheck(deform_conv, inputs, fast_mode=True)
    inputs = [t.requires_grad_() for t in (x, offset, mask, weight, bias)]
    assert torch.autograd.gradcheck(modulated, inputs, fast_mode=True)
    assert torch.autograd.gradcheck(modulated, inputs[:4], fast_mode=True)


def test_deform_conv_mask_and_groups():
    """A mask scales the samples, and deformable groups split channels."""
    x, offset, mask, weight, _ = conv_tensors(deform_groups=2)
    zero = torch.zeros_like(offset)
    constant = torch.full_like(mask, 0.25)
    torch.testing.assert_close(
        modulated(x, offset, constant, weight), 0.25 * deform_conv(x, offset, weight)
    )
    offset[:, 12:] = 0
    torch.testing.assert_close(
        deform_conv(x, offset, weight)[:, 3:], deform_conv(x, zero, weight)[:, 3:]
    )
    assert not torch.allclose(
        deform_conv(x, offset, weight)[:, :3], deform_conv(x, zero, weight)[:, :3]
    )


def test_deform_conv_gradients_are_added():
    """To what is there; mmcv hands in zeros."""
    import mmcv._ext as ext

    x, offset, _, weight, _ = conv_tensors()
    grad = rand(2, 6, 3, 7)
    how = dict(
        kW=3,
        kH=2,
        dW=1,
        dH=2,
        padW=2,
        padH=1,
        dilationW=2,
        dilationH=1,
        group=2,
        deformable_group=1,
        im2col_step=2,
    )
    unused = x.new_empty(0)
    totals = []
    for start in (0.0, 1.0):
        into = [torch.full_like(t, start) for t in (x, offset, weight)]
        ext.deform_conv_backward_input(x, offset, grad, *into[:2], weight, unused, **how)
        ext.deform_conv_backward_parameters(
            x, offset, grad, into[2], unused, unused, scale=0.5, **how
        )
        totals.append(into)
    for from_0, from_1 in zip(*totals):
        torch.testing.assert_close(from_0 + 1, from_1)
    inputs = [t.clone().requires_grad_() for t in (x, offset, weight)]
    expected = torch.autograd.grad(deform_conv(*inputs), inputs, grad)
    torch.testing.assert_close(totals[0][2], 0.5 * expected[2])


def test_deform_conv_layers():
    x = torch.rand(2, 4, 3, 3)
    for layer in (
        mmcv.ops.DeformConv2dPack(4, 6, 3, padding=1),
        mmcv.ops.ModulatedDeformConv2dPack(4, 6, 3, padding=1),
        mmcv.ops.SAConv2d(4, 6, 3, padding=1, use_deform=True),
    ):
        output = layer(x)
        assert output.shape == (2, 6, 3, 3)
        output.sum().backward()
        assert all(p.grad.isfinite().all() for p in layer.parameters() if p.grad is not None)
        assert layer.weight.grad.any()
    # Smaller than its kernel: mmcv pads and crops around the op.
    layer = mmcv.ops.DeformConv2d(4, 6, 3, padding=1)
    assert layer(x[..., :2], torch.zeros(2, 18, 3, 2)).shape == (2, 6, 3, 2)


@pytest.mark.parametrize('dtype', HALVES)
def test_deform_conv_of_halves(dtype):
    x, offset, mask, weight, bias = conv_tensors()
    for function, inputs in (
        (deform_conv, (x, offset, weight)),
        (modulated, (x, offset, mask, weight, bias)),
    ):
        inputs = [t.to(dtype).requires_grad_() for t in inputs]
        exact = [t.detach().float().requires_grad_() for t in inputs]
        output, expected = function(*inputs), function(*exact)
        torch.testing.assert_close(output, expected.to(dtype))
        for ours, theirs in zip(
            torch.autograd.grad(output.sum(), inputs), torch.autograd.grad(expected.sum(), exact)
        ):
            assert ours.dtype == dtype
            torch.testing.assert_close(ours, theirs.to(dtype))
    layer = mmcv.ops.ModulatedDeformConv2dPack(4, 6, 3)
    with torch.autocast('cpu', dtype):
        output = layer(x.float())
    assert output.dtype == dtype


def test_deform_conv_offset_has_no_gradient_one_pixel_before_the_image():
    """As in mmcv: torchvision has a slope there, where all padding starts."""
    x, weight = rand(1, 2, 4, 5), rand(3, 2, 3, 3)
    offset = torch.zeros(1, 18, 4, 5, dtype=x.dtype, requires_grad=True)
    one = torch.ones(1, 9, 4, 5, dtype=x.dtype)
    outputs = (
        mmcv.ops.modulated_deform_conv2d(x, offset, one, weight, None, 1, 1),
        mmcv.ops.deform_conv2d(x, offset, weight, 1, 1),
    )
    for output in outputs:
        (grad,) = torch.autograd.grad(output.sum(), offset)
        grad = grad.view(3, 3, 2, 4, 5)
        assert not grad[0, :, :, 0].any() and not grad[:, 0, :, :, 0].any()
        inside = grad.clone()
        inside[0, :, :, 0] = inside[:, 0, :, :, 0] = 1
        # A sample on the line below or to the right of the image has none either.
        inside[2, :, :, -1] = inside[:, 2, :, :, -1] = 1
        assert inside.all()


def test_deform_conv_takes_the_first_offsets_of_a_larger_map():
    """As mmcv's kernel reads them: DyHead gives those of another level."""
    conv = mmcv.ops.ModulatedDeformConv2d(4, 6, 3, padding=1, deform_groups=2).double()
    x = rand(2, 4, 5, 5)
    offset, mask = (rand(2, n, 7, 8).requires_grad_() for n in (36, 18))

    def cut(buffer):
        channels = buffer.size(1)
        return buffer.reshape(2, -1)[:, : channels * 25].reshape(2, channels, 5, 5)

    output, expected = conv(x, offset, mask), conv(x, cut(offset), cut(mask))
    assert torch.equal(output, expected)
    for ours, theirs in zip(
        torch.autograd.grad(output.square().sum(), (offset, mask)),
        torch.autograd.grad(expected.square().sum(), (offset, mask)),
    ):
        torch.testing.assert_close(ours, theirs)
        assert ours.any()
    with pytest.raises(ValueError, match='smaller than its output'):
        conv(x, offset[..., :4, :4], mask[..., :4, :4])


@pytest.mark.parametrize('number', [math.nan, math.inf, -math.inf])
def test_positions_that_are_not_finite_are_outside_of_the_image(number):
    """Maps of odd width, at which torchvision reads outside of its memory."""
    x = rand(1, 2, 7, 7).requires_grad_()
    rois = torch.tensor([[0, 0, 0, 4, 4], [0, number, 1, 5, 5]], dtype=x.dtype)
    aligned = mmcv.ops.roi_align(x, rois, (2, 2), 1.0, 2)
    assert aligned[0].abs().min() > 0 and not aligned[1].any()
    offset = torch.zeros(1, 18, 7, 7, dtype=x.dtype)
    offset[0, 0] = number
    offset.requires_grad_()
    weight = rand(3, 2, 3, 3)
    convolved = mmcv.ops.deform_conv2d(x, offset, weight, 1, 1)
    without_first = weight.clone()
    without_first[:, :, 0, 0] = 0
    torch.testing.assert_close(convolved, F.conv2d(x, without_first, padding=1))
    grads = torch.autograd.grad(aligned.sum() + convolved.sum(), [x, offset])
    assert all(grad.isfinite().all() for grad in grads)
    assert not grads[1][0, :2].any()


# -- attention ---------------------------------------------------------------

SHAPES = torch.tensor([[3, 4], [2, 2]])
STARTS = torch.tensor([0, 12])


def attention_tensors(dtype=torch.float64):
    """Value, locations, of which some are outside, and weights."""
    return (
        rand(2, 16, 2, 3, dtype=dtype),
        rand(2, 5, 2, 2, 3, 2, dtype=dtype) * 1.4 - 0.2,
        rand(2, 5, 2, 2, 3, dtype=dtype),
    )


def attend(value, locations, weights):
    return MultiScaleDeformableAttnFunction.apply(value, SHAPES, STARTS, locations, weights, 64)


def test_attention():
    assert_equal_with_gradients(
        attend,
        lambda value, locations, weights: multi_scale_deformable_attn_pytorch(
            value, SHAPES, locations, weights
        ),
        *attention_tensors(),
    )
    inputs = [t.requires_grad_() for t in attention_tensors()]
    assert torch.autograd.gradcheck(attend, inputs, fast_mode=True)


def test_attention_samples():
    """Against a loop, so not by grid_sample, and levels in any order."""
    value, locations, weights = attention_tensors()
    starts = torch.tensor([4, 0])
    output = MultiScaleDeformableAttnFunction.apply(value, SHAPES, starts, locations, weights, 64)
    n, query, head, channel = 1, 2, 1, 2
    expected = 0.0
    for level, (height, width) in enumerate(SHAPES.tolist()):
        start = starts[level].item()
        plane = value[n, start : start + height * width, head, channel].view(height, width)
        plane = F.pad(plane, (1, 1, 1, 1))
        for point in range(3):
            x, y = locations[n, query, head, level, point].tolist()
            expected += weights[n, query, head, level, point] * sample(
                plane, y * height + 0.5, x * width + 0.5
            )
    torch.testing.assert_close(output[n, query, head * 3 + channel], expected)


@pytest.mark.parametrize('dtype', HALVES)
def test_attention_of_halves(dtype):
    inputs = [t.requires_grad_() for t in attention_tensors(dtype)]
    exact = [t.detach().float().requires_grad_() for t in inputs]
    output, expected = attend(*inputs), attend(*exact)
    torch.testing.assert_close(output, expected.to(dtype))
    for ours, theirs in zip(
        torch.autograd.grad(output.sum(), inputs), torch.autograd.grad(expected.sum(), exact)
    ):
        torch.testing.assert_close(ours, theirs.to(dtype))


# -- focal losses ------------------------------------------------------------


def sigmoid_focal(logits, target, gamma, alpha, weight=None):
    p = logits.sigmoid()
    classes = torch.arange(logits.size(1))
    loss = torch.where(
        target[:, None] == classes,
        -alpha * (1 - p) ** gamma * p.log(),
        -(1 - alpha) * p**gamma * (1 - p).log(),
    )
    if weight is None:
        return loss
    return loss * torch.cat([weight, weight.new_ones(1)])[target][:, None]


@pytest.mark.parametrize('gamma, alpha', [(2.0, 0.25), (0.0, 0.5), (1.5, 0.9)])
@pytest.mark.parametrize('weighted', [False, True])
def test_sigmoid_focal_loss(weighted, gamma, alpha):
    logits, target = torch.randn(6, 3).double() * 3, torch.arange(6) % 4
    how = (target, gamma, alpha, rand(3) if weighted else None)
    for name, reduce in (
        ('none', torch.clone),
        ('sum', torch.sum),
        ('mean', lambda loss: loss.sum() / 6),
    ):
        assert_equal_with_gradients(
            lambda x, name=name: sigmoid_focal_loss(x, *how, name),
            lambda x, reduce=reduce: reduce(sigmoid_focal(x, *how)),
            logits,
        )


def test_sigmoid_focal_loss_at_extremes():
    logits = torch.tensor([[-200.0, 200.0], [40.0, -40.0]], requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([0, 1]), 2.0, 0.25, None, 'sum')
    # Every prediction is wrong: its loss is the logit.
    assert loss.item() == pytest.approx(0.25 * 240 + 0.75 * 240)
    loss.backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[-0.25, 0.75], [0.75, -0.25]]))


def softmax_focal(logits, target, gamma, alpha, weight=None):
    """Rows whose target is no class do not count."""
    rows = (target >= 0).nonzero()[:, 0]
    p = logits.softmax(1)[rows, target[rows]]
    loss = -alpha * (1 - p) ** gamma * p.log()
    return loss if weight is None else loss * weight[target[rows]]


@pytest.mark.parametrize('gamma, alpha', [(2.0, 0.25), (0.0, 0.5), (0.5, 0.9)])
@pytest.mark.parametrize('weighted', [False, True])
def test_softmax_focal_loss(weighted, gamma, alpha):
    logits, target = torch.randn(6, 3).double(), torch.arange(6) % 4 - 1
    how = (target, gamma, alpha, rand(3) if weighted else None)
    assert_equal_with_gradients(
        lambda x: softmax_focal_loss(x, *how), lambda x: softmax_focal(x, *how).sum() / 6, logits
    )


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
def test_softmax_focal_loss_of_certainty_has_no_gradient(gamma):
    logits = torch.tensor([[200.0, 0]], requires_grad=True)
    softmax_focal_loss(logits, torch.tensor([0]), gamma, 0.25).backward()
    assert not logits.grad.any()


@pytest.mark.parametrize('dtype', HALVES)
@pytest.mark.parametrize('loss', [sigmoid_focal_loss, softmax_focal_loss])
def test_focal_loss_of_halves_and_nothing(loss, dtype):
    logits = torch.randn(6, 3).to(dtype).requires_grad_()
    target = torch.arange(6) % 3
    exact = logits.detach().float().requires_grad_()
    ours = loss(logits, target, 2.0, 0.25, None, 'sum')
    theirs = loss(exact, target, 2.0, 0.25, None, 'sum')
    torch.testing.assert_close(ours, theirs.to(dtype), rtol=0.02, atol=0.02)
    (ours + theirs).backward()
    torch.testing.assert_close(logits.grad, exact.grad.to(dtype), rtol=0.05, atol=0.02)
    if loss is sigmoid_focal_loss:
        nothing = loss(logits[:0], target[:0], 2.0, 0.25, None, 'sum')
        assert nothing == 0


# -- CARAFE ------------------------------------------------------------------


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


# -- the module --------------------------------------------------------------


def test_other_ops_refuse():
    boxes = torch.tensor([[1.0, 1, 2, 2, 0.1]])
    with pytest.raises(NotImplementedError) as raised:
        mmcv.ops.nms_rotated(boxes, torch.ones(1), 0.5)
    message = str(raised.value)
    assert message.startswith('nms_rotated of mmcv.ops is not in mmentropy')
    assert '-std=c++20' in message and '\n' not in message
    with pytest.raises(NotImplementedError, match='^box_iou_rotated of'):
        mmcv.ops.box_iou_rotated(boxes, boxes)


def test_layers_on_other_ops_are_refused_when_a_model_is_built():
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

    for layer, op in (
        (dict(type='RoIAlignRotated', output_size=7, sampling_ratio=2), 'roi_align_rotated'),
        (dict(type='PrRoIPool', output_size=7), 'prroi_pool'),
    ):
        with pytest.raises(NotImplementedError) as raised:
            SingleRoIExtractor(layer, out_channels=4, featmap_strides=[4])
        message = str(raised.value)
        assert message.startswith(f'{layer["type"]} of mmcv.ops needs {op}_forward, which')
        assert 'install an mmcv' in message and '\n' not in message
    # These have no compiled part, or one that is not needed on a CPU.
    torch.nn.Sequential(mmcv.ops.SimpleRoIAlign(7, 1.0), mmcv.ops.CrissCrossAttention(8))
    torch.nn.Sequential(mmcv.ops.FusedBiasLeakyReLU(4))


def test_module_can_be_asked():
    import mmcv._ext as ext
    from mmcv.utils import collect_env

    assert mmcv_full_available()
    assert not hasattr(ext, '__version__')
    assert not hasattr(ext, '__path__')
    assert mmcv.ops.get_compiling_cuda_version() == 'not available'
    assert 'torchvision' in collect_env()['MMCV Compiler']


def test_no_autograd_outside_of_mmcv():
    boxes = random_boxes(3).requires_grad_()
    assert not mmcv.ops.bbox_overlaps(boxes, boxes).requires_grad


@pytest.mark.slow
def test_installed_once_and_last():
    before = list(sys.meta_path)
    mmcv_extension.install_finder()
    assert sys.meta_path == before
    assert [type(f) for f in sys.meta_path].count(mmcv_extension._Finder) == 1


def run(code):
    """In a process of its own, which has not imported anything."""
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code)], text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_package_imports_neither_mmdet_nor_operators():
    """They come when somebody asks for them, with all that mmpretrain has for mmdet."""
    run("""
        import sys, warnings
        warnings.filterwarnings('error', 'Fail to import')
        import mmentropy
        heavy = ('mmdet', 'mmcv.ops', 'mmcv._ext', 'sklearn', 'scipy')
        found = [name for name in sys.modules if name.startswith(heavy)]
        assert not found, found
        from mmcv.cnn.bricks.transformer import MultiScaleDeformableAttention
        import mmcv.ops
        assert MultiScaleDeformableAttention is mmcv.ops.MultiScaleDeformableAttention
        import mmcv.cnn.bricks.transformer as transformer
        assert not hasattr(transformer, 'Attention')
        import mmpretrain.models.utils.res_layer_extra_norm
        from mmdet.registry import MODELS
        assert MODELS.get('ResLayerExtraNorm')
        """)


@pytest.mark.slow
def test_mmcv_was_imported_before():
    """It has then gone on without its ops, and without their names."""
    run("""
        import sys, types, warnings
        warnings.simplefilter('ignore')
        import mmcv.cnn.bricks.transformer
        try:
            import mmcv.ops
        except ModuleNotFoundError:
            pass
        else:
            raise SystemExit('mmcv.ops was there')
        # What takes long to import, and is not needed here.
        for name in ('datasets', 'engine', 'models', 'views'):
            sys.modules[f'mmentropy.{name}'] = types.ModuleType(name)
        import mmentropy
        import mmcv.ops
        from mmcv.cnn.bricks.transformer import MultiScaleDeformableAttention
        assert (MultiScaleDeformableAttention is
                mmcv.ops.MultiScaleDeformableAttention)
        """)


@pytest.mark.slow
def test_mmdet_was_imported_before():
    """By mmpretrain, whose models ask for it; it goes on as a whole.

    A forked process stands for an mmcv whose compiled operators do not load. They are no reason to
    stop: only mmdet needs them.
    """
    run("""
        import mmpretrain.models
        import os, sys
        assert 'mmdet.models.dense_heads.rpn_head' in sys.modules
        without_operators = os.fork()
        if not without_operators:
            sys.modules['mmcv.ops'] = None
        import mmentropy
        if not without_operators:
            sys.exit()
        assert os.waitpid(without_operators, 0)[1] == 0
        import mmcv.ops
        import mmdet.models
        for key in ('batched_nms', 'DeformConv2d'):
            found = [vars(module)[key] for name, module in sys.modules.items()
                     if name.startswith('mmdet.') and key in vars(module)]
            assert set(found) == {getattr(mmcv.ops, key)}, key
        # Imported under another name.
        focal_loss = sys.modules['mmdet.models.losses.focal_loss']
        assert (focal_loss._sigmoid_focal_loss is
                mmcv.ops.sigmoid_focal_loss)
        """)


@pytest.mark.slow
def test_compiled_ops_win(tmp_path):
    (tmp_path / '_ext.py').write_text('compiled = True')
    done = forked.python(
        '-c',
        f"""
import sys
import mmentropy
import mmcv._ext
assert 'mmentropy' in mmcv._ext.__spec__.origin
del sys.modules['mmcv._ext']
mmcv.__path__.append({str(tmp_path)!r})
import mmcv._ext
assert mmcv._ext.compiled is True
""",
    )
    assert done.returncode == 0, done.stderr


# -- mmdet -------------------------------------------------------------------

FEW = dict(score_thr=0.0, max_per_img=5)
RPN = dict(nms_pre=50, max_per_img=10)
RCNN = dict(
    train_cfg=dict(rpn_proposal=RPN, rcnn=dict(sampler=dict(num=8))),
    test_cfg=dict(rpn=RPN, rcnn=FEW),
)
DETECTORS = {
    'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py': RCNN,
    'mask_rcnn/mask-rcnn_r50-caffe-c4_1x_coco.py': RCNN,
    'dcnv2/faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py': RCNN,
    'retinanet/retinanet_r50_fpn_1x_coco.py': dict(test_cfg=FEW),
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py': dict(test_cfg=FEW),
    'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py': dict(
        num_queries=10, test_cfg=dict(max_per_img=5)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', DETECTORS)
@pytest.mark.filterwarnings('ignore')
def test_detector(name):
    """Loss, its gradient and a prediction, on images of 64 pixels."""
    pytest.importorskip('mmdet')
    from mmdet.registry import MODELS
    from mmdet.testing import demo_mm_inputs
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    cfg = get_config(f'mmdet::{name}')
    cfg.merge_from_dict(dict(model=dict(DETECTORS[name], backbone=dict(init_cfg=None))))
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
        for key, p in model.named_parameters():
            # Memory as it was found.
            if 'level_embed' in key:
                torch.nn.init.normal_(p)
        data = demo_mm_inputs(2, [[3, 64, 64], [3, 64, 48]], with_mask='mask' in name)
        data = model.data_preprocessor(data, True)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
        loss.backward()
        with torch.no_grad():
            samples = model.eval()(**data, mode='predict')
    last = getattr(model.backbone, model.backbone.res_layers[-1])
    assert all(p.grad.isfinite().all() for p in last.parameters() if p.requires_grad)
    assert last[0].conv1.weight.grad.any()
    for sample in samples:
        found = sample.pred_instances
        assert 0 < len(found) <= 5 and found.bboxes.isfinite().all()
