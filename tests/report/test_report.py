"""The report says what the files say, of any run, on one page."""

import json
import math
import re
import runpy
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from monitored import config, hook
from repository import REPOSITORY

from mmentropy.functional.diagnostics import point_entropy
from mmentropy.report import measured_runs, palette, read_runs, report_html
from mmentropy.report.charts import (
    Axis,
    Line,
    apart,
    line_chart,
    log_ticks,
    plane_chart,
    runaways,
    thinned,
    ticks,
)
from mmentropy.report.curves import alike
from mmentropy.report.facts import length
from mmentropy.report.images import checkpoint_of, evenly, views_of
from mmentropy.report.markdown import plain, write_markdown
from mmentropy.report.runs import CONFIGS, base_differences, differences

PER_EPOCH = 20
CONFIG = """model = dict(type='MEC', backbone=dict(type='ResNet', depth=18),
             head=dict(type='MECHead', loss=dict(type='MECLoss')))
train_dataloader = dict(batch_size=64, dataset=dict(type='Digits'))
train_cfg = dict(by_epoch=True, max_epochs=6)
randomness = dict(seed=3)
"""
HEAD = """2026/11/22 14:27:36 - mmengine - INFO -
------------------------------------------------------------
System environment:
    Python: 3.11.7 (main)
    CUDA available: True
    GPU 0: Some GPU
    PyTorch: 2.14.1
Runtime environment:
    seed: 3
    GPU number: 2
------------------------------------------------------------
"""


def loss(step: int) -> float:
    return math.sin(step / 9) - 0.3


def bound(step: int) -> float:
    return step / 100


