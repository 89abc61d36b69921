#!/usr/bin/env bash
# Train on N processes of this machine, one per GPU, or on the CPU without.
# Usage: bash tools/dist_train.sh CONFIG N [ARGUMENTS OF train.py]
# Several machines: NNODES, NODE_RANK, MASTER_ADDR and PORT.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: bash tools/dist_train.sh CONFIG N [ARGUMENTS OF train.py]" >&2
    exit 2
fi
CONFIG=$1
PROCESSES=$2
shift 2
PYTHON=${PYTHON:-python}
[ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] || ! [ -x .venv/bin/python ] ||
    PYTHON=.venv/bin/python
# Processes on one machine would otherwise each start as many threads as it
# has cores.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
if [ "${NNODES:-1}" -gt 1 ]; then
    RENDEZVOUS=(--nnodes "$NNODES" --node-rank "${NODE_RANK:-0}"
                --master-addr "${MASTER_ADDR:?set MASTER_ADDR}"
                --master-port "${PORT:-29500}")
else
    # A free port is picked, so several runs share a machine.
    RENDEZVOUS=(--standalone)
fi
exec "$PYTHON" -m torch.distributed.run "${RENDEZVOUS[@]}" \
    --nproc-per-node "$PROCESSES" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "$@"
