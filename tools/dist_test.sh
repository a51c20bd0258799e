#!/usr/bin/env bash
# Tests with several processes: dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [test.py's options]
# For many nodes, set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
set -euo pipefail
if [ $# -lt 3 ]; then sed -n '2,3s/^# //p' "$0" >&2; exit 2; fi
CONFIG=$1 CHECKPOINT=$2 GPUS=$3
source "$(dirname "$0")/launch.sh"
launch test.py "$CONFIG" "$CHECKPOINT" "${@:4}"
