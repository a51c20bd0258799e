#!/usr/bin/env bash
# The five rows of the miniature: pretrains each with three seeds, and probes its frozen features.
#
#   bash projects/miniature/run.sh                                  # all, some two hours on two CPU cores
#   SEEDS=0 ROWS="mae joint-0.03" bash projects/miniature/run.sh    # some
#   JOBS=4 SIZE=large SEEDS=0 bash projects/miniature/run.sh        # larger and longer, four at a time
#
# It continues where it was stopped. Figures go to work_dirs/miniature/ROW/seedN/figures.json, and
# `python projects/miniature/collect.py` puts them into one table.
set -euo pipefail
cd "$(dirname "$0")/../.."
source projects/miniature/common.sh

ROWS=${ROWS:-random mae contrast joint-0.03 joint-0.3}
SEEDS=${SEEDS:-0 1 2}

for split in train unlabelled; do # single frames of clips, for fast pairs
  python tools/dataset_converters/pack.py "$REAL_MINI/videos/$split" "data/miniature/videos-$split" \
    --video-as jpeg --short-side 72 --fps 5
done

one() { # ROW SEED FOLDER
  local options=(--cfg-options "${BACKBONE[@]}" "${PRETRAINING[@]}" "${OPTIONS[@]}")
  if [ "$1" = random ]; then
    python tools/test.py $HERE/configs/joint-0.03.py --random-init --seed "$2" \
      --work-dir "$3" --out "$3/figures.json" "${options[@]}"
    return
  fi
  python tools/train.py "$HERE/configs/$1.py" --seed "$2" --work-dir "$3" --resume "${options[@]}" &&
    python tools/test.py "$HERE/configs/$1.py" "$3/epoch_$EPOCHS.pth" --work-dir "$3" --out "$3/figures.json" \
      "${options[@]}"
}

for seed in $SEEDS; do
  for row in $ROWS; do
    dir=$RUNS/$row/seed$seed
    [ -f "$dir/figures.json" ] || start "$dir" one "$row" "$seed" "$dir"
  done
done
finish
