"""The fast forms of a training step equal the plain ones."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.engine.optimizers import LARS
from mmpretrain.models.utils import CosineEMA
from mmpretrain.registry import DATASETS, HOOKS
from mmpretrain.structures import DataSample
from small import small_config
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import Dataset

from mmentropy.engine.hooks.channels_last import ChannelsLastHook
from mmentropy.models import ForeachEMA

ITERATIONS = 10


class Calls(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func._overloadpacket.__name__)
        return func(*args, **(kwargs or {}))

    def waits(self):
        """How often the host would wait for a GPU."""
        return self.names.count('_local_scalar_dense')


def small_net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def disturb(net):
    """New weights and batch statistics, as after a step of training."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p))
    net(torch.randn(5, 3, 3, 3))


def same_state(ours, theirs, tol=1e-6):
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=tol, atol=tol, msg=key)


@pytest.fixture
def iterations():
    MessageHub.get_current_instance().update_info('max_iters', ITERATIONS)


@pytest.mark.parametrize(
    'kwargs',
    [
        {},
        dict(momentum=0.3, end_momentum=0.1),
        dict(interval=3),
        dict(update_buffers=True),
    ],
)
def test_ema_equals_mmpretrain(iterations, kwargs):
    """In every step, and when one goes on from the other's checkpoint.

    mmpretrain's cosine is one step ahead of that of the authors, which ours follows.
    """

    class OneStepBack(CosineEMA):
        def avg_func(self, average, source, steps):
            super().avg_func(average, source, steps - 1)

    kwargs = {**dict(momentum=0.2), **kwargs}
    net = small_net()
    pair = [cls(net, **kwargs) for cls in (ForeachEMA, OneStepBack)]
    saved: dict = {}
    for step in range(ITERATIONS):
        disturb(net)
        for ema in pair:
            ema.update_parameters(net)
        same_state(*pair)
        if step == 4:
            fresh = [cls(small_net(), **kwargs) for cls in (ForeachEMA, OneStepBack)]
            for ema, other in zip(fresh, reversed(pair)):
                ema.load_state_dict(other.state_dict())
            pair = fresh
        if step == 6:  # back to an earlier one, in the same object
            for ema in pair:
                ema.load_state_dict(saved)
        saved = {k: v.clone() for k, v in pair[1].state_dict().items()}


def test_ema_gives_no_gradient_and_takes_none(iterations):
    net = small_net()
    ema = ForeachEMA(net, momentum=0.2)
    for _ in range(2):
        ema.update_parameters(net)
    assert not any(p.requires_grad for p in ema.module.parameters())
    assert all(p.grad_fn is None for p in ema.module.parameters())


def test_ema_without_buffers(iterations):
    net = nn.Linear(2, 2)
    ema = ForeachEMA(net, momentum=0.2)
    ema.update_parameters(net)
    torch.testing.assert_close(ema.module.weight, net.weight)


def test_ema_waits_once_per_checkpoint(iterations):
    net = small_net()
    ema = ForeachEMA(net, momentum=0.2)

    def waits():
        with Calls() as calls:
            ema.update_parameters(net)
        return calls.waits()

    assert [waits() for _ in range(4)] == [1, 0, 0, 0]
    ema.load_state_dict(ema.state_dict())
    assert [waits() for _ in range(3)] == [1, 0, 0]


def test_ema_calls_do_not_grow_with_the_network(iterations):
    counts = []
    for depth in (1, 5):
        net = nn.Sequential(*(small_net() for _ in range(depth)))
        ema = ForeachEMA(net, momentum=0.2)
        ema.update_parameters(net)
        with Calls() as calls:
            ema.update_parameters(net)
        counts.append(len([n for n in calls.names if n != 'detach']))
    assert counts[0] == counts[1]


def optim_wrapper_for(net, **optimizer):
    return build_optim_wrapper(
        net,
        dict(
            type='BFloat16OptimWrapper', optimizer=optimizer, paramwise_cfg=dict(bias_lr_mult=0.5)
        ),
    )


def steps_with(wrapper, net, count=4):
    """Train ``net`` on data that is the same in every call."""
    torch.manual_seed(1)
    for _ in range(count):
        x = torch.randn(6, 3, 3, 3)
        with wrapper.optim_context(net):
            loss = net(x).float().square().mean()
        wrapper.update_params(loss)
    return net


@pytest.mark.parametrize(
    'optimizer',
    [
        dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.1),
        dict(type='Adam', lr=0.1),
        dict(type='AdamW', lr=0.1, weight_decay=0.1),
    ],
)
def test_fused_optimisers_by_config(optimizer):
    plain, fused = small_net(), small_net()
    fused.load_state_dict(plain.state_dict())
    start = plain[0].weight.detach().clone()
    wrapper = optim_wrapper_for(fused, fused=True, **optimizer)
    assert wrapper.optimizer.defaults['fused']
    steps_with(wrapper, fused)
    steps_with(optim_wrapper_for(plain, **optimizer), plain)
    same_state(fused, plain, 1e-5)
    assert (plain[0].weight - start).abs().max() > 0.01


def test_lars_has_no_fused():
    init_default_scope('mmpretrain')
    with pytest.raises(TypeError, match='fused'):
        optim_wrapper_for(small_net(), type='LARS', lr=0.1, fused=True)


def test_the_lars_of_older_configs_is_that_of_mmpretrain():
    init_default_scope('mmpretrain')
    wrapper = optim_wrapper_for(small_net(), type='ForeachLARS', lr=0.1)
    assert type(wrapper.optimizer) is LARS


