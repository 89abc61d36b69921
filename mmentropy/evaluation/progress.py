"""How far a long work is, on a terminal or line by line in a log."""

import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from mmengine.dist import is_main_process
from tqdm import tqdm

# Seconds between two lines in a log.
INTERVAL = 10
# Seconds before a bar appears on a terminal.
DELAY = 1
_asked = False


def show_progress() -> None:
    """Let :func:`progress` show something from now on, as tools do."""
    global _asked
    _asked = True


def progress(items: Any, what: str, unit: str = 'step') -> Iterator[Any]:
    """Yield the items of a sequence or loader, and show how many are done, if a tool asked for it.

    It is shown on a terminal as a bar, else line by line, with the time that is left. While
    training nothing is shown, since nobody asked, nor on other ranks than the first.
    """
    if not _asked or not is_main_process():
        yield from items
        return
    bar = tqdm(items, what, unit=unit, leave=False, delay=DELAY, disable=not sys.stderr.isatty())
    start = last = time.monotonic()
    for done, item in enumerate(bar, 1):
        yield item
        total = len(items)
        if bar.disable and done < total and time.monotonic() > last + INTERVAL:
            last = time.monotonic()
            left = timedelta(seconds=round((last - start) * (total - done) / done))
            print(f'{what}: {done:,} of {total:,} {unit}s, {left} left', file=sys.stderr)
