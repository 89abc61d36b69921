"""How far a long work is, on a terminal or line by line in a log."""

import sys
import time
from collections.abc import Callable
from datetime import timedelta

from tqdm import tqdm


def shown(what: str, unit: str) -> Callable[[int, int], None]:
    """Return what shows progress and the time that is left, on a terminal or line by line."""
    bar = tqdm(desc=what, unit=unit, leave=False, disable=not sys.stderr.isatty())
    start = last = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal last
        bar.total = total
        bar.update(done - bar.n)
        if done >= total:
            bar.close()
        elif bar.disable and time.monotonic() > last + 10:
            last = time.monotonic()
            left = timedelta(seconds=round((last - start) * (total - done) / done))
            print(f'{what}: {done:,} of {total:,} {unit}s, {left} left', file=sys.stderr)

    return progress
