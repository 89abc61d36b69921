"""Differences that are told from draws, and verdicts."""

import experiment_modules
import pytest


@pytest.fixture(scope='module')
def comparisons():
    experiment_modules.runner()
    import comparisons

    return comparisons


def test_a_difference_below_twice_its_error_is_a_draw(comparisons):
    first = {0: 50.0, 1: 51.0, 2: 52.0}
    # Differences of -1, 0 and 1: their error is 1 / sqrt(3).
    assert comparisons.difference(first, {0: 51.0, 1: 51.0, 2: 51.0}) == 'draw (+0.0 ± 0.6)'
    assert comparisons.difference(first, {0: 48.0, 1: 48.0, 2: 48.0}) == '+3.0 ± 0.6'
    assert comparisons.compared({0: 1.0, 1: 5.0}, {1: 3.0, 2: 0.0}) is None
    assert comparisons.difference({0: 50.0}, {0: 10.0}) == 'not enough seeds'


@pytest.mark.parametrize(
    ('against', 'told'),
    [
        ([48.0, 48.0], 'confirmed'),
        ([54.0, 55.0], 'refuted'),
        ([48.0, 51.0], 'undecided'),
        ([48.0, 54.0], 'undecided'),
        ([], 'undecided'),
    ],
)
def test_a_verdict_takes_all_differences(comparisons, against, told):
    first = {0: 50.0, 1: 51.0, 2: 52.0}
    pairs = [(first, dict.fromkeys(first, value)) for value in against]
    assert comparisons.verdict(pairs) == told


def test_a_verdict_needs_more_than_a_difference_that_is_no_draw(comparisons):
    """The bound of Student's t is 4.303 standard errors for three seeds, 12.71 for two."""
    for seeds, bound in ((3, 4.303), (2, 12.706)):
        deviations = [-1.0, 1.0] if seeds == 2 else [-1.0, 0.0, 1.0]
        error = (sum(x * x for x in deviations) / (seeds - 1) / seeds) ** 0.5
        for factor, told in ((0.99, 'undecided'), (1.01, 'confirmed')):
            mean = bound * factor * error
            first = {seed: 50.0 + mean + x for seed, x in enumerate(deviations)}
            second = dict.fromkeys(first, 50.0)
            assert comparisons.verdict([(first, second)]) == told
            worse = 'refuted' if told == 'confirmed' else told
            assert comparisons.verdict([(second, first)]) == worse
            assert 'draw' not in comparisons.difference(first, second)


def test_one_seed_decides_nothing(comparisons):
    assert comparisons.verdict([({0: 90.0}, {0: 10.0})]) == 'undecided'


def test_nothing_is_saved_where_nothing_is_lost(comparisons):
    lost, kept, won = {0: -9.0, 1: -8.9}, {0: 0.5, 1: 0.4}, {0: 9.0, 1: 8.9}
    more = {0: -19.0, 1: -18.8}
    assert comparisons.saves(kept, lost) == 'confirmed'
    assert comparisons.saves(more, lost) == 'refuted'
    assert comparisons.saves(lost, lost) == 'undecided'
    # It is no loss that is larger with it, since there is none without it.
    for without in (kept, won):
        assert comparisons.saves(lost, without) == comparisons.saves(won, without) == 'undecided'


def test_a_setting_has_a_line_with_its_seeds(comparisons):
    scores = dict(scores=dict(checkpoint=dict(knn=50.0, linear=60.0)))
    records = [dict(setting='a', seed=seed, minutes=3.0, **scores) for seed in range(2)]
    lines = comparisons.settings_table(records, ['a', 'b']).splitlines()[2:]
    assert lines == ['| a | 50.0 ± 0.0 | 60.0 ± 0.0 | 3 | 2 |']
