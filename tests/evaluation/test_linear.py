"""The linear probe against logistic regression, SGD of torch and itself."""

import time

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from mmentropy.evaluation import (
    linear,
    linear_probe,
    protocols,
)


@pytest.mark.slow
def test_linear_probe_agrees_with_logistic_regression(digits):
    train_x, train_y, test_x, test_y = digits
    witness = LogisticRegression(max_iter=5000).fit(train_x, train_y)
    found = linear_probe(train_x, train_y, test_x, test_y)
    assert abs(found.accuracy - 100 * witness.score(test_x, test_y)) <= 1
    pair = found.learning_rate, found.weight_decay
    assert found.val_accuracies[pair] == max(found.val_accuracies.values())


def test_linear_probe_follows_torch_sgd(digits):
    """The hand-written step equals autograd, SGD and its cosine schedule."""
    x, y, test_x, test_y = digits[0][:96], digits[1][:96], *digits[2:]
    training = linear.Training(num_classes=10, epochs=4, batch_size=40, seed=3)
    ((accuracy, loss),) = linear.fit_and_score(
        linear.all_rows(x, y), linear.all_rows(test_x, test_y), [(0.5, 0.01)], training
    )
    norm = nn.BatchNorm1d(64, eps=1e-6, affine=False, momentum=1.0).double()
    norm(x.double())
    # Torch keeps the unbiased variance.
    norm.running_var *= 95 / 96
    norm.eval()
    layer = nn.Linear(64, 10).double()
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(
        [dict(params=[layer.weight], weight_decay=0.01), dict(params=[layer.bias])],
        lr=0.5,
        momentum=0.9,
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    generator = torch.Generator().manual_seed(3)
    for _ in range(4):
        for rows in torch.randperm(96, generator=generator).split(40):
            optimizer.zero_grad()
            nn.functional.cross_entropy(layer(norm(x[rows].double())), y[rows]).backward()
            optimizer.step()
            scheduler.step()
    logits = layer(norm(test_x.double()))
    expected = nn.functional.cross_entropy(logits, test_y)
    assert -loss == pytest.approx(expected.item(), rel=1e-4)
    expected = (logits.argmax(1) == test_y).double().mean()
    assert accuracy == pytest.approx(100 * expected.item(), abs=1e-9)


def test_linear_pairs_trained_at_once_equal_separate_ones(digits):
    training = linear.Training(num_classes=10, epochs=3, batch_size=100, seed=1)
    train, test = linear.all_rows(*digits[:2]), linear.all_rows(*digits[2:])
    pairs = [(0.003, 0.0), (0.1, 0.1), (0.1, 0.0), (1.0, 0.01), (1.0, 0.03)]
    together = linear.fit_and_score(train, test, pairs, training)
    for pair, scores in zip(pairs, together, strict=True):
        (alone,) = linear.fit_and_score(train, test, [pair], training)
        assert alone == pytest.approx(scores, rel=1e-6)
    assert len({loss for _, loss in together}) == 5


def test_linear_rate_is_not_chosen_on_the_test_set(digits):
    train_x, train_y, test_x, test_y = digits
    one = linear_probe(train_x, train_y, test_x, test_y, epochs=5)
    other = linear_probe(train_x, train_y, test_x.flip(0), test_y, epochs=5)
    assert one[1:] == other[1:]
    assert other.accuracy < 30 < one.accuracy


def test_many_numbers_shorten_the_sweep_alone(digits, monkeypatch):
    trained, fit = [], linear.fit_and_score

    def counting_fit(train, test, pairs, training):
        trained.append((len(pairs), training.epochs))
        return fit(train, test, pairs, training)

    monkeypatch.setattr(linear, 'fit_and_score', counting_fit)
    monkeypatch.setattr(linear, 'SWEEP_EPOCHS', 2)
    for numbers, epochs in ((3.5, 3), (1, 2), (9, 4)):
        monkeypatch.setattr(linear, 'SWEEP_NUMBERS', int(numbers * digits[0].numel()))
        linear_probe(*digits, epochs=4)
        assert trained[-2:] == [(6, epochs), (1, 4)]


@pytest.mark.slow
def test_linear_wd_chooses_a_weight_decay(digits):
    """As it does where a twentieth of the labels is wrong."""
    generator = torch.Generator().manual_seed(6)
    x, y, test = digits[0][:400], digits[1][:400].clone(), digits[2:]
    wrong = torch.rand(400, generator=generator) < 0.05
    y[wrong] = torch.randint(10, (400,), generator=generator)[wrong]
    found = []
    for seed in (0, 1):
        plain, decayed = [
            linear_probe(x, y, *test, weight_decays=decays, seed=seed)
            for decays in ((0.0,), (0.0, 0.001))
        ]
        names = dict(linear=plain.accuracy, linear_wd=decayed.accuracy)
        for name, accuracy in names.items():
            assert protocols.FROZEN[name]((x, y), test, seed) == accuracy
        found.append((plain, decayed))
    (plain, decayed), (other, _) = found
    assert plain.learning_rate == decayed.learning_rate
    assert decayed.weight_decay == 0.001
    # Nothing of the above holds by chance.
    assert plain.accuracy + 1 < decayed.accuracy < other.accuracy - 1


def test_linear_held_out_rows_are_a_tenth_of_each_class():
    labels = torch.arange(400) % 4
    masks = [
        linear.stratified_tenth(labels, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    ]
    assert labels[masks[0]].bincount().tolist() == [10] * 4
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_linear_held_out_rows_of_small_classes():
    """Which of them lose a row depends on the seed, and none loses its only row."""

    def held_out(labels, seed):
        mask = linear.stratified_tenth(labels, torch.Generator().manual_seed(seed))
        return labels[mask].tolist()

    few = torch.arange(20).repeat_interleave(5)
    found = [held_out(few, seed) for seed in range(20)]
    assert {len(set(classes)) for classes in found} == {10}
    assert {label for classes in found for label in classes} == {*range(20)}
    # Classes 3 to 52 have one row each.
    mixed = torch.cat([torch.arange(3).repeat(7), torch.arange(3, 53)])
    assert all(0 < len(held_out(mixed, seed)) <= 3 for seed in range(9))
    assert all(max(held_out(mixed, seed)) < 3 for seed in range(9))
    assert len(held_out(torch.arange(30), 0)) == 3


@pytest.mark.parametrize('least', [10, 13])
def test_linear_held_out_rows_of_larger_classes_stay(least):
    """Published numbers depend on them."""
    labels = torch.arange(3).repeat_interleave(torch.tensor([least, 25, 37]))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(2))
    order = order[labels[order].argsort(stable=True)]
    mask = linear.stratified_tenth(labels, torch.Generator().manual_seed(2))
    assert sorted(order[::10].tolist()) == mask.nonzero().flatten().tolist()


def test_linear_probe_does_not_depend_on_the_scale_of_a_feature(digits):
    train_x, train_y, test_x, test_y = digits
    live = train_x.var(0) > 1e-3
    train_x, test_x = train_x[:, live], test_x[:, live]
    scale = torch.logspace(0, 4, int(live.sum()))
    one = linear_probe(train_x, train_y, test_x, test_y, epochs=10)
    other = linear_probe(train_x * scale + 7, train_y, test_x * scale + 7, test_y, epochs=10)
    assert abs(one.accuracy - other.accuracy) <= 1


def test_linear_class_that_only_the_test_rows_have(digits):
    train_x, train_y, test_x, test_y = digits
    few = train_y < 9
    args = train_x[few], train_y[few]
    known = test_y < 9
    found = linear_probe(*args, test_x, test_y, epochs=5)
    expected = linear_probe(*args, test_x[known], test_y[known], epochs=5)
    share = known.double().mean().item()
    assert found.accuracy == pytest.approx(share * expected.accuracy)
    # A label of none is no class of a training row, either.
    none = torch.where(known, test_y, -1)
    assert linear_probe(*args, test_x, none, epochs=5) == found
    assert found[1:] == expected[1:]


def test_linear_probe_says_when_nothing_converges(digits):
    with pytest.raises(ValueError, match='diverged'):
        linear_probe(*digits, learning_rates=[1e30], weight_decays=[1.0], epochs=2)
    # On the test rows only.
    huge = digits[2].clone()
    huge[0, 0] = 3e38
    with pytest.raises(ValueError, match='diverged'):
        linear_probe(*digits[:2], huge, digits[3], epochs=2)
    x, y = torch.ones(4, 2), torch.tensor([0, 1, 0, 1])
    for args, message in [
        ((x, y, x[:, :1], y), r'\(4, 1\)'),
        ((x, y[:3], x, y), 'train_x has 4 rows'),
        ((x / 0 * 0, y, x, y), 'train_x has non-finite features in 4 of 4'),
        ((x, y - 1, x, y), 'negative'),
        ((x, y, x, y, ()), 'learning_rates'),
        ((x, y, x, y, (0.1,), 0), 'epochs'),
        ((x, y, x, y, (0.1,), 1, 1, ()), 'weight_decays'),
        ((x, y, x, y, (0.1,), 1, 1, (0, -0.1)), 'weight_decays must be a list, each a number >= 0'),
    ]:
        with pytest.raises(ValueError, match=message):
            linear_probe(*args)


@pytest.mark.slow
def test_rates_that_are_too_high_take_no_longer():
    """Their errors were denormal numbers, by which products took nine times as long."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(4000, 1000, generator=generator), torch.arange(4000) % 10
    times = []
    for rate in (0.001, 10.0):
        start = time.process_time()
        train = linear.all_rows(x, y)
        linear.fit_and_score(train, train, [(rate, 0.0)] * 6, linear.Training(10, 3, 256, 0))
        times.append(time.process_time() - start)
    assert times[1] < 2.5 * times[0]


def test_rows_that_are_left_out_do_not_matter(digits):
    training = linear.Training(num_classes=10, epochs=2, batch_size=64, seed=1)
    x, y, test_x, test_y = digits
    rows = torch.arange(0, 300, 3)
    test = linear.all_rows(test_x, test_y)
    found = linear.fit_and_score(linear.Part(x, y, rows), test, [(0.1, 0.0)], training)
    alone = linear.all_rows(x[rows], y[rows])
    assert found == linear.fit_and_score(alone, test, [(0.1, 0.0)], training)
