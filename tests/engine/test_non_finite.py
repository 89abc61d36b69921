"""Iterations that are not finite are left out."""

import copy
import re
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmpretrain.registry import OPTIM_WRAPPERS
from ranks import on_ranks
from safe_runs import accumulating, config, disturb, log_of, same, train, weights
from small import on_rank

from mmentropy.engine.hooks.non_finite import (
    NonFiniteHook,
    bad_images,
    check_loss,
    check_scale,
    guarded,
)
from mmentropy.engine.train_loop import plain_train_step
from mmentropy.models import MECLoss
from mmentropy.weights.reader import read_checkpoint


@pytest.mark.slow
@pytest.mark.parametrize('algorithm', ['MEC', 'SimSiam'])
def test_a_bad_batch_is_left_out(algorithm, tmp_path):
    runner = train(config(tmp_path / 'run', epochs=2, algorithm=algorithm, spoilt=(5,)))
    state = weights(runner)
    assert all(torch.isfinite(value).all() for value in state.values())
    log = log_of(runner)
    assert log.count('is left out') == 2 and '2 in all' in log
    hub = read_checkpoint(tmp_path / 'run/epoch_2.pth')['message_hub']
    assert hub['runtime_info']['non_finite'] == 2
    kept = sorted((tmp_path / 'run/bad_batches').iterdir())
    assert len(kept) == 2
    bad = torch.load(kept[0], weights_only=True)
    rows = [sample['sample_idx'] for sample in bad['samples']]
    assert bad['inputs'][0][rows.index(5)].isnan().all()
    assert bad['inputs'][0].isnan().sum() == 3 * 64
    assert 'finite' in bad['error']


def test_copies_have_the_layout_of_the_network(tmp_path):
    """The network gets another one before training, by a hook that comes after this one."""
    runner = train(config(tmp_path / 'run', epochs=1, hooks=[dict(type='ChannelsLastHook')]))
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, NonFiniteHook))
    moving, copies = (sum(groups, []) for groups in (hook._moving, hook._copies))
    assert [x.stride() for x in moving] == [x.stride() for x in copies]
    assert not all(x.is_contiguous() for x in moving)


def test_patience_counts_iterations_that_share_a_step(tmp_path):
    cfg = accumulating(tmp_path / 'run', spoilt=range(16), algorithm='SimSiam')
    with pytest.raises(FloatingPointError, match='3 in a row, 3 in all'):
        train(cfg)


@pytest.mark.slow
def test_a_bad_iteration_before_the_step_is_left_out(tmp_path):
    cfg = accumulating(tmp_path / 'run', spoilt=(5,), algorithm='SimSiam')
    # Statistics of a batch of its own, which the loss does not show.
    cfg.model.backbone.norm_cfg = dict(type='BN')
    state = weights(train(cfg))
    assert all(torch.isfinite(value).all() for value in state.values())
    for file in (tmp_path / 'run/bad_batches').iterdir():
        kept = torch.load(file, weights_only=True)
        assert kept['inputs'][0].isnan().any()


def test_gradients_that_are_never_finite_stop(tmp_path):
    """Where only the step shows it."""

    def spoil(runner):
        weight = runner.model.backbone.conv1.weight
        weight.register_hook(lambda grad: grad * float('inf'))

    with pytest.raises(FloatingPointError, match='3 in a row, 3 in all'):
        train(accumulating(tmp_path / 'run', disturb(spoil, at=2)))


def test_a_loss_scale_that_fell(tmp_path):
    check_scale(SimpleNamespace(get_scale=lambda: 2.0))
    with pytest.raises(FloatingPointError, match='fallen to 6.1e-05'):
        check_scale(SimpleNamespace(get_scale=lambda: 2.0**-14))


@pytest.mark.slow
def test_left_out_means_that_nothing_moved(tmp_path):
    states = []

    def note(runner):
        states.append(weights(runner))

    cfg = config(tmp_path / 'run', epochs=2, hooks=[disturb(note)], spoilt=(5,))
    # Two in all are not two in a row.
    cfg.default_hooks.numbers.patience = 2
    runner = train(cfg)
    bad = [
        int(line.split('iteration ')[1].split()[0])
        for line in log_of(runner).splitlines()
        if 'is left out' in line
    ]
    for n in bad:
        for key, value in states[n - 1].items():
            if n > 1:
                assert torch.equal(value, states[n - 2][key]), key
    good = next(n for n in range(2, 9) if n not in bad)
    assert not torch.equal(
        states[good - 1]['backbone.conv1.weight'], states[good - 2]['backbone.conv1.weight']
    )


@pytest.mark.slow
@pytest.mark.parametrize('bad', [{0}, {1}, {4, 5}, {5, 6}])
def test_the_target_moves_once_for_a_step_that_iterations_share(bad, tmp_path, monkeypatch):
    """Only towards weights that have changed, whichever iteration of the two is left out."""
    online, target, moves = [], [], [0]

    def note(runner):
        state = weights(runner)
        online.append(state['backbone.conv1.weight'])
        target.append(state['target_net.module.0.conv1.weight'])
        moves.append(int(state['target_net.steps']))

    def scale(loss):
        iteration = MessageHub.get_current_instance().get_info('iter')
        return float('nan') if iteration in bad else 1.0

    monkeypatch.setattr(MECLoss, 'warmup_scale', scale)
    runner = train(accumulating(tmp_path / 'run', disturb(note)))
    assert f'{len(bad)} in all' in log_of(runner)
    owed = True
    for i in range(1, len(online)):
        # The iteration before this one.
        moved = moves[i] > moves[i - 1]
        assert moved == (owed and i - 1 not in bad), i
        owed = owed and not moved or i > 1 and not torch.equal(online[i - 1], online[i - 2])
        assert torch.equal(target[i], target[i - 1]) == (moves[i + 1] == moves[i]), i


