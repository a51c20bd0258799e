#!/usr/bin/env bash
# Trains on a Slurm cluster: slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [train.py's options]
# From the environment: GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS.
# A job that ends with a checkpoint at a signal (sbatch --requeue --signal=USR1@120 ...) is queued again and resumed.
set -euo pipefail
if [ $# -lt 4 ]; then sed -n '2,4s/^# //p' "$0" >&2; exit 2; fi
source "$(dirname "$0")/launch.sh"
export VICMAE_PREEMPTED="$4/.preempted"
launch_slurm "$1" "$2" train.py "$3" --work-dir "$4" "${@:5}"
