#!/bin/bash
# A program's life as the verbs show it: states, restarts by policy and by request, exit codes.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

config <<X
[program:steady]
command=$W --pidfile $T/steady
startsecs=1
[program:instant]
command=$W --pidfile $T/instant
startsecs=0
[program:never]
command=$W --pidfile $T/never --exit 1
startretries=2
restart_delay=0.1
[program:missing]
command=$T/bin/not-there
startretries=0
[program:slow-retry]
command=$W --exit 1
startretries=20
autostart=false
[program:done]
command=$W --after 300 --exit 2
startsecs=0
autorestart=unexpected
exitcodes=0,2
[program:unexpected]
command=$W --pidfile $T/unexpected --once $T/o1 { --after 300 --exit 1 }
startsecs=0
autorestart=unexpected
exitcodes=0,2
[program:once]
command=$W --pidfile $T/once --after 100 --exit 1
startsecs=0
autorestart=false
[program:always]
command=$W --pidfile $T/always --once $T/o2 { --after 300 --exit 0 }
startsecs=0
autorestart=true
[program:manual]
command=$W --note USR1 $T/manual.usr1 --note HUP $T/manual.hup --pidfile $T/manual
autostart=false
startsecs=0
X

say "without a supervisor status answers 4"
mps_expect 4 status
contains "$T/err" 'no supervisor' || fail "status does not say that there is no supervisor"

say "start waits until programs have run for startsecs, and fails when one fails"
t0=$(now_ms)
mps start >"$T/out" 2>"$T/err" && fail "start of a program that cannot start exits 0"
t=$(($(now_ms) - t0))
[ $t -ge 900 ] || fail "start returned after $t ms, before startsecs were over"
in_state steady RUNNING || fail "steady is $(state steady)"
in_state instant RUNNING || fail "instant is $(state instant)"

say "a program that ends too early is tried again and then FATAL"
must in_state never FATAL
[ "$(wc -l <"$T/never")" = 3 ] || fail "started $(wc -l <"$T/never") times instead of 1 + 2"
must in_state missing FATAL
mps_expect 0 start --no-wait slow-retry
must in_state slow-retry BACKOFF

say "autorestart decides what happens after RUNNING"
must in_state "done" EXITED
must n_lines "$T/unexpected" 2
must in_state unexpected RUNNING
must n_lines "$T/always" 2
must in_state once EXITED
[ "$(wc -l <"$T/once")" = 1 ] || fail "autorestart=false was restarted"

say "a killed program is restarted with a new pid"
p=$(pid_of steady)
kill -KILL "$p"
must n_lines "$T/steady" 2
must in_state steady RUNNING
[ "$(pid_of steady)" = "$(tail -n 1 "$T/steady")" ] || fail "mpsup pid does not know the new one"

say "start, stop and restart by name"
in_state manual STOPPED || fail "autostart=false is $(state manual)"
mps_expect 7 pid manual
mps_expect 1 pid maual steady
[ "$(cat "$T/err")" = "mpsup: no such process or group: 'maual' (did you mean 'manual'?)" ] || fail "pid says '$(cat "$T/err")'"
[ "$(cat "$T/out")" = "$(pid_of steady)" ] || fail "pid of a wrong name and a right one: $(cat "$T/out")"
mps_expect 0 start manual
contains "$T/out" '^manual: started$' || fail "start says '$(cat "$T/out")'"
in_state manual RUNNING || fail "manual is $(state manual) after start"
mps_expect 0 start manual
p=$(pid_of manual)
must contains "$T/manual" "^$p\$"
mps_expect 0 restart manual
in_state manual RUNNING || fail "manual is $(state manual) after restart"
[ "$(pid_of manual)" != "$p" ] || fail "restart kept the process"
must n_lines "$T/manual" 2

say "signals arrive"
mps_expect 0 signal USR1 manual
must contains "$T/manual.usr1" USR1
mps_expect 0 signal HUP manual
must contains "$T/manual.hup" HUP
mps_expect 1 signal NOSUCH manual

p=$(pid_of manual)
mps_expect 0 stop manual
contains "$T/out" '^manual: stopped$' || fail "stop says '$(cat "$T/out")'"
gone "$p" || fail "the process lives on after stop"
in_state manual STOPPED || fail "manual is $(state manual) after stop"

say "exit codes of status: 0 all up, 3 something down, 4 unknown"
mps_expect 0 status steady instant
mps_expect 3 status steady manual
mps_expect 3 status
mps_expect 4 status nobody-knows
mps start nobody-knows >"$T/out" 2>&1 && fail "start of an unknown name exits 0"
contains "$T/out" 'nobody-knows.*no such process' || fail "start of an unknown name says '$(cat "$T/out")'"

say "status --json is JSON with a row for each program"
mps status --json >"$T/out"
python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); n={r["name"]:r for r in d["processes"]}
assert len(n)==10, n.keys(); assert n["steady"]["state"]=="RUNNING"; assert n["steady"]["pid"]>0; assert n["manual"]["pid"]==0' \
  "$T/out" || fail "status --json"

say "stop of a program in BACKOFF ends the retries"
mps_expect 0 stop slow-retry
in_state slow-retry STOPPED || fail "slow-retry is $(state slow-retry)"

say "shutdown ends all"
shutdown_mpsup
mps_expect 4 status
