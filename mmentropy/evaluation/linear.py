"""Linear probes on cached features."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_dist_info
from torch import Tensor, nn

from mmentropy.checks.arguments import COUNT, NOT_NEGATIVE, POSITIVE, some
from mmentropy.evaluation.features import blocks, check_finite

LEARNING_RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
WEIGHT_DECAYS = (0.0, 0.001)
_EPS = 1e-6


class LinearProbe(NamedTuple):
    """Result of :func:`linear_probe`; accuracies in percent, 0..100."""

    accuracy: float
    learning_rate: float
    weight_decay: float
    # By learning rate and weight decay.
    val_accuracies: dict[tuple[float, float], float]


def linear_probe(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    learning_rates: Sequence[float] = LEARNING_RATES,
    epochs: int = 100,
    batch_size: int = 256,
    weight_decays: Sequence[float] = (0.0,),
    seed: int = 0,
) -> LinearProbe:
    """Test accuracy of a linear classifier on frozen features.

    Batch norm without parameters (MAE, arXiv:2111.06377, A.1), here with the
    statistics of the whole training set, then softmax regression from zero by
    SGD, momentum 0.9, cosine schedule. The pair of learning rate and weight
    decay with the highest accuracy (of equals: the lowest cross-entropy) on a
    stratified tenth of the TRAINING rows is trained again on all of them; the
    test rows are used once, for the result.

    All pairs are trained at once, as columns of one matrix; of several ranks
    each trains its share of them. All ranks have to call this, with the same
    rows, and get the same result.

    Args:
        train_x: (N, D), all ranks' rows.
        train_y: (N,) int64, not negative.
        test_x: (M, D).
        test_y: (M,) int64.
        learning_rates: of the sweep, above 0.
        epochs: passes over the training rows.
        batch_size: rows per step.
        weight_decays: of the sweep, 0 or above; on weights, not biases.
        seed: of the held-out rows and the order of the batches.

    Raises:
        ValueError: a wrong argument, shape or non-finite feature; every
            pair diverged.
    """
    check_features(train_x, train_y, test_x, test_y)
    if not some(POSITIVE).test(learning_rates):
        raise ValueError(
            f'learning_rates must be one or more numbers above 0, got {learning_rates!r}'
        )
    if not some(NOT_NEGATIVE).test(weight_decays):
        raise ValueError(
            f'weight_decays must be one or more numbers, none below 0, got {weight_decays!r}'
        )
    _check_epochs(epochs, batch_size)
    generator = torch.Generator().manual_seed(seed)
    held_out = stratified_tenth(train_y, generator)
    fit = dict(num_classes=int(train_y.max()) + 1, epochs=epochs, batch_size=batch_size, seed=seed)
    pairs = list(itertools.product(learning_rates, weight_decays))
    rank, world_size = get_dist_info()
    share = slice(rank, None, world_size)
    scores = torch.zeros(len(pairs), 2, dtype=torch.float64)
    if pairs[share]:
        found = _fit(
            train_x[~held_out],
            train_y[~held_out],
            train_x[held_out],
            train_y[held_out],
            pairs[share],
            **fit,
        )
        scores[share] = scores.new_tensor(found)
    all_reduce(scores)
    accuracies = scores[:, 0].tolist()
    best = max(range(len(pairs)), key=scores.tolist().__getitem__)
    ((accuracy, _),) = _fit(train_x, train_y, test_x, test_y, [pairs[best]], **fit)
    if min(accuracy, accuracies[best]) < 0:
        raise ValueError(
            'the linear probe diverged at rate '
            f'{pairs[best][0]}, the best of '
            f'{tuple(learning_rates)}: add lower rates'
        )
    return LinearProbe(accuracy, *pairs[best], dict(zip(pairs, accuracies, strict=True)))


def minent_linear_probe(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    epochs: int = 500,
    batch_size: int = 1000,
    seed: int = 0,
) -> float:
    """Test accuracy in percent of the linear classifier of MinEnt and W-MSE.

    Softmax regression on features as they are by Adam, learning rate 1e-2 to
    1e-6 by a factor per epoch, weight decay 5e-6, after the last epoch
    (LiShuo1001/MinEnt@d17ed2f:MinEnt/model.py). What that code prints as its
    result is the best of dozens of checkpoints of a pre-training, picked on
    the test set; this is the accuracy of one checkpoint.

    Args:
        train_x: (N, D), all ranks' rows.
        train_y: (N,) int64, not negative.
        test_x: (M, D).
        test_y: (M,) int64.
        epochs: passes over the training rows.
        batch_size: rows per step; the last batch may be smaller.
        seed: of the first weights and the order of the batches.

    Raises:
        ValueError: a wrong argument, shape or non-finite feature.
    """
    check_features(train_x, train_y, test_x, test_y)
    _check_epochs(epochs, batch_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = nn.Linear(train_x.shape[1], int(train_y.max()) + 1)
    layer.to(train_x.device)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2, weight_decay=5e-6)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, (1e-6 / 1e-2) ** (1 / epochs))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(train_x), generator=generator)
        for rows in order.to(train_x.device).split(batch_size):
            optimizer.zero_grad()
            F.cross_entropy(layer(train_x[rows]), train_y[rows]).backward()
            optimizer.step()
        scheduler.step()
    with torch.no_grad():
        predictions = layer(test_x).argmax(1)
    return 100 * (predictions == test_y).double().mean().item()


@torch.no_grad()
def _fit(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    pairs: Sequence[tuple[float, float]],
    num_classes: int,
    epochs: int,
    batch_size: int,
    seed: int,
) -> list[tuple[float, float]]:
    """Accuracy in percent and minus cross-entropy, by rate and decay.

    Accuracy -1 marks a pair that diverged.
    """
    mean = train_x.mean(0, dtype=torch.float64)
    squares = [(rows - mean).square().sum(0) for rows in blocks(train_x)]
    std = (torch.stack(squares).sum(0) / len(train_x) + _EPS).sqrt()
    train_x, test_x = (_normalized(x, mean, std) for x in (train_x, test_x))
    train_y = train_y.long()

    # Column (class, pair); the last row is the bias.
    rates, decays = train_x.new_tensor(pairs).T.repeat(1, num_classes)
    weight = train_x.new_zeros(train_x.shape[1], len(rates))
    momentum = torch.zeros_like(weight)
    generator = torch.Generator().manual_seed(seed)
    steps, step = epochs * math.ceil(len(train_x) / batch_size), 0
    for _ in range(epochs):
        order = torch.randperm(len(train_x), generator=generator)
        for rows in order.to(train_x.device).split(batch_size):
            x, y = train_x[rows], train_y[rows]
            # Gradient of the sum of the cross-entropies.
            logits = (x @ weight).view(len(x), num_classes, len(pairs))
            error = torch.softmax(logits, 1)
            error -= F.one_hot(y, num_classes).unsqueeze(2)
            momentum.addmm_(x.T, error.flatten(1), beta=0.9, alpha=1 / len(x))
            momentum[:-1].addcmul_(weight[:-1], decays)
            factor = 0.5 * (1 + math.cos(math.pi * step / steps))
            weight.addcmul_(momentum, rates, value=-factor)
            step += 1
    scores = []
    for w in weight.view(-1, num_classes, len(pairs)).unbind(2):
        logits = test_x @ w
        if logits.isfinite().all():
            correct = (logits.argmax(1) == test_y).double().mean().item()
            # A class that only the test rows have lies outside the logits.
            known = test_y < num_classes
            loss = F.cross_entropy(logits[known], test_y[known].long())
            scores.append((100 * correct, -loss.item()))
        else:
            scores.append((-1.0, 0.0))
    return scores


def _normalized(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Rows (N, D + 1) float32 of mean 0 and deviation 1; the last is 1."""
    out = x.new_ones(len(x), x.shape[1] + 1, dtype=torch.float32)
    for rows, block in zip(blocks(out), blocks(x), strict=True):
        rows[:, :-1] = (block - mean) / std
    return out


