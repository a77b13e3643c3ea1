#!/bin/bash
# mpsup wait: ends when programs have got there, at once when they cannot, in time, whoever the supervisor is.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

export MPSUP_NO=crash_limit
config <<X
[program:a]
command=$W --pidfile $T/a
autostart=false
startsecs=0
[program:b]
command=$W --pidfile $T/b
autostart=false
startsecs=0
[program:slow]
command=$W
autostart=false
startsecs=2
[program:job]
command=$W --exit 3
autostart=false
autorestart=false
startsecs=0
[program:once]
command=$W
autorestart=false
startsecs=0
[program:again]
command=$W --pidfile $T/again
startsecs=0
[program:none]
command=/nonexistent
autostart=false
startretries=0
[program:retry]
command=$W --exit 1
autostart=false
startretries=infinite
restart_delay=1000
[group:g]
programs=slow,job
X

background() { # arguments of wait: it waits
  "$MPSUP" wait -c "$CONF" "$@" >"$T/wait.out" 2>"$T/wait.err" </dev/null &
  waiter=$!
  must sits "$waiter"
  mps pid >/dev/null # asked later, so its questions were answered before
}

ends() { # exit status
  must gone "$waiter"
  wait_status "$waiter" "$1"
}

waits_on() {
  alive "$waiter" || fail "it has ended: $(cat "$T/wait.out" "$T/wait.err")"
}

say "wrong arguments, nobody there"
mps_expect 7 wait a
mps_expect 2 wait
mps_expect 2 wait --for runing a
contains "$T/err" "did you mean running" || fail "it says $(cat "$T/err")"
mps_expect 2 wait --timeout soon a
start_mpsup
mps_expect 1 wait a wbe
contains "$T/out" '^wbe: ERROR \(no such process\)$' || fail "an unknown name: $(cat "$T/out")"
mps_expect 1 wait --json a wbe
contains "$T/out" '"code":10' || fail "an unknown name, JSON: $(cat "$T/out")"

say "what is so already"
mps_expect 0 wait again
contains "$T/out" '^again: RUNNING$' || fail "it prints $(cat "$T/out")"
mps_expect 0 wait --for STOPPED a b
mps_expect 0 wait --for down --timeout 0 a
mps_expect 0 wait --any again a
mps_expect 124 wait --timeout 0 a
contains "$T/err" 'timed out: 0 of 1 running' || fail "it says $(cat "$T/err")"

say "all of them at once; somebody starts what is stopped"
background a b
mps_expect 0 start a
waits_on
mps_expect 0 start b
ends 0
contains "$T/wait.out" '^b: RUNNING$' || fail "it prints $(cat "$T/wait.out")"
mps_expect 0 stop a
background a b
mps_expect 0 stop b
mps_expect 0 start a
waits_on
mps_expect 0 start b
ends 0

say "time"
t0=$(now_ms)
mps_expect 124 wait --for stopped --timeout 300ms a
[ $(($(now_ms) - t0)) -ge 290 ] || fail "it ended after $(($(now_ms) - t0)) ms"
mps_expect 124 wait --for stopped --timeout 0.1 --json a
contains "$T/out" '^\{"result":"timeout","processes":\[\{"name":"a","state":"RUNNING","reached":false\}\]\}$' ||
  fail "JSON: $(cat "$T/out")"
background --for stopped --timeout 1 a
kill -STOP "$supervisor" # it hangs: the time counts all the same
must -t 5 gone "$waiter"
kill -CONT "$supervisor"
ends 124

say "startsecs is waited for"
mps_expect 0 start --no-wait g:slow
mps_expect 0 wait g:slow
in_state g:slow RUNNING || fail "slow is $(state g:slow)"

say "a job"
mps_expect 0 start --no-wait g:job
mps_expect 0 wait --for exited g:job
mps_expect 0 wait --for running,exited 'g:*'

say "what cannot be any more"
mps_expect 7 wait g:job
contains "$T/err" 'g:job is EXITED: it will not be running unless' || fail "it says $(cat "$T/err")"
mps_expect 7 start none
mps_expect 7 wait none a
mps_expect 7 wait --for exited none
mps_expect 0 wait --any none a
mps_expect 7 wait --any none g:job
mps_expect 0 wait --for settled none a
mps_expect 0 start retry --no-wait
mps_expect 0 wait --for backoff retry
mps_expect 0 stop a
background a retry
mps_expect 0 stop retry
waits_on
mps_expect 0 start a
waits_on
kill -TERM "$waiter"
ends 143

say "what is only passed through does not count"
background --for exited again
n=$(wc -l <"$T/again")
kill -KILL "$(pid_of again)"
must n_lines "$T/again" $((n + 1))
waits_on
kill -TERM "$waiter"
ends 143

say "across the death of supervisors"
mps_expect 0 stop b
background a b
take_over
waits_on
mps_expect 0 upgrade
supervisor=$(role supervisor)
waits_on
mps_expect 0 start b
ends 0

say "what nobody told in between"
background --for down once
victim=$(pid_of once)
kill -STOP "$supervisor"
kill -TERM "$victim"
must gone "$victim"
take_over
ends 0
contains "$T/wait.out" '^once: EXITED$' || fail "it prints $(cat "$T/wait.out")"
say "a reload: what is new is waited for too, what is gone is no program any more"
background --for stopped,exited 'g:*' # slow is RUNNING
sed -i 's/^programs=slow,job$/programs=slow,job,late/' "$CONF"
printf '[program:late]\ncommand=%s\nstartsecs=0\n' "$W" >>"$CONF"
mps_expect 0 reload
mps_expect 0 stop g:slow
waits_on
mps_expect 0 stop g:late
ends 0
background --for stopped a b # a is RUNNING
sed -i '/^\[program:b\]$/,/^startsecs/d' "$CONF"
mps reload >/dev/null || fail "reload"
ends 1
contains "$T/wait.out" '^b: ERROR \(no such process\)$' || fail "it prints $(cat "$T/wait.out")"

say "the end of the supervisor"
mps_expect 0 stop a
background a
mps_expect 0 shutdown
ends 7
contains "$T/wait.err" "shutting down" || fail "it says $(cat "$T/wait.err")"
must -t 6 nothing_left
start_mpsup
background --for stopped again
mps_expect 0 shutdown
ends 0
must -t 6 nothing_left
start_mpsup
background a
kill -KILL "$keeper"
ends 7
contains "$T/wait.err" "gone without a shutdown" || fail "it says $(cat "$T/wait.err")"
must -t 6 nothing_left
