"""Linear probe on cached features: a sweep over learning rates and weight decays at once."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_dist_info
from torch import Tensor

from mmentropy.checks.arguments import COUNT, NOT_NEGATIVE, POSITIVE, require, some
from mmentropy.evaluation.features import Rows, blocks, check_features
from mmentropy.evaluation.progress import progress
from mmentropy.evaluation.scored import check_class_labels

LEARNING_RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
WEIGHT_DECAYS = (0.0, 0.001)

# A learning rate and a weight decay; a test accuracy in percent and minus the cross-entropy.
Pair = tuple[float, float]
Score = tuple[float, float]
# Probabilities below it are 0; none of the sums that they are added to would notice them.
SMALLEST = 1e-20
# A sweep has fewer epochs where all of them would read more numbers, but at least so many. Raw
# pixels of CIFAR-10 have 150 million; features of 512 columns there have all 100 epochs.
SWEEP_NUMBERS, SWEEP_EPOCHS = 5 * 10**9, 10
# The score of a pair whose training diverged.
DIVERGED = (-1.0, 0.0)


class LinearProbe(NamedTuple):
    """Accuracies in percent; ``val_accuracies`` are those on the held-out rows."""

    accuracy: float
    learning_rate: float
    weight_decay: float
    val_accuracies: dict[Pair, float]


class Training(NamedTuple):
    """How a classifier is trained; ``seed`` orders the batches."""

    num_classes: int
    epochs: int
    batch_size: int
    seed: int


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
    """Return the test accuracy of a linear classifier on frozen features.

    Batch norm without parameters (MAE, arXiv:2111.06377, A.1), here with the statistics of the
    whole training set, then softmax regression from zero by SGD, momentum 0.9, cosine schedule.
    The pair of learning rate and weight decay with the highest accuracy (of equals: the lowest
    cross-entropy) on a stratified tenth of the TRAINING rows is trained again on all of them; the
    test rows are used once, for the result. Where N times D is large (``SWEEP_NUMBERS``) the pairs
    are compared after fewer epochs; the best one is trained for all of them. All ranks have to call
    this, with the same rows; each trains its share of the pairs, and all get the same result.

    Args:
        train_x, train_y: (N, D) and (N,) int64, not negative; all ranks' rows.
        test_x, test_y: (M, D) and (M,) int64.
        learning_rates: of the sweep, above 0.
        epochs: passes over the training rows.
        batch_size: rows per step.
        weight_decays: of the sweep, 0 or above; on weights, not biases.
        seed: of the held-out rows and the order of the batches.

    Raises:
        ValueError: a wrong argument, shape or non-finite feature; every pair diverged.
    """
    check_features(train_x, train_y, test_x, test_y)
    check_class_labels(train_y.tolist(), test_y.tolist())
    require(some(POSITIVE), learning_rates=learning_rates)
    require(some(NOT_NEGATIVE), weight_decays=weight_decays)
    require(COUNT, epochs=epochs, batch_size=batch_size)
    training = Training(int(train_y.max()) + 1, epochs, batch_size, seed)
    pairs = list(itertools.product(learning_rates, weight_decays))
    fewer = max(SWEEP_EPOCHS, SWEEP_NUMBERS // train_x.numel())
    sweep = training._replace(epochs=min(epochs, fewer))
    scores = _held_out_scores((train_x, train_y), pairs, sweep)
    best = max(pairs, key=scores.__getitem__)
    ((accuracy, _),) = fit_and_score((train_x, train_y), (test_x, test_y), [best], training)
    val_accuracies = {pair: score[0] for pair, score in scores.items()}
    if min(accuracy, val_accuracies[best]) < 0:
        raise ValueError(
            f'the linear probe diverged at rate {best[0]}, the best of '
            f'{tuple(learning_rates)}: add lower rates'
        )
    return LinearProbe(accuracy, *best, val_accuracies)


def _held_out_scores(train: Rows, pairs: list[Pair], training: Training) -> dict[Pair, Score]:
    """Return the scores of all pairs on a tenth of the rows; each rank trains its share of them."""
    x, y = train
    held_out = stratified_tenth(y, torch.Generator().manual_seed(training.seed))
    rank, world_size = get_dist_info()
    share = slice(rank, None, world_size)
    scores = torch.zeros(len(pairs), 2, dtype=torch.float64)
    if pairs[share]:
        kept, tenth = (x[~held_out], y[~held_out]), (x[held_out], y[held_out])
        scores[share] = scores.new_tensor(fit_and_score(kept, tenth, pairs[share], training))
    all_reduce(scores)
    return {pair: tuple(score) for pair, score in zip(pairs, scores.tolist())}


def stratified_tenth(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return a mask (N,) of a seeded tenth of the rows, a tenth of every class."""
    order = torch.randperm(len(labels), generator=generator).to(labels.device)
    order = order[labels[order].argsort(stable=True)]
    mask = torch.zeros_like(labels, dtype=torch.bool)
    mask[order[::10]] = True
    return mask


