import gc
import os
import signal

os.environ.setdefault('OMP_NUM_THREADS', '1')

import pytest  # noqa: E402
import torch  # noqa: E402
from mmengine.logging import MessageHub  # noqa: E402

from mmentropy.models.optimizer_steps import ITERATIONS_PER_STEP  # noqa: E402

torch.set_num_threads(1)


def pytest_collection_finish():
    """Keep what is imported out of the garbage collection that each data set of mmengine does."""
    gc.freeze()


@pytest.fixture(autouse=True)
def deterministic():
    """One seed, and nothing left over from another test's training."""
    torch.manual_seed(0)
    hub = MessageHub.get_current_instance()
    hub._runtime_info.clear()
    # A training that raises leaves those of SignalHook.
    handlers = {
        number: signal.getsignal(number)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    }
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def training():
    """What a Runner tells the models, 10 iterations long."""
    hub = MessageHub.get_current_instance()
    hub.update_info('max_iters', 10)
    hub.update_info('iter', 0)
    hub.update_info(ITERATIONS_PER_STEP, 1)
    return hub
