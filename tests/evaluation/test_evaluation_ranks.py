"""Probes on several ranks, and the memory they need."""

import itertools

import pytest
import torch
from ranks import on_ranks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmentropy.evaluation import features, knn_accuracy, linear_probe
from mmentropy.evaluation import knn as knn_module
from mmentropy.evaluation import linear as linear_module

RATES, DECAYS = (0.01, 0.1, 1.0), (0.0, 0.01, 0.1)


def rows(train=300, test=101, width=6):
    """Three classes that overlap; accuracies between 50 and 90 %."""
    generator = torch.Generator().manual_seed(2)
    ys = [torch.arange(n) % 3 for n in (train, test)]
    xs = [
        torch.eye(3, width)[y] + 0.6 * torch.randn(len(y), width, generator=generator) for y in ys
    ]
    return xs[0], ys[0], xs[1], ys[1]


def probe():
    return linear_probe(*rows(), learning_rates=RATES, weight_decays=DECAYS, epochs=5, seed=2)


def count_work(work):
    """Note how many pairs are trained and queries answered."""
    fit, nearest = linear_module.fit_and_score, knn_module.nearest

    def counting_fit(train, test, pairs, training):
        work['pairs'].append(len(pairs))
        return fit(train, test, pairs, training)

    def counting_nearest(queries, *args):
        work['queries'] += len(queries)
        return nearest(queries, *args)

    linear_module.fit_and_score = counting_fit
    knn_module.nearest = counting_nearest


def every_probe(rank, world):
    work = dict(pairs=[], queries=0)
    count_work(work)
    knn_module.TEST_BLOCK, knn_module.TRAIN_BLOCK = 7, 50
    knn = [knn_accuracy(*rows(), k=5, metric=metric) for metric in knn_module.METRICS]
    # Fewer test rows than three ranks and fewer pairs than two.
    few = knn_accuracy(*rows(test=2))
    one = linear_probe(*rows(), [0.1], 2, weight_decays=[0.0])
    return knn, few, probe(), one, work


@pytest.mark.slow
@pytest.mark.parametrize('world', [2, 3])
def test_ranks_share_the_work_and_agree(world, tmp_path):
    knn = [knn_accuracy(*rows(), k=5, metric=metric) for metric in knn_module.METRICS]
    few = knn_accuracy(*rows(test=2))
    one = linear_probe(*rows(), [0.1], 2, weight_decays=[0.0])
    by_rank = on_ranks(every_probe, world, tmp_path)
    for found in by_rank:
        # Exact: the same rows are right.
        assert found[:4] == (knn, few, probe(), one)
    assert 50 < min(knn) < max(knn) < 100
    work = [found[4] for found in by_rank]
    # Sweep, winner, sweep of one pair by the first rank, its winner.
    sweeps = [len(range(rank, len(RATES) * len(DECAYS), world)) for rank in range(world)]
    assert sorted(w['pairs'] for w in work) == sorted(
        [1, 1, n, 1] if rank == 0 else [1, n, 1] for rank, n in enumerate(sweeps)
    )
    assert sum(w['queries'] for w in work) == 2 * 101 + 2


def test_linear_pair_is_the_best_on_the_held_out_rows():
    train_x, train_y, test_x, test_y = rows()
    out = linear_module.stratified_tenth(train_y, torch.Generator().manual_seed(2))
    training = linear_module.Training(num_classes=3, epochs=5, batch_size=256, seed=2)
    train = linear_module.all_rows(train_x, train_y)
    kept, tenth = (train._replace(rows=train.rows[part]) for part in (~out, out))
    scores = {
        pair: linear_module.fit_and_score(kept, tenth, [pair], training)[0]
        for pair in itertools.product(RATES, DECAYS)
    }
    best = max(scores, key=scores.get)
    # Accuracy alone, or the first of equals, would choose otherwise, and so
    # would cross-entropy alone.
    for i in range(2):
        assert best != max(scores, key=lambda pair: scores[pair][i])
    found = probe()
    assert (found.learning_rate, found.weight_decay) == best
    assert found.val_accuracies == {p: s[0] for p, s in scores.items()}
    test = linear_module.all_rows(test_x, test_y)
    ((accuracy, _),) = linear_module.fit_and_score(train, test, [best], training)
    assert found.accuracy == accuracy


class Largest(TorchDispatchMode):
    """Bytes of the largest tensor made inside; views are none."""

    bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        given, made = [
            [x.untyped_storage() for x in tree_leaves(values) if torch.is_tensor(x)]
            for values in ((args, kwargs), out)
        ]
        old = {storage.data_ptr() for storage in given}
        for storage in made:
            if storage.data_ptr() not in old:
                self.bytes = max(self.bytes, storage.nbytes())
        return out


@pytest.mark.parametrize('metric', knn_module.METRICS)
def test_knn_needs_no_more_memory_for_more_rows(metric, monkeypatch):
    monkeypatch.setattr(features, 'BLOCK_NUMBERS', 500)
    monkeypatch.setattr(knn_module, 'TEST_BLOCK', 10)
    monkeypatch.setattr(knn_module, 'TRAIN_BLOCK', 1000)
    # The similarities of a block, or its rows in float64.
    expected = 1000 * (10 * 4 if metric == 'cosine' else 16 * 8)
    for size, queries in ((2000, 20), (8000, 80)):
        data = rows(size, queries, width=16)
        with Largest() as memory:
            knn_accuracy(*data, k=5, metric=metric)
        assert memory.bytes == expected


def test_linear_needs_no_copy_of_the_features(monkeypatch):
    monkeypatch.setattr(features, 'BLOCK_NUMBERS', 8000)
    data = rows(5000, 5000, width=16)
    with Largest() as memory:
        linear_probe(*data, [0.1], 1, weight_decays=[0.0])
    # Standardised rows that are scored at once, and the column of the bias.
    assert memory.bytes == linear_module.SCORED_ROWS * 17 * 4


def test_non_finite_rows_are_counted_over_blocks(monkeypatch):
    monkeypatch.setattr(features, 'BLOCK_NUMBERS', 8)
    x = torch.zeros(10, 2)
    x[[0, 4, 9], 1] = torch.tensor([1.0, -1.0, 0.0]) / 0
    with pytest.raises(ValueError, match='train_x has .* in 3 of 10 rows'):
        features.check_features(x, torch.zeros(10), torch.zeros(1, 2))
