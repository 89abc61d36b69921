"""Charts hold the numbers that were logged, and say them in words and in a table."""

import json
import math

import numpy as np
import pytest
from logged_runs import bound, loss, start

from mmentropy.functional.diagnostics import point_entropy
from mmentropy.report import read_runs
from mmentropy.report.charts import (
    Chart,
    Line,
    colour,
    dash,
    line_chart,
    number_text,
    plane_chart,
    runaways,
    thinned,
)
from mmentropy.report.curves import (
    feature_charts,
    final_spectrum_charts,
    plane_charts,
    spectrum_charts,
    training_charts,
)
from mmentropy.report.metrics import Metric, training_metric


def points(chart: Chart) -> dict[str, list[tuple[float, float]]]:
    """What is drawn, by the name of the line."""
    return {line['name']: [*zip(line['x'], line['y'])] for line in chart.drawing['lines']}


def by_ident(charts: list[Chart]) -> dict[str, Chart]:
    return {chart.ident: chart for chart in charts}


def test_curves_are_the_logged_values(tmp_path):
    runs = read_runs([start(tmp_path / 'a', '20261122_142736', 10, 120)])
    charts = training_charts(runs)
    assert [chart.ident for chart in charts] == ['c-loss', 'c-knn-top1', 'c-lr']
    found = by_ident(charts)
    steps = np.arange(10, 121, 10)
    line = points(found['c-loss'])['a']
    np.testing.assert_allclose(line, [(s / 20, loss(s)) for s in steps], rtol=1e-8)
    # kNN counts epochs: 2, 4 and 6, in iterations 40, 80 and 120.
    assert points(found['c-knn-top1'])['a'] == [(2, 54), (4, 58), (6, 62)]
    found = by_ident(feature_charts(runs)['backbone'])
    line = points(found['c-monitor-backbone-er-bound'])['a']
    np.testing.assert_allclose(line, [(s / 20, 2 * bound(s)) for s in range(20, 121, 20)])


def test_charts_say_their_numbers(tmp_path):
    runs = read_runs([start(tmp_path / 'a', '20261122_142736', 10, 120)])
    chart = by_ident(training_charts(runs))['c-knn-top1']
    assert chart.label == 'kNN accuracy by epoch'
    assert chart.summary == 'a: from 54 to 62, lowest 54, highest 62'
    assert chart.table.head == ['epoch', 'a']
    assert chart.table.rows == [['2', '54'], ['4', '58'], ['6', '62']]
    chart = plane_charts(runs)[0]
    assert chart.summary == 'a from (−134.2, −133.8) to (−135.2, −132.8)'
    assert chart.table.rows[0] == ['a', '1', '−134.2', '−133.8', '0.4']
    assert [row[1] for row in chart.table.rows] == ['1', '3', '6']


@pytest.mark.parametrize(
    ('value', 'digits', 'text'),
    [
        (12500, 4, '12,500'),
        (12500.0, 6, '12,500'),
        (1200, 4, '1,200'),
        (999.6, 3, '1,000'),
        (12345.6, 4, '12,346'),
        (12345.6, 6, '12345.6'),
        (-99999, 4, '−99,999'),
        (0, 4, '0'),
        (0.00012345, 4, '0.0001234'),
        (12.345, 3, '12.3'),
        (3e12, 4, '3e+12'),
        (math.nan, 4, 'nan'),
        (-math.inf, 4, '−inf'),
        (None, 4, '–'),
    ],
)
def test_numbers_in_words(value, digits, text):
    assert number_text(value, digits) == text


def test_plane_and_spectrum_are_the_logged_values(tmp_path):
    runs = read_runs([start(tmp_path / 'a', '20261122_142736', 10, 60)])
    chart = by_ident(plane_charts(runs))['plane-backbone']
    assert points(chart)['a'] == [(-134 - bound(s), -134 + bound(s)) for s in (20, 40, 60)]
    assert chart.drawing['lines'][0]['steps'] == [1, 2, 3]
    found = by_ident(spectrum_charts(runs[0], runs))
    chart = found['spectrum-A-backbone']
    assert points(chart)['epoch 3'] == [(1, 0.6), (2, 0.3), (3, 0.1)]
    opacities = [line['opacity'] for line in chart.drawing['lines']]
    assert opacities == sorted(opacities) and opacities[-1] == 1
    # A share of 0 has no place on a logarithmic axis.
    assert points(found['spectrum-A-projector'])['epoch 3'] == [(1, 0.9), (2, 0.1), (3, None)]
    last = by_ident(final_spectrum_charts(runs))['spectrum-backbone']
    assert points(last)['a'] == [(1, 0.6), (2, 0.3), (3, 0.1)]


def test_diagonals_have_their_bound():
    line = Line('a', 'A', 0, np.array([0.0, 4.0]), np.array([1.0, 3.0]), steps=[1, 2])
    drawing = plane_chart('p', Metric('plane'), [line], ('x', 'y', 'bound'), 'epoch').drawing
    (x0, x1), (y0, y1) = drawing['x'], drawing['y']
    assert x0 < 0 and x1 > 4 and y0 < 1 and y1 > 3
    assert len(drawing['diagonals']) > 2
    for height, left, right in drawing['diagonals']:
        # Each end lies on an edge of the plot.
        assert left == pytest.approx(x0) or left + height == pytest.approx(y0)
        assert right == pytest.approx(x1) or right + height == pytest.approx(y1)
        assert x0 <= left < right <= x1
        assert y0 - 1e-9 <= left + height < right + height <= y1 + 1e-9


