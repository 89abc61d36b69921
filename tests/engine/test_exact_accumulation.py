"""A batch in parts has the gradient of the whole."""

import copy
from functools import partial

import networks
import pytest
import torch
from forked import python
from mmengine.logging import MessageHub
from mmpretrain.registry import MODELS
from monitored import MODELS as CONFIGS
from ranks import on_ranks
from safe_runs import config, log_of, same, train, weights
from torch.nn.parallel import DistributedDataParallel

from mmentropy.distributed import local_rows
from mmentropy.engine.exact_accumulation import EncoderInParts, accumulate_exactly
from mmentropy.engine.monitored_features import TrainingFeatures

# Algorithms whose neck takes what the backbone gives.
ALGORITHMS = [*networks.HEADS, 'simclr', 'simsiam', 'byol', 'barlow', 'mocov3', 'with_mec']


def built(name, batch_norm=False):
    """A model in float64; without ``batch_norm`` images do not meet in the network."""
    torch.manual_seed(0)
    if name in networks.HEADS:
        model = networks.build(name).double()
    else:
        model = MODELS.build(copy.deepcopy(CONFIGS[name])).double()
        model.init_weights()
        model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and not batch_norm:
            module.eval()
    return model


def views(count=2, rows=16):
    generator = torch.Generator().manual_seed(1)
    return list(torch.randn(count, rows, 3, 16, 16, generator=generator, dtype=torch.float64))