def start(
    folder: Path,
    stamp: str,
    first: int,
    last: int,
    *,
    resumed: int | None = None,
    tag: float = 0.0,
    monitor: bool = True,
    alarms: dict[int, str] | None = None,
    minute: int = 30,
) -> Path:
    """A start that logged iterations ``first`` to ``last``."""
    data = folder / stamp / 'vis_data'
    data.mkdir(parents=True)
    lines, spectra = [], []
    for step in range(first, last + 1, 10):
        lines.append(
            dict(
                loss=loss(step) + tag,
                lr=0.1,
                data_time=9.0,
                epoch=math.ceil(step / PER_EPOCH),
                iter=step,
                step=step,
            )
        )
        if monitor and step % 20 == 0:
            values = {}
            for part in ('backbone', 'projector'):
                values |= {
                    f'monitor/{part}/rankme': 40.0 + tag,
                    f'monitor/{part}/entropy': -134.0 + bound(step),
                    f'monitor/{part}/reconstruction': -134.0 - bound(step),
                    f'monitor/{part}/er_bound': 2 * bound(step),
                }
            lines.append(values | dict(step=step))
            spectra.append(
                dict(
                    iter=step,
                    epoch=step // PER_EPOCH,
                    spectrum=dict(backbone=[0.6, 0.3, 0.1], projector=[0.9, 0.1, 0]),
                )
            )
        if step % 40 == 0:
            lines.append({'knn/top1': 50.0 + step / 10 + tag, 'step': step // PER_EPOCH})
    (data / 'scalars.json').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    for step, text in (alarms or {}).items():
        spectra.append(dict(iter=step, alarms=[text]))
    if spectra:
        (data / 'monitor.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in spectra))
    (data / 'config.py').write_text(CONFIG)
    log = HEAD
    if resumed is not None:
        log += (
            f'2026/11/22 14:27:40 - mmengine - INFO - resumed epoch: '
            f'{resumed // PER_EPOCH}, iter: {resumed}\n'
        )
    log += (
        '2026/11/22 14:27:42 - mmengine - INFO - Epoch(train)  [1]'
        f'[10/{PER_EPOCH}]  lr: 5.0e-02  loss: -0.0012\n'
    )
    log += (
        f'2026/11/22 14:27:43 - mmengine - INFO - monitor at iteration {last}: backbone RankMe 40\n'
    )
    log += f'2026/11/22 14:{minute}:36 - mmengine - INFO - Saving\n'
    (folder / stamp / f'{stamp}.log').write_text(log)
    return folder


def command(monkeypatch, *args: object) -> None:
    monkeypatch.setattr(sys, 'argv', ['report.py', *map(str, args)])
    runpy.run_path(str(REPOSITORY / 'tools/report.py'), run_name='__main__')


def page_of(*paths: Path, measured=None) -> str:
    return report_html(read_runs(list(paths)), measured)


class Page(HTMLParser):
    """Fails on tags that do not match; collects what tests ask for."""

    VOID = {'meta', 'link', 'img', 'br', 'hr', 'input'}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ''
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, self.getpos()

    def handle_data(self, data):
        if self.open and self.open[-1] not in ('script', 'style'):
            self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.tags if name == tag]


def charts(html: str) -> dict[str, str]:
    """SVGs by the id of their title."""
    return {
        re.search(r'<title id="([^"]+)-t"', svg)[1]: svg
        for svg in re.findall(r'<svg class="chart".*?</svg>', html)
    }


def data_of(svg: str) -> dict[str, list[tuple[float, float]]]:
    """Values of the lines, from their coordinates."""
    attrs = dict(re.findall(r'data-(box|x|y)="([^"]+)"', svg))
    left, top, width, height = map(float, attrs['box'].split())
    x0, x1 = map(float, attrs['x'].split())
    y0, y1 = map(float, attrs['y'].split())
    found: dict = {}
    for name, points in re.findall(r'<polyline[^>]*data-name="([^"]*)"[^>]*points="([^"]*)"', svg):
        for pair in points.split():
            px, py = map(float, pair.split(','))
            share = 1 - (py - top) / height
            y = y0 * (y1 / y0) ** share if ' data-log' in svg else y0 + share * (y1 - y0)
            found.setdefault(name, []).append((x0 + (px - left) / width * (x1 - x0), y))
    return found


# -- Numbers -----------------------------------------------------------------


def test_curves_are_the_logged_values(tmp_path):
    start(tmp_path / 'a', '20261122_142736', 10, 120)
    found = charts(page_of(tmp_path / 'a'))
    line = data_of(found['c-loss'])['a']
    steps = np.arange(10, 121, 10)
    np.testing.assert_allclose([x for x, _ in line], steps / PER_EPOCH, atol=1e-3)
    np.testing.assert_allclose([y for _, y in line], [*map(loss, steps)], atol=1e-3)
    # kNN counts epochs: 2, 4 and 6, in iterations 40, 80 and 120.
    knn = data_of(found['c-knn'])['a']
    np.testing.assert_allclose(knn, [(2, 54), (4, 58), (6, 62)], atol=1e-2)
    rank = data_of(found['c-monitor-backbone-er-bound-0'])['a']
    np.testing.assert_allclose(
        rank, [(s / 20, 2 * bound(s)) for s in range(20, 121, 20)], atol=1e-3
    )


def test_plane_and_spectrum_are_the_logged_values(tmp_path):
    start(tmp_path / 'a', '20261122_142736', 10, 60)
    found = charts(page_of(tmp_path / 'a'))
    path = data_of(found['plane-backbone-0'])['a']
    np.testing.assert_allclose(
        path, [(-134 - bound(s), -134 + bound(s)) for s in (20, 40, 60)], atol=1e-3
    )
    assert 'data-t="1 2 3"' in found['plane-backbone-0']
    shares = data_of(found['spectrum-A-backbone'])['epoch 3']
    np.testing.assert_allclose(shares, [(1, 0.6), (2, 0.3), (3, 0.1)], rtol=1e-3)
    # A share of 0 has no place on a logarithmic axis.
    assert len(data_of(found['spectrum-A-projector'])['epoch 3']) == 2


def test_iso_lines_have_their_bound():
    line = Line('a', 'A', 0, [0.0, 4.0], [1.0, 3.0], steps=[1, 2])
    svg = plane_chart('p', 'plane', [line], 'x', 'y')
    box, x, y = [
        [*map(float, re.search(f'data-{name}="([^"]+)"', svg)[1].split())]
        for name in ('box', 'x', 'y')
    ]
    isos = re.findall(
        r'class="iso" d="M(\S+) (\S+)L(\S+) (\S+)"/><text[^>]*>'
        r'([^<]+)<',
        svg,
    )
    assert len(isos) > 2
    for *ends, label in isos:
        for px, py in (ends[:2], ends[2:]):
            at = x[0] + (float(px) - box[0]) / box[2] * (x[1] - x[0])
            up = y[1] - (float(py) - box[1]) / box[3] * (y[1] - y[0])
            assert up - at == pytest.approx(float(label.replace('−', '-')), abs=0.03)


def test_widths_shift_entropies(tmp_path):
    """Above one point, so that features of any width compare."""
    for name, width in (('a', 128), ('b', 256)):
        start(tmp_path / name, '20261122_142736', 10, 60)
        for file in (tmp_path / name).glob('*/vis_data/monitor.jsonl'):
            lines = [json.loads(line) for line in file.open()]
            file.write_text(
                ''.join(
                    json.dumps(line | dict(width=dict(backbone=width, projector=width))) + '\n'
                    for line in lines
                )
            )
    found = charts(page_of(tmp_path / 'a', tmp_path / 'b'))
    lines = data_of(found['c-monitor-backbone-entropy-0'])
    assert lines['a'][-1][1] == pytest.approx(-134 + bound(60) - point_entropy(128), abs=0.5)
    assert lines['b'][-1][1] == pytest.approx(-134 + bound(60) - point_entropy(256), abs=0.5)


def test_entropies_of_other_widths_are_apart():
    paths = [
        Line(name, name, i, [0.0], [y])
        for i, (name, y) in enumerate([('a', -350.0), ('b', -134.0), ('c', -355.0)])
    ]
    assert [[p.name for p in g] for g in alike(paths)] == [['a', 'c'], ['b']]


def test_last_numbers_side_by_side(tmp_path):
    start(tmp_path / 'a', '20261122_142736', 10, 120)
    start(tmp_path / 'b', '20261122_142736', 10, 120, tag=3.0)
    html = page_of(tmp_path / 'a', tmp_path / 'b')
    rows = dict(
        re.findall(
            r'<tr><th scope="row"><b class="letter">(.)</b> .'
            r'</th>(.*?)</tr>',
            html,
        )
    )
    cells = {key: re.findall('<td>(.*?)</td>', row) for key, row in rows.items()}
    assert cells['A'] == [
        '0',
        '62.00',
        '2.4',
        '40',
        '−132.8',
        f'{loss(120):.4g}',
        'MEC (MECLoss)',
        '6 epochs',
        '3.0 min',
    ]
    # Only the better accuracy is bold.
    assert cells['B'][1:6] == [
        '<strong>65.00</strong>',
        '2.4',
        '43',
        '−132.8',
        f'{loss(120) + 3:.4g}',
    ]


# -- Starts ------------------------------------------------------------------


def test_later_start_replaces_overlap(tmp_path):
    start(tmp_path, '20261122_142736', 10, 100, tag=5.0, alarms={60: 'early', 100: 'lost'})
    # It went on from iteration 80, and logs 90 first: of the first start 90
    # and 100 are gone, and of kNN nothing, of the monitor 100.
    start(tmp_path, '20261122_152736', 90, 120, resumed=80, alarms={110: 'late'})
    (run,) = read_runs([tmp_path])
    steps, values = run.curves['loss']
    assert steps == [*range(10, 121, 10)]
    assert values == [loss(s) + 5.0 * (s <= 80) for s in steps]
    assert run.curves['monitor/backbone/rankme'] == (
        [20, 40, 60, 80, 100, 120],
        [45.0] * 4 + [40.0] * 2,
    )
    assert run.curves['knn/top1'] == ([40, 80, 120], [59.0, 63.0, 62.0])
    assert [step for step, _ in run.spectra['backbone']] == [20, 40, 60, 80, 100, 120]
    assert run.alarms == [(60, 'early'), (110, 'late')]
    assert run.seconds == 2 * 180
    assert run.starts == 2


def test_what_is_lost_between_lines_is_gone(tmp_path):
    start(tmp_path, '20261122_142736', 10, 80, tag=5.0)
    start(tmp_path, '20261122_152736', 95, 120, resumed=75)
    (run,) = read_runs([tmp_path])
    assert run.curves['loss'][0] == [10, 20, 30, 40, 50, 60, 70, 95, 105, 115]


def test_new_start_replaces_all(tmp_path):
    start(tmp_path, '20261122_142736', 10, 100)
    start(tmp_path, '20261122_152736', 30, 60)
    (run,) = read_runs([tmp_path])
    assert run.curves['loss'][0] == [30, 40, 50, 60]


def test_starts_in_any_order(tmp_path):
    start(tmp_path, '20261122_162736', 90, 120, resumed=80)
    start(tmp_path, '20261122_142736', 10, 100, tag=5.0)
    start(tmp_path, '20261122_152736', 70, 100, resumed=60, tag=3.0)
    (run,) = read_runs([tmp_path])
    assert run.curves['loss'] == (
        [*range(10, 121, 10)],
        [loss(s) + (5.0 if s <= 60 else 3.0 * (s <= 80)) for s in range(10, 121, 10)],
    )
    # It did not reach again what was logged: of kNN, epoch 2, which is
    # iteration 40, and what came after.
    start(tmp_path, '20261122_172736', 30, 30, resumed=20)
    (run,) = read_runs([tmp_path])
    assert run.curves['loss'][0] == [10, 20, 30]
    assert 'knn/top1' not in run.curves
    assert run.points('knn/top1') == []


def test_log_without_info(tmp_path):
    """log_level='WARNING': the first line is where it went on."""
    start(tmp_path, '20261122_142736', 10, 100, tag=5.0, alarms={60: 'early'})
    start(tmp_path, '20261122_152736', 90, 120, resumed=80, alarms={110: 'late'})
    for log in tmp_path.glob('*/*.log'):
        log.write_text(''.join(line for line in log.open() if 'WARNING' in line))
    (run,) = read_runs([tmp_path])
    assert run.curves['loss'] == (
        [*range(10, 121, 10)],
        [loss(s) + 5.0 * (s <= 80) for s in range(10, 121, 10)],
    )
    assert run.alarms == [(60, 'early'), (110, 'late')]
    assert run.per_epoch == PER_EPOCH


def test_start_that_logged_nothing_replaces_nothing(tmp_path):
    start(tmp_path, '20261122_142736', 10, 100)
    start(tmp_path, '20261122_152736', 10, 0)
    (run,) = read_runs([tmp_path])
    assert run.curves['loss'][0] == [*range(10, 101, 10)]


# -- Damage and foreign runs -------------------------------------------------


def test_half_a_line_is_left_out_and_said(tmp_path):
    start(tmp_path, '20261122_142736', 10, 60)
    file = next(tmp_path.glob('*/vis_data/scalars.json'))
    file.write_text(file.read_text()[:-9] + '\n[1, 2]\n"x"\n{"loss": 3}\n')
    html = page_of(tmp_path)
    assert '1 damaged line(s) left out' in html


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda path: None, 'no training log; give a work directory of tools/train.py'),
        (lambda path: start(path, '20261122_142736', 10, 0), 'the training log is empty'),
    ],
)
def test_no_run_is_one_line(tmp_path, monkeypatch, make, message):
    make(tmp_path / 'x')
    with pytest.raises(SystemExit) as error:
        command(monkeypatch, tmp_path / 'x')
    assert str(error.value).startswith(f'error: {tmp_path / "x"}: {message}')


