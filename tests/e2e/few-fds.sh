#!/bin/bash
# A plain user who may have 256 descriptors starts 1,000 programs: as many as there is room for come up, the others say
# what they wait for, nobody spins, and all come up as soon as there is room.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" != 0 ] || as_user 54322
free=("${AS[@]}")
AS=("${free[@]}" prlimit --nofile=256:256)
n=1000
[ -z "${SAN:-}" ] || n=300 # they are slow
[ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge $((n + 100)) ] || { echo "ulimit -Hn is $(ulimit -Hn)" && exit 77; }

programs() { # lines of [supervisord]
  config_with "$@" <<X
[program:w]
command=$W
stdout_logfile=NONE
stderr_logfile=NONE
process_name=%(program_name)s_%(process_num)d
numprocs=$n
startsecs=0
X
}
say "fewer than minfds: told before anything is started"
programs
mps_expect 1 start
contains "$T/err" 'minfds.*limit of open files' || fail "it says $(cat "$T/err")"
nothing_left || fail "something was started"
programs minfds=200
mps start --no-wait >"$T/out" 2>"$T/err" || fail "start: $(cat "$T/err")"
supervisor=$(role supervisor)
keeper=$(role keeper)

table() { # in $T/table: NAME STATE REST
  mps status --compat >"$T/table" 2>/dev/null
  [ "$(wc -l <"$T/table")" = $n ]
}
n_in() { # state
  grep -cE "^[^ ]+ +$1" "$T/table"
}
# No start is under way: each runs, or waits to be tried again.
settled() {
  table && [ $(($(n_in RUNNING) + $(n_in BACKOFF))) = $n ] && [ "$(n_in RUNNING)" -ge 50 ]
}
cpu_ms() {
  cat "/proc/$keeper"/task/*/schedstat "/proc/$supervisor"/task/*/schedstat | awk '{ n += $1 } END { printf "%d", n / 1e6 }'
}
say "what has no room says so"
must -t 20 settled
say "  $(n_in RUNNING) run, $(n_in BACKOFF) wait"
[ "$(n_in BACKOFF)" -ge 1 ] || fail "$n programs with 256 descriptors: is there no limit?"
grep -E ' BACKOFF ' "$T/table" | grep -vq 'Too many open files' &&
  fail "one that waits does not say why: $(grep ' BACKOFF ' "$T/table" | grep -v 'Too many open files' | head -n 2)"
say "a program that is killed meanwhile comes back: its room is its own or another's"
table
running=$(n_in RUNNING)
kill -KILL "$(pid_of "w:$(awk '$2 == "RUNNING" { sub(/.*:/, "", $1); print $1; exit }' "$T/table")")"
as_many() { table && [ "$(n_in RUNNING)" -ge "$running" ]; }
must -t 5 as_many

say "nobody spins"
c0=$(cpu_ms)
t0=$(now_ms)
three_seconds() { [ $(($(now_ms) - t0)) -ge 3000 ]; }
must three_seconds
c=$((($(cpu_ms) - c0) * 100 / ($(now_ms) - t0)))
say "  $c % of a processor"
[ $c -lt 20 ] || fail "$c % of a processor, waiting"

shutdown_mpsup

say "room again"
# Nobody but root can raise a hard limit, so this is a soft one, laid on when the two are up.
AS=("${free[@]}")
sed -i 's/^startsecs=0/&\nautostart=false/' "$CONF"
start_mpsup
limit() {
  for p in $keeper $supervisor; do "${AS[@]}" prlimit --pid "$p" "--nofile=$1:" || fail "prlimit"; done
}
limit 256
mps start --no-wait all >"$T/out" 2>"$T/err"
must -t 20 settled
[ "$(n_in BACKOFF)" -ge 1 ] || fail "$n programs with 256 descriptors: is there no limit?"
limit $((n + 100))
t0=$(now_ms)
all_up() { table && [ "$(n_in RUNNING)" = $n ]; }
must -t 10 all_up
say "  all up $(($(now_ms) - t0)) ms later"
shutdown_mpsup

say "a manager with hardly any says so"
for limit in 7 8 9 10 12; do
  expect 1 "${free[@]}" prlimit --nofile=$limit:$limit "$MPSUP" manager --address "unix:$T/m.sock"
  contains "$T/err" 'Too many open files' || fail "with $limit it says '$(cat "$T/err")'"
done