def stratified_tenth(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Mask (N,) of a seeded tenth of the rows, a tenth of every class."""
    order = torch.randperm(len(labels), generator=generator).to(labels.device)
    order = order[labels[order].argsort(stable=True)]
    mask = torch.zeros_like(labels, dtype=torch.bool)
    mask[order[::10]] = True
    return mask


def check_features(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor) -> None:
    """Raise ValueError unless rows fit, are finite, and labelled once."""
    if train_x.dim() != 2 or test_x.dim() != 2 or train_x.shape[1] != test_x.shape[1]:
        raise ValueError(
            'features must be (N, D) and (M, D), got '
            f'{tuple(train_x.shape)} and {tuple(test_x.shape)}'
        )
    for name, x, y in (('train', train_x, train_y), ('test', test_x, test_y)):
        if len(x) < 2 or y.shape != x.shape[:1]:
            raise ValueError(
                f'{name}_x has {len(x)} rows and {name}_y is '
                f'{tuple(y.shape)}: equal and at least two '
                'needed'
            )
        check_finite(f'{name}_x', x)
    if train_y.min() < 0:
        raise ValueError('train_y has negative labels')


def _check_epochs(epochs: int, batch_size: int) -> None:
    if not (COUNT.test(epochs) and COUNT.test(batch_size)):
        raise ValueError(f'epochs and batch_size must be at least 1, got {epochs} and {batch_size}')