def test_run_without_monitor_says_how_to_get_it(tmp_path):
    start(tmp_path, '20261122_142736', 10, 30, monitor=False)
    text = Page(page_of(tmp_path)).text
    assert text.count("add dict(type='EntropyMonitorHook') to custom_hooks") == 3
    assert "add dict(type='KNNHook') to custom_hooks" in text
    assert 'gave no alarm' not in text


def test_alarms_are_not_known_without_the_monitors_file(tmp_path):
    for name in 'ab':
        start(tmp_path / name, '20261122_142736', 10, 60)
    assert 'The monitor gave no alarm' in page_of(*tmp_path.glob('?'))
    next(tmp_path.glob('b/*/vis_data/monitor.jsonl')).unlink()
    for log in tmp_path.glob('*/*/*.log'):
        # As mmengine names it with log_level DEBUG.
        log.rename(log.with_name(f'{log.stem}_node_device0_rank0.log'))
    html = page_of(tmp_path / 'a', tmp_path / 'b')
    assert 'gave no alarm' not in html and 'has no log' not in html
    rows = dict(re.findall(r'<tr><th scope="row">.*?</b> (\w)</th><td>([^<]*)', html))
    assert rows == dict(a='0', b='–')


def test_some_runs_without_monitor_are_named(tmp_path):
    start(tmp_path / 'a', '20261122_142736', 10, 60)
    start(tmp_path / 'b', '20261122_142736', 10, 30, monitor=False)
    text = Page(page_of(tmp_path / 'a', tmp_path / 'b')).text
    assert 'B b: Not measured in training' in text


