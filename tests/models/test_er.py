"""ER: what is distilled and sharpened, and the numbers that its authors print."""

import pytest
import torch
import torch.nn.functional as F
from formulas import unit_rows
from mmpretrain.registry import MODELS
from networks import BACKBONE, HEADS, batch, build

from mmentropy.functional import simplex, sphere
from mmentropy.models import ERLoss
from mmentropy.models.base import mean_over_pairs


def test_er_distilled_maximises_the_entropy_of_the_online_branch():
    z1, z2 = torch.randn(2, 8, 16)
    loss = ERLoss()
    apart = loss(z1, z2, distill=True)
    assert float(apart['entropy']) == pytest.approx(float(loss(z1, z1)['entropy']))
    both = loss(z1, z2)
    other = float(loss(z2, z2)['entropy'])
    assert float(both['entropy']) == pytest.approx((float(apart['entropy']) + other) / 2)
    assert float(both['loss']) == pytest.approx(
        float(both['reconstruction']) - float(both['entropy']), rel=1e-4
    )


def test_er_without_a_target_is_the_mean_over_pairs_of_views(training):
    model = build('er_simclr')
    views = batch(views=3)['inputs']
    terms = model(views, mode='loss')
    z = [model.neck(model.backbone(x))[0] for x in views]
    pairs = [(z[0], z[1]), (z[0], z[2]), (z[1], z[2])]
    for name in ('loss', 'entropy', 'reconstruction'):
        expected = sum(ERLoss()(*pair)[name] for pair in pairs) / 3
        torch.testing.assert_close(terms[name], expected)


def test_er_sharpens_the_target_alone():
    z, t = torch.randn(2, 8, 16)
    loss = ERLoss(support='simplex', temperature=1.0, target_temperature=0.5)
    plain = ERLoss(support='simplex', temperature=1.0)
    assert float(loss(z, t, distill=True)['loss']) == pytest.approx(
        float(plain(z, 2 * t, distill=True)['loss'])
    )
    with pytest.raises(ValueError, match='target_temperature=0.5 is that of a target network'):
        loss(z, t)


def test_the_predictor_maps_both_views_but_no_target():
    head = build('er_byol').head
    z1, z2 = torch.randn(2, 8, 16)
    p1, p2 = head.predict(z1), head.predict(z2)
    assert not torch.allclose(p2, z2)
    distilled = head.loss_module(p1, z2, distill=True)['loss']
    assert mean_over_pairs(head, [z2, z1], [z2], distill=True)['loss'] == distilled


def test_the_predictor_maps_both_views_where_there_is_no_target(training):
    model = MODELS.build(dict(HEADS['er_byol'], base_momentum=None, backbone=BACKBONE))
    views = batch(views=3)['inputs']
    loss = model(views, mode='loss')['loss']
    p = [model.head.predict(model.neck(model.backbone(x))[0]) for x in views]
    pairs = [(p[0], p[1]), (p[0], p[2]), (p[1], p[2])]
    torch.testing.assert_close(loss, sum(ERLoss()(*pair)['loss'] for pair in pairs) / 3)


