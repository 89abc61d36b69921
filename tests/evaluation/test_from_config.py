"""Data sets and backbones as a config names them."""

import pytest
import torch
from mmpretrain.models import (
    ClsDataPreprocessor,
    SelfSupDataPreprocessor,
)
from mmpretrain.registry import DATASETS
from small_images import PACK, digits_config

from mmentropy.evaluation import (
    build_backbone,
    build_data_preprocessor,
    eval_datasets,
)
from mmentropy.evaluation.from_config import leave_fresh


def test_eval_datasets_of_an_ordinary_config():
    noisy = [dict(type='RandomFlip', prob=0.5), *PACK]
    digits = dict(type='Digits', pipeline=noisy)
    cfg = digits_config(
        train_dataloader=dict(dataset=dict(type='RepeatDataset', times=3, dataset=digits)),
        test_dataloader=dict(dataset=dict(type='Digits', split='test', pipeline=PACK)),
    )
    train, test = eval_datasets(cfg)
    assert train == dict(type='Digits', pipeline=PACK)
    assert test.split == 'test'
    assert cfg.train_dataloader.dataset.dataset.pipeline == noisy
    with pytest.raises(ValueError, match='eval_datasets = dict'):
        eval_datasets(digits_config(train_dataloader=dict(dataset=digits)))
    with pytest.raises(ValueError, match='train and test'):
        eval_datasets(digits_config(eval_datasets=dict(train=digits)))


def test_a_subset_of_the_training_images_stays_one():
    noisy = dict(type='Digits', pipeline=[dict(type='RandomFlip', prob=0.5), *PACK])
    few = dict(type='LabelSubset', shots=5, dataset=noisy)
    cfg = digits_config(
        train_dataloader=dict(dataset=dict(type='mmengine.RepeatDataset', times=3, dataset=few)),
        test_dataloader=dict(dataset=dict(type='Digits', split='test', pipeline=PACK)),
    )
    train, _ = eval_datasets(cfg)
    assert train == dict(few, dataset=dict(noisy, pipeline=PACK))
    assert len(DATASETS.build(train)) == 50


def test_no_part_of_a_backbone_is_pretrained():
    trained = dict(type='Pretrained', checkpoint='https://example.org/a.pth')
    entry = dict(
        type='A', pretrained='b', part=dict(type='B', init_cfg=[trained]), init_cfg=trained
    )
    leave_fresh(entry)
    assert entry == dict(type='A', pretrained=False, part=dict(type='B'))


def test_built_backbone_is_seeded_and_never_pretrained(capsys, monkeypatch):
    cfg = digits_config()
    # Generators of GPUs would not be put back.
    monkeypatch.setattr(torch.cuda, 'manual_seed_all', lambda seed: pytest.fail('GPUs are seeded'))
    state = torch.get_rng_state()
    capsys.readouterr()
    one, two, three = [build_backbone(cfg, seed) for seed in (0, 0, 1)]
    assert torch.equal(state, torch.get_rng_state())
    # mmengine would log three lines per parameter.
    assert capsys.readouterr().out == ''
    assert torch.equal(one.conv1.weight, two.conv1.weight)
    assert not torch.equal(one.conv1.weight, three.conv1.weight)
    assert cfg.model.backbone.init_cfg.type == 'Pretrained'
    cfg.model.backbone.init_cfg.type = 'PretrainedBackbone'
    assert torch.equal(one.conv1.weight, build_backbone(cfg, 0).conv1.weight)
    assert isinstance(build_data_preprocessor(cfg), ClsDataPreprocessor)
    cfg.model.type = 'BYOL'
    assert isinstance(build_data_preprocessor(cfg), SelfSupDataPreprocessor)


def test_the_preprocessor_of_the_model_comes_first():
    cfg = digits_config()
    cfg.model.data_preprocessor = dict(cfg.data_preprocessor, mean=[1.0])
    assert build_data_preprocessor(cfg).mean.item() == 1
