"""Wrong arguments of hooks."""

import pytest
from mmpretrain.registry import HOOKS


def test_wrong_arguments():
    for cfg, words in (
        (dict(type='SignalHook', interval=0), 'interval'),
        (dict(type='NonFiniteHook', patience=0), 'patience'),
        (dict(type='NonFiniteHook', keep=-1), 'keep'),
        (dict(type='RanksHook', patience='x'), 'patience'),
    ):
        with pytest.raises(ValueError, match=f'{words} must be'):
            HOOKS.build(cfg)
