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
limit_of() { # pid, name
  sed -n "s/^Max $2 *\([^ ]*\) .*/\1/p" "/proc/$1/limits"
}

say "minfds and minprocs raise what is too low, for programs too"
sed -i 's/^identifier=.*/&\nminfds=1500\nminprocs=300/' "$CONF"
(
  ulimit -S -n 1400
  ulimit -S -u 290
  start_mpsup
) || exit 1
must n_lines "$T/a" 1
p=$(pid_of a)
[ "$(limit_of "$p" 'open files')" = 1500 ] || fail "minfds=1500: $(limit_of "$p" 'open files')"
[ "$(limit_of "$p" processes)" = 300 ] || fail "minprocs=300: $(limit_of "$p" processes)"
shutdown_mpsup
sed -i '/^min/d' "$CONF"
rm "$T/a" "$T/b"

say "and where they cannot, nothing is started"
if [ -n "${AS[*]}" ] || [ "$(id -u)" != 0 ]; then
  (
    ulimit -n 1000
    mps_expect 1 start
  ) || exit 1
  contains "$T/err" 'supervisord.minfds: the limit of open files cannot be raised to 1024' || fail "$(cat "$T/err")"
fi
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
