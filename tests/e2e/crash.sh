#!/bin/bash
# Nobody survives the supervisor or the keeper, however they die, and the log says what happened.
ALONE=1
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

programs() { # with_trees, or nothing
  rm -f "$T/pids" "$LOG"
  config_with on_crash=stop orphan_grace=0.3 <<X
[program:plain]
command=$W --pidfile $T/pids
startsecs=0
numprocs=5
process_name=%(program_name)s_%(process_num)d
[program:tree]
command=$W --pidfile $T/pids --fork 1 { --setsid --pidfile $T/pids } --daemonize { --clear-env --pidfile $T/pids }
startsecs=0
autostart=$([ -n "${1:-}" ] && echo true || echo false)
[program:deaf]
command=$W --ignore TERM --pidfile $T/pids
startsecs=0
stopwaitsecs=1
X
  start_mpsup
  must n_lines "$T/pids" $((6 + 3 * $#))
  all_alive "$T/pids" || fail "not all are there after start"
}

all_over() {
  all_gone "$T/pids" && nothing_left
}

# over NAME: everything is gone within a second (and a second more for a loaded machine)
over() {
  local t0 t
  t0=$(now_ms)
  wait_for -t 2 all_over || { show_left && fail "$1: something lives on"; }
  t=$(($(now_ms) - t0))
  say "  gone after $t ms"
}

say "kill -9 of the supervisor ends everything"
programs with_trees
kill -KILL "$supervisor"
over supervisor
mps_expect 4 status
must contains "$LOG" '^[-0-9: ]*,[0-9]{3} CRIT keeper: the supervisor was ended by signal 9; ending all its programs$'

say "and is told in the log that there is then"
programs
mv "$LOG" "$T/old.log"
kill -USR2 "$supervisor"
must contains "$LOG" logreopen
kill -KILL "$supervisor"
over supervisor
must contains "$LOG" 'CRIT keeper: '

say "kill -9 of the keeper ends everything"
programs with_trees
kill -KILL "$keeper"
over keeper
[ ! -e "$RUNTIME" ] || fail "the runtime directory is left: $(ls -A "$RUNTIME")"
must contains "$LOG" '[Kk]eeper'
mps_expect 4 status

say "kill -9 of both ends the programs (nobody is left to look for what they started: the kernel does it)"
programs
kill -KILL "$keeper" "$supervisor"
wait_for -t 2 all_over || { show_left && fail "both: something lives on"; }

is_stopped() { # pid
  [ "$(ps -o state= -p "$1")" = T ]
}

# The one that is hit last has no moment to look after what the other has left.
kill_both() {
  kill -STOP "$supervisor"
  must is_stopped "$supervisor"
  kill -KILL "$keeper" "$supervisor"
  must -t 2 gone "$keeper" "$supervisor"
}

say "and what those had started ends with the next start of anything, or by ipc clean"
for next in start clean; do
  programs with_trees
  cp "$T/pids" "$T/before"
  kill_both
  all_gone "$T/before" && fail "nothing is left: there is nothing to see here"
  if [ $next = start ]; then
    start_mpsup
    all_gone "$T/before" || { show_left && fail "something lives on after the next start"; }
    must contains "$LOG" "WARN killed [0-9]+ processes that were left of $ID, which was killed"
    shutdown_mpsup
  else
    expect 0 "$MPSUP" ipc clean
    contains "$T/out" "^killed [0-9]+ processes that $ID, which was killed, has left" || fail "it says '$(cat "$T/out")'"
    nothing_left || { show_left && fail "something lives on after ipc clean"; }
  fi
done

say "at any moment, while programs end and are started"
for moment in 20 21 23 34 47; do # as many processes have been started
  for victim in supervisor keeper; do
    rm -f "$T/pids"
    config_with on_crash=stop orphan_grace=0.3 <<X
[program:busy]
command=$W --pidfile $T/pids --fork 1 { --setsid --pidfile $T/pids } --after 5 --exit 0
startsecs=0
restart_delay=0
autorestart=true
numprocs=5
process_name=%(program_name)s_%(process_num)d
X
    start_mpsup
    must n_lines "$T/pids" "$moment"
    kill -KILL "${!victim}"
    wait_for -t 3 nothing_left || { show_left && fail "$victim killed after $moment starts: something lives on"; }
  done
done

say "and the next start finds a clean place"
programs with_trees
shutdown_mpsup
