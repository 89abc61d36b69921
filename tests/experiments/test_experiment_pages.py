"""What pages have of experiments, the verdicts, and the learning rates taken from a search."""

import experiment_modules
import pytest


@pytest.fixture(scope='module')
def pages():
    experiment_modules.runner()
    import pages

    return pages


def test_pages_are_those_of_the_results(pages):
    for path, text in pages.texts().items():
        assert path.read_text() == text, f'{path.name}: run python experiments/pages.py'


def test_each_verdict_is_one_of_three(pages):
    found = pages.verdicts()
    assert found and {told['verdict'] for told in found} <= {'confirmed', 'refuted', 'undecided'}
    assert f'Of {len(found)} claims' in pages.verdicts_sentence(found)
    assert len(pages.verdicts_table(found).splitlines()) == 2 + len(found)


def test_a_claim_that_two_experiments_tried_has_one_verdict(pages):
    def told(verdict, name):
        return dict(claim='a', source='b', verdict=verdict, numbers=name, names=[name])

    for first, second, verdict in (
        ('confirmed', 'confirmed', 'confirmed'),
        ('refuted', 'refuted', 'refuted'),
        ('confirmed', 'undecided', 'undecided'),
        ('undecided', 'refuted', 'undecided'),
        ('confirmed', 'refuted', 'undecided'),
        ('undecided', 'undecided', 'undecided'),
    ):
        found = pages.both(told(first, 'x'), told(second, 'y'))
        assert (found['verdict'], found['numbers']) == (verdict, 'x; y')
        assert '[x](../../experiments/x/README.md), [y](' in pages.verdicts_table([found])
    claims = [found['claim'] for found in pages.verdicts()]
    assert len({*claims}) == len(claims)


def test_pages_of_methods_have_rows_that_the_table_knows(pages):
    known = pages.run.load('cifar10_table').METHODS
    assert {row for rows in pages.ROWS.values() for row in rows} <= known.keys()


@pytest.mark.parametrize(
    'name', ['mec_orders', 'mec_regulariser', 'er_stability', 'cifar10_record']
)
def test_learning_rates_are_those_of_the_search(name):
    runner = experiment_modules.runner()
    table, experiment = runner.load('cifar10_table'), runner.load(name)
    folder = runner.ROOT / 'experiments/cifar10_table'
    records = runner.read_records(runner.Places(folder, folder, None))
    for method, factor in experiment.FACTORS.items():
        best = table.best_rate(records, method)
        assert best is None or table.RATES[best] == factor, method


def series(**errors):
    """A record of experiments/mec_series whose order 4 has these errors, in percent, by decay."""
    rows = [
        dict(
            decay=float(decay.removeprefix('a').replace('_', '.')),
            size=size,
            norm=0.2,
            percent={f'order {n}': error if n == 4 else 9.0 for n in (1, 2, 3, 4, 5)},
        )
        for decay, error in errors.items()
        for size in (256, 512)
    ]
    taken = dict.fromkeys(['order 4', 'eigvalsh', 'SVD'], 2.0) | dict(slogdet=1.0, eigvals=80.0)
    on_card = dict.fromkeys(taken, 2.0)
    times = [
        dict(device=device, gradient=gradient, milliseconds={'256': cell, '512': cell})
        for device, cell in (('cpu', taken), ('cuda', on_card))
        for gradient in (False, True)
    ]
    return dict(errors=rows, times=times)


def test_both_halves_of_a_claim_are_judged():
    experiment = experiment_modules.runner().load('mec_series')
    found = experiment.verdicts([series(a0_5=0.2, a1=60.0), series(a0_5=0.4, a1=50.0)])
    # A CPU cannot refute what the paper has of a device that it does not name.
    assert [v['verdict'] for v in found] == ['confirmed', 'undecided']
    assert 'at most 0.4 %' in found[0]['numbers'] and '(60 %)' in found[0]['numbers']
    # The fastest exact way counts, not the slowest.
    assert 'at most 0.5 times' in found[1]['numbers'] and 'up to 40 times' in found[1]['numbers']
    found = experiment.verdicts([series(a0_5=0.6, a1=60.0)])
    assert found[0]['verdict'] == 'refuted'


def reached(setting, seed, linear, knn=50.0, **more):
    return dict(
        setting=setting,
        seed=seed,
        minutes=5.0,
        scores=dict(checkpoint=dict(knn=knn, linear=linear)),
        **more,
    )


def test_robust_settings_may_lose_little():
    experiment = experiment_modules.runner().load('mec_orders')
    losses = {'order 1': 0.0, 'order 2': 3.0, 'order 3': 4.0, 'order 4': 0.0}
    losses |= {'batch 64': 1.0, 'batch 1024': 1.2, 'no EMA': 5.0}
    records = [
        reached(name, seed, 60.0 - lost + 0.1 * seed)
        for name, lost in losses.items()
        for seed in range(3)
    ]
    found = [v['verdict'] for v in experiment.verdicts(records)]
    # Order 1 is a draw with order 4.
    assert found == ['undecided', 'confirmed', 'refuted']


def test_a_collapse_is_seen_by_the_targets():
    experiment = experiment_modules.runner().load('minent_norms')
    levels = dict.fromkeys(experiment.SETTINGS, 0.8)

    def told(**changed):
        values = levels | {key.replace('_', ' '): value for key, value in changed.items()}
        records = [
            reached(name, seed, 60.0, lowest=dict(target_entropy=level))
            for name, level in values.items()
            for seed in range(2)
        ]
        return experiment.verdicts(records)[0]['verdict']

    assert told(no_normalisation=0.05) == 'confirmed'
    assert told() == 'undecided'
    assert told(no_normalisation=0.05, softmax=0.1) == 'undecided'
    assert told(batch_norm=0.1, softmax=0.1, L2_norm=0.1) == 'refuted'


def test_a_difference_is_told_within_one_processor():
    experiment = experiment_modules.runner().load('cifar10_causes')

    def on(machine, **more):
        return reached('MEC, none', 0, 60.0, machine=machine, **more)

    epyc, card = '2 cores of AMD EPYC, AVX512, torch 2', 'NVIDIA H200, torch 2'
    base = on(epyc)
    assert experiment.row(base, base) == ['50.0', '', 'AMD EPYC']
    assert experiment.row(on(epyc, knn=51.0), base) == ['51.0', '+1.0', 'AMD EPYC']
    assert experiment.row(on(card, knn=51.0), base) == ['51.0', '', 'NVIDIA H200']
    resumed = on(epyc, knn=51.0, earlier=[dict(machine=card)])
    assert experiment.row(resumed, base) == ['51.0', '', 'NVIDIA H200 and AMD EPYC']
    assert experiment.row(None, base) == ['not run', '', '']


def test_er_saves_what_is_lost_without_it():
    experiment = experiment_modules.runner().load('er_stability')
    lost = {'DINO, batch 32': 9.0, 'DINO+ER, batch 32': 1.0}
    records = [
        reached(name, seed, 60.0 - down + noise, 50.0 - down + noise)
        for name in experiment.SETTINGS
        for down in [lost.get(name, 0.0)]
        for seed in range(3)
        for noise in [0.1 * seed * (down > 0)]
    ]
    found = {v['claim']: v['verdict'] for v in experiment.verdicts(records)}
    assert found.pop('With ER DINO loses less at a small batch') == 'confirmed'
    assert [*found.values()] == ['undecided'] * 4
