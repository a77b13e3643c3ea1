#!/bin/bash
# No process and no descriptor to be had: waited for, never counted as a crash, and over as soon as there is room again.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
command -v prlimit >/dev/null || { echo "no prlimit" && exit 77; }
# RLIMIT_NPROC does not bind root. The number is nobody's, so that no other process counts.
[ "$(id -u)" != 0 ] || as_user 54321

config <<X
[program:a]
command=$W --pidfile $T/a
startsecs=0
startretries=0
[program:b]
command=$W --pidfile $T/b
startsecs=0
startretries=0
restart_delay=0
X
start_mpsup
must in_state a RUNNING
must in_state b RUNNING

pid_changed() { # name, old pid
  local p
  p=$(pid_of "$1")
  [ -n "$p" ] && [ "$p" != 0 ] && [ "$p" != "$2" ] && alive "$p"
}

# It has been tried again so often that the time between two tries has grown to its longest, 1 s.
at_longest() { # name
  mps status "$1" 2>/dev/null | grep -qE 'retry in (0\.[89]|1) s'
}

# relief NAME LIMIT...: kills the program's process under the limit, which must not make it FATAL, then lifts the limit.
relief() {
  local name=$1 p t0 t hard
  shift
  p=$(pid_of "$name")
  hard=$("${AS[@]}" prlimit --noheadings --pid "$keeper" "--$1" -o SOFT,HARD)
  "${AS[@]}" prlimit --pid "$keeper" "--$1=$2:" || fail "prlimit"
  kill -KILL "$p"
  must gone "$p"
  must at_longest "$name"
  in_state "$name" 'BACKOFF|STARTING' || fail "$name is $(state "$name") under the limit"
  t0=$(now_ms)
  # shellcheck disable=SC2086 # two numbers
  set -- "$1" $hard
  "${AS[@]}" prlimit --pid "$keeper" "--$1=$2:$3"
  must -t 3 pid_changed "$name" "$p"
  t=$(($(now_ms) - t0))
  say "  running again $t ms after the relief"
  must in_state "$name" RUNNING
}

if (ulimit -u 1 && "${AS[@]}" "$W" --fork 1 --exit 0) >/dev/null 2>&1; then
  say "fork EAGAIN left out: RLIMIT_NPROC does not bind here"
else
  say "fork fails with EAGAIN"
  relief a nproc 1
fi

say "the keeper has no descriptor left"
relief b nofile 3

say "and the other was not touched"
[ "$(wc -l <"$T/b")" = 2 ] || fail "b was started $(wc -l <"$T/b") times instead of 2"
shutdown_mpsup
