#!/usr/bin/env bash
# Sets up what is missing, then lints, type-checks and tests.
# Usage: bash tools/run_tests.sh [--fast] [PYTEST ARGUMENTS]
#   --fast  leaves out the tests that are marked slow; under two minutes on two cores
. "$(dirname "$0")/env.sh" onedl,det,seg,tests,docs \
    "import hypothesis, mmdet, mmentropy, mmseg, pytest, safetensors, scipy, timm, mpmath, ruff, mypy, xdist, nbclient, ipykernel, onnxruntime, onnxscript, sphinx, furo, myst_parser, latex2mathml"
if [ "${1:-}" = --fast ]; then
    shift
    set -- -m "not slow" "$@"
fi
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check --quiet .
"$PYTHON" -m mypy
# Idle workers take over tests that wait behind a long one. A third worker uses the cores while the
# tests of the others wait for processes.
exec "$PYTHON" -m pytest -q -n 3 --dist worksteal "$@"
