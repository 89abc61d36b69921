"""The table of all methods on CIFAR-10: its runs, and what its page says about results."""

import statistics

import experiment_modules
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS


@pytest.fixture(scope='module')
def runner():
    return experiment_modules.runner()


@pytest.fixture(scope='module')
def table(runner):
    return runner.load('cifar10_table')


def record(method, stage, seed=0, rate='1', knn=50.0, linear=60.0, **more):
    scores = dict(checkpoint=dict(knn=knn, linear=linear), **more)
    return dict(method=method, stage=stage, rate=rate, seed=seed, minutes=20.0, scores=scores)


def searched(table, best='3'):
    return [
        record(method, 'search', rate=rate, knn=60.0 if rate == best else 50.0)
        for method in table.RECIPES
        for rate in table.RATES
    ]


def test_the_search_never_sees_a_test_image(runner, table):
    cfg = runner.resolved(table.run('MEC', 'search', '3', 0, []))
    assert '{data}/test' not in cfg.pretty_text
    trained, bank = cfg.train_dataloader.dataset, cfg.eval_datasets.train
    queries = cfg.eval_datasets.test
    # The same fold, of which the queries are the part that is left out.
    assert [d.test_mode for d in (trained, bank, queries)] == [False, False, True]
    assert len({(d.num_splits, d.seed, d.dataset.data_root) for d in (trained, bank, queries)}) == 1
    final = runner.resolved(table.run('MEC', 'table', '3', 0, []))
    assert final.eval_datasets.test.data_root == '{data}/test'
    assert final.train_dataloader.dataset.data_root == '{data}/train'


def test_all_methods_have_one_search_and_one_budget(table):
    runs = table.runs(searched(table), 2)
    for stage, epochs, count in (('search', 3, 4), ('table', 10, 2)):
        found = [run for run in runs if run['label']['stage'] == stage]
        assert len(found) == count * len(table.RECIPES)
        assert {run['changes']['train_cfg.max_epochs'] for run in found} == {epochs}
    # The best of the search is three times the rate of the recipe.
    for run in found:
        of_recipe = table.recipe(run['label']['method']).optim_wrapper.optimizer.lr
        assert run['changes']['optim_wrapper.optimizer.lr'] == of_recipe * 3
    # One method after the other, those of claims first.
    order = [*dict.fromkeys(run['label']['method'] for run in runs)]
    assert order[:4] == ['supervised', 'MEC', 'SimSiam', 'SimCLR'] and len(order) == 23
    assert {*order} == {*table.RECIPES}


def test_the_predictor_of_simsiam_follows_the_search(runner, table):
    cfg = runner.resolved(table.run('SimSiam', 'table', '3', 0, []))
    assert cfg.custom_hooks[0].type == 'SimSiamHook'
    assert cfg.custom_hooks[0].lr == cfg.optim_wrapper.optimizer.lr == pytest.approx(6e-3)


def test_a_run_of_the_table_waits_for_its_search(table):
    some = [r for r in searched(table) if (r['method'], r['rate']) != ('MEC', '3')]
    waiting = [run for run in table.runs(some, 1) if 'changes' not in run]
    assert [run['label']['method'] for run in waiting] == ['MEC']


def test_a_run_that_diverged_is_never_the_best(table):
    runs = [record('MEC', 'search', rate=rate, knn=1.0) for rate in ('1/9', '1/3', '1')]
    bad = dict(method='MEC', stage='search', rate='3', seed=0, minutes=1.0, diverged='NaN')
    assert table.best_rate([*runs, bad], 'MEC') == '1/3'
    assert '| MEC | 0.002 | 1.0 | **1.0** | 1.0 | diverged | not run |' in table.search(
        [*runs, bad]
    )


