#!/usr/bin/env bash
# Train on N processes of this machine, one per GPU, or on the CPU without.
# Usage: bash tools/dist_train.sh CONFIG N [ARGUMENTS OF train.py]
# Several machines: NNODES, NODE_RANK, MASTER_ADDR and PORT.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: bash tools/dist_train.sh CONFIG N [ARGUMENTS OF train.py]" >&2
    exit 2
fi
TOOLS=$(dirname "$0")
. "$TOOLS/torchrun.sh" "$2" "$TOOLS/train.py" "$1" "${@:3}"
