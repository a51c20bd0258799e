#!/usr/bin/env bash
# Each protocol of transfer from pretrained and from random weights: run.sh comes first.
#
#   bash projects/miniature/transfer.sh                                            # all, seed 0
#   SEEDS="0 1 2" PROTOCOLS=linear-videos bash projects/miniature/transfer.sh      # some
#   JOBS=4 SIZE=large bash projects/miniature/transfer.sh                          # of what run.sh made so
#
# It continues where it was stopped. Figures go to work_dirs/miniature/transfer/PROTOCOL/WEIGHTS/seedN/figures.json, and
# `python projects/miniature/collect.py` puts them into one table.
set -euo pipefail
cd "$(dirname "$0")/../.."
source projects/miniature/common.sh

SEEDS=${SEEDS:-0}
WEIGHTS=${WEIGHTS:-random joint-0.03}
PROTOCOLS=${PROTOCOLS:-few-shot-images linear-images attentive-images finetune-images
  linear-videos attentive-videos finetune-videos}

one() { # PROTOCOL CHECKPOINT SEED FOLDER
  local config=$HERE/configs/transfer/$1.py
  local options=(--cfg-options "${BACKBONE[@]}" model.pretrained="$2" "${OPTIONS[@]}")
  python tools/train.py "$config" --seed "$3" --work-dir "$4" --no-validate --resume "${options[@]}" &&
    python tools/test.py "$config" "$(cat "$4/last_checkpoint")" --work-dir "$4" --out "$4/figures.json" "${options[@]}"
}

for seed in $SEEDS; do
  for protocol in $PROTOCOLS; do
    for weights in $WEIGHTS; do
      dir=$RUNS/transfer/$protocol/$weights/seed$seed
      [ -f "$dir/figures.json" ] && continue
      pretrained=None
      if [ "$weights" != random ]; then
        pretrained=$RUNS/$weights/seed$seed/epoch_$EPOCHS.pth
        if [ ! -f "$pretrained" ]; then
          echo "error: no weights at '$pretrained'. ROWS=$weights SEEDS=$seed SIZE=$SIZE bash projects/miniature/run.sh" >&2
          exit 1
        fi
      fi
      start "$dir" one "$protocol" "$pretrained" "$seed" "$dir"
    done
  done
done
finish
