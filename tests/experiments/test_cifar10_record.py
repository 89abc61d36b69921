"""The curve of accuracy against minutes, and what is extrapolated from it."""

import experiment_modules
import pytest


@pytest.fixture(scope='module')
def record():
    return experiment_modules.runner().load('cifar10_record')


def test_a_power_of_the_minutes_is_found(record):
    # The error halves with four times the minutes: 40, 20, and so 10 % at 16 times the first.
    assert record.minutes_to(90.0, [(5.0, 60.0), (20.0, 80.0)]) == pytest.approx(80.0)
    assert record.minutes_to(90.0, [(5.0, 60.0), (20.0, 60.0)]) is None
    assert record.minutes_to(90.0, [(5.0, 60.0), (5.0, 80.0)]) is None


def runs(record, accuracies):
    return [
        dict(epochs=epochs, seed=0, minutes=2.0 * epochs, scores=dict(checkpoint=scores))
        for epochs, knn in zip(record.LENGTHS, accuracies)
        for scores in [dict(knn=knn, linear=knn)]
    ]


def test_page_marks_what_is_extrapolated(record):
    found = record.page(runs(record, (40.0, 60.0, 75.0)))
    assert '| 30 | 60 | 75.0 | 75.0 | 1 |' in found['table']
    assert found['extrapolation'].startswith('**An extrapolation, not a measurement:** 90 %')
    assert record.page(runs(record, (40.0, 60.0)))['extrapolation'] == 'Not all lengths are run.'
    assert 'does not fall' in record.page(runs(record, (40.0, 40.0, 39.0)))['extrapolation']


def test_figure_is_drawn(record, tmp_path):
    record.draw(runs(record, (40.0, 60.0, 75.0)), tmp_path)
    assert (tmp_path / 'figure.png').stat().st_size > 5_000


def test_the_network_is_that_of_the_recipe(record):
    runner = experiment_modules.runner()
    cfg = runner.resolved(record.runs([], 1)[-1])
    assert cfg.model.backbone.base_channels == 32 and cfg.train_cfg.max_epochs == 30
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(9 * 2e-3)
