# Sourced by dist_*.sh: starts GPUS processes of a tool on this node with torchrun.
# PYTHON: the interpreter; by default the project's own environment, if there is one.
launch() {
  local here root python
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  root=$(dirname "$here")
  python=${PYTHON:-python}
  if [ -z "${PYTHON:-}" ] && [ -z "${VIRTUAL_ENV:-}" ] && [ -x "$root/.venv/bin/python" ]; then
    python=$root/.venv/bin/python
  fi
  if ! [[ $GPUS =~ ^[1-9][0-9]*$ ]]; then
    echo "error: the number of processes must be a whole number from 1 on, got '$GPUS'." >&2
    exit 2
  fi
  # Processes share the cores of the node.
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(( $(nproc) / GPUS > 0 ? $(nproc) / GPUS : 1 ))}
  export MKL_NUM_THREADS=${MKL_NUM_THREADS:-$OMP_NUM_THREADS}
  local rendezvous=(--standalone)
  if [ "${NNODES:-1}" -gt 1 ] || [ -n "${PORT:-}" ]; then
    rendezvous=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}"
                --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
  fi
  local tool=$1
  shift
  "$python" -m torch.distributed.run "${rendezvous[@]}" --nproc_per_node="$GPUS" \
    "$here/$tool" "$@" --launcher pytorch
}
