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
from mmentropy.evaluation.features import blocks, check_features
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
# Rows that are scored at once: with six rates and a thousand classes their logits take 24 MiB.
SCORED_ROWS = 2**10
# The score of a pair whose training diverged.
DIVERGED = (-1.0, 0.0)


class LinearProbe(NamedTuple):
    """Accuracies in percent; ``val_accuracies`` are those on the held-out rows."""

    accuracy: float
    learning_rate: float
    weight_decay: float
    val_accuracies: dict[Pair, float]


class Part(NamedTuple):
    """Features ``x`` (N, D) and labels ``y`` (N,), of which only ``rows`` (K,) are looked at."""

    x: Tensor
    y: Tensor
    rows: Tensor


class Standard(NamedTuple):
    """What standardises features: their mean (D,) and one over their deviation (D,)."""

    mean: Tensor
    scale: Tensor


class Reader:
    """Reads up to ``count`` standardised rows of ``x`` (N, D), always into the same memory.

    Memory that is new for every batch takes longer than the copy of the rows.
    """

    def __init__(self, x: Tensor, standard: Standard, count: int) -> None:
        self.x, self.standard = x, standard
        self.plain = x.new_empty(count, x.shape[1])
        self.batch = x.new_ones(count, x.shape[1] + 1, dtype=torch.float32)

    def __call__(self, rows: Tensor) -> Tensor:
        """Return (K, D + 1) float32, whose last column is 1: that of weights is the bias."""
        count = len(rows)
        plain = torch.index_select(self.x, 0, rows, out=self.plain[:count])
        features = torch.sub(plain, self.standard.mean, out=self.batch[:count, :-1])
        features *= self.standard.scale
        return self.batch[:count]


class Training(NamedTuple):
    """How a classifier is trained; ``seed`` orders the batches."""

    num_classes: int
    epochs: int
    batch_size: int
    seed: int


