"""Validation without predictions: a loss on held-out images and kNN, for the hooks of mmengine."""

import math
from functools import partial

import pytest
import torch
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS
from networks import HEADS, batch, build
from ranks import on_ranks
from safe_runs import DrawnViews, config, log_of, same, train, weights
from small import on_rank

from mmentropy.engine import held_out_loop
from mmentropy.engine.held_out_loop import HeldOutLoop, loss_of
from mmentropy.engine.random_state import network_seed, random_state_kept
from mmentropy.models import DeepCluster


def validating(folder, epochs=3, hooks=(), **loop):
    cfg = config(folder, epochs, hooks)
    cfg.val_cfg = dict(type='HeldOutLoop', **loop)
    cfg.val_dataloader = dict(cfg.train_dataloader, sampler=dict(type='DefaultSampler'))
    cfg.val_evaluator = []
    return cfg


@DATASETS.register_module()
class FixedViews(DrawnViews):
    """Views that are the same whichever rank draws them."""

    def __getitem__(self, index):
        item = super().__getitem__(index)
        noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(index))
        return dict(item, inputs=list(noise))


def stopping(folder, images, batch_size):
    """Validate on a number of images and by kNN, and stop early."""
    early = dict(type='EarlyStoppingHook', monitor='val_loss', patience=1, rule='greater')
    cfg = validating(folder, 9, [early], k=5)
    cfg.model.backbone.in_channels = 1
    # Rounding, which is not that of one process, grows with the rate.
    cfg.optim_wrapper.optimizer.lr = 1e-3
    cfg.train_dataloader.batch_size = cfg.val_dataloader.batch_size = batch_size
    cfg.train_dataloader.dataset = dict(type='FixedViews')
    cfg.val_dataloader.update(dataset=dict(type='FixedViews', size=images))
    cfg.val_dataloader.sampler.shuffle = False
    cfg.eval_datasets = {
        name: dict(type='Digits', split=name, indices=51, pipeline=[dict(type='PackInputs')])
        for name in ('train', 'test')
    }
    return cfg


def measured(runner):
    names = ('val/val_loss', 'val/knn/top1')
    return [runner.message_hub.get_scalar(name).data[0].tolist() for name in names]


def test_training_stays_as_it_is(tmp_path):
    plain = train(config(tmp_path / 'plain'))
    runner = train(validating(tmp_path / 'validated'))
    same(weights(plain), weights(runner))
    losses = runner.message_hub.get_scalar('val/val_loss').data[0]
    assert len(losses) == 3 and len(set(losses)) == 3


def test_a_network_has_one_loss(tmp_path):
    runner = train(validating(tmp_path / 'run', epochs=1))
    assert runner.val_loop.run() == runner.val_loop.run()


def test_draws_of_the_loss_are_the_same_every_time(tmp_path, monkeypatch):
    monkeypatch.setattr(held_out_loop, 'loss_of', lambda model, batch: float(torch.rand(())))
    loop = train(validating(tmp_path / 'run', epochs=1)).val_loop
    # A loader in this process seeds its generators, one with processes of its own does not.
    loop.dataloader = list(loop.dataloader)
    assert loop.loss() == loop.loss()


def test_draws_on_a_gpu_are_seeded_too(tmp_path, monkeypatch):
    """A GPU that is only said to be there: its seeds are the same every time."""
    loop, seeds = train(validating(tmp_path / 'run', epochs=1)).val_loop, []
    # The logger would ask the GPU for its memory.
    monkeypatch.setattr(loop.runner, 'call_hook', lambda *args, **options: None)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'manual_seed_all', seeds.append)
    loop.loss()
    first = seeds.copy()
    seeds.clear()
    loop.loss()
    assert first == seeds == [network_seed(0, batch) for batch in range(4)]


def labelled(folder, test):
    """Validate by kNN, and keep the best checkpoint by it; ``test`` says which images are asked."""
    cfg = validating(folder, epochs=2, k=5)
    cfg.model.backbone.in_channels = 1
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset = dict(type='FixedViews')
    cfg.default_hooks.checkpoint.update(save_best='knn/top1', rule='greater')
    cfg.eval_datasets = {
        name: dict(type='Digits', split=name, indices=rows, pipeline=[dict(type='PackInputs')])
        for name, rows in (('train', 51), ('test', test))
    }
    return cfg


def test_rows_of_one_class_do_not_end_training(tmp_path):
    """Files that could not be read were replaced, so that no accuracy means anything."""
    runner = Runner.from_cfg(labelled(tmp_path / 'run', 51))
    loop = runner.val_loop
    loop.labelled = (loop.labelled[0], DATASETS.build(labelled(tmp_path, 1).eval_datasets.test))
    runner.train()
    assert runner.epoch == 2
    for step in (4, 8):
        message = f'validation after iteration {step}: no knn/top1: all test rows are of class'
        assert message in log_of(runner)
    assert not list((tmp_path / 'run').glob('best_*'))
    assert len(runner.message_hub.get_scalar('val/val_loss').data[0]) == 2


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_nan_and_a_warning(value, tmp_path, monkeypatch):
    """Also of an algorithm that does not look at its loss itself."""
    cfg = validating(tmp_path / 'run', epochs=1)
    cfg.model.type = 'SimSiam'
    cfg.model.head.update(type='LatentPredictHead', loss=dict(type='CosineSimilarityLoss'))
    runner = train(cfg)
    for parameter in runner.model.neck.parameters():
        torch.nn.init.constant_(parameter, value)
    assert math.isnan(runner.val_loop.run()['val_loss'])
    assert 'validation: the loss is nan: lower' in log_of(runner)