@DATASETS.register_module()
class TwoFixedViews(Dataset):
    """Images with three channels that are the same in every run."""

    def __init__(self):
        seeded = torch.Generator().manual_seed(0)
        self.views = torch.randint(256, (24, 2, 3, 16, 16), generator=seeded)

    def __len__(self):
        return len(self.views)

    def __getitem__(self, index):
        return dict(inputs=list(self.views[index].byte()), data_samples=DataSample())


def inner_channels(x):
    return x.is_contiguous(memory_format=torch.channels_last)


@HOOKS.register_module()
class LayoutProbe(Hook):
    """Notes what has its channels innermost in the middle of training."""

    priority = 'LOWEST'

    def before_train(self, runner):
        self.seen = []
        runner.model.backbone.register_forward_hook(
            lambda module, args, out: self.seen.append(
                inner_channels(args[0]) and inner_channels(out[-1])
            )
        )

    def after_train_iter(self, runner, *args, **kwargs):
        self.seen += [
            inner_channels(p)
            for p in runner.model.parameters()
            if p.dim() == 4 and p[0, 0].numel() > 1
        ]


def train(folder, name, layout, method='MEC', epochs=2, resume=None, hooks=()):
    cfg = small_config(folder / name, dict(type='TwoFixedViews'), method, epochs=epochs)
    # torch 2.14 on some AMD processors frees memory twice in the backward pass of convolutions of
    # 4 channels in the layout channels_last.
    cfg.model.backbone.update(base_channels=8, stem_channels=8)
    cfg.model.neck.in_channels = 64
    cfg.load_from = resume and str(resume)
    cfg.resume = resume is not None
    cfg.data_preprocessor = dict(mean=[100.0] * 3, std=[50.0] * 3)
    cfg.optim_wrapper.optimizer.update(lr=0.003, fused=True)
    cfg.default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
    cfg.custom_hooks = [
        dict(type='LayoutProbe'),
        *([dict(type='ChannelsLastHook')] if layout else []),
        *hooks,
    ]
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def probed(runner):
    (seen,) = (hook.seen for hook in runner.hooks if isinstance(hook, LayoutProbe))
    return seen


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Two epochs of MEC with a fused optimiser, without and with the hook."""
    folder = tmp_path_factory.mktemp('runs')
    return folder, train(folder, 'off', False), train(folder, 'on', True)


@pytest.mark.slow
def test_channels_last_while_training_only(runs):
    _, off, on = runs
    assert all(probed(on)) and not any(probed(off))
    views = on.model.data_preprocessor(dict(inputs=[torch.ones(2, 3, 4, 4)], data_samples=None))[
        'inputs'
    ]
    assert not inner_channels(views[0])


def test_channels_last_changes_rounding_only(runs):
    _, off, on = runs
    same_state(on.model, off.model, 2e-4)


def test_checkpoints_lie_as_without_the_hook(runs):
    folder = runs[0]
    files = [
        torch.load(folder / name / 'epoch_1.pth', weights_only=False) for name in ('off', 'on')
    ]

    def tensors(value):
        if isinstance(value, torch.Tensor):
            return [value]
        if isinstance(value, dict):
            value = list(value.values())
        return sum(map(tensors, value), []) if isinstance(value, list) else []

    for part in ('state_dict', 'optimizer'):
        off, on = (tensors(file[part]) for file in files)
        assert all(x.is_contiguous() for x in on)
        assert [x.shape for x in on] == [x.shape for x in off]
        assert any(x.dim() == 4 for x in on)
    assert list(files[0]['state_dict']) == list(files[1]['state_dict'])


@pytest.mark.slow
@pytest.mark.parametrize('start, layout', [('off', True), ('on', False), ('on', True)])
def test_hook_can_come_and_go_on_resume(runs, tmp_path, start, layout):
    folder, off, _ = runs
    resumed = train(tmp_path, 'resumed', layout, resume=folder / start / 'epoch_1.pth')
    assert all(probed(resumed)) is layout
    same_state(resumed.model, off.model, 2e-4)


def test_channels_last_for_an_algorithm_of_mmpretrain(tmp_path):
    off, on = (
        train(tmp_path, str(layout), layout, 'SimSiam', epochs=1) for layout in (False, True)
    )
    assert all(probed(on)) and not any(probed(off))
    same_state(on.model, off.model, 2e-4)


def test_channels_last_of_one_tensor_of_images(runs):
    """Masked autoencoders take a tensor, not a list of views."""
    runner = runs[1]
    hook = ChannelsLastHook()
    hook.before_train(runner)
    images = runner.model.data_preprocessor(dict(inputs=torch.ones(2, 3, 4, 4), data_samples=None))[
        'inputs'
    ]
    hook.after_train(runner)
    assert inner_channels(images)


def test_channels_last_with_several_optimisers():
    model = nn.Sequential(nn.Conv2d(2, 4, 3))
    model.data_preprocessor = nn.Identity()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.ones(1, 2, 3, 3)).sum().backward()
    optimizer.step()
    runner = SimpleNamespace(
        model=model, optim_wrapper=OptimWrapperDict(first=OptimWrapper(optimizer))
    )
    hook = ChannelsLastHook()
    hook.before_train(runner)
    hook.after_train(runner)
    assert inner_channels(optimizer.state[model[0].weight]['momentum_buffer'])
