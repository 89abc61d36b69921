"""The runner of experiments: what it repeats, what it keeps, and that all experiments run."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import experiment_modules
import pytest
import torch
from forked import python
from mmengine.config import Config
from repository import REPOSITORY

NAMES = sorted(path.parent.name for path in REPOSITORY.glob('experiments/*/experiment.py'))
RECIPE = 'configs/mec/r18s_1xb64_50e_digits.py'
# A smoke test of these is one run.
ALONE = ('simdino_vit_tiny', 'mec_series', 'mec_low_orders', 'cifar10_causes')


@pytest.fixture(scope='module')
def runner():
    return experiment_modules.runner()


@pytest.fixture
def places(runner, tmp_path):
    (tmp_path / 'README.md').write_text('<!-- seeds: begin -->\n<!-- seeds: end -->\n')
    return runner.Places(tmp_path, tmp_path / 'work', None)


def a_run(seed=0, **changes):
    return dict(label=dict(method='MEC', epochs=2), recipe=RECIPE, changes=changes, seed=seed)


def experiment(runs):
    def page(records):
        return dict(seeds=' '.join(str(r['seed']) for r in records))

    return SimpleNamespace(runs=runs, page=page)


@pytest.fixture
def worked(runner, monkeypatch):
    """The runs whose work was begun, each of which does nothing."""
    begun = []

    def start(run, places, session):
        folder = places.work / str(run['seed'])
        folder.mkdir(parents=True)
        begun.append(run)
        status = 1 if run['changes'].get('fails') else 0
        (folder / 'log.txt').write_text('error: no room')
        seconds = run['changes'].get('seconds', 0)
        process = subprocess.Popen(['sh', '-c', f'sleep {seconds}; exit {status}'])
        ends = SimpleNamespace(
            sentinel=os.pidfd_open(process.pid),
            join=process.wait,
            exitcode=status,
            terminate=process.terminate,
        )
        return runner.Job(run, runner.key_of(run), folder, [session], ends)

    monkeypatch.setattr(runner, 'start', start)
    monkeypatch.setattr(runner, 'machine', lambda: 'a machine')
    monkeypatch.setattr(runner, 'changes_since', lambda head: '')
    return begun


def test_key_is_of_the_resolved_config_and_the_seed(runner):
    key = runner.key_of(a_run())
    assert key == runner.key_of(a_run())
    # The recipe has 50 epochs already.
    assert key == runner.key_of(a_run(**{'train_cfg.max_epochs': 50}))
    others = [a_run(1), a_run(**{'train_cfg.max_epochs': 51}), dict(a_run(), evaluate=[])]
    assert len({key, *map(runner.key_of, others)}) == 4


def test_a_run_is_done_by_its_key_or_without_one_by_its_label(runner):
    run = a_run()
    labelled = dict(method='MEC', epochs=2, seed=0)
    assert runner.is_done(run, [dict(labelled, key=runner.key_of(run))])
    assert not runner.is_done(run, [dict(labelled, key='of another config')])
    assert runner.is_done(run, [labelled])
    assert not runner.is_done(a_run(1), [labelled])
    stable = dict(run, label=dict(method='MEC', epochs=2, batch=None))
    assert runner.is_done(stable, [labelled])
    assert not runner.is_done(stable, [dict(labelled, batch=16)])


NAMED = 'backbones/a.pth'


@pytest.mark.parametrize(
    'run',
    [
        dict(recipe='tools/evaluate.py', changes={'checkpoint': [NAMED], '--rows': [64]}),
        dict(recipe=RECIPE, changes={'model.backbone.init_cfg': [dict(checkpoint=NAMED), None]}),
    ],
)
def test_key_is_of_the_files_that_a_run_is_given(runner, monkeypatch, tmp_path, run):
    monkeypatch.setattr('records.ROOT', tmp_path)
    monkeypatch.setattr('records.resolved', lambda run: Config(run['changes']))
    run = dict(run, seed=0)
    (tmp_path / 'backbones').mkdir()
    keys = set()
    for content in (b'old', b'new'):
        (tmp_path / 'backbones/a.pth').write_bytes(content)
        keys.add(runner.key_of(run))
    assert len(keys) == 2


def test_a_run_of_another_config_replaces_the_one_before(runner, places, worked):
    old = dict(method='MEC', epochs=2, config=RECIPE, seed=0, key='of another config')
    other = dict(old, seed=1)
    (places.page / 'results.json').write_text(json.dumps([old, other]))
    assert runner.run_all(experiment(lambda records, seeds: [a_run()]), places, 1, 1) == 0
    first, second, new = runner.all_records(places)
    assert first == old | dict(replaced=f'by the run at {new["commit"]}')
    assert second == other and runner.read_records(places) == [second, new]
    assert '1 0' in (places.page / 'README.md').read_text()


def test_results_on_other_images_are_not_mixed(runner, tmp_path, worked):
    (tmp_path / 'README.md').write_text('<!-- seeds: begin -->\n<!-- seeds: end -->\n')
    runs = experiment(lambda records, seeds: [a_run(data_root='{data}'), a_run(1)])
    tags = []
    for name, sizes in (('some', (5, 6)), ('others', (5, 7))):
        for i, size in enumerate(sizes):
            file = tmp_path / name / f'train/a/{i}.jpg'
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b'x' * size)
        tags.append(runner.fingerprint(tmp_path / name))
    (tmp_path / 'linked').mkdir()
    (tmp_path / 'linked/train').symlink_to(tmp_path / 'others/train')
    assert runner.fingerprint(tmp_path / 'linked') == tags[1]
    assert len({*tags}) == 2 and all(tag.startswith('2 files, ') for tag in tags)
    places = runner.Places(tmp_path, tmp_path / 'work', tmp_path / 'some', tags[0])
    assert runner.run_all(runs, places, 1, 1) == 0
    assert [r.get('images') for r in runner.read_records(places)] == [tags[0], None]
    runner.check_images(places)
    with pytest.raises(ValueError, match='is of other images .* name the same images'):
        runner.check_images(runner.Places(tmp_path, tmp_path, tmp_path / 'others', tags[1]))


def test_a_page_without_its_marks_is_told(runner):
    with pytest.raises(ValueError, match='the page needs the lines <!-- seeds: begin --> and'):
        runner.between_marks('# A page', 'seeds', '1')


def test_a_second_call_is_refused(runner, monkeypatch, tmp_path):
    """It would run the same again, and write over what the first one keeps."""
    folder = tmp_path / 'work_dirs/experiments/er_bound'
    folder.mkdir(parents=True)
    held = 'from mmentropy.engine.work_dir_lock import lock_work_dir; import sys, time; '
    held += f"lock_work_dir({str(folder)!r}); print('held', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, '-c', held], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == 'held\n'
        monkeypatch.setattr(runner, 'ROOT', tmp_path)
        args = SimpleNamespace(name='er_bound', data=None, seeds=1, cores=1)
        with pytest.raises(SystemExit, match='this experiment is running already, see .*run.lock'):
            runner.continued(experiment(lambda records, seeds: []), args)
    finally:
        other.communicate()


def test_a_damaged_file_of_results_is_named(runner, places):
    (places.page / 'results.json').write_text('[\n{},\n<<<<<<< HEAD\n]\n')
    with pytest.raises(ValueError, match='results.json, line 3, is no JSON .*: restore the file'):
        runner.read_records(places)


def test_what_is_done_is_not_repeated(runner, places, worked):
    runs = experiment(lambda records, seeds: [a_run(seed) for seed in range(seeds)])
    assert runner.run_all(runs, places, 2, 1) == 0
    assert [run['seed'] for run in worked] == [0, 1]
    # A call with another seed runs that one.
    assert runner.run_all(runs, places, 3, 2) == 0
    assert [run['seed'] for run in worked] == [0, 1, 2]
    records = json.loads((places.page / 'results.json').read_text())
    assert [r['seed'] for r in records] == [0, 1, 2]
    told = {'method', 'epochs', 'config', 'changes', 'seed', 'key', 'commit', 'machine', 'minutes'}
    assert told == records[0].keys()
    assert '0 1 2' in (places.page / 'README.md').read_text()
    assert not any(places.work.iterdir())


def test_a_run_waits_for_the_results_that_decide_it(runner, places, worked):
    def runs(records, seeds):
        later = a_run(1) if records else dict(label=dict(method='MEC', epochs=2), seed=1)
        return [a_run(0), later]

    assert runner.run_all(experiment(runs), places, 1, 2) == 0
    assert [run['seed'] for run in worked] == [0, 1]


def test_a_run_that_fails_is_kept_and_said(runner, places, worked, capsys):
    runs = experiment(lambda records, seeds: [a_run(0, fails=True), a_run(1)])
    assert runner.run_all(runs, places, 1, 1) == 1
    assert [r['seed'] for r in runner.read_records(places)] == [1]
    assert capsys.readouterr().err.endswith('log.txt: error: no room\n')
    assert [path.name for path in places.work.iterdir()] == ['0']


def test_files_of_a_run_are_kept_beside_the_page(runner, places, worked):
    some = experiment(lambda records, seeds: [a_run()])
    some.files = lambda run, folder: {'backbones/MEC.pth': folder / 'log.txt'}
    assert runner.run_all(some, places, 1, 1) == 0
    assert (places.page / 'backbones/MEC.pth').read_text() == 'error: no room'
    assert not any(places.work.iterdir())


def test_a_stop_ends_the_runs(runner, places, worked, monkeypatch):
    def stopped(sentinels):
        raise KeyboardInterrupt

    ended = []
    start = runner.start

    def noted(run, places, session):
        job = start(run, places, session)
        job.process.terminate = lambda: ended.append(job.key)
        return job

    monkeypatch.setattr(runner, 'start', noted)
    monkeypatch.setattr(runner, 'wait', stopped)
    runs = experiment(lambda records, seeds: [a_run(seed) for seed in range(3)])
    with pytest.raises(KeyboardInterrupt):
        runner.run_all(runs, places, 1, 2)
    assert len(ended) == 2 and runner.read_records(places) == []


def test_no_run_begins_after_a_change_of_code(runner, places, worked, monkeypatch):
    """Runs are forked from a process that imported the package once. Those that go on are kept."""
    ended = places.page / 'results.json'
    monkeypatch.setattr(runner, 'changes_since', lambda head: 'a patch' if ended.exists() else '')
    every = [a_run(0), a_run(1, seconds=1), a_run(2)]
    runs = experiment(lambda records, seeds: every)
    with pytest.raises(SystemExit, match='code or configs have changed'):
        runner.run_all(runs, places, 1, 2)
    assert {r['seed'] for r in runner.read_records(places)} == {0, 1}


def test_a_commit_is_dirty_where_code_is_changed_or_added(runner, tmp_path, monkeypatch):
    for name in ('GIT_DIR', 'GIT_WORK_TREE', 'GIT_INDEX_FILE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('GIT_CONFIG_GLOBAL', os.devnull)

    def git(*arguments):
        subprocess.run(['git', *arguments], cwd=tmp_path, check=True, capture_output=True)

    for name in ('experiments/a/results.json', 'mmentropy/a.py'):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text('1')
    git('init')
    git('add', '.')
    git('-c', 'user.name=a', '-c', 'user.email=a', 'commit', '-m', 'all')
    monkeypatch.setattr(runner, 'ROOT', tmp_path)
    clean = runner.commit()
    assert len(clean) == 10
    for name in ('experiments/a/results.json', 'experiments/a/figure.png', 'mmentropy/README.md'):
        (tmp_path / name).write_text('2')
        assert runner.commit() == clean and runner.changes_since(clean) == ''
    git('add', '.')
    git('-c', 'user.name=a', '-c', 'user.email=a', 'commit', '-m', 'results')
    assert runner.changes_since(clean) == ''
    (tmp_path / 'mmentropy/a.py').write_text('2')
    assert runner.commit().endswith('-dirty') and 'a.py' in runner.changes_since(clean)
    git('stash')
    (tmp_path / 'experiments/a/experiment.py').write_text('2')
    assert runner.commit().endswith('-dirty')


@pytest.mark.parametrize('option', ['--seeds', '--cores'])
def test_there_is_at_least_one_seed_and_core(runner, monkeypatch, capsys, option):
    monkeypatch.setattr(sys, 'argv', ['run.py', 'er_bound', option, '0'])
    with pytest.raises(SystemExit):
        runner.parse_args()
    assert f'{option}: must be at least 1, got 0' in capsys.readouterr().err


@pytest.mark.parametrize('name', NAMES)
def test_runs_differ(runner, name):
    """Every recipe takes its changes, and no two runs are the same."""
    runs = [run for run in runner.load(name).runs([], 2) if 'changes' in run]
    assert len({runner.key_of(run) for run in runs}) == len(runs) > 0


@pytest.mark.parametrize('name', NAMES)
def test_page_is_that_of_the_results(runner, name):
    folder = REPOSITORY / 'experiments' / name
    text = (folder / 'README.md').read_text()
    records = runner.all_records(runner.Places(folder, folder, None))
    assert runner.page(text, runner.load(name), records) == text
    for record in records:
        assert record['commit'] and record['machine'] and record['minutes'] >= 0
        assert (REPOSITORY / record['config']).is_file()


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_results_are_of_the_recipes_as_they_are(runner, name):
    """Where a recipe has changed since, its runs are to be made again."""
    folder = REPOSITORY / 'experiments' / name
    records = runner.read_records(runner.Places(folder, folder, None))
    seeds = 1 + max((record['seed'] for record in records), default=0)
    runs = runner.load(name).runs(records, seeds)
    keys = {runner.key_of(run) for run in runs if 'changes' in run}
    others = [r for r in records if 'key' in r and r['key'] not in keys]
    assert others == []


@pytest.mark.parametrize('name', NAMES)
def test_a_run_that_diverged_is_named_and_nothing_else(runner, name, tmp_path):
    """Pages, figures and verdicts are those of the other runs."""
    folder = REPOSITORY / 'experiments' / name
    some = runner.load(name)
    records = runner.all_records(runner.Places(folder, folder, None))
    run = next(run for run in some.runs(records, 1) if run['label'].get('stage') != 'search')
    told = {key: value for key, value in run['label'].items() if value is not None}
    told |= dict(config=run.get('recipe'), seed=7, minutes=1.0, diverged='loss is nan')
    text = (folder / 'README.md').read_text()
    words = ', '.join(map(str, [*run['label'].values(), 'seed 7'])).replace('None, ', '')
    name_of_run = f'\n\nDiverged: {words}.'
    page = runner.page(text, some, [*records, told])
    assert name_of_run in page and page.replace(name_of_run, '', 1) == text
    assert runner.shown([*records, told]) == runner.shown(records)


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_smoke(runner, name, capsys):
    readme = REPOSITORY / 'experiments' / name / 'README.md'
    failed = runner.smoke(runner.load(name), readme, 1)
    printed = capsys.readouterr()
    assert failed == 0, printed.err[-2000:]
    last = printed.out.splitlines()[-1].split(',')[0].split()
    assert int(last[0]) == int(last[2]) >= (1 if name in ALONE else 2), printed.out


@pytest.mark.slow
def test_smoke_by_its_command(tmp_path):
    """From another folder, in which there is another package of that name, too."""
    (tmp_path / 'mmentropy').mkdir()
    (tmp_path / 'mmentropy/__init__.py').write_text('raise SystemExit("another package")')
    command = [REPOSITORY / 'experiments/run.py', 'mec_series', '--smoke', '--cores', '1']
    done = python(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].startswith('1 of 1 runs are done')


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on(runner, tmp_path):
    """The work of a run is stopped after an iteration, and ends where an unbroken one does."""
    scores = {}
    short = {'train_cfg.max_epochs': 6, 'train_dataloader.dataset.indices': 128}
    less = {'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': False}
    run = dict(a_run(**short, **less), evaluate=['--protocols', 'knn'])
    for name in ('whole', 'broken'):
        places = runner.Places(tmp_path, tmp_path / name, None)
        job = runner.start(run, places, dict(commit='abc', machine='first'))
        if name == 'broken':
            stop_once(job)
            assert job.process.exitcode == runner.INTERRUPTED_STATUS
            assert list(job.folder.glob('interrupted_*.pth'))
            session = dict(commit='abc', machine='second')
            job = runner.start(run, places, session)
            told = runner.record_of(job, experiment([]))
            assert told['machine'] == 'second' and told['earlier'][0]['machine'] == 'first'
        job.process.join()
        assert job.process.exitcode == 0, (job.folder / 'log.txt').read_text()[-2000:]
        last = Path((job.folder / 'last_checkpoint').read_text())
        scores[name] = torch.load(last, weights_only=False)['state_dict']
        assert json.loads((job.folder / 'scores.json').read_text())['checkpoint']['knn'] > 0
    assert all(torch.equal(value, scores['broken'][k]) for k, value in scores['whole'].items())


def stop_once(job):
    """Stop a job when it has begun to train."""
    log = job.folder / 'log.txt'
    while not log.exists() or 'Checkpoints will be saved' not in log.read_text():
        time.sleep(0.05)
    job.process.terminate()
    job.process.join()


def test_a_run_that_diverged_is_told_from_others(runner, tmp_path):
    from cli import errors_in_one_line, traceback_in

    for error in (FloatingPointError('loss is nan'), ValueError('no such key')):
        with pytest.raises(SystemExit) as ended, errors_in_one_line():
            with traceback_in(str(tmp_path), 0):
                raise error
        found = runner.divergence(ended.value)
        assert found is (error if isinstance(error, FloatingPointError) else None)
