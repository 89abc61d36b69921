"""Runs are ranked by what they logged."""

import itertools
import json
import math
import sys

import pytest
import select_runs

METRICS = dict(rankme=40.0, lidar=50.0, alpha_req=1.5, entropy=-3.0)
CONFIG = """
custom_imports = dict(imports=['not_installed_here'])
custom_hooks = [dict(type='KNNHook'), dict({})]
model = dict(backbone=dict(type='ResNet', depth=18), neck=dict(type='A'))
data_preprocessor = dict(type='SelfSupDataPreprocessor')
train_dataloader = dict(
    dataset=dict(type='Digits', pipeline=[dict(type='Crop', size={})]))
eval_datasets = dict(test=dict(type='Digits', split='{}',
    pipeline=[dict(type='Crop', size={})]))
"""
MONITOR = "type='EntropyMonitorHook', interval=10"


def write(work_dir, time, *lines, alarms=()):
    """A start that logged these lines, dicts or text."""
    folder = work_dir / time
    (folder / 'vis_data').mkdir(parents=True)
    (folder / 'vis_data' / 'scalars.json').write_text(
        ''.join(line if isinstance(line, str) else json.dumps(line) + '\n' for line in lines)
    )
    (folder / f'{time}.log').write_text('2026/01/01 00:00:00 - mmengine - INFO - begun\n')
    (folder / 'vis_data' / 'monitor.jsonl').write_text(
        ''.join(json.dumps(dict(iter=step, alarms=[text])) + '\n' for step, text in alarms)
    )
    return folder


def monitor(step, part='backbone', **metrics):
    return {**{f'monitor/{part}/{key}': value for key, value in metrics.items()}, 'step': step}


def run(
    folder, *lines, results=None, alarms=(), hook=MONITOR, crop=8, split='test', checkpoints=()
):
    """Two epochs of twenty iterations, unless ``lines`` are given."""
    start = write(folder, '20260101_000000', *lines, alarms=alarms)
    (start / 'vis_data' / 'config.py').write_text(CONFIG.format(hook, crop, split, crop))
    for name in checkpoints:
        (folder / name).write_bytes(b'')
    if results is not None:
        (folder / 'results.json').write_text(
            json.dumps(dict(checkpoint=results, random=dict(knn=1.0, svm=2.0)))
        )
    return folder


