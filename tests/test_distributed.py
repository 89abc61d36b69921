"""Ranks with different rows against one process with all of them."""

import networks
import pytest
import torch
import torch.distributed as dist
from mmengine.logging import MessageHub
from ranks import on_ranks
from torch.nn.parallel import DistributedDataParallel

from mmentropy.distributed import all_sum, gather
from mmentropy.models import CPUSyncBatchNorm, DINOLoss, ERLoss, MECLoss, MinEntLoss

ROWS, CHANNELS = 6, 5
EXACT = dict(rtol=1e-10, atol=1e-12)
# The widths of the projections are above, equal to and below the rows of all ranks, and for the
# last one below the rows of one rank too.
WIDTHS = [40, 24, 12, 8, 4]


class Views(torch.nn.Module):
    """Two views through a linear map, a global batch norm and a loss."""

    def __init__(self, loss, width):
        super().__init__()
        torch.manual_seed(1)
        self.linear = torch.nn.Linear(CHANNELS, width).double()
        self.norm = CPUSyncBatchNorm(width).double()
        self.loss = loss

    def forward(self, x):
        z1, z2 = (self.norm(self.linear(x[:, i])) for i in range(2))
        return self.loss(z1, z2)['loss']


MEC_LOSSES = {
    **{
        f'mec_order_{order}': lambda order=order: MECLoss(0.5, taylor_order=order, guard=False)
        for order in range(1, 6)
    },
    'mec_exact': lambda: MECLoss(0.5, exact=True, guard=False),
    'mec_guarded': lambda: MECLoss(0.02),
    'mec_exact_guarded': lambda: MECLoss(0.02, exact=True),
}
OTHER_LOSSES = {
    'er_sphere': lambda: ERLoss(gather=True),
    'er_joe': lambda: ERLoss(gather=True, estimator='joe'),
    'er_simplex': lambda: ERLoss(support='simplex', gather=True),
    'dino': DINOLoss,
    'minent_batch': lambda: MinEntLoss('batch'),
    'minent_softmax': lambda: MinEntLoss('softmax'),
    'minent_l2': lambda: MinEntLoss('l2'),
    'minent_none': lambda: MinEntLoss('none'),
}
CASES = {
    **{(name, width): build for name, build in MEC_LOSSES.items() for width in WIDTHS},
    **{(name, 8): build for name, build in OTHER_LOSSES.items()},
}


def images(world):
    """(world * ROWS, 2 views, CHANNELS), different on every rank."""
    generator = torch.Generator().manual_seed(world)
    return torch.randn(world * ROWS, 2, CHANNELS, generator=generator, dtype=torch.float64)


def run(model, x):
    loss = model(x)
    loss.backward()
    return loss.detach(), [p.grad for p in model.parameters()]


def every_loss(rank, world):
    x = images(world)[rank * ROWS : (rank + 1) * ROWS]
    results = {}
    for (name, width), build in CASES.items():
        model = DistributedDataParallel(Views(build(), width), broadcast_buffers=False)
        loss, grads = run(model, x)
        dist.all_reduce(loss)
        results[name, width] = (loss / world, grads)
    return results


@pytest.mark.slow
@pytest.mark.parametrize('world', [1, 2, 4])
def test_losses_equal_one_process(world, tmp_path):
    by_rank = on_ranks(every_loss, world, tmp_path)
    for case, build in CASES.items():
        loss, grads = run(Views(build(), case[1]), images(world))
        assert max(float(g.abs().max()) for g in grads) > 1e-4, case
        for results in by_rank:
            rank_loss, rank_grads = results[case]
            torch.testing.assert_close(rank_loss, loss, **EXACT, msg=str(case))
            for ours, expected in zip(rank_grads, grads):
                torch.testing.assert_close(ours, expected, **EXACT, msg=str(case))


def sent(rank, world):
    """What MEC sends with 4 rows a rank and a width of 12, which is more, and of 3."""
    calls = []

    def noted(name):
        function = getattr(dist, name)

        def send(*args, **kwargs):
            tensor = next(a for a in args if isinstance(a, torch.Tensor))
            calls.append((name, tuple(tensor.shape)))
            return function(*args, **kwargs)

        return send

    for name in ('all_gather', 'all_reduce'):
        setattr(dist, name, noted(name))
    found = []
    for width in (12, 3):
        MECLoss()(torch.randn(4, width).requires_grad_(), torch.randn(4, width))['loss'].backward()
        found.append(calls.copy())
        calls.clear()
    return found


@pytest.mark.slow
def test_what_mec_sends(tmp_path):
    """The rows, or the product of width x width: never more than is needed."""
    for wide, narrow in on_ranks(sent, 2, tmp_path):
        assert wide == [('all_gather', (4, 12))] * 2 + [('all_reduce', (8, 12))]
        assert narrow == [('all_reduce', (3, 3))] * 2


def local_entropy(rank, world):
    x = images(world)[rank * ROWS : (rank + 1) * ROWS]
    model = DistributedDataParallel(Views(ERLoss(), 8), broadcast_buffers=False)
    loss, grads = run(model, x)
    dist.all_reduce(loss)
    return loss / world, grads


