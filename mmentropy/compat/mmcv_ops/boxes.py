"""Overlaps of boxes, and the suppression of boxes and lanes near to better ones.

Boxes are (..., 4) as x1, y1, x2, y2. ``offset`` is 1 where pixels x2 and y2 belong to the box.
"""

import torch
from torch import Tensor

from mmentropy.compat.mmcv_ops.operators import TORCHVISION, operator, widen_halves


def _overlaps(a: Tensor, b: Tensor, offset: int, over_a: bool = False) -> Tensor:
    size_a = a[..., 2:] - a[..., :2] + offset
    size_b = b[..., 2:] - b[..., :2] + offset
    size = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2]) + offset
    size = size.clamp(min=0)
    both = size[..., 0] * size[..., 1]
    area = size_a[..., 0] * size_a[..., 1]
    if over_a:
        return both / area
    return both / (area + size_b[..., 0] * size_b[..., 1] - both)


@operator
def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """IoU, or intersection over ``bboxes1`` if ``mode``, into ``ious``.

    ``ious`` is (M, N), or (M,) if ``aligned``.
    """
    a, b = widen_halves(bboxes1, bboxes2)
    ious.copy_(_overlaps(a if aligned else a[:, None], b, offset, bool(mode)))


@operator
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes kept, highest score first, lowest index in a tie.

    A box goes if its IoU with a kept one is above the threshold.
    """
    boxes, scores = widen_halves(boxes, scores)
    boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    # The threshold is rounded like the boxes, as in mmcv: an IoU of exactly 0.6 in float32 is above
    # 0.6 in float64, and torchvision would drop the box.
    threshold = torch.tensor(iou_threshold, dtype=boxes.dtype).item()
    return TORCHVISION.nms(boxes, scores.to(boxes.dtype), threshold)


@operator
def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Groups of indices: a kept box of (N, 5), then those it suppresses."""
    (dets,) = widen_halves(dets)
    order = dets[:, 4].argsort(descending=True, stable=True)
    groups = []
    while len(order):
        overlaps = _overlaps(dets[order[0], :4], dets[order, :4], 0)
        suppressed = overlaps >= iou_threshold
        # A box suppresses itself, also when its area is 0 and the ratio is not a number.
        suppressed[0] = True
        groups.append(order[suppressed].tolist())
        order = order[~suppressed]
    return groups


@operator
def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Decay the scores of overlapping boxes: 0 naive, 1 linear, 2 gaussian.

    Fills the first rows of ``dets`` (N, 5) with boxes and decayed scores in the order of their
    choice, and returns the indices of those boxes.
    """
    boxes, scores = widen_halves(boxes, scores)
    scores = scores.clone()
    # Boxes are exchanged and dropped as in mmcv, because the order decides ties.
    left = torch.arange(len(boxes), device=boxes.device)
    chosen = 0
    while chosen < len(left):
        rest = left[chosen:]
        best = int(scores[rest].argmax())
        rest[[0, best]] = rest[[best, 0]]
        box = boxes[rest[0]]
        dets[chosen, :4] = box
        dets[chosen, 4] = scores[rest[0]]
        chosen += 1
        rest = left[chosen:]
        # The overlap of two boxes without area is not a number.
        overlaps = _overlaps(box, boxes[rest], offset).nan_to_num(0)
        if method == 2:
            scores[rest] *= torch.exp(-(overlaps**2) / sigma)
        else:
            decay = 1 - overlaps if method == 1 else 0.0
            scores[rest] *= torch.where(overlaps >= iou_threshold, decay, 1.0)
        good = scores[rest] >= min_score
        # The last good box takes the place of the first bad one, and so on.
        kept = int(good.sum())
        rest[:kept][~good[:kept]] = rest[kept:][good[kept:]].flip(0)
        left = left[: chosen + kept]
    return left


@operator
def line_nms_forward(
    lanes: Tensor, scores: Tensor, threshold: float, top_k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Drop the lanes that are near to a better one.

    mmcv's kernel takes the lane to compare with from the order of storage, where CLRNet's, from
    which it comes, takes the next best one. This function does as CLRNet's.

    Args:
        lanes: (N, 5 + P). Column 2 is the start as a part of the P - 1 strips, column 4 the number
            of points, and x at the P rows follows.
        scores: (N,).
        threshold: Mean distance in the rows of both lanes, below which they are near.
        top_k: At most so many lanes are kept.

    Returns:
        Indices (N,) of lanes kept, best first, filled with 0; their number; and for each lane
        (N,) the number, from 1, of the kept lane that it belongs to, or 0.
    """
    lanes, scores = widen_halves(lanes, scores)
    order = scores.argsort(descending=True, stable=True)
    lanes = lanes[order]
    x, rows = lanes[:, 5:], torch.arange(lanes.size(1) - 5, device=lanes.device)
    start = (lanes[:, 2] * (len(rows) - 1) + 0.5).long()
    end = start + lanes[:, 4].long() - 1
    parents, kept = torch.zeros_like(order), torch.zeros_like(order)
    left, found = order >= 0, 0
    while left.any() and found < top_k:
        best = int(left.int().argmax())
        first = torch.maximum(start, start[best])
        last = torch.minimum(end, end[best]).clamp(max=len(rows) - 1)
        shared = (rows >= first[:, None]) & (rows <= last[:, None])
        distance = ((x - x[best]).abs() * shared).sum(1)
        near = (first >= 0) & (last >= first) & (distance < threshold * (last - first + 1))
        near[: best + 1] = False
        near[best] = True
        kept[found] = order[best]
        found += 1
        parents[order[near]] = found
        left &= ~near
    return kept, kept.new_tensor(found), parents