def train_line(step):
    return dict(loss=1 / step, epoch=(step + 19) // 20, iter=step, step=step)


def curve(*rankmes, **metrics):
    """A measurement every ten iterations, an epoch every twenty."""
    lines = []
    for i, value in enumerate(rankmes, 1):
        # The monitor writes before the logger does.
        lines += [monitor(10 * i, rankme=value, **metrics), train_line(10 * i)]
        if i % 2 == 0:
            lines.append({'knn/top1': 5.0 * i, 'step': i // 2})
    return lines


def call(monkeypatch, capsys, *args):
    """What the command prints: table, rest, warnings; and the JSON."""
    out = args[0].parent / 'out.json'
    monkeypatch.setattr(sys, 'argv', ['select_runs.py', *map(str, args), '--json', str(out)])
    select_runs.main()
    text = capsys.readouterr()
    return text.out.splitlines(), text.err, json.loads(out.read_text())


def names(written):
    return [row['name'] for row in written['runs']]


def test_ranks_by_the_metric(tmp_path, monkeypatch, capsys):
    dirs = [
        run(
            tmp_path / name, *curve(5.0, rankme, alpha_req=alpha, uniformity=-rankme), alarms=alarms
        )
        for name, rankme, alpha, alarms in (
            ('a', 10.0, 1.2, []),
            (
                'b',
                30.0,
                0.5,
                [(10, 'falling entropy: of x'), (20, 'falling entropy: of y'), (20, 'dead; z')],
            ),
            ('c', 20.0, 0.9, []),
        )
    ]
    lines, err, written = call(monkeypatch, capsys, *dirs)
    assert names(written) == ['b', 'c', 'a']
    assert lines[0] == 'backbone, by rankme, of 256 images, which no rank exceeds'
    assert lines[1].split() == ['run', 'iter', *select_runs.COLUMNS, 'knn', 'checkpoint']
    assert lines[2].split() == ['b!', '20', '30.00', '-', '-', '0.50', '-', '-', '-', '10.00', '-']
    assert [line.split()[0] for line in lines[3:5]] == ['c', 'a']
    assert lines[5] == '! b: falling entropy at 10, dead at 20'
    assert err == ''
    # The nearest to 1, and the most negative.
    _, _, written = call(monkeypatch, capsys, *dirs, '--by', 'alpha_req')
    assert names(written) == ['c', 'a', 'b']
    _, _, written = call(monkeypatch, capsys, *dirs, '--by', 'uniformity')
    assert names(written) == ['b', 'c', 'a']


def test_the_monitor_may_be_named_with_its_scope(tmp_path, monkeypatch, capsys):
    dirs = [
        run(tmp_path / name, *curve(rankme), hook=f"type='{kind}', images=64")
        for name, rankme, kind in (
            ('a', 1.0, 'EntropyMonitorHook'),
            ('b', 2.0, 'mmpretrain.EntropyMonitorHook'),
        )
    ]
    lines, _, written = call(monkeypatch, capsys, *dirs)
    assert names(written) == ['b', 'a']
    assert lines[0] == 'backbone, by rankme, of 64 images, which no rank exceeds'


def test_what_is_not_finite_ranks_last(tmp_path, monkeypatch, capsys):
    """It would rank anywhere, since no number is above or below it."""
    dirs = [
        run(tmp_path / name, *curve(rankme), results=dict(linear=accuracy))
        for name, rankme, accuracy in (
            ('a', math.nan, 9.0),
            ('b', 3.0, 1.0),
            ('c', 8.0, 2.0),
            ('d', math.inf, 9.0),
            ('e', 5.0, 1.5),
        )
    ]
    lines, err, written = call(monkeypatch, capsys, *dirs)
    assert names(written) == ['c', 'e', 'b', 'a', 'd']
    assert [row['metrics']['rankme'] for row in written['runs']] == [8.0, 5.0, 3.0, None, None]
    assert [line.split()[2] for line in lines[5:7]] == ['nan', 'inf']
    assert [line.split(': ', 2)[2] for line in err.splitlines()] == [
        'rankme is not finite at iteration 10, ranked last'
    ] * 2
    (row,) = written['correlations']
    assert (row['runs'], row['spearman']) == (3, pytest.approx(1))
    # The best measurement is a finite one, at a finite accuracy.
    odd = [*curve(3.0, math.nan, 7.0, 9.0), {'knn/top1': math.nan, 'step': 2}]
    _, _, written = call(monkeypatch, capsys, run(tmp_path / 'f', *odd), '--best')
    (row,) = written['runs']
    assert (row['step'], row['accuracy']) == (40, dict(knn=10.0))
    folder = run(tmp_path / 'g', *curve(3.0), results=dict(linear=math.nan))
    with pytest.raises(ValueError, match='none of 1'):
        call(monkeypatch, capsys, folder)
    assert 'results.json: linear is nan, evaluate' in capsys.readouterr().err


def test_which_checkpoint(tmp_path, monkeypatch, capsys):
    lines = curve(5.0, 40.0, 30.0, 35.0, 20.0, 10.0)
    files = ('epoch_1.pth', 'epoch_2.pth', 'notes_3.pth', 'x.pth')
    folder = run(tmp_path / 'a', *lines, results=dict(knn=77.0, linear=88.0), checkpoints=files)

    def chosen(*args):
        _, _, written = call(monkeypatch, capsys, folder, *args)
        (row,) = written['runs']
        return (
            row['step'],
            row['checkpoint'],
            row['offset'],
            row['metrics']['rankme'],
            row['accuracy'],
        )

    # The newest file, although it was measured after it.
    assert chosen() == (40, 'epoch_2.pth', 0, 35.0, dict(knn=77.0, linear=88.0))
    assert chosen('--last') == chosen()
    # Measured best; kNN after epoch 1; what is in results.json is of another.
    assert chosen('--best') == (20, 'epoch_1.pth', 0, 40.0, dict(knn=10.0))
    (folder / 'epoch_1.pth').unlink()
    assert chosen('--best')[:3] == (20, 'epoch_2.pth', 20)
    table, _, _ = call(monkeypatch, capsys, folder, '--best')
    assert table[2].endswith('epoch_2.pth (+20)')
    (folder / 'best_monitor_backbone_rankme_iter_20.pth').write_bytes(b'')
    assert chosen('--best')[1:3] == ('best_monitor_backbone_rankme_iter_20.pth', 0)
    # A best one is not the newest.
    (folder / 'best_knn_top1_iter_60.pth').write_bytes(b'')
    assert chosen()[:3] == (40, 'epoch_2.pth', 0)
    for file in folder.glob('*.pth'):
        file.unlink()
    assert chosen()[:4] == (60, '', 0, 10.0)
    (folder / 'iter_52.pth').write_bytes(b'')
    assert chosen()[:3] == (50, 'iter_52.pth', 2)


def test_results_are_of_the_newest_checkpoint(tmp_path, monkeypatch, capsys):
    folder = run(tmp_path / 'a', *curve(5.0, 4.0), results=dict(linear=88.0))
    (folder / 'results.json').rename(folder / 'other.json')
    _, _, written = call(monkeypatch, capsys, folder, '--results', 'other.json')
    assert written['runs'][0]['accuracy']['linear'] == 88.0
    with pytest.raises(SystemExit):
        call(monkeypatch, capsys, folder, '--best', '--results', 'other.json')
    line = 'error: --results is of the newest checkpoint: leave --best or --results out; '
    assert capsys.readouterr().err.startswith(line)


def test_the_json_is_checked_before_the_work(tmp_path, monkeypatch, capsys):
    folder = run(tmp_path / 'a', *curve(5.0, 4.0), results=dict(linear=88.0))
    for out, message in (
        (tmp_path / 'none/out.json', '^--json: no folder '),
        (folder, '^--json: .* is a folder: name a file'),
        (folder / 'results.json', '^--json: .* is what the tool reads: name another file'),
    ):
        monkeypatch.setattr(sys, 'argv', ['select_runs.py', str(folder), '--json', str(out)])
        with pytest.raises(ValueError, match=message):
            select_runs.main()
        assert capsys.readouterr().out == ''


def test_projector_and_unknown_values(tmp_path, monkeypatch, capsys):
    dirs = [
        run(tmp_path / 'a', monitor(10, 'projector', rankme=3.0)),
        run(tmp_path / 'b', monitor(10, 'projector', rankme=2.0, lidar=4.0)),
        run(tmp_path / 'c', monitor(10, rankme=9.0)),
    ]
    lines, err, written = call(monkeypatch, capsys, *dirs, '--part', 'projector', '--by', 'lidar')
    assert names(written) == ['b', 'a']
    assert err == (
        f'left out: {dirs[2]} logged no monitor/projector/*: train '
        "with custom_hooks=[dict(type='EntropyMonitorHook')]\n"
    )
    # A measurement without the metric is not the best of it.
    folder = run(
        tmp_path / 'd',
        monitor(10, rankme=9.0),
        monitor(20, rankme=2.0, lidar=1.0),
        monitor(30, lidar=3.0),
    )
    _, _, written = call(monkeypatch, capsys, folder, dirs[2], '--best')
    assert [row['step'] for row in written['runs']] == [10, 10]
    _, _, written = call(monkeypatch, capsys, folder, dirs[2], '--best', '--by', 'lidar')
    assert names(written) == ['d', 'c']
    assert [row['step'] for row in written['runs']] == [30, 10]


def test_a_run_that_is_too_short_is_told_the_interval(tmp_path, monkeypatch, capsys):
    short = run(tmp_path / 'short', train_line(9))
    _, err, _ = call(monkeypatch, capsys, run(tmp_path / 'good', *curve(1.0, 2.0)), short)
    assert err == (
        f'left out: {short} logged no monitor/backbone/*: its EntropyMonitorHook measures every 10 '
        'iterations; a shorter run needs a lower interval\n'
    )


def test_left_out(tmp_path, monkeypatch, capsys):
    good = run(tmp_path / 'good', *curve(1.0, 2.0), '{"step": 4')
    bare = run(tmp_path / 'bare', *curve(1.0, 2.0))
    next(bare.glob('*/vis_data/config.py')).unlink()
    other = run(tmp_path / 'other', *curve(1.0, 2.0), hook="type='KNNHook'")
    torn = run(tmp_path / 'torn', *curve(1.0, 2.0))
    next(torn.glob('*/vis_data/config.py')).write_text('model = dict(')
    wrong = run(tmp_path / 'wrong', *curve(1.0, 2.0), results=[1])
    empty = tmp_path / 'empty'
    empty.mkdir()
    bad = (bare, other, torn, wrong, empty, tmp_path / 'nowhere')
    lines, err, written = call(monkeypatch, capsys, good, *bad)
    assert names(written) == ['good']
    *reasons, note = err.splitlines()
    assert note == (f'note: {good}: 20260101_000000/scalars.json: 1 damaged line(s) left out')
    assert len(reasons) == len(bad)
    for folder, line, reason in zip(
        bad,
        reasons,
        (
            'holds no config',
            'has no EntropyMonitorHook',
            'config.py cannot be read',
            'results.json is not what tools/evaluate.py --out writes',
            'no training log',
            'no training log',
        ),
    ):
        assert line.startswith(f'left out: {folder}') and reason in line
    monkeypatch.setattr(sys, 'argv', ['select_runs.py', *map(str, bad)])
    with pytest.raises(ValueError, match='none of 6 work directories'):
        select_runs.main()


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(hook=f'{MONITOR}, images=64'), 'images differ: 256 in .*; 64 in '),
        (dict(split='train'), 'data differ'),
    ],
)
def test_not_comparable(tmp_path, monkeypatch, capsys, kwargs, message):
    dirs = [run(tmp_path / f'{i}', *curve(1.0, 2.0)) for i in range(5)]
    # Said or not, it is the same number.
    dirs.append(run(tmp_path / '5', *curve(3.0), hook=f'{MONITOR}, images=256'))
    dirs.append(run(tmp_path / '6', *curve(3.0), **kwargs))
    with pytest.raises(ValueError, match=message) as error:
        call(monkeypatch, capsys, *dirs)
    assert f'{dirs[2]} and 3 more' in str(error.value)


