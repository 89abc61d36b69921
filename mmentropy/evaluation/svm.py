"""Linear SVMs on cached features: with all labels, or a few of each class.

scikit-learn is imported where it is used: it would add a fifth to the start of every tool.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmentropy.checks.arguments import COUNT, POSITIVE, require, some
from mmentropy.evaluation.features import check_features
from mmentropy.evaluation.linear import stratified_tenth
from mmentropy.evaluation.progress import progress
from mmentropy.evaluation.scored import check_class_labels
from mmentropy.evaluation.voc import voc07_ap

COSTS = (0.01, 0.1, 1.0, 10.0, 100.0)
SHOTS = (1, 2, 4, 8, 16)

# Features (N, D) and labels (N,) or (N, C).
Arrays = tuple[np.ndarray, np.ndarray]


def svm_score(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    costs: Sequence[float] = COSTS,
    seed: int = 0,
) -> float:
    """Return the test score in percent of linear SVMs, one against the rest.

    Features are scaled to unit length, as in arXiv:1905.01235
    (facebookresearch/fair_self_supervision_benchmark@1e5d165:tools/svm). The cost with the best
    score on a tenth of the TRAINING rows, one for all classes, is trained again on all of them.
    With one label per row the score is top-1. With several it is the mean over the classes of
    :func:`.voc07_ap`; each SVM leaves out the rows that are difficult for its class, and weighs
    its positives twice.

    Args:
        train_x, train_y: (N, D) and (N,) int64, not negative, or (N, C): 1, 0, -1 difficult; all
            ranks' rows.
        test_x, test_y: (M, D) and (M,) or (M, C).
        costs: values of C of ``LinearSVC``.
        seed: of the held-out rows and of the solver.

    Raises:
        ValueError: a wrong shape or non-finite feature.
    """
    require(some(POSITIVE), costs=costs)
    several = train_y.dim() == 2
    if several and train_y.shape[1:] != test_y.shape[1:]:
        shapes = f'{tuple(train_y.shape)} and {tuple(test_y.shape)}'
        raise ValueError(f'the labels must be of the same classes, got {shapes}')
    # Where a row has several labels, only the number of rows is left to check.
    rows = [y.new_zeros(len(y)) if several else y for y in (train_y, test_y)]
    check_features(train_x, rows[0], test_x, rows[1])
    if not several:
        check_class_labels(train_y.tolist(), test_y.tolist())
    generator = torch.Generator().manual_seed(seed)
    held_out = stratified_tenth(rows[0], generator).cpu().numpy()
    score = _mean_ap if several else _accuracy
    x, y = _arrays(train_x, train_y)
    kept, tenth = (x[~held_out], y[~held_out]), (x[held_out], y[held_out])
    scores = [score(kept, tenth, cost, seed) for cost in progress(costs, 'SVM', 'cost')]
    best = costs[int(np.nanargmax(scores))]
    return score((x, y), _arrays(test_x, test_y), best, seed)


def low_shot(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    shots: Sequence[int] = SHOTS,
    draws: int = 5,
    seed: int = 0,
) -> dict[int, float]:
    """Return ``{k: test top-1 in percent}`` of SVMs that saw k training rows of each class.

    The SVMs are those of :func:`svm_score` with one label per row, but with cost 1, as so few rows
    leave none to choose it on. The result is the mean over ``draws``; the rows of a draw are among
    those of the same draw with a larger k.

    Args:
        train_x, train_y: (N, D) and (N,) int64, not negative; all ranks' rows.
        test_x, test_y: (M, D) and (M,).
        shots: the values of k.
        draws: how often k rows of each class are drawn.
        seed: of the draws and of the solver.

    Raises:
        ValueError: a wrong shape or non-finite feature; a class has fewer rows than the largest k.
    """
    require(some(COUNT), shots=shots)
    require(COUNT, draws=draws)
    check_features(train_x, train_y, test_x, test_y)
    check_class_labels(train_y.tolist(), test_y.tolist())
    check_shots(train_y.tolist(), shots)
    x, y = _arrays(train_x, train_y)
    test = _arrays(test_x, test_y)
    classes = np.unique(y)
    scores: dict[int, list[float]] = {k: [] for k in shots}
    for draw in progress(range(draws), 'SVMs on few labels', 'draw'):
        random = np.random.RandomState([seed, draw])
        orders = [random.permutation(np.flatnonzero(y == c)) for c in classes]
        for k in shots:
            rows = np.concatenate([order[:k] for order in orders])
            scores[k].append(_accuracy((x[rows], y[rows]), test, 1.0, seed))
    return {k: float(np.mean(values)) for k, values in scores.items()}


def check_shots(labels: Sequence[int], shots: Sequence[int] = SHOTS) -> None:
    """Raise a ValueError if a class of the training labels has fewer rows than the largest k."""
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < max(shots):
        rarest = f'class {classes[counts.argmin()]} has {counts.min()} training rows'
        raise ValueError(f'{rarest}, fewer than {max(shots)} shots: evaluate other data')


def _arrays(x: Tensor, y: Tensor) -> Arrays:
    """Return features in float64 and of unit length, and labels, for scikit-learn."""
    from sklearn.preprocessing import normalize

    return normalize(x.cpu().double().numpy()), y.cpu().numpy()


def _svm(cost: float, seed: int, **kwargs: Any) -> Any:
    from sklearn.svm import LinearSVC

    return LinearSVC(C=cost, max_iter=10000, random_state=seed, **kwargs)


def _accuracy(train: Arrays, test: Arrays, cost: float, seed: int) -> float:
    return 100 * _svm(cost, seed).fit(*train).score(*test)


def _mean_ap(train: Arrays, test: Arrays, cost: float, seed: int) -> float:
    values = []
    for labels, test_labels in zip(train[1].T, test[1].T, strict=True):
        counts = labels >= 0
        scores = np.zeros(len(test[0]))
        # Where all rows of a rare class are held out, every test row scores alike.
        if len(set(labels[counts])) == 2:
            svm = _svm(cost, seed, class_weight={0: 1, 1: 2})
            svm.fit(train[0][counts], labels[counts])
            scores = svm.decision_function(test[0])
        values.append(100 * voc07_ap(scores, test_labels))
    return float(np.nanmean(values))
