"""Settings that nobody would read are refused."""

import pytest
from mmengine.config import Config
from repository import REPOSITORY
from safe_runs import config

from mmentropy.checks.ignored_settings import check_ignored, check_variables

WITH_VALIDATION = dict(val_cfg=dict(), val_dataloader=dict(dataset=dict()), val_evaluator=[])
HELD_OUT = dict(WITH_VALIDATION, val_cfg=dict(type='HeldOutLoop'))
EARLY = dict(type='EarlyStoppingHook', monitor='val_loss')


@pytest.mark.parametrize(
    'change, path',
    [
        (dict(runner_type='FlexibleRunner'), 'runner_type: '),
        (
            dict(runner_type='ShardedRunner', model_wrapper_cfg=dict(static_graph=True)),
            'model_wrapper_cfg: ',
        ),
        (dict(strategy=dict(type='FSDPStrategy')), 'strategy: '),
        (dict(default_hooks=None), 'default_hooks: None'),
        (dict(checkpoint=dict(interval=3)), 'checkpoint: .* default_hooks.checkpoint'),
        (dict(draws=dict(type='ExactResumeHook', a=1)), 'draws: .* default_hooks.draws'),
        (dict(lr_config=dict(policy='step')), 'lr_config: .* param_scheduler'),
        (dict(fp16=True), 'fp16: .* optim_wrapper.type'),
        (dict(resume_from='epoch_1.pth'), 'resume_from: .* load_from'),
        (WITH_VALIDATION, 'val_cfg: MEC predicts nothing'),
        (dict(custom_hooks=[EARLY]), r'custom_hooks\[0\]: EarlyStoppingHook waits'),
        (
            dict(param_scheduler=[dict(type='ReduceOnPlateauLR', monitor='val_loss')]),
            r'param_scheduler\[0\]: ReduceOnPlateauLR waits',
        ),
        (
            dict(train_cfg=dict(type='IterBasedTrainLoop', max_iters=8)),
            'default_hooks.checkpoint.by_epoch: training counts iterations',
        ),
        # Without a type, by_epoch says what is counted.
        (
            dict(train_cfg=dict(by_epoch=False, max_iters=8)),
            'default_hooks.checkpoint.by_epoch: training counts iterations',
        ),
        (
            dict(
                train_cfg=dict(by_epoch=False, max_iters=8),
                default_hooks=dict(checkpoint=None),
                param_scheduler=[dict(type='LinearLR', by_epoch=False), dict(type='LinearLR')],
            ),
            r'param_scheduler\[1\].by_epoch: training counts iterations',
        ),
    ],
)
def test_what_would_be_ignored_is_refused(change, path, tmp_path):
    cfg = config(tmp_path / 'run')
    check_ignored(cfg)
    for key, value in change.items():
        cfg[key] = value
    with pytest.raises(ValueError, match=f'^{path}'):
        check_ignored(cfg)


@pytest.mark.parametrize(
    'change',
    [
        dict(HELD_OUT, custom_hooks=[EARLY]),
        dict(checkpoint='https://a.file'),
        dict(runner_type='Runner'),
        dict(runner_type='ShardedRunner'),
        dict(train_cfg=dict(by_epoch=True, max_epochs=1), param_scheduler=[dict(type='LinearLR')]),
        # By default, epochs are counted.
        dict(train_cfg=dict(max_epochs=1), param_scheduler=[dict(type='LinearLR')]),
        dict(train_cfg=dict(type='IterBasedTrainLoop', max_iters=1), default_hooks=dict(logger={})),
        # A section that is called like a hook of the Runner.
        dict(param_scheduler=dict(type='LinearLR', by_epoch=True)),
    ],
)
def test_what_is_read_is_taken(change, tmp_path):
    cfg = config(tmp_path / 'run')
    for key, value in change.items():
        cfg[key] = value
    cfg.optimizer = cfg.optim_wrapper.optimizer
    check_ignored(cfg)


def test_variables_that_are_called_like_a_hook(tmp_path):
    """They are read where a section has the same dict, however deep."""
    cfg = config(tmp_path / 'run')
    cfg.numbers = dict(type='NonFiniteHook', patience=7)
    with pytest.raises(ValueError, match='^numbers: .* default_hooks.numbers$'):
        check_ignored(cfg)
    cfg.default_hooks.numbers = dict(type='NonFiniteHook', patience=7)
    check_ignored(cfg)
    cfg.default_hooks.numbers = None
    cfg.custom_hooks = [dict(type='NonFiniteHook', patience=7)]
    check_ignored(cfg)
    cfg.custom_hooks = []
    cfg.eval_datasets = dict(train=cfg.numbers, test=dict(type='Digits'))
    check_ignored(cfg)
    cfg.timer = dict(backend='gloo')
    cfg.env_cfg = dict(dist_cfg=cfg.timer)
    check_ignored(cfg)
    cfg.timer = [3]
    check_ignored(cfg)


def test_every_recipe_passes():
    for path in (REPOSITORY / 'configs').glob('m*/*r18s*.py'):
        cfg = Config.fromfile(path)
        check_ignored(cfg)
        check_variables(cfg)


def test_a_variable_is_not_changed_after_its_use(tmp_path):
    base = REPOSITORY / 'configs/mec/r18s_1xb64_50e_digits.py'
    cfg = Config.fromfile(base)
    with pytest.raises(ValueError, match='--cfg-options max_epochs .* set train_cfg.max_epochs$'):
        check_variables(cfg, dict(max_epochs=3))
    check_variables(cfg, {'train_cfg.max_epochs': 3})
    check_variables(cfg, dict(max_epochs=cfg.max_epochs))
    variant = tmp_path / 'variant.py'
    variant.write_text(f"_base_ = '{base}'\nbatch_size = 32\n")
    with pytest.raises(ValueError, match='variant.py: batch_size .*train_dataloader.batch_size'):
        check_variables(Config.fromfile(variant))
    variant.write_text(
        f"_base_ = '{base}'\nbatch_size = 32\ntrain_dataloader = dict(batch_size=2 * batch_size)\n"
    )
    check_variables(Config.fromfile(variant))
    # A config that mmengine wrote keeps the variables of its files.
    variant.write_text('batch_size = 32\ntrain_dataloader = dict(batch_size=64)\n')
    check_variables(Config.fromfile(variant))
    variant.write_text(f"_base_ = '{base}'\noptimizer = dict(lr=1.0)\n")
    with pytest.raises(ValueError, match='optimizer changes .* set optim_wrapper.optimizer$'):
        check_variables(Config.fromfile(variant))