def test_foreign_run_without_config_or_log(tmp_path):
    """A detector by iterations, with nothing but scalars."""
    data = tmp_path / 'det' / '20261122_142736' / 'vis_data'
    data.mkdir(parents=True)
    (data / 'scalars.json').write_text(
        ''.join(
            json.dumps(dict(loss=1 / s, loss_cls=0.5 / s, acc='x', iter=s, step=s)) + '\n'
            for s in range(50, 201, 50)
        )
    )
    (run,) = read_runs([tmp_path / 'det'])
    html = page_of(tmp_path / 'det', measured=measured_runs([run]))
    text = Page(html).text
    assert 'loss cls' in text and '200 iterations' in text
    assert 'no checkpoint in the work directory' in text
    assert 'has no log: time and environment are not known' in text
    assert 'holds no config' in text
    line = data_of(charts(html)['c-loss'])['det']
    np.testing.assert_allclose(line[-1], (200, 0.005), atol=1e-3)


def test_broken_config_and_checkpoint_are_said(tmp_path):
    start(tmp_path, '20261122_142736', 10, 30)
    next(tmp_path.glob('*/vis_data/config.py')).write_text('model = dict(')
    (tmp_path / 'epoch_1.pth').write_bytes(b'PK\x03\x04 half')
    runs = read_runs([tmp_path])
    text = Page(report_html(runs, measured_runs(runs))).text
    assert 'config.py cannot be read' in text
    assert 'Features not measured: the work directory holds no config' in text


def test_nan_is_a_gap(tmp_path):
    start(tmp_path, '20261122_142736', 10, 60)
    file = next(tmp_path.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in file.open()]
    for line in lines:
        if line['step'] == 30:
            line['loss'] = math.nan
    file.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    svg = charts(page_of(tmp_path))['c-loss']
    assert svg.count('<polyline') == 2
    assert len(data_of(svg)[tmp_path.name]) == 5


# -- The page ----------------------------------------------------------------


EVIL = '<script>alert(1)</script>&"\''


@pytest.fixture
def evil(tmp_path) -> str:
    """A page of runs whose every text is an attack."""
    paths = []
    for i in range(2):
        path = tmp_path / f'{EVIL.replace("/", "")}{i}'
        start(path, '20261122_142736', 10, 120, alarms={40: EVIL, 41: EVIL})
        for file in path.glob('*/vis_data/config.py'):
            file.write_text(
                CONFIG + f'x{i} = {EVIL!r}\n' + f'optim_wrapper = dict(optimizer=dict('
                f'type={EVIL!r}))\n'
            )
        log = next(path.glob('*/*.log'))
        log.write_text(log.read_text().replace('Some GPU', EVIL))
        paths.append(path)
    return page_of(*paths)


def test_nothing_of_the_files_is_markup(evil):
    page = Page(evil)
    assert len(page.all('script')) == 1
    assert 'alert(1)' in page.text
    assert evil.count('<script') == 1
    names = [a['data-name'] for a in page.all('polyline')]
    assert EVIL.replace('/', '') + '0' in names


