"""All ranks raise where one has a number that is not finite."""

from functools import partial

import torch
from ranks import on_ranks

from mmentropy.models.selfsup import over_ranks


def raised(infinite, rank, world):
    """What each rank says of a fault that rank 1 has, terms finite or not."""
    terms = dict(loss=torch.tensor(float('inf') if infinite else 1.0))
    errors = [FloatingPointError('mine')] if rank and not infinite else []
    if infinite and not rank:
        terms = dict(loss=torch.tensor(1.0))
    try:
        return over_ranks(terms, errors)
    except FloatingPointError as error:
        return str(error)


def test_all_ranks_raise_the_fault_of_one(tmp_path):
    one, two = tmp_path / 'one', tmp_path / 'two'
    one.mkdir(), two.mkdir()
    zero, first = on_ranks(partial(raised, False), 2, one)
    assert first == 'mine'
    assert zero.startswith('the features of rank 1 are not finite; ')
    for text in on_ranks(partial(raised, True), 2, two):
        assert text.startswith('loss is inf, although all features are ')