def test_views_may_be_made_by_the_preprocessor_of_the_model(tmp_path, monkeypatch, capsys):
    dirs = [run(tmp_path / name, *curve(1.0, 2.0)) for name in 'ab']
    for folder, crop in zip(dirs, (8, 4)):
        with next(folder.glob('*/vis_data/config.py')).open('a') as cfg:
            cfg.write(f"model['data_preprocessor'] = dict(pipeline=[dict(size={crop})])\n")
    _, err, _ = call(monkeypatch, capsys, *dirs, '--trust')
    assert '2 different views' in err


def test_notes(tmp_path, monkeypatch, capsys):
    a = run(tmp_path / 'a', *curve(1.0, 2.0))
    for name, kwargs, note in (
        ('b', dict(hook="type='EntropyMonitorHook'"), 'interval differs (10, 100)'),
        ('c', dict(crop=4), '2 different views'),
    ):
        other = run(tmp_path / name, *curve(1.0), **kwargs)
        _, err, _ = call(monkeypatch, capsys, a, other)
        assert note in err and err.count('note: ') == 1
    file = next(a.glob('*/vis_data/config.py'))
    file.write_text(file.read_text().replace("type='A'", "type='B'"))
    # Of the neck, which the backbone's features do not depend on.
    other = run(tmp_path / 'd', *curve(1.0), monitor(10, 'projector', rankme=1))
    write(a, '20260102_000000', monitor(10, 'projector', rankme=1), monitor(20, rankme=1))
    (a / '20260102_000000' / 'vis_data' / 'config.py').write_text(file.read_text())
    _, err, _ = call(monkeypatch, capsys, a, other, '--part', 'projector')
    assert '2 different networks' in err
    _, err, _ = call(monkeypatch, capsys, a, other)
    assert err == ''