def test_page_is_well_formed_and_needs_nothing(evil):
    page = Page(evil)
    ids = [a['id'] for _, a in page.tags if 'id' in a]
    assert len(ids) == len(set(ids)) > 20
    for _, attrs in page.tags:
        for name in ('href', 'src'):
            assert attrs.get(name, '#').startswith(('#', 'data:'))
        for name in ('aria-labelledby',):
            for ident in (attrs.get(name) or '').split():
                assert ident in ids
    for href in page.all('a'):
        assert href['href'][1:] in ids
    assert not re.search(
        r'(https?:)?//(?!www\.w3\.org)\w',
        re.sub(r'<pre.*?</pre>', '', evil.split('<script>')[0], flags=re.S),
    )
    assert '@import' not in evil
    assert page.all('html')[0]['lang'] == 'en'
    policy = page.all('meta')[1]['content']
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch('h[1-6]', tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:]))


def test_policy_allows_the_script_and_no_other(evil):
    import base64
    import hashlib

    script = re.search('<script>(.*?)</script>', evil, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest())
    assert f"'sha256-{digest.decode()}'" in evil
    assert ' on' not in ''.join(
        f' {name}' for _, attrs in Page(evil).tags for name in attrs if name.startswith('on')
    )


def test_pictures_have_texts_and_numbers(evil):
    page = Page(evil)
    images = [a for a in page.all('svg') if 'aria-hidden' not in a]
    assert len(images) > 10
    for attrs in images:
        assert attrs['role'] == 'img' and attrs['aria-labelledby']
    assert evil.count('<figure') == evil.count('Numbers<span class="hidden">')
    for svg in charts(evil).values():
        assert re.search(r'<desc id="[^"]+">[^<]+</desc>', svg)


def test_runs_differ_by_more_than_colour(tmp_path):
    paths = [
        start(tmp_path / name, '20261122_142736', 10, 120, tag=i) for i, name in enumerate('abcdef')
    ]
    svg = charts(page_of(*paths))['c-loss']
    keys = re.findall('<text class="key"[^>]*>(.)</text>', svg)
    assert sorted(keys) == [*'ABCDEF']
    looks = {(palette.colour(i), palette.dash(i)) for i in range(50)}
    assert len(looks) == 50


@pytest.mark.parametrize(
    'colours, series', [(palette.LIGHT, palette.LIGHT_SERIES), (palette.DARK, palette.DARK_SERIES)]
)
def test_contrast(colours, series):
    """WCAG AA for text, which letters of runs and classes are too."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    for ground in ('paper', 'raised'):
        for name in ('ink', 'muted', 'alarm', 'good', *series):
            pair = sorted(luminance(colours.get(c, c)) for c in (name, ground))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (name, ground)


def test_alarms_are_listed_and_marked(tmp_path):
    start(tmp_path, '20261122_142736', 10, 120, alarms={50: 'rank fell'})
    html = page_of(tmp_path)
    assert '1 alarm of the monitor' in Page(html).text
    svg = charts(html)['c-loss']
    mark = re.search(
        r'<g class="alarm"><title>([^<]*)</title><path '
        r'd="M(\S+) (\S+)l',
        svg,
    )
    assert mark[1].endswith('iteration 50: rank fell')
    box = [*map(float, re.search('data-box="([^"]+)"', svg)[1].split())]
    x0, x1 = map(float, re.search('data-x="([^"]+)"', svg)[1].split())
    assert x0 + (float(mark[2]) - box[0]) / box[2] * (x1 - x0) == pytest.approx(2.5, abs=0.01)


def test_facts(tmp_path):
    start(tmp_path, '20261122_142736', 10, 100)
    file = next(tmp_path.glob('*/vis_data/config.py'))
    file.write_text(CONFIG + "code = dict(commit='abc1234')\n")
    facts = dict(re.findall('<dt>([^<]*)</dt><dd>([^<]*)</dd>', page_of(tmp_path)))
    assert facts['Length'] == '5 of 6 epochs'
    assert facts['Seed'] == '3'
    assert facts['Device'] == 'Some GPU'
    assert facts['Batch'] == '64 a process, 2 process(es)'
    assert facts['Commit'] == 'abc1234'
    assert facts['Time'] == '3.0 min by the log, 1 start'


def test_what_was_saved_tells_how_far_it_came(tmp_path):
    """The end of an epoch that is shorter than the logger's interval."""
    start(tmp_path, '20261122_142736', 10, 110)
    (run,) = read_runs([tmp_path])
    assert length(run) == '5.5 of 6 epochs'
    (tmp_path / 'epoch_6.pth').touch()
    assert length(run) == '6 epochs'


