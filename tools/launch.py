"""torchrun, which leaves with the status of ranks that were interrupted."""

import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

# The same as mmentropy.engine.hooks.signals.INTERRUPTED_STATUS, whose import takes seconds.
INTERRUPTED_STATUS = 75

if __name__ == '__main__':
    try:
        main()
    except ChildFailedError as error:
        if error.get_first_failure()[1].exitcode == INTERRUPTED_STATUS:
            sys.exit(INTERRUPTED_STATUS)
        # The report names the first rank that failed, with its traceback.
        sys.exit(f'{error}')
    except SignalException:
        # The ranks got the signal, too, and have had half a minute to save.
        sys.exit(INTERRUPTED_STATUS)
