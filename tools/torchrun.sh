# Sourced: run a tool on N processes of this machine under torchrun.
# Usage: . tools/torchrun.sh PROCESSES TOOL ARGUMENTS...
PROCESSES=$1
shift
if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -x .venv/bin/python ]; then
    PYTHON=${PYTHON:-.venv/bin/python}
fi
PYTHON=${PYTHON:-python}
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
exec "$PYTHON" "$(dirname "${BASH_SOURCE[0]}")/launch.py" "${RENDEZVOUS[@]}" \
    --nproc-per-node "$PROCESSES" "$@" --launcher pytorch
