"""What records of experiments keep of the monitor, and the tables that are made of it."""

import experiment_modules
import pytest
import torch

from mmentropy.engine import collapse_alarms
from mmentropy.functional.diagnostics import point_entropy
from mmentropy.report.runs import Run

WIDTH = 8
BOUNDS = dict(
    rankme=('rank', collapse_alarms.RANK_SHARE),
    entropy=('entropy', collapse_alarms.ENTROPY_SHARE),
    feature_length=('length', collapse_alarms.LENGTH_SHARE),
    feature_std=('collapse', collapse_alarms.COLLAPSED_STD),
    assignment_entropy=('prototypes', collapse_alarms.DEAD_PROTOTYPES),
    target_entropy=('heads', collapse_alarms.DEAD_TARGETS),
)


@pytest.fixture(scope='module')
def records_of():
    experiment_modules.runner()
    import monitor_records

    return monitor_records


def curves(seed):
    """Metrics that fall by chance, so that some alarms are given and others are not."""
    draws = torch.Generator().manual_seed(seed)
    found = {}
    for sign, (_, bound) in BOUNDS.items():
        key = 'head0_target_entropy' if sign == 'target_entropy' else sign
        falling = bound * torch.rand(12, generator=draws).mul(4).exp() / 4
        found[key] = [1.0, *falling.tolist()]
    found['entropy'] = [value + point_entropy(WIDTH) for value in found['entropy']]
    return found


@pytest.mark.parametrize('seed', range(8))
def test_a_level_is_below_its_bound_exactly_where_the_alarm_is_given(records_of, seed, tmp_path):
    name = 'monitor_train/projector'
    metrics = curves(seed)
    steps = [*range(13)]
    run = Run(tmp_path, 'a run', widths=dict(backbone=WIDTH, projector=WIDTH))
    run.curves = {f'{name}/{key}': (steps, values) for key, values in metrics.items()}
    # The other part of the network stays as it began.
    run.curves |= {
        f'monitor/backbone/{key}': (steps, values[:1] * len(steps))
        for key, values in metrics.items()
    }
    alarms = collapse_alarms.Alarms()
    for step in steps:
        alarms.look(name, {key: values[step] for key, values in metrics.items()}, WIDTH)
    lowest = records_of.lowest(run)
    for sign, (kind, bound) in BOUNDS.items():
        assert (lowest[sign] < bound) == (f'projector {kind}' in alarms.reported), sign


def test_the_chance_gives_every_alarm_and_leaves_every_other(records_of):
    """The test above would prove nothing if all or none were given."""
    for sign, (_, bound) in BOUNDS.items():
        key = 'head0_target_entropy' if sign == 'target_entropy' else sign
        zero = point_entropy(WIDTH) if sign == 'entropy' else 0.0
        levels = [
            records_of.sustained([value - zero for value in curves(seed)[key]]) for seed in range(8)
        ]
        assert min(levels) < bound <= max(levels), sign


def record(rankme, knn, std=0.5, alarms=()):
    metrics = {'backbone/rankme': rankme, 'backbone/alpha_req': 1.0, 'projector/rankme': -rankme}
    scores = dict(checkpoint=dict(knn=knn))
    return dict(metrics=metrics, scores=scores, lowest=dict(feature_std=std), alarms=[*alarms])


def test_methods_are_ranked_by_means_over_seeds(records_of):
    runs = dict(
        a=[record(1.0, 9.0), record(5.0, 9.0)],
        b=[record(2.0, 10.0)],
        c=[record(4.0, 50.0)],
        d=[record(8.0, 40.0)],
    )
    # Means 3, 2, 4, 8 have the ranks 2, 1, 3, 4, and the accuracies 1, 2, 4, 3. Of all
    # 24 orders 18 have a Kendall's tau at least as far from 0 as theirs, which is 1/3.
    assert '| rankme | +0.60; +0.33 (0.75) |' in records_of.correlations_table(runs)
    assert '| alpha_req | the same in all |' in records_of.correlations_table(runs)
    assert 'Fewer than three' in records_of.correlations_table(dict(a=runs['a']))


def test_the_nearest_of_the_seeds_is_told(records_of):
    given = [[120, 'total collapse: feature_std']]
    runs = dict(a=[record(1.0, 9.0, 0.5), record(1.0, 9.0, 0.25, given)])
    lines = records_of.alarms_table(runs).splitlines()
    cells = [cell.strip() for cell in lines[-1].split('|')[1:-1]]
    assert cells == ['a', '', '', '', '0.25', '', '', 'total collapse at 120']
