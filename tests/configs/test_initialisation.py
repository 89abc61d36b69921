"""The recipes of MinEnt begin with the weights of the authors' network."""

import math

import pytest
import torch
import torchvision
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from repository import REPOSITORY
from torch import nn

DATA = ('1000e_cifar10', '1000e_cifar100', '2000e_stl10', '1000e_tiny_imagenet', '500e_imagenet100')


@pytest.mark.slow
@pytest.mark.parametrize('data', DATA)
def test_minent_begins_as_the_authors(data):
    """LiShuo1001/MinEnt@d17ed2f:MinEnt/model.py: torchvision's network, on small images with a
    stem that is put in after torchvision has drawn its weights.
    """
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    cfg = Config.fromfile(REPOSITORY / f'configs/minent/minent_r18_1xb128_{data}.py')
    ours = MODELS.build(cfg.model.backbone)
    ours.init_weights()
    theirs = torchvision.models.resnet18(weights=None)
    if 'imagenet100' not in data:
        theirs.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
    del theirs.fc
    expected, found = (dict(net.named_parameters()) for net in (theirs, ours))
    assert found.keys() == expected.keys()
    for name, parameter in expected.items():
        weight, other = parameter.detach(), found[name].detach()
        assert other.shape == weight.shape
        if weight.dim() == 1:
            # Batch norms, of which the last of a block is at 1, too.
            assert torch.equal(other, weight), name
        else:
            # The relative standard error of both is near 1 / sqrt(count).
            error = 5 / math.sqrt(weight.numel())
            assert float(other.std()) == pytest.approx(float(weight.std()), rel=error), name
            assert float(other.mean()) == pytest.approx(0, abs=error * float(weight.std()))
            kurtosis = [float((w**4).mean() / (w**2).mean() ** 2) for w in (other, weight)]
            assert kurtosis[0] == pytest.approx(kurtosis[1], abs=30 / math.sqrt(weight.numel()))
