"""Fine-tuning: recipe, seeds and what it leaves alone."""

import math

import pytest
import torch
from mmpretrain.models import (
    SelfSupDataPreprocessor,
)
from mmpretrain.registry import DATASETS
from small_images import NORM, PACK, tiny_resnet

from mmentropy.evaluation import (
    finetune,
    finetune_accuracy,
)


def few_digits(shots, split='train'):
    digits = dict(type='Digits', split=split, pipeline=PACK)
    return DATASETS.build(dict(type='LabelSubset', dataset=digits, shots=shots))


def tune(seed=0, train=None, **kwargs):
    return finetune_accuracy(
        tiny_resnet(),
        SelfSupDataPreprocessor(**NORM),
        train or few_digits(1),
        few_digits(2, 'test'),
        seed=seed,
        **kwargs,
    )


@pytest.mark.slow
def test_finetune_trains_the_network_and_the_classifier():
    backbone = tiny_resnet()
    before = {k: v.clone() for k, v in backbone.named_parameters()}
    backbone.layer1[0].conv1.weight.requires_grad = False
    state = torch.get_rng_state()
    accuracy = finetune_accuracy(
        backbone,
        SelfSupDataPreprocessor(**NORM),
        few_digits(8),
        few_digits(9, 'test'),
        epochs=40,
        min_steps=1,
        learning_rate=1.0,
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert 40 < accuracy < 100
    for name, value in backbone.named_parameters():
        frozen = name == 'layer1.0.conv1.weight'
        assert torch.equal(value, before[name]) == frozen, name


@pytest.mark.slow
def test_finetune_follows_the_recipe(monkeypatch):
    seen, losses = [], []
    step, entropy = torch.optim.SGD.step, finetune.F.cross_entropy

    def spy(self, *args, **kwargs):
        seen.append(dict(self.param_groups[0]))
        return step(self, *args, **kwargs)

    def loss(logits, labels):
        losses.append((entropy(logits, labels), labels))
        return losses[-1][0]

    monkeypatch.setattr(torch.optim.SGD, 'step', spy)
    monkeypatch.setattr(finetune.F, 'cross_entropy', loss)
    tune()
    # 10 images are one batch, and 50 epochs too few steps.
    assert len(seen) == 100 and set(map(len, (y for _, y in losses))) == {10}
    rate = 0.05 * 10 / 256
    rates = [rate * 0.5 * (1 + math.cos(math.pi * i / 100)) for i in range(100)]
    assert [group['lr'] for group in seen] == pytest.approx(rates)
    assert seen[0]['momentum'] == 0.9 and seen[0]['weight_decay'] == 0
    # The classifier starts from zero.
    assert losses[0][0].item() == pytest.approx(math.log(10), abs=1e-5)
    assert losses[-1][0] < losses[0][0]
    seen.clear()
    tune(train=few_digits(3), batch_size=8, epochs=5, min_steps=1)
    # Batches of 8 of 30 rows, the rest left out.
    assert len(seen) == 15 and seen[0]['lr'] == pytest.approx(0.05 * 8 / 256)
    orders = []
    for seed in (0, 1, 0):
        losses.clear()
        tune(seed, few_digits(3), batch_size=8, epochs=1, min_steps=1)
        orders.append([y.tolist() for _, y in losses])
    assert orders[0] == orders[2] != orders[1]
