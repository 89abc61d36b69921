"""MinEnt: its loss against the official formula, and its heads."""

import pytest
import reference
import torch
from drawn import matrices, prop
from formulas import SHAPES, assert_value_and_gradient, value_of
from hypothesis import strategies as st
from networks import build

from mmentropy.functional import minimum_entropy
from mmentropy.models import MinEntLoss


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('norm', minimum_entropy.NORMS)
def test_min_ent_equals_official(shape, norm):
    g1 = torch.randn(*shape, dtype=torch.float64)
    # Uneven columns, so that the norms choose different targets.
    g1 = g1 * torch.rand(shape[1]) * 4 + torch.randn(shape[1])
    g2 = g1 + 0.5 * torch.randn(*shape)
    assert_value_and_gradient(
        value_of(MinEntLoss(norm=norm)), lambda a, b: reference.min_ent_loss(a, b, norm), g1, g2
    )


def test_target_entropy_metric():
    g = 9 * torch.eye(4).repeat(8, 1)
    assert float(MinEntLoss('none')(g, g)['target_entropy']) == pytest.approx(1)
    g = 9 * torch.eye(4)[:1].repeat(8, 1)
    assert float(MinEntLoss('none')(g, g)['target_entropy']) == 0


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


@prop(pair=matrices(2, rows=st.integers(2, 6), columns=st.integers(2, 6)))
def test_minent_of_one_class_or_row(pair):
    for cut in ((slice(None), slice(1)), (slice(1), slice(None))):
        with pytest.raises(ValueError):
            MinEntLoss()(*(x[cut] for x in pair))
