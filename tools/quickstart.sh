#!/usr/bin/env bash
# Set up what is missing, pre-train on real images, show how good it is.
# Usage: bash tools/quickstart.sh [mec|er|minent|all]
. "$(dirname "$0")/env.sh" onedl "import mmentropy, matplotlib"
exec "$PYTHON" tools/quickstart.py "$@"
