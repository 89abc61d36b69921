"""torchrun, which leaves with the status of ranks that were interrupted."""

import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.run import main

# The same as mmentropy.engine.hooks.signals.INTERRUPTED_STATUS, whose import takes seconds.
INTERRUPTED_STATUS = 75


def cause(failure: ProcessFailure) -> str:
    """Return in one line why a rank failed."""
    message = failure.message
    if isinstance(message, dict):
        message = message['message']
    elif failure.exitcode > 0:
        message = f'it left with status {failure.exitcode}'
    return message.splitlines()[0]


if __name__ == '__main__':
    try:
        main()
    except ChildFailedError as error:
        if error.get_first_failure()[1].exitcode == INTERRUPTED_STATUS:
            sys.exit(INTERRUPTED_STATUS)
        rank, failure = error.get_first_failure()
        sys.exit(f'error: rank {rank} failed first: {cause(failure)}')
    except SignalException:
        # The ranks got the signal, too, and have had half a minute to save.
        sys.exit(INTERRUPTED_STATUS)