@pytest.mark.parametrize(
    ('accuracies', 'beyond'),
    [((50.0, 60.0, 55.0), []), ((50.0, 55.0, 60.0), ['9']), ((60.0, 55.0, 50.0), ['1/9'])],
)
def test_the_search_goes_beyond_an_end_that_is_the_best(table, accuracies, beyond):
    runs = [
        record('MEC', 'search', rate=rate, knn=knn) for rate, knn in zip(table.MIDDLE, accuracies)
    ]
    assert table.rates_to_try(runs[:2], 'MEC') == [*table.MIDDLE]
    assert table.rates_to_try(runs, 'MEC') == [*table.MIDDLE, *beyond]
    best = table.MIDDLE[accuracies.index(60.0)]
    assert table.best_rate(runs, 'MEC') == (None if beyond else best)
    found = [record('MEC', 'search', rate=rate, knn=61.0) for rate in beyond]
    assert table.best_rate([*runs, *found], 'MEC') == (beyond or [best])[0]


def test_means_and_deviations_are_those_of_the_records(table):
    values = [50.0, 51.0, 55.0]
    runs = [record('MEC', 'table', seed, knn=v) for seed, v in enumerate(values)]
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    row = f'| **MEC** | {mean:.1f} ± {deviation:.1f} | 60.0 ± 0.0 | 20 | 3 |'
    assert f'{row} the best |' in table.table(runs)
    assert row in table.results(runs).splitlines()


def test_page_says_how_many_seeds_there_are(table):
    runs = [record('MEC', 'table', seed) for seed in range(3)]
    runs += [record('SimSiam', 'table', seed, knn=40.0 + seed) for seed in range(2)]
    frame = dict(knn=30.0, linear=35.0)
    runs.append(record('supervised', 'table', knn=70.0, random=frame, pixels=frame))
    for lines in (table.table(runs).splitlines(), table.results(runs).splitlines()):
        cells = [[cell.strip(' *') for cell in line.split('|')] for line in lines[2:-2]]
        # Training took minutes, which what is not trained has not.
        assert {row[1]: (row[4], row[5]) for row in cells} == {
            'supervised': ('20', '1'),
            'MEC': ('20', '3'),
            'SimSiam': ('20', '2'),
            'random backbone': ('', '1'),
            'raw pixels': ('', '1'),
        }
        assert lines[-1].startswith('Not run yet: BYOL, SimCLR, MoCo v3,')
        assert 'MEC' not in lines[-1] and lines[-1].endswith('Matrix-SSL.')
    done = [record(method, 'table') for method in table.METHODS]
    assert 'Not run' not in table.results(done) + table.table(done)
    some = [line.split('|')[1].strip() for line in table.results(runs, ['MEC']).splitlines()[2:]]
    assert some == ['supervised', '**MEC**', 'random backbone', 'raw pixels']
    assert '| MEC minus SimSiam | +9.5 ± 0.5 | draw (+0.0 ± 0.0) | 2 |' in table.pairs(runs)


def test_the_backbone_of_a_run_is_kept(table, tmp_path):
    run = table.run('MEC', 'table', '1', 1, [])
    drawn = MODELS.build(Config.fromfile(table.cifar10.ROOT / run['recipe']).model.backbone)
    state = {f'backbone.{name}': value for name, value in drawn.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'epoch_10.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_10.pth'))
    ((name, file),) = table.files(run, tmp_path).items()
    assert name == 'backbones/MEC_seed1.pth'
    kept = torch.load(file)
    assert (
        '{data}/train' in kept['meta']['cfg'] and str(table.cifar10.ROOT) not in kept['meta']['cfg']
    )
    weight = kept['state_dict']['backbone.conv1.weight']
    assert torch.equal(weight, drawn.conv1.weight.half())
    others = [table.run('MEC', 'search', '1', 1, []), table.run('DINO', 'table', '1', 1, [])]
    assert [table.files(other, tmp_path) for other in others] == [{}, {}]


