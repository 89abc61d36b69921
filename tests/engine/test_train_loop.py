"""Our training loops take the place of mmengine's, and of nobody else's."""

from types import SimpleNamespace

import pytest
from mmengine.hooks import Hook, LoggerHook
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS
from safe_runs import config, log_of, train

from mmentropy.engine.train_loop import (
    EpochTrainLoop,
    IterationTrainLoop,
    replace_dataloader,
    use_train_loop,
)
from mmentropy.models.optimizer_steps import optimizer_step_begins, total_optimizer_steps


@LOOPS.register_module()
class SomebodysLoop(EpochBasedTrainLoop):
    """A training loop that is neither mmengine's nor ours."""


def foreign(folder, **train_cfg):
    """A config without any hook of ours."""
    cfg = config(folder)
    cfg.default_hooks, cfg.custom_hooks = {}, []
    cfg.train_cfg = train_cfg
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize(
    'train_cfg, kind',
    [
        (dict(by_epoch=True, max_epochs=2, val_begin=5), EpochTrainLoop),
        (dict(by_epoch=False, max_iters=7, val_begin=5), IterationTrainLoop),
    ],
)
def test_a_loop_takes_over_what_the_other_held(train_cfg, kind, tmp_path):
    runner = Runner.from_cfg(foreign(tmp_path / 'run', **train_cfg))
    before = dict(vars(runner.train_loop))
    assert use_train_loop(runner) and use_train_loop(runner)
    assert type(runner.train_loop) is kind
    assert vars(runner.train_loop) == before
    runner.train()
    assert runner.iter == (8 if kind is EpochTrainLoop else 7)


def test_the_loop_of_somebody_else_stays(tmp_path):
    runner = Runner.from_cfg(foreign(tmp_path / 'run', type='SomebodysLoop', max_epochs=1))
    assert not use_train_loop(runner)
    assert type(runner.train_loop) is SomebodysLoop
    for name, hook in (('draws', 'ExactResumeHook'), ('numbers', 'NonFiniteHook')):
        cfg = foreign(tmp_path / name, type='SomebodysLoop', max_epochs=1)
        cfg.default_hooks = {name: dict(type=hook)}
        with pytest.raises(ValueError, match=f"^{hook} cannot work with .*'SomebodysLoop'"):
            train(cfg)


@HOOKS.register_module()
class StepsSeen(Hook):
    """Notes in which iterations a step begins for the algorithm, and ends for the optimiser."""

    def before_train(self, runner):
        self.total = total_optimizer_steps()
        self.begun, self.ended = [], []

    def before_train_iter(self, runner, *args, **kwargs):
        self.begun.append(optimizer_step_begins())

    def after_train_iter(self, runner, *args, **kwargs):
        self.ended.append(runner.optim_wrapper.should_update())


@pytest.mark.slow
@pytest.mark.parametrize('by_epoch', [True, False])
@pytest.mark.parametrize('shared', [1, 2, 3])
def test_algorithms_know_when_a_step_begins(by_epoch, shared, tmp_path):
    cfg = config(tmp_path / 'run', epochs=2, hooks=[dict(type='StepsSeen')])
    cfg.optim_wrapper.accumulative_counts = shared
    if not by_epoch:
        cfg.train_cfg = dict(by_epoch=False, max_iters=8)
        cfg.train_dataloader.sampler.type = 'InfiniteSampler'
        cfg.default_hooks.checkpoint.by_epoch = False
    runner = train(cfg)
    (seen,) = (hook for hook in runner.hooks if isinstance(hook, StepsSeen))
    assert seen.begun == [True, *seen.ended[:-1]] and len(seen.begun) == 8
    assert seen.total == sum(seen.ended) == -(-8 // shared)


@pytest.mark.parametrize(
    'train_cfg, line',
    [
        (dict(by_epoch=False, max_iters=5), 'Iter(train) [5/5]'),
        (dict(by_epoch=True, max_epochs=1), 'Epoch(train) [1][4/4]'),
    ],
)
def test_the_log_counts_as_the_loop_does(train_cfg, line, tmp_path):
    cfg = config(tmp_path / 'run')
    cfg.train_cfg = train_cfg
    cfg.default_hooks.checkpoint.by_epoch = train_cfg['by_epoch']
    runner = train(cfg)
    assert line in ' '.join(log_of(runner).split())
    # Where there are no epochs, every validation would be at epoch 0.
    (logger,) = (hook for hook in runner.hooks if isinstance(hook, LoggerHook))
    assert logger.log_metric_by_epoch == train_cfg['by_epoch']


@pytest.mark.parametrize('own', [True, False])
def test_a_logger_that_says_how_it_counts_keeps_it(own, tmp_path):
    cfg = foreign(tmp_path / 'run', by_epoch=False, max_iters=2)
    cfg.custom_hooks = [dict(type='LoggerHook', **(dict(log_metric_by_epoch=True) if own else {}))]
    runner = Runner.from_cfg(cfg)
    use_train_loop(runner)
    loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
    assert loggers and {hook.log_metric_by_epoch for hook in loggers} == {own}


def test_loader_processes_are_guarded_before_they_start():
    """An iterator of mmengine's starts them when it is made."""
    guarded = []

    class Starts:
        def __init__(self, loader):
            guarded.append(loader.worker_init_fn is not None)

    loop = SimpleNamespace(dataloader=None, dataloader_iterator=object.__new__(Starts))
    replace_dataloader(loop, SimpleNamespace(worker_init_fn=None))
    assert guarded == [True]
