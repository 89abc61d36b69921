"""MinEnt's projectors in one, against a NonLinearNeck for each."""

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS
from ranks import on_ranks
from repository import REPOSITORY
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from mmentropy.models import MinEntHead, MinEntLoss

ROWS, C, HID = 6, 5, 4
CLASSES = {'equal': [7, 7, 7], 'different': [9, 4, 2], 'one': [7]}
CASES = [(name, layers) for name in CLASSES for layers in (2, 3, 4)]
EXACT = dict(rtol=1e-10, atol=1e-10)


class Loop(torch.nn.Module):
    """One neck after the other."""

    def __init__(self, classes, layers, c=C, hid=HID):
        super().__init__()
        self.projectors = torch.nn.ModuleList(
            MODELS.build(
                dict(
                    type='NonLinearNeck',
                    in_channels=c,
                    hid_channels=hid,
                    out_channels=k,
                    num_layers=layers,
                    with_bias=True,
                    with_last_bn=False,
                    with_last_bias=True,
                    with_avg_pool=False,
                    norm_cfg=dict(type='GlobalBN'),
                )
            )
            for k in classes
        )

    def outputs(self, f):
        return [projector([f])[0] for projector in self.projectors]

    def forward(self, f1, f2):
        losses = [
            MinEntLoss()(projector([f1])[0], projector([f2])[0])['loss']
            for projector in self.projectors
        ]
        return sum(losses) / len(losses)


class Batched(MinEntHead):
    def __init__(self, classes, layers, c=C, hid=HID):
        super().__init__(c, classes, dict(type='MinEntLoss'), hid_channels=hid, num_layers=layers)

    def outputs(self, f):
        return [g for (g,) in self.projectors(f)]

    def forward(self, f1, f2):
        return self.loss(f1, f2)['loss']


def by_head(head, values):
    """Tensors of a ``Batched`` in views of them, one per key of ``Loop``."""
    heads, depth = len(head.projectors.last), len(head.projectors.fcs)
    apart = {}
    for key, value in values.items():
        _, layer, index, name = key.split('.')
        if layer == 'last':
            apart[f'projectors.{index}.fc{depth}.{name}'] = value
            continue
        chunks = value.chunk(heads) if value.dim() else [value] * heads
        for i, chunk in enumerate(chunks):
            apart[f'projectors.{i}.{layer[:-1]}{index}.{name}'] = chunk
    return apart


def pair(name, layers):
    """A ``Loop`` and a ``Batched`` of one state, in float64.

    Biases, norms and running statistics are drawn as well.
    """
    torch.manual_seed(0)
    loop = Loop(CLASSES[name], layers).double()
    batched = Batched(CLASSES[name], layers).double()
    state = loop.state_dict()
    for value in state.values():
        if value.is_floating_point():
            value.uniform_(-1, 1).add_(1.5 if value.dim() == 1 else 0)
    for key, view in by_head(batched, batched.state_dict()).items():
        view.copy_(state.pop(key))
    assert not state
    return loop, batched