@pytest.mark.slow
def test_er_without_gather_is_the_mean_over_ranks(tmp_path):
    class Chunks(Views):
        def forward(self, x):
            z1, z2 = (self.norm(self.linear(x[:, i])) for i in range(2))
            pairs = zip(z1.split(ROWS), z2.split(ROWS))
            return sum(self.loss(a, b)['loss'] for a, b in pairs) / 2

    loss, grads = run(Chunks(ERLoss(), 8), images(2))
    together, _ = run(Views(ERLoss(gather=True), 8), images(2))
    assert abs(loss - together) > 1e-3
    for rank_loss, rank_grads in on_ranks(local_entropy, 2, tmp_path):
        torch.testing.assert_close(rank_loss, loss, **EXACT)
        for ours, expected in zip(rank_grads, grads):
            torch.testing.assert_close(ours, expected, **EXACT)


def batch_norm(rank, world):
    norm = CPUSyncBatchNorm(3, momentum=0.3)
    # Not the same number of rows on every rank.
    x = norm_input(world).split([3, 5])[rank].requires_grad_()
    (norm(x) * norm_weight(world).split([3, 5])[rank]).sum().backward()
    return x.grad, norm.weight.grad, norm.state_dict()


def norm_input(world):
    return torch.randn(4 * world, 3, 2, 2, generator=torch.Generator().manual_seed(3)) + 5


def norm_weight(world):
    return torch.randn(4 * world, 3, 2, 2, generator=torch.Generator().manual_seed(4))


@pytest.mark.slow
def test_global_batch_norm_equals_torch_on_all_rows(tmp_path):
    norm = torch.nn.BatchNorm2d(3, momentum=0.3)
    x = norm_input(2).requires_grad_()
    (norm(x) * norm_weight(2)).sum().backward()
    results = on_ranks(batch_norm, 2, tmp_path)
    grad = torch.cat([result[0] for result in results])
    torch.testing.assert_close(grad, x.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sum(result[1] for result in results), norm.weight.grad)
    for _, _, state in results:
        for key, value in norm.state_dict().items():
            torch.testing.assert_close(state[key], value)


def test_global_batch_norm_on_one_process():
    ours, theirs = CPUSyncBatchNorm(3), torch.nn.BatchNorm1d(3)
    x = torch.randn(8, 3)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
    assert ours.state_dict().keys() == theirs.state_dict().keys()


def collectives(rank, world):
    x = torch.arange(3.0) + 10 * rank
    x.requires_grad_()
    weight = torch.arange(6.0)
    (gather(x) * weight * (rank + 1)).sum().backward()
    y = torch.ones(2, requires_grad=True)
    total = all_sum(y * (rank + 1))
    (total * (rank + 1)).sum().backward()
    return gather(x.detach()), x.grad, total.detach(), y.grad


@pytest.mark.slow
def test_collectives_by_hand(tmp_path):
    for rank, (rows, grad, total, grad_sum) in enumerate(on_ranks(collectives, 2, tmp_path)):
        assert rows.tolist() == [0, 1, 2, 10, 11, 12]
        # Both ranks weigh their loss, by 1 and by 2.
        first = 3 * rank
        assert grad.tolist() == [3 * (first + i) for i in range(3)]
        assert total.tolist() == [3, 3]
        assert grad_sum.tolist() == [3 * (rank + 1)] * 2


def whole_models(rank, world):
    results = {}
    for name in networks.HEADS:
        model, views = model_and_views(name)
        ranks = DistributedDataParallel(AsLoss(model), broadcast_buffers=False)
        loss = ranks([x.chunk(world)[rank] for x in views])
        loss.backward()
        results[name] = loss.detach(), gradients(model)
    return results


class AsLoss(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, views):
        return self.model(views, mode='loss')['loss']


# DINO's centre, and the statistics of CorInfoMax.
STATISTICS = ('center', 'mean', 'covariance')


def gradients(model):
    """Gradients of parameters, and running statistics, which are of all ranks too."""
    grads = {k: p.grad for k, p in model.named_parameters() if p.requires_grad}
    return grads | {k: v for k, v in model.named_buffers() if k.split('.')[-1] in STATISTICS}


def model_and_views(name):
    """A model in float64, first step of 10, and two views of 16 images."""
    hub = MessageHub.get_current_instance()
    hub.update_info('max_iters', 10)
    hub.update_info('iter', 0)
    torch.manual_seed(0)
    model = networks.build(name).double()
    if 'er' in name.split('_'):
        model.head.loss_module.gather = True
    return model, torch.randn(2, 16, 3, 16, 16, dtype=torch.float64).unbind()


@pytest.mark.slow
def test_whole_models_equal_one_process(tmp_path):
    by_rank = on_ranks(whole_models, 2, tmp_path)
    for name in networks.HEADS:
        model, views = model_and_views(name)
        loss = AsLoss(model)(list(views))
        loss.backward()
        for results in by_rank:
            rank_loss, rank_grads = results[name]
            torch.testing.assert_close(rank_loss, loss.detach(), rtol=1e-9, atol=1e-12, msg=name)
            for key, grad in gradients(model).items():
                torch.testing.assert_close(rank_grads[key], grad, rtol=1e-6, atol=1e-12, msg=key)
