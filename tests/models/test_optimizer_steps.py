"""Where an iteration stands between two steps of the optimiser."""

import pytest
from mmengine.logging import MessageHub

from mmentropy.models.optimizer_steps import (
    ITERATIONS_PER_STEP,
    leave_out_iteration,
    optimizer_step_begins,
    total_optimizer_steps,
)


@pytest.fixture
def hub():
    """A message hub of its own."""
    before = MessageHub.get_current_instance()
    yield MessageHub.get_instance('test_optimizer_steps')
    MessageHub._instance_dict.pop('test_optimizer_steps')
    assert MessageHub.get_current_instance() is before


def begins(hub, count):
    found = []
    for iteration in range(count):
        hub.update_info('iter', iteration)
        found.append(optimizer_step_begins())
    return found


def test_every_iteration_steps_where_nothing_is_published(hub):
    hub.update_info('max_iters', 7)
    assert begins(hub, 4) == [True] * 4
    assert total_optimizer_steps() == 7


def test_iterations_that_share_a_step(hub):
    hub.update_info('max_iters', 7)
    hub.update_info(ITERATIONS_PER_STEP, 3)
    assert begins(hub, 7) == [True, False, False, True, False, False, True]
    assert total_optimizer_steps() == 3 == sum(begins(hub, 7))


@pytest.mark.parametrize(
    'left_out, expected',
    [
        # The second iteration begins the step in place of the first.
        ([0], [True, True, False, True, False, False, True]),
        ([0, 1], [True, True, True, True, False, False, True]),
        ([1], [True, False, False, True, False, False, True]),
        # There was no step before the fourth one.
        ([2], [True, False, False, False, False, False, True]),
        ([2, 3], [True, False, False, False, False, False, True]),
        ([3], [True, False, False, True, True, False, True]),
    ],
)
def test_iterations_after_one_that_is_left_out(hub, left_out, expected):
    hub.update_info(ITERATIONS_PER_STEP, 3)
    found = []
    for iteration in range(7):
        hub.update_info('iter', iteration)
        found.append(optimizer_step_begins())
        if iteration in left_out:
            leave_out_iteration()
    assert found == expected


def test_a_run_that_did_not_begin(hub):
    with pytest.raises(RuntimeError, match='max_iters'):
        total_optimizer_steps()
