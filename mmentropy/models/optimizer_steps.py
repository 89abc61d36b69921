"""Where the current iteration stands between two steps of the optimiser.

With ``accumulative_counts=n`` the optimiser steps once in n iterations, and so should an averaged
network. mmengine tells a model neither n nor whether an iteration steps, so the training loop
(:mod:`mmentropy.engine.train_loop`) publishes n in the message hub. Where another loop trains,
nothing is published and every iteration counts as one step.
"""

from mmengine.logging import MessageHub

# The key in the message hub of the number of iterations that share one step of the optimiser.
ITERATIONS_PER_STEP = 'iterations_per_step'


def iterations_in_a_step() -> int:
    """Return how many iterations share a step of the optimiser."""
    return MessageHub.get_current_instance().get_info(ITERATIONS_PER_STEP, 1)


def optimizer_step_begins() -> bool:
    """Return whether this iteration is the first after a step of the optimiser.

    It holds for the first iteration of a run, and for every iteration without accumulation. The
    answer depends on the number of the iteration only, so that a resumed run gives the same one.
    """
    return MessageHub.get_current_instance().get_info('iter', 0) % iterations_in_a_step() == 0


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
