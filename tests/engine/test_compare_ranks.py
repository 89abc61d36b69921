"""Ranks that differ are named."""

from functools import partial

import pytest
from mmengine.runner import Runner
from ranks import on_ranks
from safe_runs import DrawnViews, config, log_of, train
from small import on_rank

from mmentropy.engine.hooks.compare_ranks import facts_of, leaves


def unequal(folder, what, rank, world):
    cfg = config(folder / f'run{rank}')
    if rank == 1 and what == 'config':
        cfg.optim_wrapper.optimizer.lr = 0.1
    if rank == 1 and what == 'data':
        DrawnViews.__len__ = lambda self: 20
    on_rank(cfg, rank, 'unequal')
    try:
        train(cfg)
    except ValueError as error:
        return str(error)


@pytest.mark.slow
@pytest.mark.parametrize(
    'what, words',
    [
        ('config', 'the config, optim_wrapper.optimizer.lr: 0.1 instead of 0.05;'),
        ('data', 'the number of batches: 3 instead of 2;'),
    ],
)
def test_ranks_that_differ(what, words, tmp_path):
    for text in on_ranks(partial(unequal, tmp_path, what), 2, tmp_path):
        assert text.startswith('rank 1 differs from rank 0 in ')
        assert words.rstrip(';') in text


def test_ranks_may_try_a_config_in_folders_of_their_own(tmp_path):
    facts = [facts_of(Runner.from_cfg(config(tmp_path / name))) for name in ('a', 'b')]
    assert facts[0] == facts[1] and 'the config, train_dataloader.batch_size' in facts[0]


def test_leaves():
    assert dict(leaves(dict(a=dict(b=1), c=[2, dict(d=3)]))) == {'a.b': 1, 'c.0': 2, 'c.1.d': 3}


def test_a_patience_without_effect_is_logged(tmp_path):
    cfg = config(tmp_path / 'old', epochs=1)
    assert 'has no effect' not in log_of(train(cfg))
    cfg.default_hooks.ranks.patience = 30.0
    cfg.experiment_name += '_with'
    assert log_of(train(cfg)).count('patience=30.0 has no effect') == 1
