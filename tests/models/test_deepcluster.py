"""DeepCluster learns the labels that it was given."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from networks import BACKBONE, NECK, batch

from mmentropy.engine.monitored_features import assignment_logits
from mmentropy.models import ClusterHead

HEAD = dict(type='ClusterHead', in_channels=16, num_clusters=4)


def build():
    model = MODELS.build(dict(type='DeepCluster', backbone=BACKBONE, neck=NECK, head=HEAD))
    model.init_weights()
    return model.train()


def samples(rows):
    return [SimpleNamespace(sample_idx=row) for row in rows]


def test_loss_is_the_cross_entropy_of_both_views_with_the_labels_of_their_images():
    model, views, rows = build(), batch()['inputs'], [9, 2, 7, 0, 1, 1, 4, 8]
    model.head.reset(torch.Generator().manual_seed(5))
    model.labels = torch.arange(10) % 4
    terms = model(views, samples(rows), mode='loss')
    assert set(terms) == {'loss'}
    z = [model.neck(model.backbone(view))[0] for view in views]
    labels = torch.tensor([row % 4 for row in rows])
    expected = sum(F.cross_entropy(model.head.prototypes(x), labels) for x in z) / 2
    torch.testing.assert_close(terms['loss'], expected)
    terms['loss'].backward()
    assert all(p.grad is not None for p in model.parameters())


def test_classifier_is_drawn_by_the_generator():
    first, second = ClusterHead(500, 40), ClusterHead(500, 40)
    # It is so from the beginning, and the same on all ranks.
    assert torch.equal(first.prototypes.weight, second.prototypes.weight)
    assert float(first.prototypes.weight.detach().std()) == pytest.approx(0.01, rel=0.02)
    torch.nn.init.ones_(first.prototypes.bias)
    for head in (first, second):
        head.reset(torch.Generator().manual_seed(5))
    assert torch.equal(first.prototypes.weight, second.prototypes.weight)
    assert float(first.prototypes.weight.detach().std()) == pytest.approx(0.01, rel=0.02)
    assert float(first.prototypes.bias.detach().abs().max()) == 0
    second.reset(torch.Generator().manual_seed(6))
    assert not torch.equal(first.prototypes.weight, second.prototypes.weight)


def test_the_monitor_takes_the_logits_as_they_are():
    model, rows = build(), torch.randn(5, 16)
    torch.testing.assert_close(assignment_logits(model, rows), model.head.prototypes(rows).detach())


def test_what_is_missing_is_said():
    with pytest.raises(ValueError, match='num_clusters must be an integer >= 2'):
        ClusterHead(16, 1)
    model = build()
    with pytest.raises(ValueError, match='ClusterHook'):
        model(batch()['inputs'], samples(range(8)), mode='loss')
    model.labels = torch.zeros(8, dtype=torch.int64)
    for wrong in (None, [SimpleNamespace()] * 8):
        with pytest.raises(ValueError, match='sample_idx'):
            model(batch()['inputs'], wrong, mode='loss')
