"""The script for a machine with a CUDA card, as far as a CPU goes."""

import importlib.util
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from repository import REPOSITORY

SCRIPT = REPOSITORY / 'benchmarks/gpu/check.py'


@pytest.fixture(scope='module')
def check():
    spec = importlib.util.spec_from_file_location('gpu_check', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def without_card(check, monkeypatch):
    """Make a call of the script in this process, which finds no card."""
    monkeypatch.setattr(check, 'probe', lambda: dict(device='CPU'))

    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', [str(SCRIPT), *map(str, arguments)])
        return check.main()

    return call


@pytest.mark.slow
def test_smoke(tmp_path, without_card):
    # A card, if there is one, is hidden, so that the result is the same everywhere.
    env = dict(os.environ, CUDA_VISIBLE_DEVICES='')
    command = [sys.executable, SCRIPT, '--work', tmp_path, '--smoke']
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / 'results.json').read_text()
    results = json.loads(text)
    assert [*results] == ['images', 'tests', 'views', 'cifar10']
    for record in results.values():
        assert record['commit'] and record['device'] == 'CPU' and record['seconds'] >= 0
        assert record['torch'] == torch.__version__ and record['date'].startswith('20')
    assert [results['images'][split] for split in ('train', 'test')] == [40, 10]
    cases = results['tests']['cases']
    assert len(cases) > 20 and set(cases.values()) == {'skipped: needs a CUDA card'}
    head, row = results['views']['rows']
    assert head[0] == 'views of' and row[0] == 'digits' and len(row) == len(head) == 6
    training = results['cifar10']
    (point,) = training['curve']
    assert point['epoch'] == 1 and 0 <= point['knn'] <= 100
    assert 0 < point['seconds'] <= training['seconds']
    assert not training['goes_on'] and training['reached'] is (point['knn'] >= 90)
    # The next call finds nothing to do.
    assert without_card('--work', tmp_path, '--smoke') == 0
    assert (tmp_path / 'results.json').read_text() == text


def test_without_a_card(tmp_path, without_card):
    found = without_card('--work', tmp_path, '--images', tmp_path / 'none.zip')
    assert found == 'error: there is no CUDA card; --smoke does a little of all on a CPU'


def test_a_zip_of_something_else(check, tmp_path, without_card):
    path = tmp_path / 'other.zip'
    arguments = ('--work', tmp_path, '--smoke', '--images', path)
    path.write_text('no zip')
    assert without_card(*arguments) == f'error: {path}: File is not a zip file'
    with check.ZipFile(path, 'w') as file:
        file.writestr('train/cat/0.png', '')
    assert 'has no files train/CLASS/NAME and test/CLASS/NAME' in without_card(*arguments)
    assert not (tmp_path / 'results.json').exists()


