#!/usr/bin/env bash
# Train under SLURM, one task per GPU. A run that was interrupted, by the time
# limit or preemption, is queued again and goes on from its newest checkpoint.
# In a batch script, SLURM warns of the time limit only if that script says so:
# #SBATCH --signal=USR1@120
# Usage: [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=8 WARN_SECONDS=120 SRUN_ARGS=..] \
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
train() {
    # shellcheck disable=SC2086  # SRUN_ARGS is a list of words
    srun --partition "$PARTITION" --job-name "$JOB" \
        --gres "gpu:$GPUS_PER_NODE" --ntasks "$GPUS" \
        --ntasks-per-node "$GPUS_PER_NODE" \
        --cpus-per-task "${CPUS_PER_TASK:-8}" --kill-on-bad-exit=1 \
        --signal "USR1@${WARN_SECONDS:-120}" \
        ${SRUN_ARGS:-} \
        "${PYTHON:-python}" -u "$(dirname "$0")/train.py" "$CONFIG" \
        --launcher slurm "$@"
}
# SLURM counts how often it queued a batch job again.
RESUME=
[ "${SLURM_RESTART_COUNT:-0}" = 0 ] || RESUME=--resume
while true; do
    status=0
    # The last --resume counts, not one that names where the first run began.
    train "$@" $RESUME || status=$?
    # What tools/train.py leaves with once it has saved.
    [ "$status" -eq 75 ] || exit "$status"
    if [ -n "${SLURM_JOB_ID:-}" ]; then
        scontrol requeue "$SLURM_JOB_ID"
        exit 75
    fi
    echo "interrupted: queued again with --resume" >&2
    RESUME=--resume
done
