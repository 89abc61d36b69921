#!/usr/bin/env bash
# Train under SLURM, one task per GPU.
# Usage: [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=8 SRUN_ARGS=..] \
#        bash tools/slurm_train.sh PARTITION JOB CONFIG [ARGUMENTS OF train.py]
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: bash tools/slurm_train.sh PARTITION JOB CONFIG" \
         "[ARGUMENTS OF train.py]" >&2
    exit 2
fi
PARTITION=$1
JOB=$2
CONFIG=$3
shift 3
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
[ "$GPUS_PER_NODE" -le "$GPUS" ] || GPUS_PER_NODE=$GPUS
# shellcheck disable=SC2086  # SRUN_ARGS is a list of words
exec srun --partition "$PARTITION" --job-name "$JOB" \
    --gres "gpu:$GPUS_PER_NODE" --ntasks "$GPUS" \
    --ntasks-per-node "$GPUS_PER_NODE" \
    --cpus-per-task "${CPUS_PER_TASK:-8}" --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$(dirname "$0")/train.py" "$CONFIG" \
    --launcher slurm "$@"
