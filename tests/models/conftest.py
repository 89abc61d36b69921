"""What the tests of the methods share."""

import pytest
from mmengine.logging import MessageHub

from mmentropy.models.optimizer_steps import ITERATIONS_PER_STEP


@pytest.fixture
def training():
    """What a Runner tells the models, 10 iterations long."""
    hub = MessageHub.get_current_instance()
    hub.update_info('max_iters', 10)
    hub.update_info('iter', 0)
    hub.update_info(ITERATIONS_PER_STEP, 1)
    return hub
