"""The number of iterations that mmengine's optimiser wrapper has seen.

mmengine 0.10 counts them in the backward pass and keeps the number to itself. An iteration that
is left out may not reach its backward pass, after which accumulated gradients would step late.
This module can go when the wrapper takes the number of the iteration from its caller.
"""

from typing import Any


def set_iteration_count(wrapper: Any, iteration: int) -> None:
    """Tell a wrapper how many iterations are over; one that does not count is left as it is."""
    if hasattr(wrapper, '_inner_count'):
        wrapper._inner_count = iteration
