"""Objectives as regularisers of mmpretrain's algorithms."""

import pytest
import reference
import torch
from mmpretrain.registry import MODELS
from networks import BACKBONE, NECK, PREDICTOR, batch

from mmentropy.models.with_objective import view_projections

LATENT = dict(type='LatentPredictHead', predictor=PREDICTOR, loss=dict(type='CosineSimilarityLoss'))
OTHERS = dict(
    SimCLR=dict(head=dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'))),
    SimSiam=dict(head=LATENT),
    BYOL=dict(head=LATENT, base_momentum=0.1),
    BarlowTwins=dict(
        head=dict(
            type='LatentCrossCorrelationHead',
            in_channels=16,
            loss=dict(type='CrossCorrelationLoss'),
        )
    ),
)


@pytest.mark.parametrize('algorithm', OTHERS)
def test_mec_regularises_any_algorithm(algorithm, training):
    plain = MODELS.build(dict(type=algorithm, backbone=BACKBONE, neck=NECK, **OTHERS[algorithm]))
    model = MODELS.build(
        dict(
            type='WithMEC',
            algorithm=algorithm,
            mec=dict(type='MECLoss', distortion=0.5),
            weight=0.3,
            backbone=BACKBONE,
            neck=NECK,
            **OTHERS[algorithm],
        )
    )
    assert isinstance(model, type(plain))
    model.load_state_dict(plain.state_dict())
    data = batch()
    terms = model(**data, mode='loss')
    metrics = {'coding_length', 'spectral_norm', 'guard_active'}
    assert set(terms) == {'loss_main', 'loss_mec', *metrics}
    torch.testing.assert_close(terms['loss_main'], plain(**data, mode='loss')['loss'])
    z1, z2 = (model.neck(model.backbone(x))[0] for x in data['inputs'])
    expected = reference.mec_loss(z1, z2, lamda_inv=8 * 0.5)
    # SimCLR normalises its batches over both views at once.
    if algorithm != 'SimCLR':
        torch.testing.assert_close(terms['loss_mec'], 0.3 * expected, rtol=1e-4, atol=1e-5)
    loss, log = model.parse_losses(terms)
    torch.testing.assert_close(loss, terms['loss_main'] + terms['loss_mec'])
    assert log['loss'] == loss
    parameters = list(model.neck.parameters())
    grads = torch.autograd.grad(terms['loss_mec'], parameters)
    if algorithm != 'SimCLR':
        for ours, theirs in zip(grads, torch.autograd.grad(0.3 * expected, parameters)):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    assert not model.neck._forward_hooks


def test_mec_sorts_the_views_of_simclr(training):
    """Without batch norm SimCLR's neighbouring rows are the two views."""
    neck = dict(NECK, with_last_bn=False)
    model = MODELS.build(
        dict(
            type='WithMEC',
            algorithm='SimCLR',
            mec=dict(type='MECLoss', distortion=0.5, guard=False),
            backbone=BACKBONE,
            neck=neck,
            **OTHERS['SimCLR'],
        )
    ).eval()
    data = batch()
    terms = model(**data, mode='loss')
    z1, z2 = (model.neck(model.backbone(x))[0] for x in data['inputs'])
    torch.testing.assert_close(
        terms['loss_mec'], reference.mec_loss(z1, z2, lamda_inv=8 * 0.5), rtol=1e-4, atol=1e-5
    )


def test_mec_refuses_what_it_cannot_regularise(training):
    cfg = dict(type='WithMEC', mec=dict(type='MECLoss'), backbone=BACKBONE)
    with pytest.raises(ValueError, match="'ResNet' is no self-supervised"):
        MODELS.build(dict(cfg, algorithm='ResNet'))
    for weight in (-1, 0, 'a', float('nan')):
        with pytest.raises(ValueError, match='weight must be a number above 0'):
            MODELS.build(dict(cfg, algorithm='SimSiam', weight=weight))
    for shapes in ([(8, 4)], [(8, 4)] * 3, []):
        outputs = [torch.zeros(shape) for shape in shapes]
        with pytest.raises(ValueError, match='projections of 2 views of 8 images'):
            view_projections(outputs, views=2, rows=8)


@pytest.mark.parametrize('listed', [False, True])
def test_an_algorithm_of_single_images_is_refused(listed, training):
    """Its batch is one tensor, whose length is not a number of views."""
    cfg = dict(type='WithMEC', algorithm='SimSiam', mec=dict(type='MECLoss'))
    model = MODELS.build(dict(cfg, backbone=BACKBONE, neck=NECK, **OTHERS['SimSiam']))
    images = batch(views=1)['inputs']
    message = 'SimSiamWithMEC needs at least two views of each image, got 1'
    with pytest.raises(ValueError, match=message):
        model(images if listed else images[0], mode='loss')


@pytest.mark.parametrize('objective', ['MECLoss', 'ERLoss', 'VICRegLoss', 'MMCRLoss', 'LeJEPALoss'])
def test_any_objective_regularises_three_views(objective, training):
    """A loss of two views is averaged over the pairs."""
    model = MODELS.build(
        dict(
            type='WithObjective',
            algorithm='JointEmbedding',
            objective=dict(type=objective),
            weight=0.3,
            together=False,
            backbone=BACKBONE,
            neck=NECK,
            head=dict(type='FroSSLLoss'),
        )
    )
    data = batch(views=3)
    terms = model(**data, mode='loss')
    z = [model.neck(model.backbone(x))[0] for x in data['inputs']]
    torch.testing.assert_close(terms['loss_main'], model.head(*z)['loss'])
    if objective in ('MECLoss', 'ERLoss'):
        pairs = [(z[0], z[1]), (z[0], z[2]), (z[1], z[2])]
        expected = sum(model.objective(*pair)['loss'] for pair in pairs) / 3
    else:
        expected = model.objective(*z)['loss']
    torch.testing.assert_close(terms['loss_objective'], 0.3 * expected)


def test_metrics_of_one_name_are_both_logged(training):
    cfg = dict(type='JointEmbedding', together=False, backbone=BACKBONE, neck=NECK)
    head, objective = dict(type='IVNELoss'), dict(type='FroSSLLoss')
    plain = MODELS.build(dict(cfg, head=head))
    other = MODELS.build(dict(cfg, head=objective))
    model = MODELS.build(
        dict(cfg, type='WithObjective', algorithm='JointEmbedding', head=head, objective=objective)
    )
    for one in (other, model):
        one.load_state_dict(plain.state_dict(), strict=False)
    data = batch()
    terms, own, added = (one(**data, mode='loss') for one in (model, plain, other))
    torch.testing.assert_close(terms['entropy'], own['entropy'])
    torch.testing.assert_close(terms['objective_entropy'], added['entropy'])
    assert abs(float(own['entropy']) - float(added['entropy'])) > 0.01
