"""What all algorithms promise: steps, gradients, views, faults, state dicts."""

import math

import pytest
import torch
from mmpretrain.registry import MODELS
from networks import BACKBONE, HEADS, METRICS, batch, build, title

from mmentropy.models.base import mean_over_pairs


@pytest.mark.slow
@pytest.mark.parametrize('name', HEADS)
def test_two_steps(name, training):
    model = build(name)
    optim = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optim.zero_grad()
        terms = model(**batch(), mode='loss')
        assert set(terms) == {'loss'} | METRICS[title(model)]
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


def test_target_carries_no_gradient():
    for name in ('mec', 'er_byol'):
        head = build(name).head
        z, t = torch.randn(2, 8, 16).requires_grad_().unbind()
        t.retain_grad()
        kwargs = dict(distill=True) if name == 'er_byol' else {}
        mean_over_pairs(head, [t.detach(), z], [t], **kwargs)['loss'].backward()
        assert t.grad is None or t.grad.abs().max() == 0


@pytest.mark.parametrize('name', HEADS)
def test_non_finite_stops_with_method_and_iteration(name, training):
    model = build(name)
    training.update_info('iter', 6)
    data = batch()
    data['inputs'][0][0] = math.nan
    with pytest.raises(FloatingPointError) as raised:
        model(**data, mode='loss')
    message = str(raised.value)
    assert message.startswith(f'{title(model)} at iteration 7: ')
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


@pytest.mark.parametrize('name, views', [(name, 1) for name in HEADS] + [('minent', 3)])
def test_wrong_number_of_views(name, views, training):
    with pytest.raises(ValueError, match=f'of each image, got {views}'):
        build(name)(batch(views=views)['inputs'], mode='loss')


def test_a_single_tensor_is_one_view():
    with pytest.raises(ValueError, match='got 1'):
        build('mec')(batch()['inputs'][0], mode='loss')


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


@pytest.mark.slow
@pytest.mark.parametrize('name', HEADS)
def test_state_dict_round_trip(name, training):
    model, other = build(name), build(name)
    model(**batch(), mode='loss')
    other.load_state_dict(model.state_dict())
    for key, value in other.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key
