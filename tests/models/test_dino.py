"""DINO against the official loss."""

import math

import numpy as np
import pytest
import reference
import torch
from mmpretrain.registry import MODELS
from networks import BACKBONE, HEADS, NECK, PROTOTYPES, batch, build
from ranks import on_ranks

from mmentropy.models import DINOLoss, ERLoss
from mmentropy.models.optimizer_steps import ITERATIONS_PER_STEP


def test_dino_equals_the_official_loss(training):
    """Three views, two steps, so that the centre has moved."""
    # A last batch norm would hold the centre at 0.
    projector = dict(NECK, with_last_bn=False)
    model = MODELS.build(
        dict(HEADS['dino'], backbone=BACKBONE, neck=dict(PROTOTYPES, projector=projector))
    ).double()
    official = reference.DINOLoss(24, ncrops=3, teacher_temp=0.04)
    for _ in range(3):
        views = [x.double() for x in batch(views=3)['inputs']]
        terms = model(views, mode='loss')
        z = [model.neck(model.backbone(x))[0] for x in views]
        with torch.no_grad():
            t = [model.target_net(x)[0] for x in views[:2]]
        expected = official(torch.cat(z), torch.cat(t))
        torch.testing.assert_close(terms['loss'], expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(model.center, official.center[0], rtol=1e-10, atol=1e-10)
    assert float(model.center.abs().max()) > 0.01


def test_dino_without_centring_leaves_the_targets_alone(training):
    model = build('dino_er')
    views = batch()['inputs']
    terms = model(views, mode='loss')
    z = [model.neck(model.backbone(x))[0] for x in views]
    with torch.no_grad():
        t = [model.target_net(x)[0] for x in views]
    loss = ERLoss(support='simplex')
    expected = (loss(z[0], t[1], distill=True)['loss'] + loss(z[1], t[0], distill=True)['loss']) / 2
    torch.testing.assert_close(terms['loss'], expected)


def test_dino_target_temperature_warms_up(training):
    z, t = torch.randn(2, 8, 16)
    loss = DINOLoss(target_temperature=0.07, warmup=0.4, warmup_target_temperature=0.03)
    # The end value is in the last of 4 iterations.
    for step, temperature in [*enumerate(np.linspace(0.03, 0.07, 4)), (4, 0.07), (9, 0.07)]:
        training.update_info('iter', step)
        expected = DINOLoss(target_temperature=float(temperature))(z, t)['loss']
        assert float(loss(z, t)['loss']) == pytest.approx(float(expected))


def test_dino_entropy_is_that_of_the_mean_assignment():
    z, t = torch.randn(2, 8, 16)
    mean = (z / 0.2).softmax(1).mean(0)
    entropy = DINOLoss(temperature=0.2)(z, t)['entropy']
    assert float(entropy) == pytest.approx(float(-(mean * mean.log()).sum()))


@pytest.mark.parametrize('parts', [1, 4])
def test_the_centre_moves_as_far_in_a_step_of_several_iterations(parts, training):
    training.update_info(ITERATIONS_PER_STEP, parts)
    model = build('dino')
    targets = [torch.full((8, 24), 2.0), torch.full((8, 24), 4.0)]
    for _ in range(parts):
        model._centred(targets)
    torch.testing.assert_close(model.center, torch.full((24,), 0.1 * 3.0))


def entropy_on_rank(rank, world):
    z = 9 * torch.eye(2)[[rank] * 4]
    return float(DINOLoss(temperature=1.0)(z, z)['entropy'])


@pytest.mark.slow
def test_dino_entropy_is_that_of_the_rows_of_all_ranks(tmp_path):
    """Each rank uses one of two classes."""
    z = 9 * torch.eye(2).repeat_interleave(4, dim=0)
    expected = float(DINOLoss(temperature=1.0)(z, z)['entropy'])
    assert expected == pytest.approx(math.log(2), rel=1e-5)
    assert on_ranks(entropy_on_rank, 2, tmp_path) == [pytest.approx(expected)] * 2
