"""Blocks whose activations are computed again have the gradient of those that keep them."""

import pytest
import torch
from mmengine.runner.runner import turn_on_activation_checkpointing
from torch import nn


class Network(nn.Module):
    """A first block, whose input has no gradient, and a list of blocks that draw."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)) for _ in range(2)
        )

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return x.square().sum()


def gradients(modules=()):
    """The gradients of a step, and how often a block of the list was computed."""
    torch.manual_seed(0)
    network, calls = Network(), []
    network.layers[1][0].register_forward_hook(lambda *args: calls.append(1))
    turn_on_activation_checkpointing(network, modules)
    network(torch.ones(3, 4)).backward()
    return [p.grad for p in network.parameters()], len(calls)


@pytest.mark.parametrize('modules', ['layers', ['first', 'layers.0', 'layers.1']])
def test_gradients_are_those_of_the_network_without(modules):
    expected, once = gradients()
    found, twice = gradients(modules)
    assert (once, twice) == (1, 2)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_a_name_that_is_not_there():
    with pytest.raises(ValueError, match='^activation_checkpointing, blocks: .+'):
        gradients('blocks')
