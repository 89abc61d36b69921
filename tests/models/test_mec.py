"""MEC: its loss against the official formula, the guard, the warm-up and the pairs of views."""

import math

import numpy as np
import pytest
import reference
import torch
from formulas import SHAPES, assert_value_and_gradient, value_of
from networks import batch, build

from mmentropy.models import MECLoss, mec


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('order', [1, 2, 3, 4, 5, 6])
def test_mec_equals_official(shape, order):
    loss = MECLoss(distortion=0.06, taylor_order=order, guard=False)
    pred, target = torch.randn(2, *shape, dtype=torch.float64)
    assert_value_and_gradient(
        value_of(loss),
        lambda p, t: reference.mec_loss(t, p, shape[0] * 0.06, order),
        pred,
        target,
    )


@pytest.mark.parametrize('shape', SHAPES)
def test_series_tends_to_exact(shape):
    pred, target = torch.randn(2, *shape, dtype=torch.float64)
    # A distortion above 1 guarantees a spectral norm below 1.
    exact = value_of(MECLoss(distortion=1.5, exact=True))
    errors = []
    for order in (1, 2, 4, 60):
        series = value_of(MECLoss(distortion=1.5, taylor_order=order))
        errors.append(abs(series(pred, target) - exact(pred, target)))
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 1e-8
    assert_value_and_gradient(series, exact, pred, target)


def test_guard_bounds_the_norm_and_the_loss():
    # A scaled rotation by 45 degrees: its fourth power is negative, so the
    # series is unbounded although the determinant is fine.
    angle = math.pi / 4
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    target = torch.eye(2, dtype=torch.float64).repeat(50, 1)
    pred = target @ turn.double().T
    free = MECLoss(distortion=0.01, guard=False)(pred, target)['loss']
    terms = MECLoss(distortion=0.01, guard=True)(pred, target)
    # Twice 50 equal rows: the norm of C is 50, 1 / lambda is 100 * 0.01.
    assert float(terms['spectral_norm']) == pytest.approx(50, rel=1e-3)
    assert float(terms['guard_active']) == 1
    assert float(free) < -1000
    x = 0.9 * torch.tensor([complex(math.cos(angle), math.sin(angle))])
    series = (x - x**2 / 2 + x**3 / 3 - x**4 / 4).real
    expected = -2 * (50 / 0.9) / 100 * series
    assert float(terms['loss']) == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize(
    'guard, advice',
    [
        (True, 'as distortion=0.278 would'),
        (False, 'raise distortion above 0.25'),
    ],
)
def test_a_norm_above_one_is_logged_once(guard, advice, monkeypatch):
    lines = []
    monkeypatch.setattr(mec, 'print_log', lambda line, **kwargs: lines.append(line))
    # Orthonormal rows: C is the identity, 1 / lambda is 4 * 0.2.
    rows = torch.eye(4, dtype=torch.float64)
    loss = MECLoss(distortion=0.2, guard=guard)
    for _ in range(2):
        loss.warn_of_divergence(loss(rows, rows)['spectral_norm'])
    assert len(lines) == 1
    assert lines[0].startswith('MEC: the spectral norm of lambda C is 1.25')
    assert lines[0].endswith(advice)
    loss = MECLoss(distortion=0.3, guard=guard)
    loss.warn_of_divergence(loss(rows, rows)['spectral_norm'])
    assert len(lines) == 1


def test_guard_is_idle_inside():
    pred, target = torch.randn(2, 8, 20, dtype=torch.float64)
    on, off = (MECLoss(2.0, guard=guard)(pred, target) for guard in (True, False))
    assert on['loss'] == off['loss']
    assert float(on['guard_active']) == 0
    assert 'guard_active' not in off


def test_lambda_warmup_follows_the_iteration(training):
    loss = MECLoss(distortion=1.0, warmup=0.4, warmup_factor=8.0)
    scales = []
    for step in range(10):
        training.update_info('iter', step)
        scales.append(loss.warmup_scale())
    # xinliu20/MEC@35045dc:main_pretrain.py#L488-L497, the end value in the last of 4 iterations.
    assert scales == pytest.approx([*np.linspace(8, 1, 4), *[1] * 6])
    training.update_info('iter', 2)
    pred, target = torch.randn(2, 8, 16)
    expected = MECLoss(distortion=10 / 3)(pred, target)['loss']
    assert float(loss(pred, target)['loss']) == pytest.approx(float(expected))


def test_mec_averages_pairs_of_different_views(training):
    model = build('mec')
    model(**batch(), mode='loss')
    views = batch(views=2)['inputs'] + batch(views=2, size=8)['inputs']
    terms = model(views, mode='loss')
    z = [model.neck(model.backbone(x))[0] for x in views]
    # A second update would move the target.
    with torch.no_grad():
        t = [model.target_net(x)[0] for x in views[:2]]
    pairs = [(0, 1), (2, 1), (3, 1), (1, 0), (2, 0), (3, 0)]
    p = [model.head.predict(x) for x in z]
    losses = [model.head.loss_module(p[i], t[j])['loss'] for i, j in pairs]
    torch.testing.assert_close(terms['loss'], torch.stack(losses).mean(), rtol=1e-4, atol=1e-4)
