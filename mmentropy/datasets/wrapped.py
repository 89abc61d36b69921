"""The data sets within a data set."""

from collections.abc import Iterator
from typing import Any


def with_wrapped(dataset: Any) -> Iterator[Any]:
    """Yield a data set, and then those that it wraps, however deep."""
    yield dataset
    # A wrapper may show the attributes of what it wraps, which would then be found twice.
    own = getattr(dataset, '__dict__', {})
    for part in (own.get('dataset'), *own.get('datasets', ())):
        if part is not None:
            yield from with_wrapped(part)
