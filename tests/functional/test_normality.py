"""The statistic of Epps and Pulley."""

import math

import pytest
import torch
from scipy.integrate import quad

from mmentropy.functional.normality import characteristic, epps_pulley


def test_statistic_of_one_point_is_the_integral():
    """Of N points at 0 the characteristic function is 1 everywhere."""
    integral, _ = quad(lambda t: math.exp(-(t**2) / 2) * (1 - math.exp(-(t**2) / 2)) ** 2, -3, 3)
    found = epps_pulley(characteristic(torch.zeros(5, 2, dtype=torch.float64), 513), 5)
    assert float(found) == pytest.approx(5 * integral, rel=1e-4)


def test_what_are_no_means_is_refused():
    with pytest.raises(TypeError, match='means must be float32 or float64'):
        epps_pulley(torch.zeros(2, 17, 4, dtype=torch.float16), 5)
    for shape in ((17, 4), (3, 17, 4)):
        with pytest.raises(ValueError, match=r'means must have shape \(2, T, K\)'):
            epps_pulley(torch.zeros(shape), 5)
