"""Weights that do not belong to a network are refused before training begins with them."""

import pytest
import torch
from mmengine.model import initialize
from mmengine.runner import CheckpointLoader, Runner
from mmpretrain.models import ResNet_CIFAR
from safe_runs import config
from torch import nn

from mmentropy.engine.initial_weights import check_initial_weights
from mmentropy.engine.resume import choose_checkpoint


def backbone(width=4):
    return ResNet_CIFAR(depth=18, base_channels=width, stem_channels=4)


@pytest.fixture
def checkpoint(tmp_path):
    state = {f'backbone.{key}': value for key, value in backbone().state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'epoch_1.pth')
    return str(tmp_path / 'epoch_1.pth')


def test_pretrained_names_the_prefix_that_fits(checkpoint):
    with pytest.raises(ValueError, match=r"^0 of the \d+ keys .* prefix='backbone.' would fit"):
        initialize(backbone(), dict(type='Pretrained', checkpoint=checkpoint))
    model = backbone()
    initialize(model, dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.'))
    state = torch.load(checkpoint)['state_dict']
    assert torch.equal(model.conv1.weight, state['backbone.conv1.weight'])


@pytest.mark.parametrize('prefix', [None, 'backbone', 'backbone.'])
def test_pretrained_reads_once_what_a_parallel_wrapper_saved(prefix, tmp_path, monkeypatch):
    part = f'{prefix.removesuffix(".")}.' if prefix else ''
    state = backbone().state_dict()
    torch.save({f'module.{part}{k}': v for k, v in state.items()}, tmp_path / 'parallel.pth')
    read, load = [], CheckpointLoader.load_checkpoint
    monkeypatch.setattr(
        CheckpointLoader, 'load_checkpoint', lambda *args: read.append(args[0]) or load(*args)
    )
    model, path = backbone(), str(tmp_path / 'parallel.pth')
    model.init_cfg = dict(type='Pretrained', checkpoint=path, prefix=prefix)
    model.init_weights()
    assert read == [path]
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key


class Versioned(nn.Linear):
    """A layer that notes the version of the weights that it loads."""

    _version = 7

    def _load_from_state_dict(self, state, prefix, metadata, *args):
        self.found = metadata.get('version')
        super()._load_from_state_dict(state, prefix, metadata, *args)


def test_pretrained_tells_layers_the_version_of_their_weights(tmp_path):
    torch.save(dict(state_dict=Versioned(2, 2).state_dict()), tmp_path / 'epoch_1.pth')
    layer = Versioned(2, 2)
    initialize(layer, dict(type='Pretrained', checkpoint=str(tmp_path / 'epoch_1.pth')))
    assert layer.found == 7


def test_pretrained_refuses_other_shapes(checkpoint):
    with pytest.raises(ValueError, match='other shapes'):
        initialize(backbone(8), dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.'))


def begin(folder, checkpoint):
    cfg = config(folder)
    cfg.load_from = checkpoint
    choose_checkpoint(cfg)
    check_initial_weights(Runner.from_cfg(cfg))


def test_a_run_begins_with_weights_that_fit(checkpoint, tmp_path):
    # The checkpoint has nothing but a backbone.
    begin(tmp_path / 'run', checkpoint)


@pytest.mark.parametrize(
    'content, message',
    [
        (dict(epoch=3), 'holds no weights'),
        (dict(state_dict={'fc.weight': torch.ones(2)}), 'another architecture'),
        (dict(backbone(8).state_dict()), 'For a backbone alone: model.backbone.init_cfg'),
    ],
)
def test_a_run_does_not_begin_at_random(content, message, tmp_path):
    torch.save(content, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=message):
        begin(tmp_path / 'run', str(tmp_path / 'other.pth'))
