"""The rules that arguments are checked by."""

import math

import pytest

from mmentropy.checks import arguments
from mmentropy.checks.arguments import Rule, at_least, one_of, or_none, require, some

RULES = [
    (arguments.NUMBER, [0, -1.5, 3], [math.nan, math.inf, True, '1', None]),
    (arguments.POSITIVE, [1, 1e-9], [0, -1, math.inf, math.nan, True, None]),
    (arguments.NOT_NEGATIVE, [0, 0.5], [-1e-9, math.inf, False]),
    (arguments.SHARE, [0, 0.5, 1], [-0.1, 1.1, True]),
    (arguments.BELOW_ONE, [0, 0.999], [1, -0.1]),
    (arguments.INDEX, [0, 2**63 - 1], [-1, 1.0, False, 2**63]),
    (arguments.COUNT, [1], [0, 1.0, True, None]),
    (arguments.SEVERAL, [2], [1, '2']),
    (arguments.SEED, [0, 2**32 - 1], [-1, 2**32, 1.0, True]),
    (arguments.FLAG, [True, False], [0, 1, None]),
    (arguments.TEXT, ['', 'a'], [1, None]),
    (arguments.PATH, ['a'], ['', None, 1]),
    (arguments.DICT, [{}, dict(a=1)], [[], None]),
    (at_least(-2), [-2, 0], [-3]),
    (one_of(('a', 'b')), ['a', 'b'], ['c', None]),
    (or_none(arguments.COUNT), [1, None], [0]),
    (some(arguments.COUNT), [[1], (1, 2)], [[], [0], 1, [1, None]]),
]


@pytest.mark.parametrize(
    'rule, value, kept',
    [(rule, x, True) for rule, good, _ in RULES for x in good]
    + [(rule, x, False) for rule, _, bad in RULES for x in bad],
    # A rule alone would show the address of its function, which differs between processes.
    ids=lambda value: value.text if isinstance(value, Rule) else repr(value),
)
def test_each_rule(rule: Rule, value: object, kept: bool) -> None:
    assert rule.test(value) is kept


def test_the_first_value_that_breaks_a_rule_is_named() -> None:
    require(at_least(1), a=1, b=2)
    with pytest.raises(ValueError) as error:
        require(at_least(1), a=1, b=0, c=0)
    assert str(error.value) == 'b must be an integer >= 1, got 0'
    with pytest.raises(ValueError) as error:
        require(or_none(one_of(('l2', 'none'))), norm='l3')
    assert str(error.value) == "norm must be one of l2, none, or None, got 'l3'"
