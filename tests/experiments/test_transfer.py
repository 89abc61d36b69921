"""The transfer of the table's backbones: its runs, its table and its verdict."""

import experiment_modules
import pytest


@pytest.fixture(scope='module')
def runner():
    return experiment_modules.runner()


@pytest.fixture(scope='module')
def transfer(runner):
    return runner.load('transfer')


def records(transfer, better):
    """Two seeds of all methods, of which one has more in all tasks."""
    found = []
    for seed in range(2):
        for method in (*transfer.METHODS, transfer.RANDOM):
            value = 60.0 + seed + (5.0 if method == better else 0.0)
            row = dict.fromkeys(transfer.PROTOCOLS, value)
            common = dict(method=method, seed=seed)
            precisions = dict.fromkeys(transfer.PRECISIONS, value - 30.0)
            found.append(dict(common, task='detection', scores=precisions))
            if method != transfer.RANDOM:
                scores = dict(checkpoint=row, random=dict.fromkeys(transfer.PROTOCOLS, 10.0 + seed))
                found += [dict(common, task=task, scores=scores) for task in transfer.TASKS]
    return found


def test_a_program_is_told_its_places(runner, transfer, tmp_path):
    run = transfer.classified('MEC', 'digits', 2)
    folder = tmp_path / 'transfer/a_run'
    found = runner.options(run, folder)
    assert found[0] == 'experiments/cifar10_table/backbones/MEC_seed2.pth'
    assert found[-2:] == ['--out', f'{folder}/measured.json']
    assert runner.options(transfer.classified('supervised', 'digits', 0), folder)[-1] == '--random'


def test_the_table_keeps_the_backbones(runner, transfer):
    assert runner.load('cifar10_table').KEPT == transfer.METHODS


def test_detectors_differ_in_their_backbone_alone(runner, transfer):
    cfgs = [runner.resolved(transfer.detected(method, 1)) for method in ('MEC', 'random')]
    assert cfgs[0].model.backbone.pop('init_cfg').checkpoint.endswith('MEC_seed1.pth')
    assert cfgs[1].model.backbone.pop('init_cfg') is None
    assert cfgs[0].to_dict() == cfgs[1].to_dict()
    assert cfgs[0].train_dataloader.dataset.pipeline[0].color_type == 'color'


def test_page_has_all_rows(transfer):
    lines = transfer.page(records(transfer, 'MEC'))['table'].splitlines()
    assert [line.split('|')[1].strip() for line in lines[2:]] == [*transfer.METHODS, 'random']
    assert lines[2].count('65.5 ± 0.7') == 6 and lines[2].count('35.5 ± 0.7') == 2
    # The backbone without training is a row of the supervised run's evaluation.
    assert lines[-1].count('10.5 ± 0.7') == 6 and lines[-1].count('30.5 ± 0.7') == 2


@pytest.mark.parametrize(
    ('better', 'told'),
    [
        ('MEC', ['confirmed', 'confirmed']),
        ('SimCLR', ['refuted', 'undecided']),
        ('MinEnt', ['undecided', 'undecided']),
    ],
)
def test_each_rival_has_a_verdict_by_the_mean_over_columns(transfer, better, told):
    found = transfer.verdicts(records(transfer, better))
    assert [v['verdict'] for v in found] == told
    # Without the detection of one seed, one is left.
    some = [r for r in records(transfer, better) if (r['task'], r['seed']) != ('detection', 1)]
    assert transfer.verdicts(some) == []


def test_columns_in_which_a_rival_is_better_are_named(transfer):
    found = records(transfer, 'SimCLR')
    # SimCLR is better everywhere but where its digits are fine-tuned.
    for record in found:
        if record['method'] == 'SimCLR' and record['task'] == 'digits':
            row = dict(record['scores']['checkpoint'], semi10=10.0 + record['seed'])
            record['scores'] = dict(checkpoint=row)
    told = transfer.verdicts(found)[0]['numbers']
    assert 'better in Digits fine-tuned and worse in Digits kNN, Digits linear, ' in told
