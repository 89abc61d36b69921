#!/usr/bin/env bash
# Set up what is missing, then lint, type-check and test.
# Usage: bash tools/run_tests.sh [PYTEST ARGUMENTS]
. "$(dirname "$0")/env.sh" onedl,det,seg,tests \
    "import hypothesis, mmdet, mmentropy, mmseg, pytest, safetensors, scipy, timm, mpmath, ruff, mypy, xdist"
"$PYTHON" -m ruff check .
"$PYTHON" -m mypy
exec "$PYTHON" -m pytest -q -n 2 "$@"
