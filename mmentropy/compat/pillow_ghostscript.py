"""Pillow, which starts no other program to decode an image.

Host: Pillow 13.0.0. It knows a format by the first bytes of a file, whatever its name ends in, and
hands EPS to ghostscript, which is a programming language. Many loaders of mmcv and mmpretrain leave
the choice of the format to Pillow. It can go when Pillow decodes EPS on demand only.
"""

from PIL import EpsImagePlugin


def decode_no_postscript() -> None:
    """Let Pillow refuse EPS, as it does where there is no ghostscript."""
    EpsImagePlugin.gs_binary = False
