"""Sharded runs train as DDP does, and their checkpoints are those of any run."""

from contextlib import contextmanager
from functools import partial

import networks
import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from ranks import on_ranks
from safe_runs import config
from small import on_rank
from torch.distributed.fsdp._fully_shard import _fsdp_param_group
from torch.distributed.tensor import DTensor
from torch.utils._pytree import tree_map_only

from mmentropy.engine.exact_accumulation import accumulate_exactly
from mmentropy.engine.resume import choose_checkpoint
from mmentropy.engine.sharded_runner import ShardedRunner
from mmentropy.models.ema import ForeachEMA

VIT = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32),
    img_size=8,
    patch_size=4,
    out_type='cls_token',
    drop_path_rate=0.2,
)
ADAMW = dict(optimizer=dict(type='AdamW', lr=1e-3, eps=1e-3), clip_grad=dict(max_norm=0.1))
LARC = dict(optimizer=dict(type='LARC', lr=1e-3, momentum=0.9, weight_decay=1e-4, eta=0.02))
SGD = dict(optimizer=dict(type='SGD', lr=1e-3, momentum=0.9))
# The trainings that are compared: 20 iterations of a transformer, a few of the others.
RUNS = dict(
    vit=dict(
        epochs=10, backbone=VIT, optim_wrapper=ADAMW, activation_checkpointing='backbone.layers'
    ),
    larc=dict(optim_wrapper=LARC),
    accumulated=dict(accumulate=2, size=24, optim_wrapper=SGD),
    dino_er=dict(head='dino_er'),
    minent=dict(head='minent'),
)


def config_of(folder, rank, name):
    """The config of one of the runs on one of two ranks."""
    what = dict(RUNS[name])
    cfg = config(folder, epochs=what.pop('epochs', 2), size=what.pop('size', 16))
    if 'head' in what:
        cfg.model = networks.HEADS[what.pop('head')] | dict(backbone=networks.BACKBONE)
    if 'backbone' in what:
        cfg.model.backbone = what.pop('backbone')
        cfg.model.neck.update(in_channels=16, with_avg_pool=False)
    count = what.pop('accumulate', 1)
    for key, value in what.items():
        cfg[key] = value
    cfg.optim_wrapper.accumulative_counts = count
    return on_rank(cfg, rank, f'{folder.name}_{name}')


def trained(kind, cfg, resume=False):
    """A Runner of a kind that has trained, and its losses."""
    cfg.resume = resume
    choose_checkpoint(cfg)
    runner = kind.from_cfg(cfg)
    runner.train()
    return runner, runner.message_hub.get_scalar('train/loss').data[0].tolist()


def saved(folder, epoch):
    return torch.load(folder / f'epoch_{epoch}.pth', weights_only=False)


def both(folder, rank, world):
    """Losses of all runs, by DDP and sharded."""
    return {
        (name, kind.__name__): trained(
            kind, config_of(folder / f'{name}_{kind.__name__}', rank, name)
        )[1]
        for name in RUNS
        for kind in (Runner, ShardedRunner)
    }


@pytest.mark.slow
def test_runs_are_those_of_ddp(tmp_path):
    """Losses, last weights and the state of the optimiser."""
    losses, _ = on_ranks(partial(both, tmp_path), 2, tmp_path)
    for name in RUNS:
        found, expected = (losses[name, kind] for kind in ('ShardedRunner', 'Runner'))
        epochs = RUNS[name].get('epochs', 2)
        assert len(expected) >= 2 * epochs
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, msg=name)
        ours, theirs = (
            saved(tmp_path / f'{name}_{kind}', epochs) for kind in ('ShardedRunner', 'Runner')
        )
        torch.testing.assert_close(
            ours['state_dict'], theirs['state_dict'], rtol=1e-4, atol=1e-5, msg=name
        )
        assert shapes(ours['optimizer']) == shapes(theirs['optimizer'])


def shapes(value):
    """Nested dicts with the shapes of tensors in their place."""
    return tree_map_only(torch.Tensor, lambda x: x.shape, value)


