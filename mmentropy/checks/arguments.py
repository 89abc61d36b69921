"""What the values of arguments may be, in words and as a test."""

import math
from collections.abc import Callable, Collection
from os import PathLike
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """What a value may be.

    Args:
        text: goes on after 'must be' in messages.
        test: takes the value and returns whether it may be that.
    """

    text: str
    test: Callable[[Any], bool]


def is_number(value: Any) -> bool:
    """Return whether a value is a finite int or float; True and False are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_integer(value: Any) -> bool:
    """Return whether a value is an int; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def at_least(least: int) -> Rule:
    """Return the rule for integers from ``least`` on.

    Integers of more than 63 bits, which no size of a tensor can be, break it.
    """
    return Rule(f'an integer >= {least}', lambda x: is_integer(x) and least <= x < 2**63)


def one_of(choices: Collection[Any]) -> Rule:
    """Return the rule for a value that is among ``choices``."""
    return Rule(f'one of {", ".join(map(str, choices))}', lambda x: x in choices)


def or_none(rule: Rule) -> Rule:
    """Return a rule that None keeps too."""
    return Rule(f'{rule.text}, or None', lambda x: x is None or rule.test(x))


def some(rule: Rule) -> Rule:
    """Return the rule for a list of one or more values that keep ``rule`` each."""
    return Rule(
        f'a list, each {rule.text}',
        lambda x: isinstance(x, (list, tuple)) and len(x) > 0 and all(map(rule.test, x)),
    )


NUMBER = Rule('a finite number', is_number)
POSITIVE = Rule('a number above 0', lambda x: is_number(x) and x > 0)
NOT_NEGATIVE = Rule('a number >= 0', lambda x: is_number(x) and x >= 0)
SHARE = Rule('a number in 0..1', lambda x: is_number(x) and 0 <= x <= 1)
POSITIVE_SHARE = Rule('a number in (0, 1]', lambda x: is_number(x) and 0 < x <= 1)
BELOW_ONE = Rule('a number in [0, 1)', lambda x: is_number(x) and 0 <= x < 1)
INDEX = at_least(0)
COUNT = at_least(1)
SEVERAL = at_least(2)
# It is numpy's, which takes fewer seeds than torch.
SEED = Rule(f'an integer in 0..{2**32 - 1}', lambda x: is_integer(x) and 0 <= x < 2**32)
FLAG = Rule('True or False', lambda x: isinstance(x, bool))
TEXT = Rule('a string', lambda x: isinstance(x, str))
PATH = Rule('a path', lambda x: isinstance(x, (str, PathLike)) and x != '')
DICT = Rule('a dict', lambda x: isinstance(x, dict))


def require(rule: Rule, **values: Any) -> None:
    """Check arguments by one rule.

    Raises:
        ValueError: in one line, for the first value that breaks the rule: the
            name of the argument, what it must be and what it is.
    """
    for name, value in values.items():
        if not rule.test(value):
            raise ValueError(f'{name} must be {rule.text}, got {value!r}')