def all_rows(x: Tensor, y: Tensor) -> Part:
    """Return features and labels of which all rows are looked at."""
    return Part(x, y, torch.arange(len(x), device=x.device))


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
    cross-entropy) on a tenth of the TRAINING rows, see :func:`stratified_tenth` also for classes of
    fewer than 10 rows, is trained again on all of them; the test rows are used once, for the
    result. Where N times D is large (``SWEEP_NUMBERS``) the pairs are compared after fewer epochs;
    the best one is trained for all of them. No copy of the features is made. All ranks have to call
    this, with the same rows; each trains its share of the pairs, and all get the same result.

    Args:
        train_x, train_y: (N, D) and (N,) int64, not negative; all ranks' rows.
        test_x, test_y: (M, D) and (M,) int64; a class without a training row counts as wrong.
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
    train, test = all_rows(train_x, train_y), all_rows(test_x, test_y)
    pairs = list(itertools.product(learning_rates, weight_decays))
    fewer = max(SWEEP_EPOCHS, SWEEP_NUMBERS // train_x.numel())
    scores = _held_out_scores(train, pairs, training._replace(epochs=min(epochs, fewer)))
    best = max(pairs, key=scores.__getitem__)
    ((accuracy, _),) = fit_and_score(train, test, [best], training)
    val_accuracies = {pair: score[0] for pair, score in scores.items()}
    if min(accuracy, val_accuracies[best]) < 0:
        raise ValueError(
            f'the linear probe diverged at rate {best[0]}, the best of '
            f'{tuple(learning_rates)}: add lower rates'
        )
    return LinearProbe(accuracy, *best, val_accuracies)


def _held_out_scores(train: Part, pairs: list[Pair], training: Training) -> dict[Pair, Score]:
    """Return the scores of all pairs on a tenth of the rows; each rank trains its share of them."""
    x, y, rows = train
    held_out = stratified_tenth(y, torch.Generator().manual_seed(training.seed))
    rank, world_size = get_dist_info()
    share = slice(rank, None, world_size)
    scores = torch.zeros(len(pairs), 2, dtype=torch.float64)
    if pairs[share]:
        kept, tenth = Part(x, y, rows[~held_out]), Part(x, y, rows[held_out])
        scores[share] = scores.new_tensor(fit_and_score(kept, tenth, pairs[share], training))
    all_reduce(scores)
    return {pair: tuple(score) for pair, score in zip(pairs, scores.tolist())}


def stratified_tenth(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return a mask (N,) of a seeded tenth of the rows, a tenth of every class.

    Where a class has fewer than 10 rows, one row of some of the classes is held out, which the seed
    chooses. The only row of a class is never held out unless no class has two.
    """
    order = torch.randperm(len(labels), generator=generator).to(labels.device)
    classes, numbers, counts = labels.unique(return_inverse=True, return_counts=True)
    single = (counts == 1)[numbers]
    if counts.min() < 10:
        # Every tenth row of classes in the order of their labels would leave out the same ones.
        numbers = torch.randperm(len(classes), generator=generator).to(labels.device)[numbers]
    order = order[numbers[order].argsort(stable=True)]
    if not single.all():
        order = order[~single[order]]
    mask = torch.zeros_like(labels, dtype=torch.bool)
    mask[order[::10]] = True
    return mask


@torch.no_grad()
def fit_and_score(
    train: Part, test: Part, pairs: Sequence[Pair], training: Training
) -> list[Score]:
    """Train one classifier for each pair and return its score on the test rows.

    Features are standardised a batch at a time, so that they need no second memory.
    """
    standard = _standard(train)
    weight = _trained_weights(train, standard, pairs, training)
    return _scores(weight, test, standard)


def _standard(train: Part) -> Standard:
    """Return the mean and one over the deviation of the training rows, summed in float64."""
    x, _, rows = train
    parts = rows.split(len(blocks(x)[0]))
    zeros = x.new_zeros(x.shape[1], dtype=torch.float64)
    mean = sum((x[part].double().sum(0) for part in parts), zeros) / len(rows)
    squares = sum(((x[part] - mean).square().sum(0) for part in parts), zeros)
    scale = (squares / len(rows) + 1e-6).rsqrt()
    return Standard(mean.float(), scale.float())


def _trained_weights(
    train: Part, standard: Standard, pairs: Sequence[Pair], training: Training
) -> Tensor:
    """Return weights (classes, pairs, D + 1) after SGD on the cross-entropy, for all pairs at once.

    The classifiers are rows of one matrix (classes * pairs, D + 1). SGD is written out because the
    gradient, (softmax(w x^T) - one_hot(y)^T) x / N, needs no graph. The rows of a batch come last,
    so that a softmax over the classes reads whole vectors.
    """
    num_classes, epochs, batch_size, seed = training
    x, y, kept = train
    y = y.long()
    read = Reader(x, standard, min(batch_size, len(kept)))
    rates, decays = standard.mean.new_tensor(pairs).T.repeat(1, num_classes).unsqueeze(2)
    weight = standard.mean.new_zeros(len(rates), x.shape[1] + 1)
    momentum, minus_one = torch.zeros_like(weight), -weight.new_ones(())
    decayed = bool(decays.any())
    generator = torch.Generator().manual_seed(seed)
    steps, step = epochs * math.ceil(len(kept) / batch_size), 0
    what = f'linear probe by {len(pairs)} rates' if len(pairs) > 1 else 'linear probe by the best'
    for _ in progress(range(epochs), what, 'epoch'):
        order = torch.randperm(len(kept), generator=generator)
        for rows in kept[order.to(kept.device)].split(batch_size):
            batch = read(rows)
            logits = (weight @ batch.T).view(num_classes, len(pairs), len(rows))
            # Where a rate is too high, most are denormal numbers, by which products take 10 times
            # as long.
            error = F.threshold(torch.softmax(logits, 0), SMALLEST, 0)
            labels = y.index_select(0, rows).expand(1, len(pairs), -1)
            error.scatter_add_(0, labels, minus_one.expand_as(labels))
            momentum.addmm_(error.flatten(0, 1), batch, beta=0.9, alpha=1 / len(rows))
            if decayed:
                momentum[:, :-1].addcmul_(weight[:, :-1], decays)
            cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
            weight.addcmul_(momentum, rates, value=-cosine)
            step += 1
    return weight.view(num_classes, len(pairs), -1)


def _scores(weight: Tensor, test: Part, standard: Standard) -> list[Score]:
    """Return the score of the classifiers of each pair, weights (classes, pairs, D + 1)."""
    num_classes, pairs, _ = weight.shape
    read = Reader(test.x, standard, min(SCORED_ROWS, len(test.rows)))
    totals = weight.new_zeros(3, pairs, dtype=torch.float64)
    for rows in test.rows.split(SCORED_ROWS):
        logits = F.linear(read(rows), weight.flatten(0, 1)).view(len(rows), num_classes, pairs)
        labels = test.y[rows].long()[:, None].expand(-1, pairs)
        # A class that only the test rows have lies outside the logits.
        known = (labels[:, 0] >= 0) & (labels[:, 0] < num_classes)
        loss = F.cross_entropy(logits[known], labels[known], reduction='none')
        totals[0] += (logits.argmax(1) == labels).sum(0)
        totals[1] -= loss.sum(0, dtype=torch.float64)
        totals[2] += known.sum()
    correct, log_likelihood, known = totals
    finite = torch.isfinite(weight).flatten(2).all(2).all(0) & log_likelihood.isfinite()
    scores = zip((100 * correct / len(test.rows)).tolist(), (log_likelihood / known).tolist())
    return [score if good else DIVERGED for score, good in zip(scores, finite.tolist())]
