#!/bin/bash
# Where output goes, and the activity log in the words that people grep for.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

config <<X
[program:file]
command=$W --write 1000 --error 3
stdout_logfile=$T/file.out
stderr_logfile=$T/file.err
startsecs=0
[program:merged]
command=$W --write 2 --error 2
stdout_logfile=$T/merged.out
redirect_stderr=true
startsecs=0
[program:auto]
command=$W --write 5
startsecs=0
[program:none]
command=$W --write 100000 --pidfile $T/none
stdout_logfile=NONE
stderr_logfile=NONE
startsecs=0
[program:partial]
command=$W --write 1 --partial --after 100 --exit 0
stdout_logfile=$T/partial.out
startsecs=0
autorestart=false
[program:shared1]
command=$W --write 500
stdout_logfile=$T/shared.out
startsecs=0
[program:shared2]
command=$W --write 500
stdout_logfile=$T/shared.out
startsecs=0
[program:child-writes]
command=$W --fork 1 { --write 3 }
stdout_logfile=$T/child.out
startsecs=0
[program:early]
command=$W --exit 1
startretries=1
restart_delay=0.1
[program:crash]
command=$W --after 100 --once $T/crashed { --signal SEGV }
startsecs=0
[program:ends]
command=$W --after 100 --exit 0
startsecs=0
autorestart=false
[program:stay]
command=$W
startsecs=1
X
mps start >"$T/out" 2>"$T/err" && fail "start exits 0 though one is FATAL"

say "a file gets every line, in order"
must n_lines "$T/file.out" 1000
for ((i = 1; i <= 1000; i++)); do echo "line $i"; done | cmp - "$T/file.out" || fail "stdout_logfile"
must n_lines "$T/file.err" 3

say "redirect_stderr puts both into one"
must n_lines "$T/merged.out" 4
contains "$T/merged.out" 'error 2' || fail "no stderr in the merged file"

say "AUTO makes a file in childlogdir"
auto=$(ls "$T"/auto-stdout---* 2>/dev/null)
[ -n "$auto" ] || fail "no auto-stdout---* in childlogdir"
must n_lines "$auto" 5

say "NONE holds nobody up"
must n_lines "$T/none" 1

say "an unfinished line is kept"
must in_state partial EXITED
must contains "$T/partial.out" '^partial'

say "two programs share a file: no line torn"
must n_lines "$T/shared.out" 1000
[ "$(grep -cxE 'line [0-9]+' "$T/shared.out")" = 1000 ] || fail "torn lines"

say "a descendant's output is logged too"
must n_lines "$T/child.out" 3

say "the activity log says what supervisord would"
must in_state early FATAL
must contains "$LOG" "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2},[0-9]{3} INFO supervisord started with pid [0-9]+"
must contains "$LOG" " INFO spawned: 'stay' with pid [0-9]+"
must contains "$LOG" ' INFO success: stay entered RUNNING state, process has stayed up for > than 1 seconds \(startsecs\)'
must contains "$LOG" ' WARN exited: early \(exit status 1; not expected\)'
must contains "$LOG" ' INFO gave up: early entered FATAL state, too many start retries too quickly'
must contains "$LOG" ' WARN exited: crash \(terminated by SIGSEGV.*; not expected\)'
must contains "$LOG" ' INFO exited: ends \(exit status 0; expected\)'
mps_expect 0 stop stay
must contains "$LOG" ' (INFO|WARN) stopped: stay \(terminated by SIGTERM\)'
shutdown_mpsup

say "in run /dev/stdout is the caller's"
config <<X
[program:out]
command=$W --write 3 --error 1 --pidfile $T/outpid
stdout_logfile=/dev/stdout
stdout_logfile_maxbytes=0
stderr_logfile=/dev/stderr
stderr_logfile_maxbytes=0
startsecs=0
X
"$MPSUP" run -c "$CONF" >"$T/run.out" 2>"$T/run.err" </dev/null &
run=$!
must contains "$T/run.out" 'line 3'
must contains "$T/run.err" 'error 1'
[ "$(grep -c 'line 1' "$T/run.out")" = 1 ] || fail "a line twice"
kill -TERM $run
wait $run || fail "mpsup run exits $?"