# -- Correlation -------------------------------------------------------------

VALUES = [(0.9, 10.0), (0.2, 20.0), (0.4, 15.0), (1.9, 90.0), (0.3, 15.0), (1.5, 70.0)]


def sign(x):
    return (x > 0) - (x < 0)


def kendall(pairs):
    """tau-b by its definition, over all pairs of runs."""
    both = [
        (sign(x1 - x2), sign(y1 - y2)) for (x1, y1), (x2, y2) in itertools.combinations(pairs, 2)
    ]
    untied = [sum(side != 0 for side in sides) for sides in zip(*both)]
    return sum(a * b for a, b in both) / (untied[0] * untied[1]) ** 0.5


def spearman(pairs):
    """Pearson's correlation of mean ranks."""

    def ranks(values):
        return [(sum(v < x for v in values) + sum(v <= x for v in values) + 1) / 2 for x in values]

    x, y = map(ranks, zip(*pairs))
    mean = (len(pairs) + 1) / 2
    x, y = [a - mean for a in x], [b - mean for b in y]
    return sum(a * b for a, b in zip(x, y)) / (sum(a * a for a in x) * sum(b * b for b in y)) ** 0.5


def test_correlations(tmp_path, monkeypatch, capsys):
    dirs = [
        run(
            tmp_path / f'{i}',
            monitor(
                10, rankme=x, alpha_req=x, feature_std=1.0, **(dict(lidar=-x) if i < 4 else {})
            ),
            results=dict(linear=y, knn=50.0),
            alarms=[(10, 'ill: x')] if i > 3 else [],
        )
        for i, (x, y) in enumerate(VALUES)
    ]
    lines, _, written = call(monkeypatch, capsys, *dirs)
    found = {row['metric']: row for row in written['correlations']}
    # What is the same everywhere neither ranks nor is ranked.
    assert set(found) == {'rankme', 'alpha_req', 'lidar'}
    assert {row['accuracy'] for row in written['correlations']} == {'linear'}
    near_one = [(-abs(x - 1), y) for x, y in VALUES]
    for metric, pairs in (
        ('rankme', VALUES),
        ('alpha_req', near_one),
        ('lidar', [(-x, y) for x, y in VALUES[:4]]),
    ):
        row = found[metric]
        assert (row['accuracy'], row['runs']) == ('linear', len(pairs))
        assert row['spearman'] == pytest.approx(spearman(pairs))
        assert row['kendall'] == pytest.approx(kendall(pairs))
    # Exactly: the share of the 24 orders with a tau as far from 0.
    xs, ys = zip(*[(-x, y) for x, y in VALUES[:4]])
    taus = [abs(kendall(list(zip(order, ys)))) for order in itertools.permutations(xs)]
    p = sum(tau >= taus[0] - 1e-9 for tau in taus) / len(taus)
    assert found['lidar']['p'] == pytest.approx(p)
    row = next(line for line in lines if 'lidar' in line.split() and '4' in line.split())
    assert row.split()[3] == f'{spearman(list(zip(xs, ys))):+.2f}'

    healthy = {row['metric']: row for row in written['correlations_without_alarms']}
    assert healthy['rankme']['runs'] == 4
    assert healthy['rankme']['spearman'] == pytest.approx(spearman(VALUES[:4]))
    assert lines.count('all runs') == lines.count('runs without alarms') == 1
    # Two runs correlate whatever they are.
    lines, _, written = call(monkeypatch, capsys, *dirs[:2])
    assert written['correlations'] == [] and 'all runs' not in lines
