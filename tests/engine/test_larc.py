"""LARC against its formula, step by step."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmentropy.engine.larc import LARC

LR, ETA, EPS, DECAY, MOMENTUM = 0.3, 0.02, 1e-8, 1e-2, 0.9


def expected_steps(weight, gradients, adapted, nesterov):
    """The wrapper of tsb0601/EMP-SSL@8fc3758:lars.py#L211-L254 around torch's SGD, in float64."""
    buffer = None
    for grad in gradients:
        step = grad
        if adapted:
            norm, length = weight.norm(), grad.norm()
            rate = ETA * norm / (length + norm * DECAY + EPS)
            step = (grad + DECAY * weight) * min(rate / LR, 1)
        buffer = step if buffer is None else MOMENTUM * buffer + step
        weight = weight - LR * (step + MOMENTUM * buffer if nesterov else buffer)
    return weight


@pytest.mark.parametrize('nesterov', [False, True])
# The second scale is so small that the rate is clipped.
@pytest.mark.parametrize('scale', [1.0, 1e-3])
def test_steps_are_those_of_the_formula(nesterov, scale):
    torch.manual_seed(0)
    layer = nn.Linear(5, 3).double()
    # The authors exclude tensors of one dimension.
    optim = build_optim_wrapper(
        layer,
        dict(
            optimizer=dict(
                type='LARC',
                lr=LR,
                momentum=MOMENTUM,
                weight_decay=DECAY,
                eta=ETA,
                eps=EPS,
                nesterov=nesterov,
            ),
            paramwise_cfg=dict(custom_keys={'bias': dict(decay_mult=0, lars_exclude=True)}),
        ),
    )
    gradients = {
        name: [scale * torch.randn_like(p) for _ in range(3)]
        for name, p in layer.named_parameters()
    }
    expected = {
        name: expected_steps(p.detach().clone(), gradients[name], name == 'weight', nesterov)
        for name, p in layer.named_parameters()
    }
    for step in range(3):
        for name, p in layer.named_parameters():
            p.grad = gradients[name][step].clone()
        optim.optimizer.step()
    for name, p in layer.named_parameters():
        torch.testing.assert_close(p.detach(), expected[name], rtol=1e-12, atol=1e-12)
    assert {group['weight_decay'] for group in optim.param_groups} == {0, DECAY}


def test_without_gradient_nothing_decays():
    p = nn.Parameter(torch.ones(2, 2))
    larc = LARC([p], lr=LR, weight_decay=DECAY)
    p.grad = torch.zeros(2, 2)
    larc.step()
    assert torch.equal(p.detach(), torch.ones(2, 2))


def test_a_scaler_changes_no_step_of_a_fused_one():
    """Its factor is taken out of the gradients before their norms are."""
    steps = []
    for scale in (1.0, 65536.0):
        p = torch.nn.Parameter(torch.ones(4))
        optimizer = LARC([p], lr=0.1, weight_decay=0.1, fused=True)
        scaler = torch.amp.GradScaler('cpu', init_scale=scale, enabled=scale > 1)
        scaler.scale((p * torch.arange(4.0)).sum()).backward()
        scaler.step(optimizer)
        steps.append(p.detach().clone())
    torch.testing.assert_close(*steps)
    assert (steps[0] - 1).abs().max() > 1e-5
