"""The experiment about the two terms of the ER bound, and its page."""

import json

import experiment_modules
import pytest
from repository import REPOSITORY

FOLDER = REPOSITORY / 'experiments/er_bound'


@pytest.fixture(scope='module')
def runner():
    return experiment_modules.runner()


@pytest.fixture(scope='module')
def run(runner):
    return runner.load('er_bound')


def records():
    return json.loads((FOLDER / 'results.json').read_text())


def record(method, epochs=20, support='sphere', shift=0.0, **changes):
    values = dict(entropy=[-136.0 + shift, -133.0], reconstruction=[-135.5, -135.0 + shift])
    return dict(
        method=method,
        seed=0,
        epochs=epochs,
        support=support,
        iteration=[20, 40],
        knn=[50.0, 90.0],
        **values,
        **changes,
    )


def test_results_say_how_they_were_made():
    for found in records():
        assert (REPOSITORY / found['config']).is_file()
        assert found['commit'] and 'dirty' not in found['commit'] and found['machine']
        assert found['minutes'] > 0 and found['epochs'] > 0
        count = len(found['iteration'])
        assert count == found['epochs'] == len(found['entropy']) == len(found['reconstruction'])


def test_terms_lie_where_they_can(run):
    for found in records():
        entropy = run.above_a_point(found, 'entropy')
        error = run.above_a_point(found, 'reconstruction')
        assert entropy.min() > -1e-3 and error.min() > -1e-3
        assert float((entropy - error).max()) <= run.MOST[found['method']] + 1e-3


def test_table_compares_runs_of_one_length(run):
    """The longest that all have; else the longest of each."""
    same = [record('simclr'), record('simclr', 50), record('byol', shift=1.0)]
    found = run.claimed_runs(same)
    assert {m: [r['epochs'] for r in runs] for m, runs in found.items()} == dict(
        simclr=[20], byol=[20]
    )
    other = [record('simclr', 50), record('byol')]
    lengths = {m: runs[0]['epochs'] for m, runs in run.claimed_runs(other).items()}
    assert lengths == dict(simclr=50, byol=20)
    # Runs of the stability are another matter.
    assert 'dino' not in run.claimed_runs([*same, record('dino', ema=0.5)])


def test_table_is_above_one_point_on_the_sphere(run):
    zero = run.point_entropy(128)
    line = run.table([record('byol')]).splitlines()[2]
    assert f'{-136.0 - zero:.2f} to {-133.0 - zero:.2f}' in line
    assert ' -0.50 to 2.00 | 5.55 | 90.0 | 20, 1 |' in line
    line = run.table([record('dino', support='simplex')]).splitlines()[2]
    assert '-136.00 to -133.00' in line


def test_stability_is_a_row_for_each_setting(run):
    rows = [record('byol', batch=16), record('byol', ema=0.5), record('byol', batch=256)]
    lines = run.stability_table(rows).splitlines()[2:]
    assert [line.split('|')[1].strip() for line in lines] == ['batch 256', 'batch 16', 'EMA 0.5']
    assert all(line.count('not run') == 3 and '90.0 (' in line for line in lines)


def test_settings_change_what_they_name(runner, run):
    plain = runner.resolved(dict(run.run('byol', 3), changes={}))
    cfg = runner.resolved(run.run('byol', 3, batch=16))
    assert cfg.train_dataloader.batch_size == 16 and cfg.train_cfg.max_epochs == 20
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(plain.optim_wrapper.optimizer.lr / 4)
    assert [s.get('end', s.get('begin')) for s in cfg.param_scheduler] == [2, 2]
    assert [s.get('end', s.get('begin')) for s in plain.param_scheduler] == [5, 5]
    # An epoch of 1,297 images.
    assert cfg.custom_hooks[-1].interval == 81
    cfg = runner.resolved(run.run('dino_er', 0, ema=0.8))
    assert cfg.model.base_momentum == pytest.approx(0.2)


@pytest.mark.parametrize(
    'rises, told',
    [([0.1, 2.0], 'confirmed'), ([-0.1, -2.0], 'refuted'), ([-0.1, 2.0], 'undecided')],
)
def test_one_seed_against_a_claim_refutes_nothing(run, rises, told):
    assert run.signs(rises) == told


def test_figure_is_drawn(run, tmp_path):
    run.draw(records(), tmp_path)
    assert (tmp_path / 'figure.png').stat().st_size > 10_000
