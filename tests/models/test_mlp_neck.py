"""MLPNeck: its layers, and the weights that it begins with."""

import pytest
import torch
from torch import nn

from mmentropy.models.mlp_neck import MLPNeck


@pytest.mark.parametrize('act, kind', [('GELU', nn.GELU), ('ReLU', nn.ReLU)])
def test_layers(act, kind):
    neck = MLPNeck(6, 8, 4, act_cfg=dict(type=act), with_last_bias=act == 'GELU')
    assert [type(m) for m in neck.layers] == [nn.Linear, kind, nn.Linear, kind, nn.Linear]
    shapes = [(m.in_features, m.out_features) for m in neck.layers if isinstance(m, nn.Linear)]
    assert shapes == [(6, 8), (8, 8), (8, 4)]
    assert (neck.layers[-1].bias is not None) == (act == 'GELU')


def test_feature_maps_are_averaged():
    neck = MLPNeck(6, 8, 4)
    x = torch.randn(5, 6, 3, 2)
    (z,) = neck((x,))
    torch.testing.assert_close(z, neck.layers(x.mean(dim=(2, 3))))


def test_class_tokens_are_taken_as_they_are():
    neck = MLPNeck(6, 8, 4, num_layers=2, with_avg_pool=False)
    x = torch.randn(5, 6)
    assert torch.equal(neck((x,))[0], neck.layers(x))


def test_it_begins_as_the_head_of_dino():
    torch.manual_seed(0)
    neck = MLPNeck(200, 300, 100)
    neck.init_weights()
    for layer in neck.layers[::2]:
        assert not layer.bias.any()
        assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.05)


def test_one_layer_is_refused():
    with pytest.raises(ValueError, match='num_layers'):
        MLPNeck(6, 8, 4, num_layers=1)
