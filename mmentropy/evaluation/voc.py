"""Average precision as Pascal VOC 2007 defines it."""

import numpy as np
import torch
from mmpretrain.evaluation import VOCAveragePrecision
from mmpretrain.registry import METRICS
from sklearn.metrics import precision_recall_curve
from torch import Tensor


def voc07_ap(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean over recall 0, 0.1, ..., 1 of the best precision from there on.

    The 11 points of VOC 2007, not the area under the curve of later years.

    Args:
        scores: (N,), higher for what is more likely present.
        labels: (N,) 1 present, 0 absent, -1 difficult: does not count.

    Returns:
        0..1; nan if no row is present.
    """
    counts = labels >= 0
    scores, labels = scores[counts], labels[counts]
    if not labels.any():
        return float('nan')
    precision, recall, _ = precision_recall_curve(labels, scores)
    # The last is no measurement: scikit-learn adds precision 1 at recall 0.
    precision, recall = precision[:-1], recall[:-1]
    points = np.arange(11) / 10
    return float(np.mean([precision[recall >= p].max() for p in points]))


@METRICS.register_module()
class VOC07AveragePrecision(VOCAveragePrecision):
    """mmpretrain's metric of multi-label data by :func:`voc07_ap`."""

    @staticmethod
    def calculate(pred: Tensor, target: Tensor, average: str | None = 'macro') -> Tensor:
        """Percent of scores (N, C) and labels (N, C), as of voc07_ap.

        The mean over the classes that occur, or one value per class (C,).
        """
        pred, target = np.asarray(pred), np.asarray(target)
        ap = 100 * torch.tensor([voc07_ap(pred[:, c], target[:, c]) for c in range(pred.shape[1])])
        return ap.nanmean() if average == 'macro' else ap