def resumed(folder, rank, world):
    """A run, and two that go on after its first epoch, between two iterations that share a step."""
    whole = config_of(folder / 'whole', rank, 'accumulated')
    whole.default_hooks.checkpoint.max_keep_ckpts = -1
    trained(ShardedRunner, whole)
    torch.distributed.barrier()
    for kind in (ShardedRunner, Runner):
        cfg = config_of(folder / kind.__name__, rank, 'accumulated')
        cfg.load_from = str(folder / 'whole' / 'epoch_1.pth')
        trained(kind, cfg, resume=True)


@pytest.mark.slow
def test_a_resumed_run_ends_as_the_whole_one(tmp_path):
    """Bit for bit if it is sharded; DDP adds gradients in another order."""
    on_ranks(partial(resumed, tmp_path), 2, tmp_path)
    assert saved(tmp_path / 'whole', 1)['gradients']
    expected, sharded, ddp = (
        saved(tmp_path / name, 2) for name in ('whole', 'ShardedRunner', 'Runner')
    )
    for key in ('state_dict', 'optimizer'):
        torch.testing.assert_close(sharded[key], expected[key], rtol=0, atol=0)
        torch.testing.assert_close(ddp[key], expected[key], rtol=1e-4, atol=1e-5)


@contextmanager
def calls():
    """Note when an average moves, when a stream waits for another, and when weights are gathered.

    A CPU has streams that do nothing, of which torch asks the same as of those of a GPU.
    """
    found = []
    places = dict(
        move=(ForeachEMA, 'update_parameters'),
        wait=(torch.cpu.Stream, 'wait_stream'),
        gather=(_fsdp_param_group, 'foreach_all_gather'),
    )

    def noted(name, call):
        def note_and_call(*args, **kwargs):
            found.append(name)
            return call(*args, **kwargs)

        return note_and_call

    with pytest.MonkeyPatch.context() as patch:
        for name, (place, attribute) in places.items():
            patch.setattr(place, attribute, noted(name, getattr(place, attribute)))
        yield found


def shares(folder, rank, world):
    """What a rank has of a network and of its average, and features from before training."""
    whole = Runner.from_cfg(config_of(folder / 'ddp', rank, 'vit')).model.module
    whole.init_weights()
    runner = ShardedRunner.from_cfg(config_of(folder / 'run', rank, 'vit'))
    images = torch.rand(2 + rank, 3, 8, 8)
    features = [model.eval().backbone(images)[0] for model in (runner.model, whole)]
    torch.testing.assert_close(*features)
    # The first iteration comes after the backbone was called alone.
    with calls() as found:
        runner.train()
    # Nothing is gathered after a move before both of torch's streams have waited for it.
    order = ' '.join(found)
    assert 'move wait wait gather' in order
    assert 'move gather' not in order
    state = runner.optim_wrapper.optimizer.state.values()
    parameters = [*runner.model.parameters()]
    assert all(isinstance(p, DTensor) for p in parameters)
    moments = [value for entry in state for value in entry.values() if value.dim()]
    assert all(isinstance(value, DTensor) for value in moments)
    with pytest.raises(ValueError, match='exact accumulation does not work with a ShardedRunner'):
        accumulate_exactly(runner.model, 2)
    return [
        sum(x.to_local().numel() for x in found) / sum(x.numel() for x in found)
        for found in (parameters, moments)
    ]


@pytest.mark.slow
def test_a_rank_has_its_part(tmp_path):
    for found in on_ranks(partial(shares, tmp_path), 2, tmp_path):
        # Tensors of an odd number of rows cannot be halved.
        assert found == pytest.approx([0.5, 0.5], abs=0.02)


def test_several_optimisers_are_refused(tmp_path, monkeypatch):
    cfg = config(tmp_path / 'run')
    runner = ShardedRunner.from_cfg(cfg)
    wrapper = OptimWrapper(torch.optim.SGD(runner.model.parameters(), 1.0))
    monkeypatch.setattr(Runner, 'build_optim_wrapper', lambda self, cfg: cfg)
    assert runner.build_optim_wrapper(wrapper) is wrapper
    with pytest.raises(ValueError, match='ShardedRunner works with one optimiser'):
        runner.build_optim_wrapper(OptimWrapperDict(first=wrapper))
