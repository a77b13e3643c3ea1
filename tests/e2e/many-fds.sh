#!/bin/bash
# More sockets and pipes than one message to or from the keeper holds: all of them outlive the supervisor.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || { echo "no python3" && exit 77; }
N=100

all_run() {
  [ "$(mps status --compat 2>/dev/null | grep -c RUNNING)" = $((3 * N)) ]
}
sockets() { # those that listen, by number of inode
  grep -F " $T/sockets/" /proc/net/unix | awk '{ print $7, $8 }' | sort
}
pipes() { # what is in use of each
  mps pipes --json | python3 -c 'import json, sys
for row in json.load(sys.stdin)["pipes"]: print(row["name"], row["state"])' | sort
}
pids() {
  mps status --compat | awk '{ print $1, $4 }'
}
n_fds() {
  find "/proc/$1/fd" -mindepth 1 | wc -l
}

mkdir "$T/sockets"
for i in $(seq $N); do
  printf '%s\n' "[fcgi-program:f$i]" "command=$W" startsecs=0 "socket=unix://$T/sockets/$i"
  printf '%s\n' "[program:from$i]" "command=/bin/sh -c 'echo hello; exec $W'" startsecs=0 "[program:to$i]" "command=/bin/sh -c 'cat >$T/to.$i & exec $W'" startsecs=0
  printf '%s\n' "[pipe:p$i]" "from=from$i" "to=to$i"
done | config
export MPSUP_NO=crash_limit
start_mpsup
must all_run
sockets >"$T/sockets.before"
n_lines "$T/sockets.before" $N || fail "$(wc -l <"$T/sockets.before") sockets"
pipes >"$T/pipes.before"
pids >"$T/pids.before"
fds=$(n_fds "$keeper")
[ "$(find "/proc/$supervisor/fd" -lname "/memfd:mpsup-logs*" | wc -l)" = 1 ] || fail "it was handed what it has"

for how in KILL upgrade KILL; do
  say "$how"
  if [ $how = KILL ]; then kill -KILL "$supervisor"; else mps_expect 0 upgrade; fi
  next_supervisor
  pids | cmp - "$T/pids.before" || fail "programs were started again"
  sockets | cmp - "$T/sockets.before" || fail "sockets are others, or gone"
  pipes | cmp - "$T/pipes.before" || fail "pipes are others: $(pipes | head)"
  [ "$(n_fds "$keeper")" = "$fds" ] || fail "the keeper has $(n_fds "$keeper") descriptors instead of $fds"
done
mps_expect 0 restart "f$N" "to$N"
[ "$(mps pid "f$N")" != "$(awk -v n="f$N" '$1 == n { print $2 + 0 }' "$T/pids.before")" ] || fail "f$N was not restarted"
[ -S "$(readlink -f "$T/sockets/$N")" ] || fail "no socket"
shutdown_mpsup