def features(dtype=torch.float64):
    """Two views, those of ``ROWS`` images for each of two ranks."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 2 * ROWS, C, generator=generator, dtype=torch.float64).to(dtype)


def grads(module):
    return {key: p.grad for key, p in module.named_parameters()}


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, **EXACT, msg=key)


@pytest.mark.parametrize('name, layers', CASES)
def test_equals_one_neck_after_the_other(name, layers):
    loop, batched = pair(name, layers)
    results = []
    for head in (loop, batched):
        views = features().requires_grad_()
        loss = head(*views)
        loss.backward()
        results.append((loss, views.grad, head.outputs(views[0]), head.eval().outputs(views[0])))
    assert grads(loop)['projectors.0.fc0.weight'].abs().max() > 1e-3
    for theirs, ours in zip(*results):
        torch.testing.assert_close(ours, theirs, **EXACT)
    assert_equal(by_head(batched, grads(batched)), grads(loop))
    assert_equal(by_head(batched, batched.state_dict()), loop.state_dict())
    norms = [m for m in batched.modules() if isinstance(m, _BatchNorm)]
    assert len(norms) == layers - 1


def every_case(rank, world):
    results = {}
    for case in CASES:
        head = pair(*case)[1]
        ranks = DistributedDataParallel(head, broadcast_buffers=False)
        f1, f2 = features()[:, rank * ROWS : (rank + 1) * ROWS]
        loss = ranks(f1, f2)
        loss.backward()
        loss = loss.detach() / world
        dist.all_reduce(loss)
        results[case] = (loss, by_head(head, grads(head)), by_head(head, head.state_dict()))
    return results


@pytest.mark.slow
def test_two_ranks_equal_one_process(tmp_path):
    by_rank = on_ranks(every_case, 2, tmp_path)
    for case in CASES:
        loop = pair(*case)[0]
        loss = loop(*features())
        loss.backward()
        for results in by_rank:
            rank_loss, rank_grads, state = results[case]
            torch.testing.assert_close(rank_loss, loss.detach(), **EXACT)
            assert_equal(rank_grads, grads(loop))
            assert_equal(state, loop.state_dict())


def test_each_head_is_drawn_as_a_neck_of_its_own():
    torch.manual_seed(0)
    shape = dict(classes=[300, 200, 100], layers=4, c=100, hid=400)
    loop, batched = Loop(**shape), Batched(**shape)
    batched.init_weights()
    drawn = by_head(batched, batched.state_dict())
    assert drawn.keys() == loop.state_dict().keys()
    for key, theirs in loop.state_dict().items():
        ours = drawn[key]
        assert ours.shape == theirs.shape, key
        if '.fc' not in key:
            assert torch.equal(ours, theirs), key
            continue
        # Uniform, with the bound of the single head's inputs.
        bound = 100**-0.5 if '.fc0.' in key else 400**-0.5
        noise = ours.numel() ** -0.5
        assert (1 - 10 * noise**2) * bound < ours.abs().max() <= bound, key
        assert abs(ours.mean()) < 4 * noise * bound, key
        assert float(ours.std()) == pytest.approx(bound / 3**0.5, rel=4 * noise), key


LARS = REPOSITORY / 'configs/mec/r50_32xb128_800e_in1k.py'


@pytest.mark.parametrize(
    'rules',
    [
        dict(bias_decay_mult=0.0, bias_lr_mult=2.0),
        dict(norm_decay_mult=0.0),
        dict(flat_decay_mult=0.0),
        Config.fromfile(LARS).optim_wrapper.paramwise_cfg,
    ],
    ids=['bias', 'norm', 'flat', 'lars'],
)
def test_parameters_fall_into_the_groups_they_were_in(rules):
    """Every element is overwritten by what the optimiser holds for it."""
    loop, batched = pair('different', 3)
    optimizer = dict(type='SGD', lr=0.5, weight_decay=0.25)
    for head in (loop, batched):
        wrapper = build_optim_wrapper(head, dict(optimizer=optimizer, paramwise_cfg=rules))
        for group in wrapper.optimizer.param_groups:
            code = group['lr'] + 10 * group['weight_decay'] + 100 * group.get('lars_exclude', False)
            for p in group['params']:
                p.data.fill_(code)
    theirs = dict(loop.named_parameters())
    assert len({p.mean().item() for p in theirs.values()}) > 1
    assert_equal(by_head(batched, dict(batched.named_parameters())), theirs)


def test_bfloat16_autocast():
    loop, batched = (head.float() for head in pair('different', 3))
    f1, f2 = features(torch.float32)
    full = loop.outputs(f1)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = batched.outputs(f1)
        loss = batched(f1, f2)
    for ours, theirs in zip(half, full):
        assert ours.dtype == torch.bfloat16
        torch.testing.assert_close(ours.float(), theirs, rtol=0.05, atol=0.1)
    assert loss.dtype == torch.float32
    loss.backward()
    for key, grad in grads(batched).items():
        assert grad.dtype == torch.float32 and grad.isfinite().all(), key


@pytest.mark.parametrize(
    'norm',
    [
        dict(type='LN'),
        dict(type='GN', num_groups=2),
        dict(type='IN1d'),
    ],
    ids=lambda norm: norm['type'],
)
def test_refuses_norms_that_mix_the_heads(norm):
    with pytest.raises(ValueError, match='must be a batch norm'):
        MinEntHead(C, [7, 7], dict(type='MinEntLoss'), norm_cfg=norm)
