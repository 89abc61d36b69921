"""The page says what the files say, of any run, and needs nothing else."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from html_page import Page
from logged_runs import CONFIG, loss, start
from repository import REPOSITORY

from mmentropy.report import measured_runs, read_runs, report_html
from mmentropy.report.charts import COLOURS

# Debian and Ubuntu name it differently.
BROWSER = shutil.which('chromium') or shutil.which('chromium-browser')
EVIL = '<script>alert(1)</script>&"\''


def command(monkeypatch, *args: object) -> None:
    monkeypatch.setattr(sys, 'argv', ['report.py', *map(str, args)])
    runpy.run_path(str(REPOSITORY / 'tools/report.py'), run_name='__main__')


def page_of(*paths: Path, measured=None) -> str:
    return report_html(read_runs(list(paths)), measured)


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


def test_a_run_that_is_shorter_than_the_monitors_interval_is_told_so(tmp_path):
    for name, hook in dict(a='dict(type="EntropyMonitorHook")', b='dict(type="KNNHook")').items():
        start(tmp_path / name, '20261122_142736', 10, 30, monitor=False)
        config = next(tmp_path.glob(f'{name}/*/vis_data/config.py'))
        config.write_text(f'{config.read_text()}custom_hooks = [{hook}]\n')
    one, both = Page(page_of(tmp_path / 'a')).text, Page(page_of(*tmp_path.glob('?'))).text
    line = 'Not measured in training: its EntropyMonitorHook measures every 100 iterations; a'
    assert one.count(line) == both.count(line) == 3
    assert "dict(type='EntropyMonitorHook') to" not in one
    assert both.count("add dict(type='EntropyMonitorHook') to custom_hooks") == 3


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
    (line,) = Page(html).drawings()['c-loss']['lines']
    assert (line['name'], line['x'][-1], line['y'][-1]) == ('det', 200, 0.005)


def test_broken_config_and_checkpoint_are_said(tmp_path):
    start(tmp_path, '20261122_142736', 10, 30)
    next(tmp_path.glob('*/vis_data/config.py')).write_text('model = dict(')
    (tmp_path / 'epoch_1.pth').write_bytes(b'PK\x03\x04 half')
    runs = read_runs([tmp_path])
    text = Page(report_html(runs, measured_runs(runs))).text
    assert 'config.py cannot be read' in text
    assert 'Features not measured: the work directory holds no config' in text


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
    names = [line['name'] for line in page.drawings()['c-loss']['lines']]
    assert EVIL.replace('/', '') + '0' in names


def test_page_is_well_formed_and_needs_nothing(evil):
    page = Page(evil)
    ids = [a['id'] for _, a in page.tags if 'id' in a]
    assert len(ids) == len(set(ids)) > 20
    for _, attrs in page.tags:
        for name in ('href', 'src'):
            assert attrs.get(name, '#').startswith(('#', 'data:'))
        for name in ('aria-labelledby', 'aria-describedby'):
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
    charts = [a for a in page.all('div') if a.get('class') == 'chart']
    assert len(charts) > 10
    for attrs in charts:
        assert attrs['role'] == 'img' and attrs['aria-label']
        words = re.search(f'<p class="summary" id="{attrs["aria-describedby"]}">([^<]*)</p>', evil)
        assert 'from' in words[1]
    assert evil.count('<figure') == evil.count('Numbers<span class="hidden">') == len(charts)


def test_contrast():
    """WCAG AA for text, which letters of runs and classes are too."""
    style = (REPOSITORY / 'mmentropy/report/style.css').read_text()
    found = re.findall(r'--(\w+):light-dark\((#\w+),(#\w+)\)', style)
    assert len(found) == 17

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(a * b for a, b in zip(linear, (0.2126, 0.7152, 0.0722)))

    for colours in (
        {name: light for name, light, _ in found},
        {name: dark for name, _, dark in found},
    ):
        texts = {'ink', 'muted', 'alarm', 'good', *(f's{i}' for i in range(COLOURS))}
        assert texts <= colours.keys()
        for ground in ('paper', 'raised'):
            for name in texts:
                pair = sorted(luminance(colours[c]) for c in (name, ground))
                assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (name, ground)


def test_alarms_are_listed(tmp_path):
    start(tmp_path, '20261122_142736', 10, 120, alarms={50: 'rank fell'})
    text = Page(page_of(tmp_path)).text
    assert '1 alarm of the monitor' in text
    assert 'iteration 50 – rank fell' in text


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


@pytest.mark.slow
def test_long_run_is_small(tmp_path):
    data = tmp_path / '20261122_142736' / 'vis_data'
    data.mkdir(parents=True)
    rng = np.random.RandomState(0)
    with (data / 'scalars.json').open('w') as stream:
        for step in range(1, 20_001):
            values = {f'metric{i}': rng.rand() for i in range(12)}
            stream.write(json.dumps(values | dict(iter=step, step=step)) + '\n')
    assert len(page_of(tmp_path)) < 300_000


def test_command(tmp_path, monkeypatch, capsys):
    out = tmp_path / 'page.html'
    run = start(tmp_path / 'run', '20261122_142736', 10, 120)
    command(monkeypatch, run, '--out', out, '--no-features')
    assert f'wrote {out}' in capsys.readouterr().out
    assert 'What it sees' not in out.read_text()


def test_a_checkpoint_that_no_run_has(tmp_path, monkeypatch, capsys):
    run = start(tmp_path / 'run', '20261122_142736', 10, 120)
    (run / 'iter_100.pth').write_text('')
    (run / 'report.html').write_text('an earlier page')
    with pytest.raises(SystemExit) as stopped:
        command(monkeypatch, run, '--checkpoint', 'nope.pth')
    line = f'error: --checkpoint: no nope.pth in {run}; there are iter_100.pth'
    assert stopped.value.code == line
    with pytest.raises(SystemExit) as stopped:
        command(monkeypatch, run, '--checkpoint', 'iter_100.pth', '--no-features')
    assert stopped.value.code == 2
    assert '--checkpoint is not loaded with --no-features' in capsys.readouterr().err
    assert (run / 'report.html').read_text() == 'an earlier page'


def test_a_run_with_a_name_that_is_not_unicode(tmp_path, monkeypatch, capsys):
    run = start(tmp_path / 'caf\udce9', '20261122_142736', 10, 120)
    command(monkeypatch, run, '--no-features')
    page = run / 'report.html'
    size = f'{page.stat().st_size / 1e6:.1f} MB'
    assert f'caf\\udce9/report.html ({size})' in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason='needs Chromium')
def test_a_browser_draws_every_chart(tmp_path):
    """Under the page's own policy, and with no complaint."""
    paths = [
        start(tmp_path / name, '20261122_142736', 10, 120, alarms={50: 'rank fell'})
        for name in 'ab'
    ]
    file = tmp_path / 'page.html'
    file.write_text(page_of(*paths))
    found = subprocess.run(
        [
            BROWSER,
            '--headless',
            '--no-sandbox',
            '--disable-gpu',
            '--enable-logging=stderr',
            f'--user-data-dir={tmp_path / "profile"}',
            '--virtual-time-budget=2000',
            '--dump-dom',
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert 'CONSOLE' not in found.stderr
    drawn = Page(found.stdout.replace('<!DOCTYPE html>', ''))
    charts = [a for a in drawn.all('div') if 'data-drawing' in a]
    assert len(charts) > 10
    assert all(a['class'] == 'chart drawn' for a in charts)
    assert len(drawn.all('canvas')) == len(charts)
