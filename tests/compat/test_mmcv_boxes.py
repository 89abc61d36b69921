"""Overlaps and suppression of boxes and lanes, called as mmcv calls them."""

import math

import mmcv.ops
import numpy as np
import pytest
import torch
from mmcv_operators import HALVES


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
