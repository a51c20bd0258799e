#!/usr/bin/env bash
# Trains with several processes, on GPUs or without: dist_train.sh CONFIG NUM_PROCESSES [train.py's options]
# For many nodes, set NNODES, NODE_RANK, MASTER_ADDR and PORT on each. MAX_RESTARTS=3 starts all processes again, as
# often as that, where one dies.
set -euo pipefail
if [ $# -lt 2 ]; then sed -n '2,4s/^# //p' "$0" >&2; exit 2; fi
CONFIG=$1 GPUS=$2
source "$(dirname "$0")/launch.sh"
launch train.py "$CONFIG" "${@:3}"
