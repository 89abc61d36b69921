"""The name by which configs of version 0.1 import :mod:`mmentropy.transfer`."""

import mmentropy.transfer  # noqa: F401
