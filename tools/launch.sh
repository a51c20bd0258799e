# Sourced by dist_*.sh and slurm_*.sh, which are one tool each.
# PYTHON: the interpreter; by default the project's own environment, if there is one.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ -z "${PYTHON:-}" ]; then
  PYTHON=python
  if [ -z "${VIRTUAL_ENV:-}" ] && [ -x "$HERE/../.venv/bin/python" ]; then
    PYTHON=$HERE/../.venv/bin/python
  fi
fi

# Exit status of a run that was asked to stop, and has written a checkpoint (vicmae/errors.py).
PREEMPTED=75

# launch TOOL [arguments]: starts GPUS processes of a tool on this node with torchrun.
launch() {
  if ! [[ $GPUS =~ ^[1-9][0-9]*$ ]]; then
    echo "error: the number of processes must be a whole number from 1 on, got '$GPUS'." >&2
    exit 2
  fi
  # A name that is wrong is reported here once, not by each process.
  if [ ! -f "$2" ]; then "$PYTHON" -m vicmae configs --path "$2" >/dev/null || exit; fi
  # Processes share the cores of the node.
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(( $(nproc) / GPUS > 0 ? $(nproc) / GPUS : 1 ))}
  export MKL_NUM_THREADS=${MKL_NUM_THREADS:-$OMP_NUM_THREADS}
  local rendezvous=(--standalone)
  if [ "${NNODES:-1}" -gt 1 ] || [ -n "${PORT:-}" ]; then
    rendezvous=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}"
                --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
  fi
  # If a process dies, all are started again, at most this often, and resume from the last checkpoint.
  if [ -n "${MAX_RESTARTS:-}" ]; then rendezvous+=(--max-restarts="$MAX_RESTARTS"); fi
  # torchrun ends with status 1 and a traceback, whatever its processes ended with: a file marks a preemption.
  export VICMAE_PREEMPTED
  VICMAE_PREEMPTED=$(mktemp -u)
  local status=0
  "$PYTHON" -m torch.distributed.run "${rendezvous[@]}" --nproc_per_node="$GPUS" \
    "$HERE/$1" "${@:2}" --launcher pytorch || status=$?
  if [ "$status" -ne 0 ] && [ -e "$VICMAE_PREEMPTED" ]; then
    rm -f "$VICMAE_PREEMPTED"
    echo 'The run was preempted and has written a checkpoint. Continue with `--resume`.' >&2
    status=$PREEMPTED
  fi
  return "$status"
}

# launch_slurm PARTITION JOB_NAME TOOL [arguments]: starts GPUS tasks of a tool with srun, and again where they were
# preempted: as the same job, if this is one, else by another srun.
launch_slurm() {
  local status=0
  run_slurm "$@" || status=$?
  if [ "$status" -eq "$PREEMPTED" ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    echo "Preempted: putting job $SLURM_JOB_ID back into the queue." >&2
    scontrol requeue "$SLURM_JOB_ID"
    return
  fi
  while [ "$status" -eq "$PREEMPTED" ]; do
    echo "Preempted: asking for another allocation." >&2
    status=0
    run_slurm "$@" --resume || status=$?
  done
  return "$status"
}

# run_slurm: as launch_slurm, once. Of several tasks, those that are not the first to end may be killed by srun, which
# then ends with their status: a file in the work directory says that the run was preempted.
run_slurm() {
  local status=0
  if [ -n "${VICMAE_PREEMPTED:-}" ]; then rm -f "$VICMAE_PREEMPTED"; fi
  start_tasks "$@" || status=$?
  if [ "$status" -ne 0 ] && [ -n "${VICMAE_PREEMPTED:-}" ] && [ -e "$VICMAE_PREEMPTED" ]; then
    rm -f "$VICMAE_PREEMPTED"
    status=$PREEMPTED
  fi
  return "$status"
}

# start_tasks: srun with GPUS tasks.
start_tasks() {
  local gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8}
  if [ "$gpus" -lt "$per_node" ]; then per_node=$gpus; fi
  # shellcheck disable=SC2086  # SRUN_ARGS is a list of words
  srun -p "$1" \
    --job-name="$2" \
    --gres=gpu:"$per_node" \
    --ntasks="$gpus" \
    --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "$PYTHON" -u "$HERE/$3" "${@:4}" --launcher slurm
}