@torch.no_grad()
def fit_and_score(
    train: Rows, test: Rows, pairs: Sequence[Pair], training: Training
) -> list[Score]:
    """Train one classifier for each pair and return its score on the test rows."""
    train_x, test_x = _standardised(train[0], test[0])
    weight = _trained_weights(train_x, train[1].long(), pairs, training)
    return [
        _score(F.linear(test_x, one), test[1], training.num_classes) for one in weight.unbind(1)
    ]


def _standardised(train_x: Tensor, test_x: Tensor) -> list[Tensor]:
    """Return both (N, D + 1) float32 by the mean and deviation of the first; the last column is 1.

    By the column of ones the last column of the weights is the bias.
    """
    zeros = train_x.new_zeros(train_x.shape[1], dtype=torch.float64)
    mean = sum((rows.double().sum(0) for rows in blocks(train_x)), zeros) / len(train_x)
    squares = sum(((rows - mean).square().sum(0) for rows in blocks(train_x)), zeros)
    std = (squares / len(train_x) + 1e-6).sqrt()
    results = []
    for x in (train_x, test_x):
        out = x.new_ones(len(x), x.shape[1] + 1, dtype=torch.float32)
        for rows, block in zip(blocks(out[:, :-1]), blocks(x), strict=True):
            rows.copy_((block - mean) / std)
        results.append(out)
    return results


def _trained_weights(x: Tensor, y: Tensor, pairs: Sequence[Pair], training: Training) -> Tensor:
    """Return weights (classes, pairs, D) after SGD on the cross-entropy, for all pairs at once.

    The classifiers are rows of one matrix (classes * pairs, D). SGD is written out because the
    gradient, (softmax(x w^T) - one_hot(y))^T x / N, needs no graph.
    """
    num_classes, epochs, batch_size, seed = training
    rates, decays = x.new_tensor(pairs).T.repeat(1, num_classes).unsqueeze(2)
    weight = x.new_zeros(len(rates), x.shape[1])
    momentum = torch.zeros_like(weight)
    # Memory that is new for every batch takes longer than the copy of the rows.
    memory = x.new_empty(min(batch_size, len(x)), x.shape[1])
    generator = torch.Generator().manual_seed(seed)
    steps, step = epochs * math.ceil(len(x) / batch_size), 0
    what = f'linear probe by {len(pairs)} rates' if len(pairs) > 1 else 'linear probe by the best'
    for _ in progress(range(epochs), what, 'epoch'):
        order = torch.randperm(len(x), generator=generator)
        for rows in order.to(x.device).split(batch_size):
            batch = torch.index_select(x, 0, rows, out=memory[: len(rows)])
            logits = F.linear(batch, weight).view(len(rows), num_classes, len(pairs))
            # Where a rate is too high, most are denormal numbers, by which products take 10 times
            # as long.
            error = F.threshold(torch.softmax(logits, 1), SMALLEST, 0)
            error -= F.one_hot(y[rows], num_classes).unsqueeze(2)
            momentum.addmm_(error.flatten(1).T, batch, beta=0.9, alpha=1 / len(rows))
            momentum[:, :-1].addcmul_(weight[:, :-1], decays)
            cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
            weight.addcmul_(momentum, rates, value=-cosine)
            step += 1
    return weight.view(num_classes, len(pairs), -1)


def _score(logits: Tensor, labels: Tensor, num_classes: int) -> Score:
    if not logits.isfinite().all():
        return DIVERGED
    correct = (logits.argmax(1) == labels).double().mean().item()
    # A class that only the test rows have lies outside the logits.
    known = labels < num_classes
    loss = F.cross_entropy(logits[known], labels[known].long())
    return 100 * correct, -loss.item()
