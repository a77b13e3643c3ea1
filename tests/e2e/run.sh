#!/bin/bash
# mpsup run: in the foreground, as the one process of a container.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

run_mpsup() { # in the background; $run is its pid, output in $T/run.out
  "$MPSUP" run -c "$CONF" >"$T/run.out" 2>"$T/run.err" </dev/null &
  run=$!
}
run_ended() { # status
  wait_status "$run" "$1"
  must -t 3 nothing_left
}

config <<X
[program:talk]
command=$W --write 3 --error 1 --partial --pidfile $T/talk
startsecs=0
X
sed -i '/^logfile=/d; /^pidfile=/d' "$CONF"

say "lines of programs come with their names"
run_mpsup
must n_lines "$T/talk" 1
must contains "$T/run.out" 'talk.*line 3'
says() { # on either of the two
  cat "$T/run.out" "$T/run.err" >"$T/both"
  contains "$T/both" "$1"
}
must says 'talk.*error 1'

say "the process that was started is the one that runs: TERM ends it, status 0, nothing left"
[ "$(role keeper)" = "$run" ] || fail "the keeper is $(role keeper), not what was started ($run)"
kill -TERM "$run"
run_ended 0
contains "$T/run.out" 'partial' || fail "an unfinished line is lost at the end"

say "INT does the same"
rm "$T/talk"
run_mpsup
must n_lines "$T/talk" 1
kill -INT "$run"
run_ended 0

say "a program gets the signal and its time"
config <<X
[program:slow]
command=$W --on-term 700 --pidfile $T/slow
startsecs=0
X
run_mpsup
must n_lines "$T/slow" 1
t0=$(now_ms)
kill -TERM "$run"
run_ended 0
t=$(($(now_ms) - t0))
[ $t -ge 650 ] || fail "ended after $t ms: the program did not get its time"

say "a second TERM kills"
config <<X
[program:deaf]
command=$W --note TERM $T/deaf.term --pidfile $T/deaf
startsecs=0
stopwaitsecs=60
X
run_mpsup
must n_lines "$T/deaf" 1
t0=$(now_ms)
kill -TERM "$run"
must contains "$T/deaf.term" TERM
alive "$run" || fail "gone after the first TERM though the program ignores it"
kill -TERM "$run"
wait "$run"
must -t 3 nothing_left
t=$(($(now_ms) - t0))
[ $t -lt $((5000 * SLOW)) ] || fail "took $t ms after a second TERM"

say "exit_on=exit:NAME: ends with the program, and with its status"
config_with exit_on=exit:main <<X
[program:main]
command=$W --after 300 --exit 7
startsecs=0
autorestart=false
[program:other]
command=$W
startsecs=0
X
run_mpsup
run_ended 7

say "exit_on=all: ends when every program has"
config_with exit_on=all <<X
[program:a]
command=$W --after 200 --exit 0
startsecs=0
autorestart=false
[program:b]
command=$W --after 500 --exit 0
startsecs=0
autorestart=false
X
run_mpsup
run_ended 0

say "exit_on=all: a program that is stopped by hand has ended too, one that is restarted has not"
config_with exit_on=all <<X
[program:a]
command=$W --pidfile $T/all.a
startsecs=0
[program:b]
command=$W
startsecs=0
X
run_mpsup
must in_state a RUNNING
must in_state b RUNNING
mps_expect 0 stop b
mps_expect 0 restart a
must n_lines "$T/all.a" 2
in_state a RUNNING || fail "a is $(state a)"
mps_expect 0 stop a
run_ended 0

say "exit_on=fatal: ends, not with 0, when one is given up"
config_with exit_on=fatal <<X
[program:bad]
command=$W --exit 3
startretries=0
[program:other]
command=$W
startsecs=0
X
run_mpsup
wait "$run" && fail "exit status 0 though a program is FATAL"
must -t 3 nothing_left
