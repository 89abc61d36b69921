"""Several iterations that share a step of the optimiser are said and reckoned with."""

import pytest
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from safe_runs import accumulating, config, log_of, train

from mmentropy.engine import accumulation
from mmentropy.engine.accumulation import scale_lr_by_step
from mmentropy.engine.trial_run import try_run

LINE = (
    'accumulation: 2 iterations x 4 = 8 images a step of the optimiser; entropies and batch '
    'statistics see 4'
)


def test_the_log_and_the_plan_name_the_batch_of_a_step(tmp_path):
    assert LINE in log_of(train(accumulating(tmp_path / 'run')))
    assert 'accumulation' not in log_of(train(config(tmp_path / 'plain', epochs=1)))
    cfg = accumulating(tmp_path / 'trial')
    cfg.optim_wrapper.accumulative_counts = 4
    runner = Runner.from_cfg(cfg)
    assert LINE.replace('2 iterations x 4 = 8', '4 iterations x 4 = 16') in try_run(
        runner, tmp_path
    )
    # The optimiser has stepped, so that its state counts for the room.
    assert runner.optim_wrapper.optimizer.state


@pytest.mark.parametrize('count', [1, 2])
def test_the_learning_rate_follows_the_images_of_a_step(count, tmp_path):
    cfg = accumulating(tmp_path / 'run')
    cfg.optim_wrapper.accumulative_counts = count
    cfg.auto_scale_lr = dict(enable=True, base_batch_size=4)
    runner = Runner.from_cfg(cfg)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    scale_lr_by_step(runner)
    runner.train()
    assert runner.optim_wrapper.get_lr()['lr'] == [pytest.approx(0.05 * count)]


@pytest.mark.parametrize('count', [1, 2])
@pytest.mark.parametrize('base, by_epoch', [(16, True), (4, False), (16, False)])
def test_a_rate_is_scaled_and_iterations_are_not(count, base, by_epoch, tmp_path):
    """A warning says so where the images that are seen change with the batch."""
    cfg = accumulating(tmp_path / 'run')
    cfg.optim_wrapper.accumulative_counts = count
    cfg.auto_scale_lr = dict(enable=True, base_batch_size=base)
    if not by_epoch:
        cfg.train_cfg = dict(by_epoch=False, max_iters=8)
    runner = Runner.from_cfg(cfg)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    scale_lr_by_step(runner)
    warned = '8 iterations see 0.25 times the images' in log_of(runner)
    assert warned == (base == 16 and not by_epoch)


def test_several_optimisers_step_every_iteration(tmp_path, monkeypatch):
    runner = Runner.from_cfg(config(tmp_path / 'run'))
    runner.optim_wrapper = OptimWrapperDict()
    assert accumulation.iterations_per_step(runner) == 1
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    monkeypatch.setattr(accumulation, 'get_world_size', lambda: 3)
    assert accumulation.batch_of(runner) == 3 * 4
