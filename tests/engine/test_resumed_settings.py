"""Settings of a resumed run that differ from those in its checkpoint."""

from copy import deepcopy

import pytest
from mmengine.runner import Runner
from safe_runs import config, log_of

from mmentropy.engine import initial_weights, resumed_settings
from mmentropy.engine.initial_weights import check_initial_weights
from mmentropy.engine.resume import choose_checkpoint
from mmentropy.engine.resumed_settings import move_on, restore_by_config, settle_settings


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


def test_the_same_network_within_a_wrapper_is_not_another(tmp_path, monkeypatch):
    cfg = config(tmp_path / 'run')
    cfg.update(resume=True, load_from='epoch_1.pth')
    runner = Runner.from_cfg(cfg)
    state = {f'module.{key}': value for key, value in runner.model.state_dict().items()}
    content = dict(state_dict=state, optimizer={})
    monkeypatch.setattr(initial_weights, 'handed_over', lambda path: content)
    check_initial_weights(runner)
    # The best checkpoints have weights alone.
    del content['optimizer']
    with pytest.raises(ValueError, match='epoch_1.pth has no state of the optimiser'):
        check_initial_weights(runner)


def changed(folder, **changes):
    """A config with other values at dotted paths."""
    cfg = config(folder)
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return cfg


@pytest.fixture
def settled(tmp_path, monkeypatch):
    """Return a function that settles a config with a stored one, without a training."""

    def settle(stored, cfg, choice=None):
        content = dict(meta=dict(cfg=stored.pretty_text))
        monkeypatch.setattr(resumed_settings, 'handed_over', lambda path: content)
        cfg.update(resume=True, load_from='epoch_1.pth')
        return settle_settings(cfg, choice)

    return settle


def test_what_changes_no_training_is_no_difference(settled, tmp_path):
    stored = changed(tmp_path, auto_scale_lr=dict(base_batch_size=8, enable=False))
    hook = settled(stored, changed(tmp_path, train_dataloader__num_workers=3), 'config')
    assert (hook.notice, hook.by_config) == ('', False)


def test_a_batch_is_restored_where_the_learning_rate_follows_it(settled, tmp_path):
    for enable in (True, False):
        scale = dict(base_batch_size=8, enable=enable)
        stored = changed(tmp_path, auto_scale_lr=scale)
        cfg = changed(tmp_path, auto_scale_lr=scale, train_dataloader__batch_size=2)
        if enable:
            with pytest.raises(ValueError, match='other settings, train_dataloader.batch_size = 2'):
                settled(stored, cfg)
        else:
            assert 'train_dataloader.batch_size = 2' in settled(stored, cfg).notice


@pytest.mark.parametrize('choice', [None, 'config', 'checkpoint'])
def test_another_optimiser_is_refused(settled, tmp_path, choice):
    cfg = changed(tmp_path, optim_wrapper__optimizer__type='LARS')
    with pytest.raises(ValueError, match='the state of another optimiser, optim_wrapper.optimizer'):
        settled(config(tmp_path), cfg, choice)


def test_the_config_says_what_the_checkpoint_decides(settled, tmp_path):
    schedule = [dict(type='LinearLR'), dict(type='LinearLR', by_epoch=False)]
    stored = changed(tmp_path, param_scheduler=schedule)
    cfg = changed(tmp_path, train_cfg__max_epochs=9, param_scheduler=schedule)
    cfg.optim_wrapper.paramwise_cfg = dict(bias_lr_mult=2)
    assert not settled(stored, cfg, 'checkpoint').by_config
    assert 'paramwise_cfg' not in cfg.optim_wrapper
    # The second ends with the iterations, which the config does not count.
    assert [item.get('end') for item in cfg.param_scheduler] == [3, None]


def about_to_train(cfg):
    """Return a Runner with its loop and its optimiser."""
    runner = Runner.from_cfg(cfg)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    return runner


def test_settings_change_and_parameters_stay(tmp_path):
    runner = about_to_train(config(tmp_path / 'run'))
    schedule = [dict(type='MultiStepLR', milestones=[2], gamma=0.1)]
    runner.param_schedulers = runner.build_param_scheduler(schedule)
    state = runner.optim_wrapper.state_dict()
    state['param_groups'][0]['lr'] = 7.0
    content = dict(optimizer=state, meta=dict(iter=4, epoch=1))
    restore_by_config(runner, content)
    (group,) = state['param_groups']
    assert group['lr'] == 0.05 and all(isinstance(place, int) for place in group['params'])
    # Four iterations are an epoch.
    assert content['param_schedulers'][0]['last_step'] == 1
    move_on(runner, 4, 1)
    assert runner.optim_wrapper.get_lr()['lr'] == [pytest.approx(0.005)]
    state['param_groups'].append(group)
    with pytest.raises(ValueError, match='the same groups of parameters'):
        restore_by_config(runner, content)


def test_an_epoch_that_is_not_counted_yet_is_no_step(tmp_path):
    """A signal may come at the last of its four batches; the resumed run then ends the epoch."""
    runner = about_to_train(config(tmp_path / 'run'))
    schedule = [dict(type='MultiStepLR', milestones=[1], gamma=0.1)]
    runner.param_schedulers = runner.build_param_scheduler(schedule)
    content = dict(optimizer=runner.optim_wrapper.state_dict(), meta=dict(iter=4, epoch=0))
    restore_by_config(runner, content)
    assert content['param_schedulers'][0]['last_step'] == 0


def test_the_logged_rate_is_that_of_the_config(tmp_path):
    """Where parameters have rates of their own, mmengine logs one that belongs to none of them."""
    cfg = config(tmp_path / 'run')
    cfg.optim_wrapper.paramwise_cfg = dict(bias_lr_mult=2)
    runner = about_to_train(cfg)
    state = deepcopy(runner.optim_wrapper.state_dict())
    state['base_param_settings']['lr'] = 7.0
    restore_by_config(runner, dict(optimizer=state, meta=dict(iter=0, epoch=0)))
    assert state['base_param_settings']['lr'] == 0.05


def with_two_optimisers(folder, lr):
    cfg = config(folder)
    one = dict(optimizer=dict(type='SGD', lr=0.1))
    cfg.optim_wrapper = dict(first=one, second=dict(optimizer=dict(type='SGD', lr=lr)))
    return cfg


def test_several_optimisers_are_restored_too(tmp_path, settled):
    stored = with_two_optimisers(tmp_path / 'old', 0.1)
    with pytest.raises(ValueError, match='optim_wrapper.second.optimizer.lr = 0.5'):
        settled(stored, with_two_optimisers(tmp_path / 'run', 0.5))
    cfg = with_two_optimisers(tmp_path / 'run', 0.5)
    settled(stored, cfg, 'checkpoint')
    assert cfg.optim_wrapper.second.optimizer.lr == 0.1