def test_entries_of_another_kind(tmp_path):
    """A foreign config may call anything so."""
    start(tmp_path, '20261122_142736', 10, 60)
    file = next(tmp_path.glob('*/vis_data/config.py'))
    file.write_text(
        "code = 'abc'\nmodel = ['x']\ntrain_dataloader = 'y'\n"
        "optim_wrapper = dict(optimizer='SGD')\n"
    )
    facts = dict(re.findall('<dt>([^<]*)</dt><dd>([^<]*)</dd>', page_of(tmp_path)))
    assert facts['Commit'] == 'not recorded'
    assert not {'Method', 'Backbone', 'Data', 'Optimiser'} & facts.keys()


def test_long_run_is_small(tmp_path):
    data = tmp_path / '20261122_142736' / 'vis_data'
    data.mkdir(parents=True)
    rng = np.random.RandomState(0)
    with (data / 'scalars.json').open('w') as stream:
        for step in range(1, 20_001):
            values = {f'metric{i}': rng.rand() for i in range(12)}
            stream.write(json.dumps(values | dict(iter=step, step=step)) + '\n')
    assert len(page_of(tmp_path)) < 300_000


# -- Pictures ----------------------------------------------------------------


@pytest.fixture
def figures(monkeypatch):
    """By file name: names in the legend, and of each panel labels and ends."""
    found = {}

    def note(fig, file, **kwargs):
        names = [text.get_text() for legend in fig.legends for text in legend.get_texts()]
        panels = [
            (
                ax.get_xlabel(),
                ax.get_ylabel(),
                [(line.get_xdata()[-1], line.get_ydata()[-1]) for line in ax.get_lines()],
            )
            for ax in fig.axes
        ]
        found[Path(file).name] = names, panels

    monkeypatch.setattr(Figure, 'savefig', note)
    return found


def test_units_and_names_of_pictures(figures, tmp_path):
    folders = [tmp_path / name for name in ('_under', 'b$')]
    for folder in folders:
        start(folder, '20261122_142736', 10, 60)
    write_markdown(read_runs(folders), None, tmp_path / 'md')
    names, (panel, *_) = figures['er_plane.png']
    assert panel[:2] == ('reconstruction, nats', 'entropy, nats')
    # matplotlib shows no name that begins with _.
    assert [name.strip('\u200b') for name in names] == ['_under', r'b\$']
    for file in tmp_path.glob('*/*/vis_data/monitor.jsonl'):
        with file.open('a') as stream:
            stream.write(json.dumps(dict(iter=60, width=dict(backbone=128, projector=128))))
    write_markdown(read_runs(folders), None, tmp_path / 'md')
    _, (panel, *_) = figures['er_plane.png']
    assert panel[:2] == ('reconstruction, nats above one point', 'entropy, nats above one point')
    assert panel[2][0][1] == pytest.approx(-134 + bound(60) - point_entropy(128))
    html = page_of(*folders)
    assert 'reconstruction, nats above one point</text>' in html
    assert 'Backbone, nats above one point</caption>' in html


def test_markdown_of_other_curves(figures, tmp_path):
    data = tmp_path / '20261122_142736' / 'vis_data'
    data.mkdir(parents=True)
    (data / 'scalars.json').write_text('{"accuracy/top1": 50.0, "step": 1}\n')
    assert write_markdown(read_runs([tmp_path]), None, tmp_path / 'md').read_text()
    assert not figures


def test_plot_curves(figures, tmp_path, monkeypatch, capsys):
    """A resumed run is one; all steps are in epochs where they are known."""
    start(tmp_path / 'a', '20261122_142736', 10, 60)
    start(tmp_path / 'a', '20261122_152736', 50, 110, resumed=40, tag=5.0)
    start(tmp_path / 'b', '20261122_142736', 10, 30)

    def plot(*args):
        monkeypatch.setattr(
            sys, 'argv', ['plot_curves.py', *map(str, [tmp_path / 'a', tmp_path / 'b']), *args]
        )
        runpy.run_path(str(REPOSITORY / 'tools/plot_curves.py'), run_name='__main__')

    plot('--keys', 'loss,monitor/backbone/rankme', '--names', 'x,y')
    names, panels = figures['curves.png']
    assert names == ['x', 'y']
    (label, key, loss_ends), (other, _, ends) = panels
    assert (label, key, other) == ('epoch', 'loss', 'epoch')
    assert loss_ends == [(5.5, pytest.approx(loss(110) + 5)), (1.5, pytest.approx(loss(30)))]
    assert ends == [(5.0, 45.0), (1.0, 40.0)]
    for args, message in (
        (['--keys', 'los'], "no run logged 'los': choose"),
        (['--names', 'x'], '1 names for 2 runs'),
    ):
        with pytest.raises(SystemExit, match=message):
            plot(*args)


# -- Pieces ------------------------------------------------------------------


def test_thinning_keeps_ends_extremes_and_gaps():
    y = np.sin(np.arange(10_000) / 50)
    y[1234], y[7777], y[5000] = 9.0, -9.0, math.nan
    x, thin = thinned(range(10_000), y)
    assert len(x) <= 402
    at = dict(zip(x, thin))
    assert at[1234] == 9 and at[7777] == -9 and math.isnan(at[5000])
    assert {0, 9999} <= set(x) and x == sorted(x)
    assert all(at[i] == y[i] for i in x if i != 5000)


