"""What the values of arguments may be, in words and as a test."""

import math
from collections.abc import Callable
from os import PathLike
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """``text`` goes on after 'must be'."""

    text: str
    test: Callable[[Any], bool]


def is_number(value: Any) -> bool:
    """Whether it is a finite number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_integer(value: Any) -> bool:
    """Whether it is an int; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def or_none(rule: Rule) -> Rule:
    """The rule, or None."""
    return Rule(f'{rule.text}, or None', lambda x: x is None or rule.test(x))


def some(rule: Rule) -> Rule:
    """A list of one or more values, each as the rule says."""
    return Rule(
        f'a list, each {rule.text}',
        lambda x: isinstance(x, (list, tuple)) and len(x) > 0 and all(map(rule.test, x)),
    )


POSITIVE = Rule('a number above 0', lambda x: is_number(x) and x > 0)
NOT_NEGATIVE = Rule('a number >= 0', lambda x: is_number(x) and x >= 0)
SHARE = Rule('a number in 0..1', lambda x: is_number(x) and 0 <= x <= 1)
BELOW_ONE = Rule('a number in [0, 1)', lambda x: is_number(x) and 0 <= x < 1)
COUNT = Rule('an integer >= 1', lambda x: is_integer(x) and x >= 1)
SEVERAL = Rule('an integer >= 2', lambda x: is_integer(x) and x >= 2)
INDEX = Rule('an integer >= 0', lambda x: is_integer(x) and x >= 0)
FLAG = Rule('True or False', lambda x: isinstance(x, bool))
TEXT = Rule('a string', lambda x: isinstance(x, str))
PATH = Rule('a path', lambda x: isinstance(x, (str, PathLike)) and x != '')
DICT = Rule('a dict', lambda x: isinstance(x, dict))


def require(rule: Rule, **values: Any) -> None:
    """Raise ``ValueError`` for the first value that breaks the rule.

    The message is one line: the name of the argument, what it must be, what
    it is.
    """
    for name, value in values.items():
        if not rule.test(value):
            raise ValueError(f'{name} must be {rule.text}, got {value!r}')