def test_directions_of_lejepa_are_new_in_training_alone(tmp_path):
    cfg = validating(tmp_path / 'run', epochs=1)
    cfg.model.type = 'JointEmbedding'
    cfg.model.head = dict(type='LeJEPALoss', directions=8)
    runner = train(cfg)
    first, z = runner.val_loop.run(), torch.zeros(4, 8)
    directions = runner.model.head.drawn_directions(z)
    runner.message_hub.update_info('iter', 77)
    assert runner.val_loop.run() == first
    assert runner.model.training
    assert not torch.equal(runner.model.head.drawn_directions(z), directions)


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
    with pytest.raises(
        ValueError, match="'knn/top1' is not measured by validation: choose from val_loss$"
    ):
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


def validate_on_ranks(folder, rank, world):
    return measured(train(on_rank(stopping(folder, 15, 4), rank, 'two ranks')))


@pytest.mark.slow
def test_two_ranks_measure_and_stop_as_one(tmp_path):
    """They cannot share the last of 15 images, so that one process has 14 of them."""
    losses, accuracies = measured(train(stopping(tmp_path / 'one', 14, 8)))
    assert 1 < len(losses) < 9
    first, second = on_ranks(partial(validate_on_ranks, tmp_path / 'two'), 2, tmp_path)
    assert first == second
    assert first[0] == pytest.approx(losses, rel=1e-4)
    assert first[1] == pytest.approx(accuracies, abs=1e-6)


REFUSED = {
    'sampler': (16, dict(sampler=dict(type='InfiniteSampler')), 'must be DefaultSampler'),
    'no image': (0, {}, 'gives no batch: a process has 0 images'),
    'no batch': (3, dict(drop_last=True), 'gives no batch: a process has 3 images'),
    'one image': (9, {}, 'would have a single image'),
    'one at a time': (16, dict(batch_size=1), 'batch_size is 1, and a single image'),
    'one at a time, dropping': (16, dict(batch_size=1, drop_last=True), 'batch_size is 1'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_loaders_that_validate_nothing(tmp_path, name, monkeypatch):
    # A validation of images without end would not end.
    monkeypatch.setattr(HeldOutLoop, 'run', lambda self: pytest.fail('validates'))
    size, changes, message = REFUSED[name]
    cfg = validating(tmp_path / 'run')
    cfg.val_dataloader.update(changes)
    cfg.val_dataloader.dataset = dict(type='DrawnViews', size=size)
    with pytest.raises(ValueError, match=message):
        train(cfg)


def test_a_sharded_network_is_refused_before_training(tmp_path, monkeypatch):
    """It cannot be copied. Any network stands for a sharded one here."""
    monkeypatch.setattr(held_out_loop, 'FSDPModule', torch.nn.Module)
    with pytest.raises(ValueError, match='a ShardedRunner does not have: leave val_cfg'):
        train(validating(tmp_path / 'run'))


def test_a_single_image_can_be_left_out(tmp_path):
    cfg = validating(tmp_path / 'run', epochs=1)
    cfg.val_dataloader.drop_last = True
    cfg.val_dataloader.dataset = dict(type='DrawnViews', size=9)
    assert math.isfinite(train(cfg).message_hub.get_scalar('val/val_loss').current())


def test_views_made_in_batch_are_the_same_every_time(tmp_path):
    cfg = validating(tmp_path / 'run', epochs=1)
    digits = dict(type='Digits', split='test', indices=16, pipeline=[dict(type='PackImage')])
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(dataset=digits, collate_fn=dict(type='collate_images'))
    cfg.model.backbone.in_channels = 1
    crop = dict(type='RandomResizedCrop', scale=8)
    cfg.data_preprocessor = dict(
        type='BatchViews', pipeline=[dict(type='MultiView', num_views=2, transforms=[[crop]])]
    )
    runner = train(cfg)
    first = runner.val_loop.run()
    assert math.isfinite(first['val_loss'])
    runner.message_hub.update_info('iter', 77)
    assert runner.val_loop.run() == first


def test_deep_cluster_has_no_labels_of_held_out_images(tmp_path, monkeypatch):
    runner = Runner.from_cfg(validating(tmp_path / 'run'))
    other = object.__new__(DeepCluster)
    monkeypatch.setattr(held_out_loop, 'unwrapped', lambda model: other)
    with pytest.raises(ValueError, match='HeldOutLoop has no loss for DeepCluster'):
        runner.val_loop  # noqa: B018, it is built when it is asked for
