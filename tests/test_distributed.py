"""Ranks with different rows against one process with all of them."""

import networks
import pytest
import torch
import torch.distributed as dist
from mmengine.logging import MessageHub
from ranks import on_ranks
from torch.nn.parallel import DistributedDataParallel

from mmentropy.distributed import all_sum, gather
from mmentropy.models import CPUSyncBatchNorm, ERLoss, MECLoss, MinEntLoss

ROWS, WIDTH = 6, 5


class Views(torch.nn.Module):
    """Two views through a linear map, a global batch norm and a loss."""

    def __init__(self, loss):
        super().__init__()
        torch.manual_seed(1)
        self.linear = torch.nn.Linear(WIDTH, 8).double()
        self.norm = CPUSyncBatchNorm(8).double()
        self.loss = loss

    def forward(self, x):
        z1, z2 = (self.norm(self.linear(x[:, i])) for i in range(2))
        value = self.loss(z1, z2)
        return value['loss'] if isinstance(value, dict) else value


LOSSES = {
    'mec': lambda: MECLoss(distortion=0.5),
    'mec_guarded': lambda: MECLoss(distortion=0.02),
    'mec_exact': lambda: MECLoss(distortion=0.5, exact=True),
    'er_sphere': lambda: ERLoss(gather=True),
    'er_joe': lambda: ERLoss(gather=True, estimator='joe'),
    'er_simplex': lambda: ERLoss(support='simplex', gather=True),
    'minent_batch': lambda: MinEntLoss('batch'),
    'minent_softmax': lambda: MinEntLoss('softmax'),
    'minent_l2': lambda: MinEntLoss('l2'),
    'minent_none': lambda: MinEntLoss('none'),
}


def images(world):
    """(world * ROWS, 2 views, WIDTH), different on every rank."""
    generator = torch.Generator().manual_seed(world)
    return torch.randn(world * ROWS, 2, WIDTH, generator=generator, dtype=torch.float64)


def run(model, x):
    loss = model(x)
    loss.backward()
    return loss.detach(), [p.grad for p in model.parameters()]


def every_loss(rank, world):
    x = images(world)[rank * ROWS : (rank + 1) * ROWS]
    results = {}
    for name, build in LOSSES.items():
        model = DistributedDataParallel(Views(build()), broadcast_buffers=False)
        loss, grads = run(model, x)
        dist.all_reduce(loss)
        results[name] = (loss / world, grads)
    return results


@pytest.mark.parametrize('world', [2, 4])
def test_losses_equal_one_process(world, tmp_path):
    by_rank = on_ranks(every_loss, world, tmp_path)
    for name, build in LOSSES.items():
        loss, grads = run(Views(build()), images(world))
        assert max(float(g.abs().max()) for g in grads) > 1e-4, name
        for results in by_rank:
            rank_loss, rank_grads = results[name]
            torch.testing.assert_close(rank_loss, loss, rtol=1e-6, atol=1e-9, msg=name)
            for ours, expected in zip(rank_grads, grads):
                torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-9, msg=name)


def local_entropy(rank, world):
    x = images(world)[rank * ROWS : (rank + 1) * ROWS]
    model = DistributedDataParallel(Views(ERLoss()), broadcast_buffers=False)
    loss, grads = run(model, x)
    dist.all_reduce(loss)
    return loss / world, grads


def test_er_without_gather_is_the_mean_over_ranks(tmp_path):
    class Chunks(Views):
        def forward(self, x):
            z1, z2 = (self.norm(self.linear(x[:, i])) for i in range(2))
            pairs = zip(z1.split(ROWS), z2.split(ROWS))
            return sum(self.loss(a, b)['loss'] for a, b in pairs) / 2

    loss, grads = run(Chunks(ERLoss()), images(2))
    together, _ = run(Views(ERLoss(gather=True)), images(2))
    assert abs(loss - together) > 1e-3
    for rank_loss, rank_grads in on_ranks(local_entropy, 2, tmp_path):
        torch.testing.assert_close(rank_loss, loss, rtol=1e-6, atol=1e-9)
        for ours, expected in zip(rank_grads, grads):
            torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-9)


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


def gradients(model):
    """Of all parameters, and DINO's centre, which is of all ranks too."""
    grads = {k: p.grad for k, p in model.named_parameters() if p.requires_grad}
    return grads | {k: v for k, v in model.named_buffers() if k == 'center'}


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
