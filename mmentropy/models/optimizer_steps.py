"""Where the current iteration stands between two steps of the optimiser.

With ``accumulative_counts=n`` the optimiser steps once in n iterations, and so should an averaged
network. mmengine tells a model neither n nor whether an iteration steps, so the training loop
(:mod:`mmentropy.engine.train_loop`) publishes n in the message hub. Where another loop trains,
nothing is published and every iteration counts as one step. An iteration that is left out
(:mod:`mmentropy.engine.hooks.non_finite`) changes where the next one stands, too.
"""

from mmengine.logging import MessageHub

# The key in the message hub of the number of iterations that share one step of the optimiser.
ITERATIONS_PER_STEP = 'iterations_per_step'
# The key there of the iteration after the last one that was left out, and of whether it begins a
# step, as a pair.
AFTER_LEFT_OUT = 'after_left_out'


def iterations_in_a_step() -> int:
    """Return how many iterations share a step of the optimiser."""
    return MessageHub.get_current_instance().get_info(ITERATIONS_PER_STEP, 1)


def optimizer_step_begins() -> bool:
    """Return whether this iteration is the first after a step of the optimiser.

    It holds for the first iteration of a run, and for every iteration without accumulation. The
    answer depends only on what is in a checkpoint, so that a resumed run gives the same one.
    """
    hub = MessageHub.get_current_instance()
    iteration = hub.get_info('iter', 0)
    after, begins = hub.get_info(AFTER_LEFT_OUT, (None, False))
    return begins if iteration == after else iteration % iterations_in_a_step() == 0


def leave_out_iteration() -> None:
    """Let the next iteration begin a step if this one does, and else not.

    It stands where this one stood: nothing that this one did has stayed, and if it was to end in a
    step, there was none.
    """
    hub = MessageHub.get_current_instance()
    next_one = hub.get_info('iter', 0) + 1
    hub.update_info(AFTER_LEFT_OUT, (next_one, optimizer_step_begins()))


def total_optimizer_steps() -> int:
    """Return the number of steps that the optimiser takes in the whole run.

    The last step may have fewer iterations than the others.

    Raises:
        RuntimeError: No run has published its number of iterations.
    """
    hub = MessageHub.get_current_instance()
    iterations = hub.get_info('max_iters')
    if iterations is None:
        raise RuntimeError(
            "the message hub has no 'max_iters', which a Runner of mmengine puts there: start one, "
            "or call MessageHub.get_current_instance().update_info('max_iters', N)"
        )
    return -(-iterations // iterations_in_a_step())
