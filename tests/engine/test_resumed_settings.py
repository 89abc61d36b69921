"""Settings of a resumed run that differ from those in its checkpoint."""

import pytest
from mmengine.runner import Runner
from safe_runs import config, log_of

from mmentropy.engine.initial_weights import check_initial_weights
from mmentropy.engine.resume import choose_checkpoint
from mmentropy.engine.resumed_settings import settle_settings


def run(folder, choice=None, resume=False, epochs=2, lr=0.05, decay=0.0, order=4, end=None):
    """Train on a cosine, and return the learning rate of every iteration."""
    cfg = config(folder, epochs)
    cfg.optim_wrapper.optimizer.update(lr=lr, weight_decay=decay)
    cfg.param_scheduler = [dict(type='CosineAnnealingLR', convert_to_iter_based=True)]
    if end:
        cfg.param_scheduler[0]['end'] = end
    cfg.model.head.loss.taylor_order = order
    cfg.resume = resume
    choose_checkpoint(cfg)
    hook = settle_settings(cfg, choice)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(hook)
    check_initial_weights(runner)
    rates = []

    def note(*args, **kwargs):
        rates.append(runner.optim_wrapper.get_lr()['lr'][0])

    hook.before_train_iter = note
    runner.train()
    return rates, runner


@pytest.fixture
def trained(tmp_path):
    run(tmp_path / 'run')
    return tmp_path / 'run'


def test_a_longer_training_needs_a_choice(trained):
    with pytest.raises(ValueError, match=r'train_cfg.max_epochs = 4 \(2 in the checkpoint\)'):
        run(trained, resume=True, epochs=4)


def test_the_schedule_of_the_config_is_that_of_a_run_of_this_length(trained, tmp_path):
    whole, _ = run(tmp_path / 'whole', epochs=4)
    rates, runner = run(trained, 'config', resume=True, epochs=4)
    assert rates == pytest.approx(whole[8:])
    assert 'the config decides on train_cfg.max_epochs = 4' in log_of(runner)
    # The checkpoint of the longer run says so.
    run(trained, resume=True, epochs=4)


def test_the_schedule_of_the_checkpoint_stays_at_its_end(trained):
    rates, runner = run(trained, 'checkpoint', resume=True, epochs=4, lr=1.0)
    assert len(set(rates)) == 1 and 0 < rates[0] < 0.05
    assert runner.cfg.optim_wrapper.optimizer.lr == 0.05
    assert runner.cfg.param_scheduler[0].end == 2


@pytest.mark.parametrize('changes', [dict(lr=0.1), dict(decay=0.5)])
def test_settings_of_the_optimiser_need_a_choice(trained, changes):
    with pytest.raises(ValueError, match='was trained with other settings, optim_wrapper.optim'):
        run(trained, resume=True, **changes)


def test_settings_of_the_optimiser_are_those_of_the_config(trained):
    _, runner = run(trained, 'config', resume=True, epochs=3, decay=0.5)
    (group,) = runner.optim_wrapper.param_groups
    assert group['weight_decay'] == 0.5


def test_the_end_of_a_schedule_with_an_end_is_no_difference(tmp_path):
    run(tmp_path / 'run', end=2)
    rates, _ = run(tmp_path / 'run', resume=True, epochs=3, end=2)
    assert len(set(rates)) == 1


def test_what_holds_by_the_config_is_named(trained):
    _, runner = run(trained, resume=True, order=2)
    assert 'model.head.loss.taylor_order = 2 (4 in the checkpoint)' in log_of(runner)


def test_the_same_config_is_resumed_silently(trained):
    _, runner = run(trained, resume=True)
    assert 'with another config' not in log_of(runner)


def test_another_network_is_refused(trained):
    cfg = config(trained, epochs=2)
    cfg.param_scheduler = [dict(type='CosineAnnealingLR', convert_to_iter_based=True)]
    cfg.model.backbone.stem_channels = 8
    cfg.resume = True
    choose_checkpoint(cfg)
    with pytest.raises(ValueError, match=r'of another network, in which backbone.conv1'):
        check_initial_weights(Runner.from_cfg(cfg))
