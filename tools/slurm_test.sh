#!/usr/bin/env bash
# Tests on a Slurm cluster: slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [test.py's options]
# From the environment: GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS.
set -euo pipefail
if [ $# -lt 4 ]; then sed -n '2,3s/^# //p' "$0" >&2; exit 2; fi
source "$(dirname "$0")/launch.sh"
launch_slurm "$1" "$2" test.py "$3" "$4" "${@:5}"
