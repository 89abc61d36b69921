"""k-nearest-neighbour classification on cached features."""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_dist_info
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmentropy.checks.arguments import COUNT, POSITIVE, one_of, require
from mmentropy.distributed import unwrapped
from mmentropy.evaluation.features import check_features, extract_features
from mmentropy.evaluation.labelled import build_labelled
from mmentropy.evaluation.progress import progress
from mmentropy.evaluation.scored import check_class_labels, check_scored

METRICS = ('cosine', 'euclidean')
# Test rows and training rows that are compared at once: their distances take 32 or 64 MiB.
TEST_BLOCK, TRAIN_BLOCK = 2**8, 2**15


def knn_predict(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    k: int = 20,
    metric: str = 'cosine',
    temperature: float = 0.07,
) -> Tensor:
    """Return the classes (M,) int64 of test rows by a vote of their k nearest training rows.

    'cosine': a neighbour votes with weight exp(similarity / temperature) (InstDisc,
    arXiv:1805.01978; DINO, arXiv:2104.14294, k=20). 'euclidean': plain majority on features as
    they are, in float64 (k=5 in W-MSE, arXiv:2007.06346). Of equal votes the lowest class wins.
    Which of several equidistant rows comes k-th is not defined. Memory is needed for a block of
    rows only, however many there are: less than 0.3 GiB at D = 512.

    Args:
        train_x, train_y: (N, D) and (N,) int64, not negative; all ranks' rows.
        test_x: (M, D), on the same device.
        k: neighbours, 1..N.
        metric: 'cosine' or 'euclidean'.
        temperature: above 0; read by 'cosine' only.

    Raises:
        ValueError: a wrong argument, shape or non-finite feature.
    """
    require(one_of(METRICS), metric=metric)
    require(POSITIVE, temperature=temperature)
    check_features(train_x, train_y, test_x)
    require(COUNT, k=k)
    if k > len(train_x):
        raise ValueError(f'k must be in 1..{len(train_x)} (the training rows), got {k}')
    # In float32 the terms of |a - b|^2 would cancel.
    dtype = torch.float32 if metric == 'cosine' else torch.float64
    norms = torch.cat([rows.to(dtype).norm(dim=1) for rows in train_x.split(TRAIN_BLOCK)])
    predictions = [train_y.new_empty(0)]
    for queries in progress(test_x.split(TEST_BLOCK), 'kNN', 'block'):
        score, index = nearest(queries.to(dtype), train_x, norms, k, metric == 'cosine')
        weight = torch.ones_like(score)
        if metric == 'cosine':
            # Weights are relative to the best one: a small temperature must not overflow.
            weight = ((score - score[:, :1]).double() / temperature).exp()
        votes = weight.new_zeros(len(queries), int(train_y.max()) + 1)
        votes.scatter_add_(1, train_y[index], weight)
        predictions.append(votes.argmax(1))
    return torch.cat(predictions)


def nearest(
    queries: Tensor, train_x: Tensor, norms: Tensor, k: int, cosine: bool
) -> tuple[Tensor, Tensor]:
    """Return scores (M, k), the best first, and the rows of the k nearest.

    A score is the cosine, or 2ab - b^2, which is minus the squared distance but for a constant of
    the query. Queries are (M, D), training rows (N, D), and ``norms`` (N,) those of the latter.
    """
    if cosine:
        queries = F.normalize(queries)
    best = queries.new_empty(len(queries), 0)
    index = best.long()
    for first in range(0, len(train_x), TRAIN_BLOCK):
        block = slice(first, first + TRAIN_BLOCK)
        columns = train_x[block].to(queries.dtype).T
        if cosine:
            score = queries @ columns
            score /= norms[block].clamp_min(1e-12)
        else:
            score = torch.addmm(norms[block].square(), queries, columns, beta=-1, alpha=2)
        score, found = score.topk(min(k, score.shape[1]))
        best = torch.cat([best, score], 1)
        index = torch.cat([index, found + first], 1)
        best, order = best.topk(min(k, best.shape[1]))
        index = index.gather(1, order)
    return best, index


def knn_accuracy(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    k: int = 20,
    metric: str = 'cosine',
    temperature: float = 0.07,
) -> float:
    """Return the top-1 accuracy of :func:`knn_predict` in percent, 0..100.

    Of several ranks each classifies its share of the test rows. All of them have to call this,
    with the same rows, and get the same result.

    Raises:
        ValueError: see :func:`knn_predict` and :func:`.check_class_labels`.
    """
    if len(test_x) == 0 or test_y.shape != test_x.shape[:1]:
        raise ValueError(
            f'test_x has {len(test_x)} rows and test_y {len(test_y)}: equal and at least one needed'
        )
    check_class_labels(train_y.tolist(), test_y.tolist())
    rank, world_size = get_dist_info()
    share = slice(rank, None, world_size)
    predictions = knn_predict(train_x, train_y, test_x[share], k, metric, temperature)
    correct = (predictions == test_y[share]).sum()
    all_reduce(correct)
    return 100 * correct.item() / len(test_y)


def build_knn_data(train: dict, test: dict, k: int, trained: dict | None = None) -> tuple[Any, Any]:
    """Build two labelled data sets, and check that kNN can be measured on them.

    Args:
        train: The config of the bank.
        test: The config of the queries.
        k: The number of neighbours.
        trained: The config of the images that the network is trained on. Default: the bank.

    Raises:
        FileNotFoundError: Files of a data set are missing.
        ValueError: k is more than the training rows, or see :func:`.build_labelled` and
            :func:`.check_scored`.
    """
    bank, queries = [build_labelled(entry, trained or train, ['kNN']) for entry in (train, test)]
    if k > len(bank):
        raise ValueError(f'kNN: k must be in 1..{len(bank)} (the rows of train), got {k}')
    check_scored(bank, queries)
    return bank, queries


def model_knn(
    model: nn.Module, train: dict | Dataset, test: dict | Dataset, loader: dict, **knn: Any
) -> float:
    """Return :func:`knn_accuracy` of a model on two labelled data sets, computed on its device.

    Args:
        model: see :func:`mmentropy.evaluation.extract_features`.
        train: the bank, a data set or its config.
        test: the queries, likewise.
        loader: ``batch_size`` and ``num_workers`` of :func:`extract_features`.
        **knn: arguments of :func:`knn_predict`.
    """
    device = next(unwrapped(model).parameters()).device
    (train_x, train_y), (test_x, test_y) = [
        [rows.to(device) for rows in extract_features(model, data, **loader)]
        for data in (train, test)
    ]
    return knn_accuracy(train_x, train_y, test_x, test_y, **knn)
