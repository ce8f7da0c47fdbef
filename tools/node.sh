# To be sourced: starts a node in a scratch folder and ends it, with what was started beside it, when the script ends.
# shellcheck shell=bash

scratch=$(mktemp -d)
node='' beside=''

stop() {
  local process
  trap - EXIT INT TERM
  # Devices first, so that they de-register while there is somebody to tell.
  for process in $beside $node; do
    kill -TERM "$process" 2>/dev/null && wait "$process" 2>/dev/null || true
  done
  rm -rf "$scratch"
}
trap 'stop; exit 0' INT TERM
trap stop EXIT

fail() {
  echo "$1" >&2
  tail -n 20 "$scratch/node.log" >&2
  exit 1
}

# In a subshell, so that a refused connection is an answer and not an error.
is_ready() (
  exec 3<>/dev/tcp/127.0.0.1/9464
  printf 'GET /ready HTTP/1.0\r\n\r\n' >&3
  head -n 1 <&3 | grep -q ' 200 '
) 2>/dev/null

# start_node BINARY ARGUMENT ...: telemetry goes to $scratch/telemetry.ndjson, the log to $scratch/node.log.
start_node() {
  if is_ready; then
    echo "127.0.0.1:9464 answers already: another node? Stop it first." >&2
    exit 1
  fi
  "$1" serve --data-dir "$scratch/data" "${@:2}" >"$scratch/telemetry.ndjson" 2>"$scratch/node.log" &
  node=$!
  local try
  for try in $(seq 150); do
    kill -0 "$node" 2>/dev/null || fail "The node did not start:"
    if is_ready; then return; fi
    sleep 0.1
  done
  fail "The node is not ready after 15 s:"
}

stop_node() {
  kill -TERM "$node"
  wait "$node" || fail "The node ended with exit code $?:"
  node=''
  rm -rf "$scratch/data"
}
