"""Average precision as Pascal VOC 2007 defines it."""

import numpy as np
import torch
from mmpretrain.evaluation import VOCAveragePrecision
from mmpretrain.registry import METRICS
from torch import Tensor


def voc07_ap(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean over recall 0, 0.1, ..., 1 of the best precision from there on.

    These are the 11 points of VOC 2007; later years take the area under the curve.

    Args:
        scores: (N,), higher for what is more likely present.
        labels: (N,) 1 present, 0 absent, -1 difficult, which does not count.

    Returns:
        A number in 0..1; nan if no row is present.
    """
    counts = labels >= 0
    scores, labels = scores[counts], labels[counts]
    if not labels.any():
        return float('nan')
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(labels, scores)
    # The last point is no measurement: scikit-learn adds precision 1 at recall 0.
    precision, recall = precision[:-1], recall[:-1]
    points = np.arange(11) / 10
    return float(np.mean([precision[recall >= p].max() for p in points]))


@METRICS.register_module()
class VOC07AveragePrecision(VOCAveragePrecision):
    """mmpretrain's metric of multi-label data by :func:`voc07_ap`."""

    @staticmethod
    def calculate(pred: Tensor, target: Tensor, average: str | None = 'macro') -> Tensor:
        """Return the percent for scores and labels (N, C) as :func:`voc07_ap` takes them.

        It is the mean over the classes that occur, or one value per class (C,).
        """
        columns = zip(np.asarray(pred).T, np.asarray(target).T)
        ap = 100 * torch.tensor([voc07_ap(scores, labels) for scores, labels in columns])
        return ap.nanmean() if average == 'macro' else ap
