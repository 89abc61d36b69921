"""Rates and decay of recipes beside the authors' optimisers, parameter by parameter."""

import torch
from family import mmcr
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from repository import REPOSITORY

RANKS, ROWS = 16, 2


def built(name, **sizes):
    """The model of a recipe of the family, with other sizes, and its optimiser."""
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    cfg = Config.fromfile(REPOSITORY / f'configs/family/{name}.py')
    for part, size in sizes.items():
        cfg.model[part].update(size)
    model = MODELS.build(cfg.model)
    return model, build_optim_wrapper(model, cfg.optim_wrapper).optimizer


def rank_by_rank(z, w):
    """ThomasYerxa/mmcr@fafd3a9:mmcr/imagenet/loss_mmcr.py: the mean over ranks of their losses.

    Each rank sees the rows of all and has the gradient of its own.
    """
    total = 0
    for rank in range(RANKS):
        own = torch.zeros(len(z), 1, dtype=torch.bool)
        own[rank * ROWS : (rank + 1) * ROWS] = True
        total = total + mmcr(*(torch.where(own, x, x.detach()) for x in (z, w)))
    return total / RANKS


def lars(p, grad, mu, lr=4.8, eta=1e-3):
    """ThomasYerxa/mmcr@fafd3a9:mmcr/imagenet/misc.py: a parameter and its momentum after a step."""
    if p.ndim > 1:
        grad = grad + 1e-6 * p
        grad = grad * eta * p.norm() / grad.norm()
    mu = 0.9 * mu + grad
    return p - lr * mu, mu


def test_mmcr_learns_as_its_ranks_do():
    backbone = dict(depth=18, base_channels=8)
    neck = dict(in_channels=64, hid_channels=16, out_channels=12)
    model, optimizer = built('mmcr_r50_16xb128_100e_in1k', backbone=backbone, neck=neck)
    # It is too small beside these gradients for the weights to tell.
    assert optimizer.defaults['weight_decay'] == RANKS * 1e-6
    model.double()
    images = torch.randn(2, RANKS * ROWS, 3, 32, 32, dtype=torch.float64)
    momenta = [torch.zeros_like(p) for p in model.parameters()]
    for _ in range(2):
        z, w = (model.neck(model.backbone(view))[0] for view in images)
        parameters = list(model.parameters())
        theirs = torch.autograd.grad(rank_by_rank(z, w), parameters, retain_graph=True)
        expected = []
        for i, (p, grad) in enumerate(zip(parameters, theirs, strict=True)):
            after, momenta[i] = lars(p.detach(), grad, momenta[i])
            expected.append(after)
        optimizer.zero_grad()
        model.head(z, w)['loss'].backward()
        optimizer.step()
        for p, after in zip(parameters, expected, strict=True):
            # mmpretrain adds the norms of gradient and decay, where theirs is the norm of the sum.
            torch.testing.assert_close(p.detach(), after, rtol=1e-6, atol=1e-7)


def test_what_decays_in_ivne():
    """In jaeill/CVPR23-VNE@c63961b no parameter that is named after bn or bias."""
    model, optimizer = built('ivne_r50_1xb64_800e_imagenet100')
    decay = {
        id(p): group['weight_decay'] for group in optimizer.param_groups for p in group['params']
    }
    for name, p in model.named_parameters():
        # The authors' projector is a sequence, whose layers have numbers.
        theirs = name.replace('neck.bn', 'neck.')
        assert decay[id(p)] == (0 if 'bn' in theirs or 'bias' in theirs else 1e-4), name
