"""kNN against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from mmentropy.evaluation import knn as knn_module
from mmentropy.evaluation import (
    knn_accuracy,
    knn_predict,
)


@pytest.mark.slow
@pytest.mark.parametrize('k', [1, 4, 20])
@pytest.mark.parametrize('temperature', [0.07, 1.0])
def test_cosine_knn_equals_scikit_learn(digits, k, temperature):
    train_x, train_y, test_x, test_y = digits
    witness = KNeighborsClassifier(
        k,
        metric='cosine',
        algorithm='brute',
        weights=lambda distance: np.exp((1 - distance) / temperature),
    )
    expected = witness.fit(train_x, train_y).predict(test_x)
    found = knn_predict(train_x, train_y, test_x, k, temperature=temperature)
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize('k', [1, 4, 5])
def test_euclidean_knn_equals_scikit_learn(digits, k):
    train_x, train_y, test_x, test_y = digits
    # Far from the origin float32 distances would be wrong.
    train_x, test_x = train_x + 300, test_x + 300
    witness = KNeighborsClassifier(k).fit(train_x.double(), train_y)
    found = knn_predict(train_x, train_y, test_x, k, 'euclidean')
    assert found.tolist() == witness.predict(test_x.double()).tolist()
    assert knn_accuracy(train_x, train_y, test_x, test_y, k, 'euclidean') == pytest.approx(
        100 * witness.score(test_x.double(), test_y), abs=1e-9
    )


def test_knn_metrics_and_temperature_differ_where_they_should():
    # By angle the nearest is class 1, by distance class 0.
    x, y = torch.tensor([[1.0, 1.0], [10.0, 0.0]]), torch.tensor([0, 1])
    query = torch.tensor([[2.0, 0.5]])
    assert knn_predict(x, y, query, 1).item() == 1
    assert knn_predict(x, y, query, 1, 'euclidean').item() == 0
    # One close vote against two far ones: the temperature decides.
    x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]])
    y = torch.tensor([1, 0, 0])
    query = torch.tensor([[3.0, 0.0]])
    assert knn_predict(x, y, query, 3, temperature=0.1).item() == 1
    assert knn_predict(x, y, query, 3, temperature=10.0).item() == 0
    assert knn_predict(x, y, query, 3, temperature=1e-4).item() == 1


def test_knn_tie_goes_to_the_lowest_class():
    x = torch.tensor([[1.0], [-1.0], [2.0], [-2.0]])
    for y in ([2, 1, 1, 2], [1, 2, 2, 1]):
        found = knn_predict(x, torch.tensor(y), torch.zeros(1, 1), 4, 'euclidean')
        assert found.item() == 1


@pytest.mark.slow
@pytest.mark.parametrize('metric', ['cosine', 'euclidean'])
def test_knn_blocks_do_not_change_the_result(digits, metric, monkeypatch):
    train_x, train_y, test_x, _ = digits
    whole = knn_predict(train_x, train_y, test_x, 5, metric)
    # The last block is one row, fewer than there are neighbours.
    for bank in (50, len(train_x) - 1):
        monkeypatch.setattr(knn_module, 'TEST_BLOCK', 7)
        monkeypatch.setattr(knn_module, 'TRAIN_BLOCK', bank)
        found = knn_predict(train_x, train_y, test_x, 5, metric)
        assert torch.equal(whole, found)
    # Every row is found, the last one too.
    rows = torch.arange(len(train_x))
    assert torch.equal(knn_predict(train_x, rows, train_x, 1, metric), rows)


def test_knn_refuses_in_one_line():
    x, y = torch.ones(4, 2), torch.tensor([0, 1, 0, 1])
    broken = torch.tensor([[1.0, float('nan')]])
    for args, message in [
        ((x, y, x, 5), r'k must be in 1\.\.4'),
        ((x, y, x, 0), 'k must be'),
        ((x, y, x, 1, 'manhattan'), 'metric must be'),
        ((x, y, x, 1, 'cosine', 0.0), 'temperature'),
        ((x, y, x[:, :1], 1), r'\(4, 2\) and \(4, 1\)'),
        ((x, y[:3], x, 1), 'train_y'),
        ((x, y - 1, x, 1), 'negative'),
        ((x, y, broken, 1), 'test_x has non-finite features in 1 of 1'),
        ((broken, y[:1], x, 1), 'train_x has non-finite'),
    ]:
        with pytest.raises(ValueError, match=message) as error:
            knn_predict(*args)
        assert '\n' not in str(error.value)
    with pytest.raises(ValueError, match='test_y'):
        knn_accuracy(x, y, x, y[:1], 1)


@pytest.mark.parametrize('k', [1, 3])
def test_a_feature_of_zeros_is_near_nothing(k):
    train_x = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    queries = torch.tensor([[1.0, 0.1], [0.1, 1.0]])
    assert knn_predict(train_x, torch.arange(3), queries, k).tolist() == [0, 2]
