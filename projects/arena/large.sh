#!/usr/bin/env bash
# The arena at its large size on one GPU: ViT-S, one seed, all methods, ablations and variants.
#
#   python projects/arena/run.py --rows floor     # packs data/arena where the data are
#   bash projects/arena/large.sh                  # where the GPU is, with data/arena beside the checkout
#
# It stops after MINUTES (12), and continues where it was stopped. Results are in projects/arena/results/large.
set -euo pipefail
cd "$(dirname "$0")/../.."

JOBS=${JOBS:-4}
for rows in main motion ablation; do
  timeout --foreground $((60 * ${MINUTES:-12} - SECONDS)) \
    python projects/arena/run.py --size large --seeds 1 --jobs "$JOBS" --rows $rows
done
