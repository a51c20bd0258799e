# What run.sh and transfer.sh share: sizes, and several runs at a time. They read it; it is not run itself.
#
#   SIZE=large                                     # ViT-S, 40 epochs: for an accelerator
#   JOBS=4                                         # four runs at a time
#   OPTIONS="train_dataloader.num_workers=3 ..."   # goes to --cfg-options of all of them

export REAL_MINI=${REAL_MINI:-../shared/data/real_mini}
HERE=projects/miniature
JOBS=${JOBS:-1}
SIZE=${SIZE:-small}

case $SIZE in
  small)
    RUNS=${RUNS:-work_dirs/miniature}
    EPOCHS=${EPOCHS:-16} WARMUP=1
    BACKBONE=()
    PRETRAINING=()
    ;;
  large)
    RUNS=${RUNS:-work_dirs/miniature-large}
    EPOCHS=${EPOCHS:-40} WARMUP=5
    BACKBONE=(model.backbone.arch.embed_dims=384 model.backbone.arch.num_layers=12
      model.backbone.arch.num_heads=6 model.backbone.arch.feedforward_channels=1536)
    PRETRAINING=(model.neck.embed_dim=192 model.neck.depth=4 model.neck.num_heads=6
      optim_wrapper.optimizer.lr=5e-4)
    ;;
  *)
    echo "error: SIZE is small or large, got '$SIZE'." >&2
    exit 1
    ;;
esac
read -ra OPTIONS <<<"${OPTIONS:-}"
PRETRAINING+=(
  train_cfg.max_epochs="$EPOCHS" param_scheduler.0.end="$WARMUP" param_scheduler.1.begin="$WARMUP"
  param_scheduler.1.end="$EPOCHS" param_scheduler.1.T_max=$((EPOCHS - WARMUP))
)

if [ ! -d "$REAL_MINI" ]; then
  echo "error: no data at '$REAL_MINI'. REAL_MINI=FOLDER names the folder that has images/ and videos/." >&2
  exit 1
fi

# start FOLDER COMMAND...: runs a command, JOBS of them at a time; where these are several, each into FOLDER/output.txt.
FAILED=0
start() {
  local dir=$1
  shift
  if [ "$JOBS" -eq 1 ]; then
    "$@"
    return
  fi
  while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do
    wait -n || FAILED=1
  done
  mkdir -p "$dir"
  (
    echo "$dir: begins"
    "$@" >"$dir/output.txt" 2>&1 && echo "$dir: done" && exit
    echo "error: $dir failed, $dir/output.txt says why." >&2
    exit 1
  ) &
}

# Waits for all that was started; fails if one of them failed.
finish() {
  local code=0
  while [ "$code" -ne 127 ]; do # nothing left to wait for
    code=0
    wait -n || code=$?
    [ "$code" -eq 1 ] && FAILED=1
  done
  return $FAILED
}
