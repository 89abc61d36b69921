"""The averaged copy of the network."""

import math

import pytest
import torch
from mmengine.optim import OptimWrapper
from networks import HEADS, batch, build

from mmentropy.models.optimizer_steps import ITERATIONS_PER_STEP


@pytest.mark.parametrize('name', [n for n, cfg in HEADS.items() if cfg.get('base_momentum')])
def test_ema_formula(name, training):
    """The target copies at first, then follows the cosine schedule."""
    model = build(name)
    optim = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    online = [*model.backbone.parameters(), *model.neck.parameters()]
    target = list(model.target_net.module.parameters())
    assert len(online) == len(target)
    expected = [p.detach().clone() for p in online]
    model.train_step(batch(), optim)
    for ours, theirs in zip(target, expected):
        assert torch.equal(ours, theirs)
    student = [p.detach().clone() for p in online]
    model.train_step(batch(), optim)
    # The first move of the cosine is its beginning, as in the code of MEC, BYOL and DINO.
    for ours, old, new in zip(target, expected, student):
        torch.testing.assert_close(ours, 0.9 * old + 0.1 * new)
    expected, student = ([p.detach().clone() for p in part] for part in (target, online))
    model.train_step(batch(), optim)
    share = 0.1 * (math.cos(math.pi * 1 / 10) + 1) / 2
    for ours, old, new in zip(target, expected, student):
        torch.testing.assert_close(ours, (1 - share) * old + share * new)


def test_ema_moves_once_per_step_of_the_optimiser(training):
    """Three iterations share a step: the target stands still in between."""
    training.update_info(ITERATIONS_PER_STEP, 3)
    model = build('mec')
    optim = torch.optim.SGD(model.parameters(), lr=0.1)
    online = [*model.backbone.parameters(), *model.neck.parameters()]
    target = list(model.target_net.module.parameters())
    expected = [p.detach().clone() for p in online]
    for iteration in range(7):
        training.update_info('iter', iteration)
        if iteration in (3, 6):
            # The cosine is over ceil(10 / 3) = 4 steps of the optimiser.
            share = 0.1 * (math.cos(math.pi * (iteration / 3 - 1) / 4) + 1) / 2
            expected = [
                (1 - share) * old + share * new.detach() for old, new in zip(expected, online)
            ]
        model(**batch(), mode='loss')['loss'].backward()
        for ours, theirs in zip(target, expected):
            torch.testing.assert_close(ours, theirs)
        if iteration % 3 == 2:
            optim.step()
            optim.zero_grad()
    assert model.target_net.steps == 3


def test_ema_stands_still_beyond_the_last_step(training):
    ema = build('mec').target_net
    assert ema.current_momentum(0) == 0.1
    assert ema.current_momentum(10) == ema.current_momentum(15) == 0


def test_ema_is_not_compiled_anew_at_every_step(training):
    model = build('mec')
    network = torch.nn.Sequential(model.backbone, model.neck)
    move = torch.compile(lambda: model.target_net.update_parameters(network), backend='eager')
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(3):
            move()
    assert model.target_net.steps == 3