def test_ticks():
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(-135.3, -134.4) == [-135.2, -135.0, -134.8, -134.6, -134.4]
    assert log_ticks(2e-5, 0.3) == [1e-4, 1e-3, 0.01, 0.1]
    assert Axis(1, 100, log=True).at(10) == pytest.approx(0.5)


def test_labels_keep_apart():
    assert apart([5, 5, 30, 99, 99], 0, 100) == [5, 16, 30, 89, 100]


def test_only_what_runs_away_may_leave():
    def line(name, *y):
        return Line(name, '', 0, range(len(y)), y)

    a, b, away = line('a', 0, 1), line('b', 1, 0.5), line('c', 0, -40)
    assert runaways([a, b, away]) == [away]
    assert runaways([a, away]) == []
    assert runaways([a, b, line('c', 0, -4)]) == []
    svg = line_chart('i', 't', [a, b, away], 'x', outside=[away])
    low, high = map(float, re.search('data-y="([^"]+)"', svg)[1].split())
    assert low == pytest.approx(-0.05) and high == pytest.approx(1.05)
    assert svg.count('clip-path="url(#i-c)"') == 3


def test_differences_of_configs():
    one = Config(
        dict(
            lr=0.1,
            steps=(1, 2),
            pipe=[dict(type='A', p=1)],
            hooks=[dict(type='K')],
            work_dir='x',
            only=dict(a=1),
        )
    )
    two = Config(
        dict(
            lr=0.2,
            steps=[1, 2],
            pipe=[dict(type='A', p=2)],
            hooks=[dict(type='K'), dict(type='M')],
            work_dir='y',
        )
    )
    assert differences([one, two]) == {
        'lr': ['0.1', '0.2'],
        'pipe.0.p': ['1', '2'],
        'hooks': ["[{'type': 'K'}]", "[{'type': 'K'}, {'type': 'M'}]"],
        'only': ["{'a': 1}", ''],
    }


def test_base_is_the_nearest_config_of_that_name(tmp_path):
    """Three methods have a config of this name."""
    name = 'r18s_1xb64_50e_digits.py'
    assert len([*CONFIGS.rglob(name)]) > 1
    start(tmp_path, '20261122_142736', 10, 20)
    cfg = Config.fromfile(CONFIGS / 'minent' / name)
    cfg.optim_wrapper.optimizer.lr = 7.0
    cfg.work_dir = 'x'
    cfg.dump(tmp_path / name)
    cfg.dump(next(tmp_path.glob('*/vis_data')) / 'config.py')
    base, found = base_differences(read_runs([tmp_path])[0])
    assert base == f'configs/minent/{name}'
    assert [*found] == ['optim_wrapper.optimizer.lr']
    assert found['optim_wrapper.optimizer.lr'][1] == '7.0'


def test_newest_checkpoint(tmp_path):
    (run,) = read_runs([start(tmp_path, '20261122_142736', 10, 20)])
    with pytest.raises(FileNotFoundError, match='no checkpoint'):
        checkpoint_of(run)
    for name in ('epoch_9.pth', 'epoch_10.pth', 'best_iter_3.pth'):
        (tmp_path / name).touch()
    assert checkpoint_of(run).name == 'epoch_10.pth'
    # The folder was moved since.
    (tmp_path / 'last_checkpoint').write_text('/gone/epoch_9.pth')
    assert checkpoint_of(run).name == 'epoch_9.pth'
    assert checkpoint_of(run, 'best_iter_3.pth').name == 'best_iter_3.pth'
    with pytest.raises(FileNotFoundError, match='nope.pth does not exist'):
        checkpoint_of(run, 'nope.pth')


def test_evenly():
    assert evenly(5, 9) == [0, 1, 2, 3, 4]
    assert evenly(11, 3) == [0, 5, 10]


def test_plain_text_in_markdown():
    assert plain('<b>|`*\n_a') == r'&lt;b&gt;\|\`\* \_a'


# -- A real run --------------------------------------------------------------


@pytest.fixture(scope='module')
def trained_dir(tmp_path_factory) -> Path:
    """Two epochs of three iterations on digits, by the monitor and kNN."""
    work_dir = tmp_path_factory.mktemp('runs') / 'tiny'
    cfg = Config.fromfile(CONFIGS / 'mec/fast_r18s_1xb64_50e_digits.py')
    cfg.merge_from_dict(
        {
            'model.backbone.base_channels': 4,
            'model.backbone.stem_channels': 4,
            'model.neck.in_channels': 16,
            'train_dataloader.dataset.indices': 200,
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'eval_datasets.train.indices': 120,
            'eval_datasets.test.indices': 60,
            'train_cfg.max_epochs': 2,
            'default_hooks.logger.interval': 1,
            'default_hooks.checkpoint.interval': 2,
            'work_dir': str(work_dir),
        }
    )
    cfg.custom_hooks = [
        dict(type='EntropyMonitorHook', interval=3, images=32),
        dict(type='KNNHook', interval=1),
    ]
    cfg.param_scheduler = []
    Runner.from_cfg(cfg).train()
    # A report is made by a process of its own, where no iteration counts.
    MessageHub.get_current_instance()._runtime_info.clear()
    return work_dir