def step(model, inputs):
    """Loss and gradients."""
    torch.manual_seed(2)
    loss, _ = model.parse_losses(model(inputs, mode='loss'))
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def assert_equal(found, expected):
    torch.testing.assert_close(found[0], expected[0], rtol=1e-12, atol=1e-12)
    assert found[1].keys() == expected[1].keys()
    for name, grad in expected[1].items():
        torch.testing.assert_close(found[1][name], grad, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize('parts', [2, 4, 8])
@pytest.mark.parametrize('name', ALGORITHMS)
def test_parts_have_the_gradient_of_the_whole(name, parts, training):
    whole = built(name)
    model = copy.deepcopy(whole)
    accumulate_exactly(model, parts)
    assert type(model).__name__ == type(whole).__name__
    assert_equal(step(model, views()), step(whole, views()))
    assert model.state_dict().keys() == whole.state_dict().keys()


@pytest.mark.parametrize('name', ['mec', 'er_simclr', 'minent', 'vicreg', 'simsiam_drop'])
def test_the_second_pass_repeats_the_first(name, training, monkeypatch):
    """With batch norm and random draws, parts with one pass, whose activations are kept."""
    one_pass = built(name, batch_norm=True)
    two_passes = copy.deepcopy(one_pass)
    for model in (one_pass, two_passes):
        accumulate_exactly(model, 4)
    found = step(two_passes, views())
    monkeypatch.setattr(EncoderInParts, 'encode', EncoderInParts.first)
    assert_equal(found, step(one_pass, views()))
    same(two_passes.state_dict(), one_pass.state_dict())


def test_parts_that_change(training):
    """Once and not twice, where a run has the hook in its config and on its command line."""
    model, once = built('vicreg'), built('vicreg')
    for parts in (2, 4):
        accumulate_exactly(model, parts)
    accumulate_exactly(once, 4)
    assert type(model).__mro__[2] is type(once).__mro__[2]
    assert [m.parts for m in (model, once)] == [4, 4]
    assert_equal(step(model, views()), step(once, views()))


def test_activation_checkpointing_stays(training):
    model = built('simsiam')
    checkpointed = model.backbone.forward = partial(model.backbone.forward)
    accumulate_exactly(model, 2)
    step(model, views())
    assert vars(model.backbone)['forward'] is checkpointed


def test_models_without_a_neck():
    classifier = MODELS.build(
        dict(type='ImageClassifier', backbone=networks.BACKBONE, neck=networks.NECK)
    )
    for model in (classifier, torch.nn.Linear(2, 2)):
        with pytest.raises(ValueError, match='needs a self-supervised algorithm with a neck'):
            accumulate_exactly(model, 2)


def test_rows_that_do_not_divide(training):
    whole = built('er_byol')
    model = copy.deepcopy(whole)
    accumulate_exactly(model, 5)
    assert_equal(step(model, views(3, rows=13)), step(whole, views(3, rows=13)))


def test_no_network_sees_more_than_a_part(training):
    """The target network neither, whose activations would be those of the whole batch."""
    model = built('mec')
    accumulate_exactly(model, 4)
    seen = {}
    for name, backbone in dict(online=model.backbone, target=model.target_net.module[0]).items():
        rows = seen.setdefault(name, [])
        backbone.conv1.register_forward_pre_hook(lambda m, args, rows=rows: rows.append(len(*args)))
    step(model, views())
    # Both views of both passes, and both views of the target.
    assert seen == dict(online=[4] * 16, target=[4] * 8)


@pytest.mark.parametrize('name', ['swav', 'mae'])
def test_an_algorithm_that_keeps_features(name, training):
    model = built(name)
    accumulate_exactly(model, 2)
    inputs = views(3) if name == 'swav' else views(1)
    with pytest.raises(ValueError, match=f'{type(model).__name__} does something else with it'):
        model(inputs if name == 'swav' else inputs[0], mode='loss')


@pytest.mark.parametrize('name', ['er_byol', 'simclr'])
def test_the_monitor_sees_all_parts(name, training):
    whole = built(name)
    model = copy.deepcopy(whole)
    accumulate_exactly(model, 4)
    inputs, rows = views(), []
    for m in (model, whole):
        seen = TrainingFeatures(m)
        seen.views = inputs
        m(inputs, mode='loss')
        rows.append(seen.features(16))
    assert rows[0].keys() == rows[1].keys() == {'backbone', 'projector'}
    for part, expected in rows[1].items():
        assert len(rows[0][part]) == len(expected) == 2
        for ours, theirs in zip(rows[0][part], expected):
            torch.testing.assert_close(ours, theirs)


class AsLoss(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        return self.model.parse_losses(self.model(inputs, mode='loss'))[0]


NAMES = ['mec', 'er_simclr', 'er_byol', 'dino_er', 'minent', 'dino', 'vicreg', 'simclr', 'barlow']


def on_a_rank(rank, world):
    """Loss and gradients of this rank's rows in parts, after DDP has averaged them."""
    hub = MessageHub.get_current_instance()
    hub.update_info('max_iters', 10)
    hub.update_info('iter', 0)
    found = {}
    for name in NAMES:
        model = built(name)
        if name.startswith(('er', 'dino_er')):
            model.head.loss_module.gather = True
        if world > 1:
            accumulate_exactly(model, 4)
            ranks = DistributedDataParallel(AsLoss(model), broadcast_buffers=False)
        else:
            ranks = AsLoss(model)
        loss = ranks([local_rows(view, 16 // world) for view in views()])
        loss.backward()
        grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found[name] = loss.detach(), grads
    return found


@pytest.mark.slow
def test_two_ranks_in_parts_equal_one_process(tmp_path):
    whole = on_a_rank(0, 1)
    for found in on_ranks(on_a_rank, 2, tmp_path):
        for name in NAMES:
            # Barlow Twins of mmpretrain, and its SimCLR, take the loss of each rank.
            if name not in ('barlow', 'simclr'):
                assert_equal(found[name], whole[name])


def with_batch_norm_of_ranks(rank, world):
    """Two ranks, or one process whose parts hold the rows that both have in theirs."""
    model = built('vicreg', batch_norm=True)
    accumulate_exactly(model, 4)
    rows = torch.arange(8).view(4, 2)
    order = torch.cat([rows, rows + 8], dim=1).flatten()
    if world > 1:
        order = rows.flatten() + 8 * rank
        ranks = DistributedDataParallel(AsLoss(model), broadcast_buffers=False)
    else:
        ranks = AsLoss(model)
    ranks([view[order] for view in views()]).backward()
    return {n: p.grad for n, p in model.named_parameters()}, dict(model.named_buffers())


@pytest.mark.slow
def test_batch_norm_over_ranks_in_parts(tmp_path):
    grads, buffers = with_batch_norm_of_ranks(0, 1)
    for found_grads, found_buffers in on_ranks(with_batch_norm_of_ranks, 2, tmp_path):
        torch.testing.assert_close(found_grads, grads, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(found_buffers, buffers, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_memory_is_that_of_a_part():
    """Above what a process takes before its first step, at 96 pixels."""
    whole, parts = (peak_memory(count) for count in (1, 8))
    assert parts < 0.3 * whole, f'{parts / 2**20:.0f} of {whole / 2**20:.0f} MiB'


SCRIPT = """
import resource, sys, torch
from mmpretrain.registry import MODELS
import mmentropy
from mmentropy.engine.exact_accumulation import accumulate_exactly
torch.set_num_threads(1)
neck = dict(type='NonLinearNeck', in_channels=512, hid_channels=64, out_channels=64)
model = MODELS.build(dict(type='ER', backbone=dict(type='ResNet', depth=18), neck=neck,
                          head=dict(type='ERHead', loss=dict(type='ERLoss'))))
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
# The first step takes memory that does not depend on its batch.
model(list(torch.randn(2, 2, 3, 96, 96)), mode='loss')['loss'].backward()
if sys.argv[1] != '1':
    accumulate_exactly(model, int(sys.argv[1]))
views = list(torch.randn(2, 32, 3, 96, 96))
before = peak()
model(views, mode='loss')['loss'].backward()
print(peak() - before)
"""


def peak_memory(parts):
    """Bytes that a step takes, in a process of its own."""
    done = python('-c', SCRIPT, parts)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
def test_killed_and_resumed(tmp_path):
    """Bit for bit as if it had not been interrupted."""
    hooks = [dict(type='ExactAccumulationHook', parts=2)]
    expected = train(config(tmp_path / 'whole', hooks=hooks))
    with pytest.raises(SystemExit):
        train(
            config(tmp_path / 'run', hooks=[*hooks, dict(type='Disturb', action='terminate', at=6)])
        )
    cfg = config(tmp_path / 'run', hooks=hooks)
    cfg.resume = True
    runner = train(cfg)
    same(weights(runner), weights(expected))
    assert '4 images of a process are encoded in 2 parts of 2' in log_of(runner)
    plain = weights(train(config(tmp_path / 'plain')))
    assert any(not torch.equal(value, plain[key]) for key, value in weights(runner).items())