def test_numbers_of_the_released_readme():
    """What apple/ml-entropy-reconstruction@f523f11:README.md prints.

    Its inputs are random and unseeded, 1000 x 1000, drawn as here; the
    tolerances are several times the spread over draws.
    """

    def rand():
        return torch.rand(1000, 1000, dtype=torch.float64)

    def noisy(x):
        return x + torch.randn(1000, 1000)

    log_c = sphere.vmf_log_normalizer(1000, 10.0, authors_constant=True)
    z = unit_rows(1000, 1000)
    for estimator, expected in (('plug_in', -249.30849), ('joe', -249.30833)):
        entropy = sphere.sphere_entropy(z, 10.0, estimator, log_c)
        assert float(entropy) == pytest.approx(expected, abs=2e-3)
    base = rand()
    z1, z2 = (F.normalize(noisy(base), dim=1) for _ in range(2))
    error = sphere.sphere_reconstruction(z1, z2, 10.0, log_c)
    assert float(error) == pytest.approx(-248.65526, abs=5e-2)

    for probs, expected, tolerance in (
        (rand().softmax(1), 6.9076123, 1e-5),
        ((1000 * rand()).softmax(1), 6.6955442, 5e-2),
    ):
        entropy = simplex.discrete_entropy(probs, eps=1e-7)
        assert float(entropy) == pytest.approx(expected, abs=tolerance)
    uniform = torch.full((4, 1000), 1e-3, dtype=torch.float64)
    assert float(simplex.discrete_entropy(uniform)) == pytest.approx(6.907755278982137, rel=1e-12)
    one_hot = torch.eye(1000)[:1]
    assert float(simplex.discrete_entropy(one_hot, eps=1e-7)) == pytest.approx(
        -1.1920928955078125e-07, rel=1e-6
    )
    base = 10 * rand()
    p1, p2 = (noisy(base).softmax(1) for _ in range(2))
    error = simplex.discrete_reconstruction(p1, p2, eps=1e-7)
    assert float(error) == pytest.approx(6.1006846, abs=1e-2)


@pytest.mark.parametrize('support', ['simplex', 'sphere'])
def test_the_authors_constant_changes_the_gradient_on_the_simplex_only(support):
    z1, z2 = torch.randn(2, 64, 128, dtype=torch.float64)
    gradients = []
    for authors in (True, False):
        z1.requires_grad_().grad = None
        ERLoss(support=support, temperature=0.1, authors_constant=authors)(z1, z2)[
            'loss'
        ].backward()
        gradients.append(z1.grad.clone())
    off = float((gradients[1] - gradients[0]).norm() / gradients[0].norm())
    # Logits of standard normal noise are near one-hot at temperature 0.1.
    assert off == 0 if support == 'sphere' else off > 2


def test_both_terms_take_the_authors_constant():
    z1, z2 = torch.randn(2, 64, 128, dtype=torch.float64)
    ours, theirs = [
        {
            support: ERLoss(support=support, authors_constant=authors)(z1, z2)
            for support in ('sphere', 'simplex')
        }
        for authors in (False, True)
    ]
    probs = [(10 * z).softmax(1) for z in (z1, z2)]
    for terms, eps in ((ours['simplex'], 0.0), (theirs['simplex'], 1e-7)):
        entropy = sum(float(simplex.discrete_entropy(p, eps=eps)) for p in probs) / 2
        error = float(simplex.discrete_reconstruction(*probs, eps=eps))
        assert float(terms['entropy']) == pytest.approx(entropy, rel=1e-12)
        assert float(terms['reconstruction']) == pytest.approx(error, rel=1e-12)
    # On the sphere both terms contain the normaliser, so that the loss stays.
    change = sphere.vmf_log_normalizer(128, 10.0) - sphere.vmf_log_normalizer(128, 10.0, True)
    for name, expected in (('entropy', change), ('reconstruction', change), ('loss', 0.0)):
        difference = float(theirs['sphere'][name] - ours['sphere'][name])
        assert difference == pytest.approx(expected, abs=1e-9), name
    assert abs(change) > 1


@pytest.mark.parametrize('support', ['simplex', 'sphere'])
def test_a_target_gets_no_gradient_and_one_rank_gathers_nothing(support):
    z1, z2 = (z.requires_grad_() for z in torch.randn(2, 16, 8, dtype=torch.float64))
    for distill in (True, False):
        alone, gathered = [
            ERLoss(support=support, gather=gather)(z1, z2, distill=distill)
            for gather in (False, True)
        ]
        for name, value in alone.items():
            torch.testing.assert_close(gathered[name], value)
        assert alone['loss'].requires_grad
        (gradient,) = torch.autograd.grad(alone['loss'], z2, allow_unused=True)
        assert (gradient is None) == distill
