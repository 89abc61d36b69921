"""``python -m mmentropy``, the same as the command ``mmentropy``."""

from mmentropy_command import main

main()
