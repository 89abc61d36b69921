"""Weights that come with the package."""

import argparse
import subprocess
from pathlib import Path

import pytest
import torch
from cli import checkpoint_path
from mmpretrain.apis import get_model
from mmpretrain.registry import MODELS
from repository import REPOSITORY

import mmentropy
from mmentropy.weights import zoo
from mmentropy.weights.pretrained_backbone import PretrainedBackbone
from mmentropy.weights.zoo import zoo_file

NAMES = sorted(zoo.zoo())


# Where the images lie that the scores are of; Digits come with scikit-learn.
IMAGES = dict(
    fashion_mnist=Path('/usr/share/datasets/fashion-mnist'),
    cifar10=REPOSITORY / 'data/cifar10_jpeg',
)


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_listed_scores_are_those_of_the_file(name):
    for data, folder in IMAGES.items():
        if name.endswith(data) and not folder.is_dir():
            pytest.skip(f'no images in {folder}')
    found = mmentropy.evaluate(f'zoo://{name}')['checkpoint']
    listed = zoo.zoo()[name]
    for protocol in ('knn', 'linear'):
        # One of the 500 test digits is 0.2.
        assert found[protocol] == pytest.approx(listed[protocol], abs=0.201)


@pytest.mark.parametrize('name', NAMES)
def test_both_ways_to_load(name, tmp_path, monkeypatch):
    # The metafile's own path is one of the repository.
    monkeypatch.chdir(tmp_path)
    model = get_model(name, pretrained=True)
    backbone = MODELS.build(model._config.model.backbone)
    PretrainedBackbone(f'zoo://{name}')(backbone)
    for key, value in torch.load(zoo_file(name), weights_only=True)['state_dict'].items():
        assert torch.equal(model.state_dict()[key].half(), value.half())
        assert torch.equal(
            backbone.state_dict()[key.removeprefix('backbone.')].half(), value.half()
        )


@pytest.mark.parametrize('name', NAMES)
def test_the_table_has_the_listed_scores(name):
    listed = zoo.zoo()[name]
    row = f'| `{name}` | {listed["knn"]} | {listed["linear"]} |'
    assert row in (REPOSITORY / 'docs/reference/model_zoo.md').read_text().splitlines()


def git(*arguments):
    return subprocess.run(['git', *arguments], cwd=REPOSITORY, capture_output=True, text=True)


@pytest.mark.skipif(
    git('rev-parse', '--is-shallow-repository').stdout != 'false\n', reason='no history here'
)
@pytest.mark.parametrize('name', NAMES)
def test_commits_are_in_the_history(name):
    commit = zoo.zoo()[name]['commit']
    assert git('merge-base', '--is-ancestor', commit, 'HEAD').returncode == 0


def test_tools_take_names():
    assert checkpoint_path(f'zoo://{NAMES[0]}') == str(zoo_file(NAMES[0]))
    assert checkpoint_path('epoch_1.pth') == 'epoch_1.pth'
    with pytest.raises(argparse.ArgumentTypeError, match='no weights zoo://nothing; there are'):
        checkpoint_path('zoo://nothing')


def test_other_files_are_refused(tmp_path, monkeypatch):
    path = zoo_file(NAMES[0])
    entry = zoo.zoo()[NAMES[0]]
    monkeypatch.setattr(zoo, 'zoo', lambda: {'mine': dict(entry, file='mine.pth')})
    monkeypatch.setattr(zoo, 'CONFIGS', tmp_path)
    with pytest.raises(FileNotFoundError, match='no weights zoo://minee; there are mine'):
        zoo_file('zoo://minee')
    with pytest.raises(FileNotFoundError, match='mine.pth is missing'):
        zoo_file('mine')
    (tmp_path / 'mine.pth').write_bytes(path.read_bytes() + b'0')
    with pytest.raises(ValueError, match='is not the file that was released'):
        zoo_file('mine')
