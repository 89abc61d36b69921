"""The algorithms: two steps, gradients, targets, precision, bad input."""

import math

import numpy as np
import pytest
import reference
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmpretrain.registry import MODELS
from networks import (
    BACKBONE,
    HEADS,
    METRICS,
    NECK,
    PREDICTOR,
    PROTOTYPES,
    batch,
    build,
)

from mmentropy.models import DINOLoss, ERLoss, MECLoss, MinEntLoss
from mmentropy.models.optimizer_steps import ITERATIONS_PER_STEP
from mmentropy.models.with_mec import two_projections


@pytest.fixture
def training():
    """What a Runner tells the models, 10 iterations long."""
    hub = MessageHub.get_current_instance()
    hub.update_info('max_iters', 10)
    hub.update_info('iter', 0)
    hub.update_info(ITERATIONS_PER_STEP, 1)
    return hub


@pytest.mark.slow
@pytest.mark.parametrize('name', HEADS)
def test_two_steps(name, training):
    model = build(name)
    optim = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optim.zero_grad()
        terms = model(**batch(), mode='loss')
        assert set(terms) == {'loss'} | METRICS[type(model).__name__]
        assert all(torch.isfinite(v) for v in terms.values())
        assert [k for k, v in terms.items() if v.requires_grad] == ['loss']
        loss, log = model.parse_losses(terms)
        assert loss == terms['loss'] == log['loss']
        loss.backward()
        for key, p in model.named_parameters():
            if key.startswith('target_net'):
                assert not p.requires_grad and p.grad is None, key
            else:
                assert p.grad is not None and p.grad.abs().max() > 0, key
        optim.step()


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
    losses = [model.head.loss(z[i], t[j])['loss'] for i, j in pairs]
    torch.testing.assert_close(terms['loss'], torch.stack(losses).mean(), rtol=1e-4, atol=1e-4)


def test_target_carries_no_gradient():
    for name in ('mec', 'er_byol'):
        head = build(name).head
        z, t = torch.randn(2, 8, 16).requires_grad_().unbind()
        t.retain_grad()
        kwargs = dict(distill=True) if name == 'er_byol' else {}
        head.loss(z, t, **kwargs)['loss'].backward()
        assert t.grad is None or t.grad.abs().max() == 0


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


def test_er_sharpens_the_target_alone():
    z, t = torch.randn(2, 8, 16)
    loss = ERLoss(support='simplex', temperature=1.0, target_temperature=0.5)
    plain = ERLoss(support='simplex', temperature=1.0)
    assert float(loss(z, t, distill=True)['loss']) == pytest.approx(
        float(plain(z, 2 * t, distill=True)['loss'])
    )
    assert loss(z, t)['loss'] == plain(z, t)['loss']


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
    for step, temperature in [(0, 0.03), (2, 0.05), (4, 0.07), (9, 0.07)]:
        training.update_info('iter', step)
        expected = DINOLoss(target_temperature=temperature)(z, t)['loss']
        assert float(loss(z, t)['loss']) == pytest.approx(float(expected))


def test_dino_entropy_is_that_of_the_mean_assignment():
    z, t = torch.randn(2, 8, 16)
    mean = (z / 0.2).softmax(1).mean(0)
    entropy = DINOLoss(temperature=0.2)(z, t)['entropy']
    assert float(entropy) == pytest.approx(float(-(mean * mean.log()).sum()))


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
        with pytest.raises(ValueError, match='two projections per image'):
            two_projections(outputs, rows=8)


def test_min_ent_head_is_the_mean_over_heads():
    head = build('minent').head
    f1, f2 = torch.randn(2, 8, 64)
    outputs = head.projectors(f1, f2)
    assert [g1.shape for g1, _ in outputs] == [(8, 16), (8, 8)]
    apart = [head.loss_module(g1, g2) for g1, g2 in outputs]
    together = head.loss(f1, f2)
    assert together.keys() == {'loss', 'target_entropy'}
    for key, value in together.items():
        assert float(value) == pytest.approx(sum(float(terms[key]) for terms in apart) / 2)


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


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    'loss',
    [
        MECLoss(),
        MECLoss(exact=True),
        ERLoss(),
        ERLoss(support='simplex'),
        MinEntLoss(),
        DINOLoss(),
    ],
    ids=str,
)
def test_half_precision_gives_the_float32_loss(loss, dtype):
    # Rows long enough for their squared norm to overflow float16.
    z1, z2 = (100 * torch.randn(2, 8, 600)).to(dtype)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = loss(z1, z2)
    full = loss(z1.float(), z2.float())
    for key, value in half.items():
        assert value.dtype == torch.float32
        assert torch.isfinite(value)
        assert torch.equal(value, full[key])