@pytest.fixture
def scripted(check, tmp_path, monkeypatch):
    """Call with steps of one's own, on a clock that steps move."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(check.time, 'monotonic', lambda: clock.now)

    def call(steps, minutes=10):
        begun = clock.now
        monkeypatch.setattr(check, 'steps', lambda call, results: steps)
        results = check.Results(tmp_path / 'results.json', dict(commit='abc'))
        work = check.Call(tmp_path, None, tmp_path, False, begun + 60 * minutes)
        return check.go_on(work, results), results.records

    return clock, call


def spending(check, clock, seconds, **record):
    """A step that takes so long, more than its call has where it ends in OutOfTime."""

    def step():
        clock.now += seconds
        if record.get('late'):
            raise check.OutOfTime
        if 'fails' in record:
            raise check.Failed(record['fails'])
        return record

    return step


def test_the_next_call_goes_on(check, scripted):
    clock, call = scripted
    first = dict(
        tests=spending(check, clock, 400, cases={}), views=spending(check, clock, 200, late=True)
    )
    status, records = call(first)
    assert status == 75 and [*records] == ['tests']
    assert records['tests']['seconds'] == 400 and records['tests']['commit'] == 'abc'
    second = dict(tests=spending(check, clock, 0, fails='done twice'))
    status, records = call(second | dict(views=spending(check, clock, 300, rows=[])))
    assert status == 0 and [*records] == ['tests', 'views']


def test_a_benchmark_longer_than_a_call_is_not_begun_for_ever(check, scripted):
    clock, call = scripted
    steps = dict(tests=spending(check, clock, 0, cases={}))
    status, records = call(steps | dict(views=spending(check, clock, 600, late=True)))
    assert status == 1 and records['views']['error'] == 'not done in 600 s'


def test_what_failed_is_told(check, scripted, capsys):
    clock, call = scripted
    cases = dict(good='passed', bad='failure: 1 != 2')
    steps = dict(
        tests=spending(check, clock, 1, cases=cases),
        losses=spending(check, clock, 1, fails='log: x'),
    )
    status, records = call(steps)
    assert status == 1 and records['losses']['error'] == 'log: x'
    printed = capsys.readouterr().out
    assert 'losses: log: x\nbad: failure: 1 != 2\nall is done, 2 failed' in printed


def test_a_training_that_failed_is_not_done(check, scripted):
    clock, call = scripted
    with pytest.raises(check.Failed, match='no room'):
        call(dict(cifar10=spending(check, clock, 1, fails='no room')))


def test_the_curve_has_the_seconds_of_all_calls(check, tmp_path):
    call = check.Call(tmp_path, None, tmp_path, False, 0.0)
    scalars = tmp_path / 'cifar10/20261129/vis_data/scalars.json'
    scalars.parent.mkdir(parents=True)
    scalars.write_text('{"loss": 1.0, "step": 5}\n{"knn/top1": 30.123, "step": 1}\n{"knn/to')
    first = check.progress(call, [], 20.4)
    assert first == dict(curve=[dict(epoch=1, seconds=20, knn=30.12)], seconds=20)
    other = tmp_path / 'cifar10/20261130/vis_data/scalars.json'
    other.parent.mkdir(parents=True)
    other.write_text('{"knn/top1": 99.0, "step": 1}\n{"knn/top1": 90.0, "step": 2}\n')
    curve = check.progress(call, first['curve'], 50.0)['curve']
    assert curve == [*first['curve'], dict(epoch=2, seconds=50, knn=90.0)]
    assert check.reached(curve) and not check.reached(first['curve'])


TRAINING = """
import json, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
log = folder / f'cifar10/{time.time()}/vis_data/scalars.json'
log.parent.mkdir(parents=True)
step = len([*folder.glob('cifar10/*')])
log.write_text(json.dumps({'knn/top1': 40.0 * step, 'step': step}) + chr(10))
time.sleep(60)
"""


@pytest.mark.slow
def test_a_training_saves_before_the_call_ends_and_stops_at_the_target(
    check, tmp_path, monkeypatch
):
    monkeypatch.setattr(check, 'SAVING', 1.5)
    monkeypatch.setattr(check, 'training', lambda call: ['-c', TRAINING, str(tmp_path)])
    path = tmp_path / 'results.json'
    for epochs in (1, 2):
        call = check.Call(tmp_path, None, tmp_path, False, check.time.monotonic() + 4)
        with pytest.raises(check.OutOfTime):
            check.train(call, check.Results(path, {}))
        record = json.loads(path.read_text())['cifar10']
        assert record['goes_on'] and [p['epoch'] for p in record['curve']] == [
            *range(1, epochs + 1)
        ]
    seconds = record['seconds']
    assert seconds >= 4
    call = check.Call(tmp_path, None, tmp_path, False, check.time.monotonic() + 100)
    record = check.train(call, check.Results(path, {}))
    assert record['reached'] and not record['goes_on']
    # The training itself would sleep for a minute.
    assert seconds < record['seconds'] < seconds + 40