def test_each_of_several_optimisers_refuses_its_step():
    layers = torch.nn.ModuleDict(dict(good=torch.nn.Linear(2, 1), bad=torch.nn.Linear(2, 1)))
    wrapper = OptimWrapperDict(
        **{name: OptimWrapper(torch.optim.SGD(m.parameters(), 1.0)) for name, m in layers.items()}
    )
    before = copy.deepcopy(layers.state_dict())
    stands = guarded(wrapper, layers)
    stands['good'].update_params(layers['good'](torch.ones(1, 2)).sum())
    with pytest.raises(FloatingPointError, match='e.g. of bad.weight'):
        stands['bad'].update_params(layers['bad'](torch.full((1, 2), torch.inf)).sum())
    moved = [key for key, value in layers.state_dict().items() if not value.equal(before[key])]
    assert moved == ['good.weight', 'good.bias']
    assert isinstance(wrapper['bad'], OptimWrapper)


def test_gradients_are_looked_at(tmp_path):

    def spoil(runner):
        weight = runner.model.backbone.conv1.weight
        weight.register_hook(lambda grad: grad * float('inf'))

    with pytest.raises(FloatingPointError) as error:
        train(config(tmp_path / 'run', hooks=[disturb(spoil, at=2)]))
    text = str(error.value)
    assert 'iteration 5 is left out (3 in a row, 3 in all)' in text
    assert 'backbone.conv1.weight' in text and 'clip_grad' in text
    # Two were asked for.
    assert len(list((tmp_path / 'run/bad_batches').iterdir())) == 2


def test_methods_of_the_host_stay(tmp_path, recwarn):
    """The counting step of mmengine's schedulers is still the wrapper's, and nothing else."""
    cfg = config(tmp_path / 'run', epochs=1)
    cfg.param_scheduler = [dict(type='LinearLR', start_factor=0.5)]
    runner = train(cfg)
    assert not [w for w in recwarn if 'overridden' in str(w.message)]
    assert 'train_step' not in vars(runner.model)
    assert runner.train_loop.train_step is plain_train_step
    assert runner.optim_wrapper.step._with_counter


@OPTIM_WRAPPERS.register_module()
class ScaledWrapper(OptimWrapper):
    """Skips steps itself, as mmengine's for float16, which needs a GPU."""

    loss_scaler = SimpleNamespace(get_scale=lambda: 1.0)

    def step(self, **kwargs):
        gradients = [p.grad for p in self.optimizer.param_groups[0]['params'] if p.grad is not None]
        if all(torch.isfinite(grad).all() for grad in gradients):
            super().step(**kwargs)


@pytest.mark.slow
def test_overflows_are_the_loss_scalers(tmp_path):

    def overflow(runner):
        weight = runner.model.backbone.conv1.weight
        weight.register_hook(lambda grad: grad * float('inf'))

    cfg = config(tmp_path / 'run', hooks=[disturb(overflow, at=2)])
    cfg.optim_wrapper.type = 'ScaledWrapper'
    assert 'is left out' not in log_of(train(cfg))


def bad_on_one_rank(folder, algorithm, wrapper, rank, world):
    cfg = config(folder / 'run', epochs=2, algorithm=algorithm, spoilt=(5,))
    cfg.optim_wrapper.type = wrapper
    cfg.train_dataloader.batch_size = 2
    on_rank(cfg, rank, 'bad')
    runner = train(cfg)
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == 'NonFiniteHook')
    return hook.total, weights(runner)


@pytest.mark.slow
@pytest.mark.parametrize(
    'algorithm, wrapper',
    [
        ('MEC', 'OptimWrapper'),
        ('SimSiam', 'OptimWrapper'),
        ('SimSiam', 'ScaledWrapper'),
    ],
)
def test_a_bad_batch_of_one_rank_is_left_out_by_all(algorithm, wrapper, tmp_path):
    (total, zero), (other, one) = on_ranks(
        partial(bad_on_one_rank, tmp_path, algorithm, wrapper), 2, tmp_path
    )
    assert total == other == 2
    same(zero, one)
    assert all(torch.isfinite(value).all() for value in zero.values())
    kept = {p.name for p in (tmp_path / 'run/bad_batches').iterdir()}
    assert len(kept) == 4


def complaint(rank, world):
    """What each rank says of a loss that is bad on rank 1."""
    with pytest.raises(FloatingPointError) as error:
        check_loss(dict(loss=torch.tensor(float('nan') if rank else 1.0)))
    return str(error.value)


@pytest.mark.slow
def test_all_ranks_look_at_the_loss_of_each(tmp_path):
    assert set(on_ranks(complaint, 2, tmp_path)) == {'the loss of 1 of the processes is not finite'}


def test_images_that_are_not_finite_are_named(tmp_path):
    with pytest.raises(FloatingPointError) as caught:
        train(config(tmp_path / 'run', spoilt=range(16)))
    text = str(caught.value)
    assert re.search(r'4 of 4 images are not finite themselves \(\d+, \d+, \d+\): repair', text)
    assert 'learning rate' not in text


def test_images_that_overflow_the_loss_are_not_blamed(tmp_path):
    assert bad_images(dict(inputs=[torch.ones(2, 3, 4, 4)], data_samples=[])) == ''
    bad = dict(inputs=torch.tensor([1.0, float('inf')]).reshape(2, 1, 1, 1))
    assert bad_images(bad).startswith('1 of 2 images are not finite')
