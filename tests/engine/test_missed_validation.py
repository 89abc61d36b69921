"""A validation that a checkpoint does not know of is made up for."""

import pytest
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub
from mmpretrain.registry import METRICS, MODELS
from safe_runs import config, disturb, same, train, weights

from mmentropy.datasets.loader_processes import leave_with_parent


@METRICS.register_module()
class FirstIsBest(BaseMetric):
    """A score that falls from epoch to epoch; ends training if asked."""

    ending = False
    scored = []

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        if FirstIsBest.ending:
            raise KeyboardInterrupt
        epoch = MessageHub.get_current_instance().get_info('epoch')
        FirstIsBest.scored.append(epoch)
        return dict(score=-epoch)


@MODELS.register_module()
class Validated(MODELS.get('mmpretrain.MEC')):
    def forward(self, inputs, data_samples=None, mode='tensor'):
        return data_samples if mode == 'predict' else super().forward(inputs, data_samples, mode)


def validating(folder, by_epoch):
    cfg = config(folder, epochs=3)
    cfg.model.type = 'Validated'
    cfg.val_dataloader = dict(
        cfg.train_dataloader, sampler=dict(type='DefaultSampler', shuffle=False)
    )
    cfg.val_cfg, cfg.val_evaluator = dict(), dict(type='FirstIsBest')
    cfg.default_hooks.checkpoint.update(save_best='score', rule='greater')
    if not by_epoch:
        cfg.train_cfg = dict(by_epoch=False, max_iters=12, val_interval=4)
        cfg.train_dataloader.sampler.type = 'InfiniteSampler'
        cfg.default_hooks.checkpoint.update(by_epoch=False, interval=4)
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize('by_epoch', [True, False])
@pytest.mark.parametrize('moment', [1, 3])
def test_a_missed_validation_is_made_up_for(by_epoch, moment, tmp_path, monkeypatch):
    """Of the first epoch or of the last, and once."""
    whole = train(validating(tmp_path / 'whole', by_epoch))
    # Not ended by a signal to all processes, either.
    assert whole.val_dataloader.worker_init_fn.func is leave_with_parent
    expected = weights(whole)
    (best,) = (p.name for p in tmp_path.glob('whole/best_*'))
    cfg = validating(tmp_path / 'run', by_epoch)
    loop = 4 * moment if not by_epoch else moment

    def die(runner):
        if (runner.epoch + 1 if by_epoch else runner.iter + 1) == loop:
            FirstIsBest.ending = True

    cfg.custom_hooks = [disturb(die)]
    with pytest.raises(KeyboardInterrupt):
        train(cfg)
    FirstIsBest.ending, FirstIsBest.scored = False, []
    cfg = validating(tmp_path / 'run', by_epoch)
    cfg.resume = True
    same(weights(train(cfg)), expected)
    assert [p.name for p in tmp_path.glob('run/best_*')] == [best]
    # Each by the number of its own epoch, as in the whole run.
    assert FirstIsBest.scored == ([*range(moment - 1, 3)] if by_epoch else [0] * (4 - moment))


@pytest.mark.slow
@pytest.mark.parametrize('interval, at, scored', [(1, 6, [0, 1, 2]), (2, 6, [1, 2])])
def test_no_other_validation_is_made_up_for(interval, at, scored, tmp_path):
    """One that the checkpoint knows of, or that was not due."""

    def die(runner):
        raise KeyboardInterrupt

    FirstIsBest.scored = []
    for hooks in ([disturb(die, at)], []):
        cfg = validating(tmp_path / 'run', by_epoch=True)
        cfg.train_cfg.val_interval = interval
        cfg.custom_hooks = hooks
        cfg.resume = not hooks
        if hooks:
            with pytest.raises(KeyboardInterrupt):
                train(cfg)
        else:
            train(cfg)
    assert FirstIsBest.scored == scored


@pytest.mark.slow
def test_schedulers_follow_a_repeated_validation(tmp_path):
    """Which ended after the checkpoint was written."""

    def die(runner):
        raise KeyboardInterrupt

    rates = []
    for name, hooks in (('whole', []), ('run', [disturb(die, at=10)]), ('run', [])):
        cfg = validating(tmp_path / name, by_epoch=True)
        cfg.param_scheduler = [
            dict(type='ReduceOnPlateauLR', monitor='score', rule='greater', patience=0, factor=0.5)
        ]
        cfg.custom_hooks, cfg.resume = hooks, name == 'run' and not hooks
        if hooks:
            with pytest.raises(KeyboardInterrupt):
                train(cfg)
        else:
            runner = train(cfg)
            rates.append((runner.optim_wrapper.get_lr()['lr'], weights(runner)))
    (rate, whole), (again, resumed_one) = rates
    assert rate == again != [0.05]
    same(resumed_one, whole)