@pytest.mark.parametrize('name', HEADS)
def test_non_finite_stops_with_method_and_iteration(name, training):
    model = build(name)
    training.update_info('iter', 6)
    data = batch()
    data['inputs'][0][0] = math.nan
    with pytest.raises(FloatingPointError) as raised:
        model(**data, mode='loss')
    message = str(raised.value)
    assert message.startswith(f'{type(model).__name__} at iteration 7: ')
    assert 'loss is nan' in message and 'entries of rank 0' in message
    assert 'learning rate' in message
    assert '\n' not in message


def test_overflow_of_the_objective_names_the_term(training):
    model = build('er_simclr')
    model.head.loss_module = _Overflow()
    message = 'entropy is inf; all features are finite, so the objective overflowed'
    with pytest.raises(FloatingPointError, match=message):
        model(**batch(), mode='loss')


class _Overflow(torch.nn.Module):
    def forward(self, z1, z2, distill):
        return dict(loss=z1.sum(), entropy=torch.tensor(math.inf))


@pytest.mark.parametrize(
    'name, views', [(name, 1) for name in HEADS] + [('er_simclr', 3), ('minent', 3)]
)
def test_wrong_number_of_views(name, views, training):
    with pytest.raises(ValueError, match=f'of each image, got {views}'):
        build(name)(batch(views=views)['inputs'], mode='loss')


def test_a_single_tensor_is_one_view():
    with pytest.raises(ValueError, match='got 1'):
        build('mec')(batch()['inputs'][0], mode='loss')


@pytest.mark.parametrize('loss', [MECLoss(), ERLoss(), MinEntLoss()], ids=['mec', 'er', 'minent'])
def test_batch_of_one(loss):
    with pytest.raises(ValueError, match='at least 2'):
        loss(torch.randn(1, 8), torch.randn(1, 8))


@pytest.mark.parametrize(
    'cfg, message',
    [
        (dict(type='MECLoss', distortion=0.0), 'distortion'),
        (dict(type='MECLoss', distortion='a'), 'distortion'),
        (dict(type='MECLoss', taylor_order=0), 'taylor_order'),
        (dict(type='MECLoss', taylor_order=2.5), 'taylor_order'),
        (dict(type='MECLoss', warmup=10), 'warmup'),
        (dict(type='MECLoss', warmup_factor=0.5), 'warmup_factor'),
        (dict(type='MECLoss', max_norm=2), 'max_norm'),
        (dict(type='ERLoss', support='circle'), 'support'),
        (dict(type='ERLoss', estimator='mean'), 'estimator'),
        (dict(type='ERLoss', support='simplex', estimator='joe'), 'joe'),
        (dict(type='ERLoss', kappa=-1.0), 'kappa'),
        (dict(type='ERLoss', temperature=0.0), 'temperature'),
        (dict(type='ERLoss', target_temperature=0.0), 'target_temperature'),
        (dict(type='DINOLoss', temperature=0.0), 'temperature'),
        (dict(type='DINOLoss', warmup=2), 'warmup'),
        (dict(type='DINOLoss', warmup='a'), 'warmup'),
        (dict(HEADS['dino'], center_momentum='a'), 'center_momentum'),
        (dict(HEADS['dino'], center_momentum=1.0), 'center_momentum'),
        (dict(HEADS['dino'], base_momentum=None), 'base_momentum'),
        (dict(type='MinEntLoss', norm='layer'), 'norm'),
        (dict(HEADS['mec'], base_momentum=0.0), 'base_momentum'),
        (dict(HEADS['er_byol'], base_momentum=1.5), 'base_momentum'),
        (dict(HEADS['minent']['head'], out_channels=[8, 1]), 'out_channels'),
        (dict(HEADS['minent']['head'], num_layers=1), 'num_layers'),
    ],
)
def test_hyper_parameters_out_of_range(cfg, message):
    if cfg['type'] in METRICS:
        cfg['backbone'] = BACKBONE
    with pytest.raises(ValueError, match=message) as raised:
        MODELS.build(cfg)
    assert '\n' not in str(raised.value).replace('class `', '')


def test_shapes_that_differ():
    for loss in (MECLoss(), ERLoss(), MinEntLoss(), DINOLoss()):
        with pytest.raises(ValueError, match='one shape'):
            loss(torch.randn(4, 8), torch.randn(4, 6))


@pytest.mark.slow
@pytest.mark.parametrize('name', HEADS)
def test_state_dict_round_trip(name, training):
    model, other = build(name), build(name)
    model(**batch(), mode='loss')
    other.load_state_dict(model.state_dict())
    for key, value in other.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key
