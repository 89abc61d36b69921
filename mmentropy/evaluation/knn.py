"""k-nearest-neighbour classification on cached features."""

import torch
import torch.nn.functional as F
from torch import Tensor

METRICS = ('cosine', 'euclidean')
# Distances held at once: 2**25 float64 are 256 MiB.
_BLOCK = 2**25


def knn_predict(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    k: int = 20,
    metric: str = 'cosine',
    temperature: float = 0.07,
    num_classes: int | None = None,
) -> Tensor:
    """Class of each test row by a vote of its k nearest training rows.

    'cosine': a neighbour votes with weight exp(similarity / temperature)
    (InstDisc, arXiv:1805.01978; DINO, arXiv:2104.14294, k=20). 'euclidean':
    plain majority on features as they are, in float64 (k=5 in W-MSE,
    arXiv:2007.06346). Equal votes: the lowest class wins. Which of several
    equidistant rows comes k-th is not defined.

    Args:
        train_x: (N, D), all ranks' rows; labels ``train_y`` (N,) int64.
        train_y: (N,) int64, not negative.
        test_x: (M, D), on the device of ``train_x``.
        k: neighbours, 1..N.
        metric: 'cosine' or 'euclidean'.
        temperature: above 0; read by 'cosine' only.
        num_classes: default: highest training label + 1.

    Returns:
        Classes (M,) int64.

    Raises:
        ValueError: a wrong argument, shape or non-finite feature.
    """
    _check(train_x, train_y, test_x, k, metric, temperature)
    highest = int(train_y.max()) + 1
    num_classes = highest if num_classes is None else num_classes
    if num_classes < highest:
        raise ValueError(f'num_classes is {num_classes}, but train_y has '
                         f'label {highest - 1}')
    if metric == 'cosine':
        bank, test_x = F.normalize(train_x.float()), test_x.float()
    else:
        # |a - b|^2 without the constant |a|^2; float32 would cancel.
        bank, test_x = train_x.double(), test_x.double()
        squares = bank.square().sum(1)
    predictions = [train_y.new_empty(0)]
    for block in test_x.split(max(1, _BLOCK // len(bank))):
        if metric == 'cosine':
            score, index = (F.normalize(block) @ bank.T).topk(k)
            # Relative to the best: a small temperature must not overflow.
            weight = ((score - score[:, :1]).double() / temperature).exp()
        else:
            distance = squares - 2 * (block @ bank.T)
            index = distance.topk(k, largest=False).indices
            weight = torch.ones_like(index, dtype=torch.float64)
        votes = weight.new_zeros(len(block), num_classes)
        votes.scatter_add_(1, train_y[index], weight)
        predictions.append(votes.argmax(1))
    return torch.cat(predictions)


def knn_accuracy(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    k: int = 20,
    metric: str = 'cosine',
    temperature: float = 0.07,
    num_classes: int | None = None,
) -> float:
    """Top-1 accuracy of :func:`knn_predict` in percent, 0..100."""
    if len(test_x) == 0 or test_y.shape != test_x.shape[:1]:
        raise ValueError(f'test_x has {len(test_x)} rows and test_y '
                         f'{len(test_y)}: equal and at least one needed')
    predictions = knn_predict(train_x, train_y, test_x, k, metric,
                              temperature, num_classes)
    return 100 * (predictions == test_y).double().mean().item()


def _check(train_x: Tensor, train_y: Tensor, test_x: Tensor, k: int,
           metric: str, temperature: float) -> None:
    if metric not in METRICS:
        raise ValueError(f'metric must be one of {METRICS}, got {metric!r}')
    if train_x.dim() != 2 or test_x.dim() != 2 or \
            train_x.shape[1] != test_x.shape[1]:
        raise ValueError('features must be (N, D) and (M, D), got '
                         f'{tuple(train_x.shape)} and {tuple(test_x.shape)}')
    if train_y.shape != train_x.shape[:1]:
        raise ValueError(f'train_x has {len(train_x)} rows, but train_y is '
                         f'{tuple(train_y.shape)}')
    if not 1 <= k <= len(train_x):
        raise ValueError(f'k must be in 1..{len(train_x)} (the training '
                         f'rows), got {k}')
    if temperature <= 0:
        raise ValueError(f'temperature must be above 0, got {temperature}')
    if train_y.min() < 0:
        raise ValueError('train_y has negative labels')
    for name, x in dict(train_x=train_x, test_x=test_x).items():
        bad = int((~x.isfinite()).any(1).sum())
        if bad:
            raise ValueError(f'{name} has non-finite features in {bad} of '
                             f'{len(x)} rows')