def test_a_verdict_says_of_how_many_seeds_it_is(table):
    runs = [record('MEC', 'table', seed, knn=50.0 + seed, linear=55.0 + seed) for seed in range(3)]
    runs += [record('SimSiam', 'table', seed, knn=40.0, linear=45.0) for seed in range(2)]
    (found,) = table.verdicts(runs)
    assert (found['claim'], found['verdict']) == ('MEC is better than SimSiam', 'confirmed')
    assert found['numbers'] == 'kNN +10.5 ± 0.5, linear +10.5 ± 0.5 points, 10 epochs, 2 seeds'


def test_runs_that_were_made_again_are_told_beside_the_new_ones(table):
    runs = [record('MEC', 'table', knn=50.0), record('DINO', 'table', knn=40.0)]
    runs = [dict(r, replaced='by a later one') for r in runs] + [record('MEC', 'table', knn=51.04)]
    assert table.repeated(runs).splitlines()[2:] == [
        '| MEC | 50.0 / 60.0 | 51.0 / 60.0 |',
        '| DINO | 40.0 / 60.0 | to be run |',
    ]
    diverged = record('DINO', 'table') | dict(diverged='loss is nan')
    del diverged['scores']
    assert table.repeated([*runs, diverged]).splitlines()[3] == '| DINO | 40.0 / 60.0 | diverged |'
    other_rate = record('DINO', 'table', rate='9')
    assert (
        table.repeated([*runs, other_rate]).splitlines()[3] == '| DINO | 40.0 / 60.0 | to be run |'
    )


def test_a_row_is_of_one_rate(table):
    """Runs at a rate that an earlier search found are not averaged with the others."""
    runs = [record('MEC', 'search', rate=r, knn=knn) for r, knn in zip(table.MIDDLE, (1, 3, 2))]
    runs += [record('MEC', 'table', seed, knn=50.0) for seed in range(2)]
    runs.append(record('MEC', 'table', 0, rate='3', knn=90.0))
    assert '| **MEC** | 50.0 ± 0.0 | 60.0 ± 0.0 | 20 | 2 |' in table.results(runs)
    # While a search is made again, it is that of the last run.
    going_on = [r for r in runs if r['stage'] == 'table']
    assert '| **MEC** | 90.0 | 60.0 | 20 | 1 |' in table.results(going_on)


def test_the_largest_and_the_smallest_factor_are_told_where_they_are_the_best(table):
    def searched_with(method, accuracies):
        found = zip(table.RATES, accuracies)
        return [record(method, 'search', rate=rate, knn=knn) for rate, knn in found if knn]

    rising, falling = (None, 50.0, 51.0, 52.0, 53.0), (53.0, 52.0, 51.0, 50.0)
    inside = (None, 50.0, 51.0, 50.0)
    runs = searched_with('MEC', rising) + searched_with('SimCLR', inside)
    assert table.at_the_end(runs)[-1] == (
        'The best factor is the largest for MEC, so that one beyond it might be better.'
    )
    runs += searched_with('BYOL', falling)
    assert 'the largest for MEC and the smallest for BYOL, so' in table.search(runs)
    assert table.at_the_end(searched_with('SimCLR', inside)) == []


def test_claims_are_of_rows_that_the_table_can_have(table):
    names = {*table.RECIPES, *table.FRAME.values()}
    assert {name for claim in table.CLAIMS for name in (claim.first, claim.second)} <= names


def test_an_objective_that_needs_nothing_else_is_compared_with_an_untrained_network(table):
    runs = [record('LeJEPA', 'table', seed, knn=50.0 + seed, linear=55.0) for seed in range(2)]
    frames = [dict(knn=30.0 + 2 * seed, linear=32.0) for seed in range(2)]
    runs += [record('supervised', 'table', seed, random=frames[seed]) for seed in range(2)]
    (found,) = table.verdicts(runs)
    claim = 'LeJEPA learns without EMA teacher and predictor'
    assert (found['claim'], found['verdict']) == (claim, 'confirmed')
    assert found['numbers'] == 'kNN +19.5 ± 0.5, linear +23.0 ± 0.0 points, 10 epochs, 2 seeds'
