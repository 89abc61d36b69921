"""What a tensor must be."""

import math

import pytest
import torch

from mmentropy.checks.tensors import check_finite, check_projections


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    'bad', [{}, {0: math.nan}, {3: math.inf}, {1: -math.inf, 2: math.inf, 5: math.nan}]
)
def test_check_finite_counts(dtype: torch.dtype, bad: dict) -> None:
    """Entries whose sum overflows pass, and others are told by number."""
    x = torch.full((2, 3), torch.finfo(dtype).max, dtype=dtype)
    for at, value in bad.items():
        x.view(-1)[at] = value
    if not bad:
        check_finite('x', x)
    else:
        with pytest.raises(FloatingPointError, match=f'^x has {len(bad)} non-finite of 6 entries'):
            check_finite('x', x)


def test_every_view_is_compared_with_the_first() -> None:
    views = [torch.rand(4, 3)] * 2
    check_projections(views)
    with pytest.raises(ValueError, match=r'views\[2\] must have one shape'):
        check_projections([*views, torch.rand(4, 2)])