def test_widths_shift_entropies(tmp_path):
    """Above one point, so that features of any width compare."""
    paths = [start(tmp_path / name, '20261122_142736', 10, 60) for name in 'ab']
    runs = read_runs(paths)
    chart = plane_charts(runs)[0]
    assert (chart.metric.unit, chart.drawing['xlabel']) == ('nats', 'reconstruction, nats')
    for path, width in zip(paths, (128, 256)):
        with next(path.glob('*/vis_data/monitor.jsonl')).open('a') as stream:
            stream.write(json.dumps(dict(iter=60, width=dict(backbone=width, projector=width))))
    runs = read_runs(paths)
    chart = by_ident(feature_charts(runs)['backbone'])['c-monitor-backbone-entropy']
    assert chart.metric.unit == 'nats above one point'
    path = plane_charts(runs)[0]
    assert path.drawing['ylabel'] == 'entropy, nats above one point'
    assert path.table.caption == 'Backbone, nats above one point'
    for name, width in (('a', 128), ('b', 256)):
        expected = -134 + bound(60) - point_entropy(width)
        assert points(chart)[name][-1][1] == pytest.approx(expected)
        assert points(path)[name][-1][1] == pytest.approx(expected)


def test_nan_is_a_gap(tmp_path):
    path = start(tmp_path / 'a', '20261122_142736', 10, 60)
    file = next(path.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in file.open()]
    for line in lines:
        if line['step'] == 30:
            line['loss'] = math.nan
    file.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    chart = training_charts(read_runs([path]))[0]
    values = [y for _, y in points(chart)['a']]
    assert values[2] is None and values.count(None) == 1 and len(values) == 6
    assert 'nan' not in chart.summary


def test_runs_with_and_without_epochs_count_iterations(tmp_path):
    with_epochs, without = (start(tmp_path / name, '20261122_142736', 10, 120) for name in 'ab')
    log = next(without.glob('*/*.log'))
    log.write_text(log.read_text().replace('Epoch(train)', 'Iter(train)'))
    file = next(without.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in file.open()]
    for line in lines:
        line.pop('epoch', None)
    file.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    runs = read_runs([with_epochs, without])
    assert [run.per_epoch for run in runs] == [20, None]
    chart = training_charts(runs)[0]
    assert chart.drawing['xlabel'] == 'iteration'
    assert [line['x'][0] for line in chart.drawing['lines']] == [10, 10]


def test_thinning_keeps_ends_extremes_and_gaps():
    y = np.sin(np.arange(10_000) / 50)
    y[1234], y[7777], y[5000] = 9.0, -9.0, math.nan
    x = thinned(y)
    thin = y[x]
    assert len(x) <= 402
    at = dict(zip(x, thin))
    assert at[1234] == 9 and at[7777] == -9 and math.isnan(at[5000])
    assert {0, 9999} <= set(x) and x == sorted(x)
    assert all(at[i] == y[i] for i in x if i != 5000)


def test_only_what_runs_away_may_leave():
    def line(name, *y):
        return Line(name, '', 0, np.arange(len(y)), np.array(y))

    a, b, away = line('a', 0, 1), line('b', 1, 0.5), line('c', 0, -40)
    assert runaways([a, b, away]) == [away]
    assert runaways([a, away]) == []
    assert runaways([a, b, line('c', 0, -4)]) == []
    chart = line_chart('i', Metric('t'), [a, b, away], 'x', outside=[away])
    low, high = chart.drawing['y']
    assert low == pytest.approx(-0.05) and high == pytest.approx(1.05)
    assert [*points(chart)] == ['a', 'b', 'c']
    assert 'Beyond the plot: c: from 0 to −40' in chart.metric.text


def test_losses_may_leave_and_measurements_stay(tmp_path):
    paths = [
        start(tmp_path / name, '20261122_142736', 10, 60, tag=tag)
        for name, tag in (('a', 0.0), ('b', 0.1), ('c', 900.0))
    ]
    runs = read_runs(paths)
    found = by_ident(training_charts(runs) + feature_charts(runs)['backbone'])
    assert found['c-loss'].drawing['y'][1] < 10
    assert found['c-knn-top1'].drawing['y'] is None
    assert found['c-monitor-backbone-rankme'].drawing['y'] is None


def test_alarms_are_marked(tmp_path):
    runs = read_runs(
        [start(tmp_path, '20261122_142736', 10, 120, alarms={50: 'rank fell', 80: 'dead'})]
    )
    (line,) = training_charts(runs)[0].drawing['lines']
    name = tmp_path.name
    assert line['marks'] == [
        [2.5, pytest.approx(loss(50)), f'{name}, iteration 50: rank fell'],
        [4.0, pytest.approx(loss(80)), f'{name}, iteration 80: dead'],
    ]


def test_runs_differ_by_more_than_colour(tmp_path):
    paths = [
        start(tmp_path / name, '20261122_142736', 10, 120, tag=i) for i, name in enumerate('abcdef')
    ]
    lines = training_charts(read_runs(paths))[0].drawing['lines']
    assert [line['key'] for line in lines] == [*'ABCDEF']
    assert lines[1]['dash'] == [7, 3]
    assert len({(colour(i), dash(i)) for i in range(50)}) == 50


def test_heads_have_the_metric_of_their_key():
    metric = training_metric('head0_target_entropy')
    assert (metric.title, metric.unit) == ('head0 target entropy', 'share')
    assert training_metric('loss_cls') == Metric('loss cls')
