"""The linear classifier of MinEnt's code."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from mmentropy.evaluation import (
    minent_linear_probe,
)


@pytest.mark.slow
def test_minent_probe_agrees_with_logistic_regression(digits):
    # As they are, so their scale counts: at 0..1 Adam would stop half-way.
    train_x, train_y, test_x, test_y = digits
    train_x, test_x = 4 * train_x, 4 * test_x
    witness = LogisticRegression(max_iter=5000).fit(train_x, train_y)
    state = torch.get_rng_state()
    found = minent_linear_probe(train_x, train_y, test_x, test_y)
    assert abs(found - 100 * witness.score(test_x, test_y)) <= 1
    assert torch.equal(torch.get_rng_state(), state)


def test_minent_probe_has_the_schedule_of_the_code(digits, monkeypatch):
    """Adam from 1e-2 to 1e-6; the accuracy is that of the last step."""
    seen = []
    step = torch.optim.Adam.step

    def spy(self, *args, **kwargs):
        (group,) = self.param_groups
        before = group['params'][0].detach().clone()
        step(self, *args, **kwargs)
        seen.append(
            (
                group['lr'],
                group['weight_decay'],
                before,
                [p.detach().clone() for p in group['params']],
            )
        )

    monkeypatch.setattr(torch.optim.Adam, 'step', spy)
    # Generators of GPUs would not be put back.
    monkeypatch.setattr(torch.cuda, 'manual_seed_all', lambda seed: pytest.fail('GPUs are seeded'))
    accuracy = minent_linear_probe(*digits, epochs=10, seed=3)
    # 1,297 rows are two batches of at most 1,000.
    assert len(seen) == 20
    factors = [b[0] / a[0] for a, b in zip(seen[::2], seen[2::2])]
    assert factors == pytest.approx([1e-4**0.1] * 9)
    assert seen[0][0] == 1e-2 and seen[1][0] == 1e-2
    assert seen[-1][0] / 10**0.4 == pytest.approx(1e-6)
    assert {decay for _, decay, *_ in seen} == {5e-6}
    weight, bias = seen[-1][-1]
    predictions = (digits[2] @ weight.T + bias).argmax(1)
    expected = (predictions == digits[3]).double().mean().item()
    assert accuracy == pytest.approx(100 * expected, abs=1e-9)
    first = seen[0][2]
    for seed, same in ((3, True), (4, False)):
        seen.clear()
        minent_linear_probe(*digits, epochs=1, seed=seed)
        assert torch.equal(seen[0][2], first) == same
    # The first step is by the first rows in the seed's order.
    order = torch.randperm(1297, generator=torch.Generator().manual_seed(4))
    torch.default_generator.manual_seed(4)
    layer = nn.Linear(64, 10)
    nn.functional.cross_entropy(layer(digits[0][order[:1000]]), digits[1][order[:1000]]).backward()
    step(torch.optim.Adam(layer.parameters(), lr=1e-2, weight_decay=5e-6))
    for expected, found in zip(layer.parameters(), seen[0][-1], strict=True):
        torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match='epochs'):
        minent_linear_probe(*digits, epochs=0)
