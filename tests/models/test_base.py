"""What the methods share."""

import math

import pytest
import torch
from mmengine.logging import MessageHub
from networks import batch, build
from ranks import on_ranks

from mmentropy.models import base
from mmentropy.models.base import mean_over_pairs, mean_over_ranks, project, target_projections


def complaint(terms, features, iteration=6):
    """What is said of terms that are not finite."""
    MessageHub.get_current_instance().update_info('iter', iteration)
    with pytest.raises(FloatingPointError) as raised:
        mean_over_ranks('MEC', terms, features)
    message = str(raised.value)
    assert '\n' not in message
    return message


def test_finite_terms_of_one_rank_stay_as_they_are():
    x = torch.tensor(2.0, requires_grad=True)
    terms = mean_over_ranks('MEC', dict(loss=3 * x, other=torch.tensor(5.0)), [])
    assert {name: float(value.detach()) for name, value in terms.items()} == dict(loss=6, other=5)
    terms['loss'].backward()
    assert x.grad == 3


def test_message_names_the_terms_the_features_and_the_iteration():
    spoilt = torch.tensor([[1.0, math.nan], [math.inf, 0]])
    terms = dict(loss=torch.tensor(math.nan), good=torch.tensor(1.0), norm=torch.tensor(-math.inf))
    message = complaint(terms, [torch.ones(2, 2), spoilt])
    assert message.startswith(
        'MEC at iteration 7: loss is nan, norm is -inf; the features are not finite '
        '(2 entries of rank 0). Lower the learning rate'
    )


def test_message_says_where_the_objective_overflowed():
    message = complaint(dict(loss=torch.tensor(math.inf)), [torch.ones(2, 2)])
    assert 'loss is inf; all features are finite, so the objective overflowed' in message


def test_features_that_are_listed_twice_count_once():
    """They are projections and targets in one, where there is no target network."""
    spoilt = torch.tensor([[1.0, math.nan], [math.inf, 0]])
    message = complaint(dict(loss=torch.tensor(math.nan)), [spoilt, torch.ones(2, 2), spoilt])
    assert '(2 entries of rank 0)' in message


def test_message_outside_of_a_run():
    message = complaint(dict(loss=torch.tensor(math.inf)), [], iteration=None)
    assert message.startswith('MEC: loss is inf; ')


def on_rank(rank, world):
    good = [torch.ones(3, 2), torch.ones(3, 2)]
    x = torch.tensor(1.0 + rank, requires_grad=True)
    terms = mean_over_ranks('ER', dict(loss=2 * x, entropy=torch.tensor(4.0 * rank)), good)
    terms['loss'].backward()
    bad = [good[0], torch.tensor([[math.nan, 0], [1, math.inf]])] if rank == 1 else good
    one = torch.tensor(math.nan if rank == 1 else 1.0)
    return dict(
        means=[float(value.detach()) for value in terms.values()],
        grad=float(x.grad),
        features=complaint(dict(loss=one, entropy=torch.tensor(1.0)), bad),
        # All terms are the same on every rank, as those of gathered rows are.
        gathered=complaint(dict(loss=torch.tensor(math.nan)), bad),
        overflow=complaint(dict(loss=torch.tensor(1.0), entropy=one * math.inf), good),
    )


@pytest.mark.slow
def test_all_ranks_raise_for_what_one_has(tmp_path):
    for rank, found in enumerate(on_ranks(on_rank, 2, tmp_path)):
        assert found['means'] == [3, 2]
        # The gradient is that of the rank itself, which DDP averages.
        assert found['grad'] == 2
        cause = 'the features are not finite (2 entries of rank 1)'
        assert found['features'].startswith(f'MEC at iteration 7: loss is nan; {cause}. '), rank
        assert found['gathered'].startswith(f'MEC at iteration 7: loss is nan; {cause}. '), rank
        assert found['overflow'].startswith('MEC at iteration 7: entropy is nan; all features ')


def test_a_negative_loss_is_said_to_be_normal_once(monkeypatch):
    said = []
    monkeypatch.setattr(base, 'print_log', lambda text, **options: said.append(text))
    base._say_that_negative_is_normal.cache_clear()
    for loss in (1.0, -1.0, -2.0):
        mean_over_ranks('MEC', dict(loss=torch.tensor(loss)), [])
    (text,) = said
    assert text.startswith('the loss of MEC is below 0, as it may be')


def pair_by_pair(head, z, targets, **options):
    """The same as ``mean_over_pairs``, with a prediction of its own for each pair."""
    pairs = [(i, j) for j in range(len(targets)) for i in range(len(z)) if i != j]
    terms = [head.loss_module(head.predict(z[i]), targets[j], **options) for i, j in pairs]
    return {key: torch.stack([t[key] for t in terms]).mean() for key in terms[0]}


@pytest.mark.parametrize('views', [2, 5])
@pytest.mark.parametrize('name', ['mec', 'er_byol', 'matrix_ssl'])
def test_a_view_is_predicted_once(name, views, training):
    """Values, gradients and, of two views, running statistics are those of a pair at a time."""
    options = dict(distill=True) if name == 'er_byol' else {}
    inputs, found = batch(views)['inputs'], []
    for compare in (mean_over_pairs, pair_by_pair):
        torch.manual_seed(0)
        model = build(name).double()
        z, targets = (
            encode(model, [x.double() for x in inputs])
            for encode in (project, lambda model, inputs: target_projections(model, inputs[:2]))
        )
        terms = compare(model.head, z, targets, **options)
        terms['loss'].backward()
        gradients = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
        found.append((terms, gradients, dict(model.head.named_buffers())))
    (terms, gradients, statistics), expected = found
    torch.testing.assert_close(terms, expected[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients, expected[1], rtol=1e-9, atol=1e-12)
    assert statistics['predictor.bn0.num_batches_tracked'] == views
    if views == 2:
        assert all(terms[key] == expected[0][key] for key in terms)
        assert all(torch.equal(gradients[key], expected[1][key]) for key in gradients)
        assert all(torch.equal(statistics[key], expected[2][key]) for key in statistics)
