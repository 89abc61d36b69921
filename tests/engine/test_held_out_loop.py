"""Validation without predictions: a loss on held-out images and kNN, for the hooks of mmengine."""

import math

import pytest
import torch
from networks import HEADS, batch, build
from safe_runs import config, same, train, weights

from mmentropy.engine.held_out_loop import loss_of
from mmentropy.engine.random_state import random_state_kept


def validating(folder, epochs=3, hooks=(), **loop):
    cfg = config(folder, epochs, hooks)
    cfg.val_cfg = dict(type='HeldOutLoop', **loop)
    cfg.val_dataloader = dict(cfg.train_dataloader, sampler=dict(type='DefaultSampler'))
    cfg.val_evaluator = []
    return cfg


def test_training_stays_as_it_is(tmp_path):
    plain = train(config(tmp_path / 'plain'))
    runner = train(validating(tmp_path / 'validated'))
    same(weights(plain), weights(runner))
    losses = runner.message_hub.get_scalar('val/val_loss').data[0]
    assert len(losses) == 3 and len(set(losses)) == 3


def test_a_network_has_one_loss(tmp_path):
    runner = train(validating(tmp_path / 'run', epochs=1))
    assert runner.val_loop.run() == runner.val_loop.run()


def test_early_stopping_and_the_best_checkpoint_follow_it(tmp_path):
    early = dict(
        type='EarlyStoppingHook', monitor='val_loss', patience=1, min_delta=0.0, rule='greater'
    )
    cfg = validating(tmp_path / 'run', 9, [early])
    cfg.default_hooks.checkpoint.save_best = 'val_loss'
    runner = train(cfg)
    assert runner.epoch < 9
    assert list((tmp_path / 'run').glob('best_val_loss_epoch_*.pth'))


def test_save_best_names_what_is_measured(tmp_path):
    cfg = validating(tmp_path / 'run', hooks=[dict(type='EntropyMonitorHook', images=4)])
    cfg.default_hooks.checkpoint.update(save_best='knn/top1', rule='greater')
    with pytest.raises(ValueError, match="'knn/top1' is measured by the validation|val_loss"):
        train(cfg)


@pytest.mark.parametrize('name', HEADS)
def test_the_loss_of_every_method(name):
    torch.manual_seed(0)
    model = build(name)
    model.loss(**batch())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.eval()
    data = batch()
    data['data_samples'] = [None] * 8
    with random_state_kept():
        assert math.isfinite(loss_of(model, data))
    same(before, model.state_dict())
