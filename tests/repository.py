"""Where the files of the repository are."""

from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
