#!/usr/bin/env bash
# Test on N processes of this machine, one per GPU, or on the CPU without.
# Usage: bash tools/dist_test.sh CONFIG CHECKPOINT N [ARGUMENTS OF test.py]
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: bash tools/dist_test.sh CONFIG CHECKPOINT N" \
         "[ARGUMENTS OF test.py]" >&2
    exit 2
fi
TOOLS=$(dirname "$0")
. "$TOOLS/torchrun.sh" "$3" "$TOOLS/test.py" "$1" "$2" "${@:4}"