@pytest.fixture(scope='module')
def measured(trained_dir) -> dict:
    state = torch.get_rng_state()
    found = measured_runs(read_runs([trained_dir]))
    assert torch.equal(state, torch.get_rng_state())
    return found


def test_real_run(trained_dir, measured, tmp_path):
    runs = read_runs([trained_dir])
    features = measured['A'].features
    # A second witness: what the hook measured after the last epoch.
    assert features.knn == pytest.approx(runs[0].last('knn/top1'))
    assert features.rows == '120 training images, 60 test images'
    assert features.points.shape == (60, 2)
    assert features.points.min(axis=0).tolist() == [0, 0]
    assert features.points.max(axis=0).tolist() == [1, 1]
    wrong = sum(a != b for a, b in zip(features.labels, features.predicted))
    assert 100 - 100 * wrong / 60 == pytest.approx(features.knn)
    html = report_html(runs, measured)
    page = Page(html)
    assert len(charts(html)) > 10
    rings = html.count(
        '<circle', html.index('class="map"'), html.index('</svg>', html.index('class="map"'))
    )
    assert rings == wrong
    assert len([a for a in page.all('g') if a.get('class') == 'mark']) == 60
    images = page.all('img')
    assert len(images) == 8 * 7 + 8 * 3
    assert all(a['alt'] for a in images)
    assert 'no alarm' in page.text
    assert len(html) < 1_000_000
    path = write_markdown(runs, measured, tmp_path / 'md')
    text = path.read_text()
    for name in re.findall(r'!\[[^]]+\]\((.+?)\)', text):
        assert (tmp_path / 'md' / name).read_bytes()[:4] == b'\x89PNG'
    assert text.count('](') == 4


def test_resumed_run(tmp_path):
    """Ended in its third epoch, resumed from its second, trained to four."""
    cfg = config(
        tmp_path,
        'simsiam',
        'run',
        hook(interval=1, images=8),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=2),
            logger=dict(type='LoggerHook', interval=1),
        ),
        log_level='INFO',
        train_cfg=dict(by_epoch=True, max_epochs=3),
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    old = Path(runner.log_dir)
    first = old.with_name('20000101_000000')
    old.rename(first)
    (first / f'{old.name}.log').rename(first / f'{first.name}.log')
    cfg.merge_from_dict(
        dict(
            resume=True,
            load_from=str(tmp_path / 'run' / 'epoch_2.pth'),
            experiment_name=f'again_{tmp_path.name}',
            train_cfg=dict(max_epochs=4),
        )
    )
    runner = Runner.from_cfg(cfg)
    runner.train()

    def logged(folder):
        """The loss by iteration."""
        lines = map(json.loads, (folder / 'vis_data/scalars.json').open())
        return {line['step']: line['loss'] for line in lines if 'loss' in line}

    before, after = logged(first), logged(Path(runner.log_dir))
    assert [*before] == [1, 2, 3, 4, 5, 6] and [*after] == [5, 6, 7, 8]
    (run,) = read_runs([tmp_path / 'run'])
    assert dict(run.points('loss')) == before | after
    assert run.curves['monitor/backbone/rankme'][0] == [*range(1, 9)]
    assert (run.per_epoch, run.starts) == (2, 2)
    assert run.get('train_cfg', 'max_epochs') == 4


def test_views_are_the_same_in_any_report(trained_dir, measured):
    """Two of each image, neither the other nor the image."""
    (run,) = read_runs([trained_dir])
    assert measured['A'].views == views_of(run)
    assert len(measured['A'].views) == 8
    for image, one, two in measured['A'].views:
        assert len({image.uri, one.uri, two.uri}) == 3
        assert image.width == one.width == 16


def test_neighbours_by_brute_force(trained_dir, measured):
    from mmpretrain.registry import DATASETS

    from mmentropy.evaluation import (
        build_backbone,
        build_data_preprocessor,
        extract_features,
    )
    from mmentropy.weights.backbone import load_backbone

    (run,) = read_runs([trained_dir])
    backbone = build_backbone(run.config)
    load_backbone(backbone, trained_dir / 'epoch_2.pth')
    (bank, bank_y), (test, test_y) = [
        extract_features(
            backbone,
            DATASETS.build(run.config.eval_datasets[split]),
            build_data_preprocessor(run.config),
        )
        for split in ('train', 'test')
    ]
    found = measured['A'].features.neighbours
    assert len(found) == 8
    for item in found:
        row = test_y.tolist().index(item.label)
        cosines = torch.cosine_similarity(test[row][None], bank, dim=1)
        order = sorted(range(len(bank)), key=lambda i: -cosines[i])[:6]
        assert [label for _, label in item.found] == bank_y[order].tolist()


def test_command(trained_dir, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'page.html'
    command(monkeypatch, trained_dir, '--out', out, '--no-features')
    assert f'wrote {out}' in capsys.readouterr().out
    assert 'What it sees' not in out.read_text()
