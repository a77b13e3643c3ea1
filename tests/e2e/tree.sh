#!/bin/bash
# Stopping a program ends everything it has started, however it hides; and programs stop side by side.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

config <<X
[program:session]
command=$W --pidfile $T/pids --fork 2 { --setsid --pidfile $T/pids }
startsecs=0
[program:daemon]
command=$W --pidfile $T/pids --daemonize { --pidfile $T/pids }
startsecs=0
[program:hidden]
command=$W --pidfile $T/pids --daemonize { --clear-env --pidfile $T/pids } --fork 1 { --clear-env --setsid --pidfile $T/pids }
startsecs=0
[program:deaf]
command=$W --ignore TERM --pidfile $T/pids --fork 1 { --setsid --ignore TERM --pidfile $T/pids --fork 1 { --pidfile $T/pids } }
startsecs=0
stopwaitsecs=1
[program:deep]
command=$W --pidfile $T/pids --tree 20
startsecs=0
[program:asleep]
command=$W --pidfile $T/pids --stop
startsecs=0
[program:leader-dies]
command=$W --pidfile $T/pids --fork 1 { --setsid --pidfile $T/pids } --daemonize { --setsid --pidfile $T/pids } --after 300 --exit 0
startsecs=0
autorestart=false
[program:slow1]
command=$W --on-term 3500
autostart=false
startsecs=0
[program:slow2]
command=$W --on-term 3000
autostart=false
startsecs=0
[program:slow3]
command=$W --on-term 3000
autostart=false
startsecs=0
[program:slow4]
command=$W --on-term 3000
autostart=false
startsecs=0
[program:slow5]
command=$W --on-term 3000
autostart=false
startsecs=0
X

start_mpsup
say "what the main process leaves when it exits by itself is ended too"
must in_state leader-dies EXITED
must n_lines "$T/pids" 16
sort -n "$T/pids" | uniq -d | grep . && fail "a pid twice in the list: started twice?"

say "a stopped (SIGSTOP) program ends at once"
t0=$(now_ms)
mps_expect 0 stop asleep
t=$(($(now_ms) - t0))
[ $t -lt $((1000 * SLOW)) ] || fail "stop of a SIGSTOPped program took $t ms"

say "sessions, double forks, cleared environments, ignored TERM: all gone when stop returns"
for name in session daemon hidden deep deaf; do
  mps_expect 0 stop $name
  in_state $name STOPPED || fail "$name is $(state $name)"
done
all_gone "$T/pids" || { show_left && fail "some live on"; }
[ -z "$(workers)" ] || { show_left && fail "workers left after stop"; }

say "a program can be started again after its tree was ended"
mps_expect 0 start hidden deaf
must in_state hidden RUNNING
# Its processes still write their pids, which the next claim counts.
mps_expect 0 stop hidden deaf

say "a restart leaves nothing of the old tree"
before=$(wc -l <"$T/pids")
old=$(pid_of session)
mps_expect 0 start session
must n_lines "$T/pids" $((before + 3))
tail -n 3 "$T/pids" >"$T/pids.session"
mps_expect 0 restart session
all_gone "$T/pids.session" || fail "restart left something of the old tree (main was $old)"

say "five programs that take 3 s to stop take about 3 s together"
mps_expect 0 start slow1 slow2 slow3 slow4 slow5
t0=$(now_ms)
mps_expect 0 stop slow1 slow2 slow3 slow4 slow5
t=$(($(now_ms) - t0))
[ $t -ge 2900 ] || fail "stop returned after $t ms, before they had ended"
[ $t -lt $((3000 + 2000 * SLOW)) ] || fail "stop took $t ms: one after another?"

say "shutdown ends the rest, and says every 3 s who is waited for"
mps_expect 0 start slow1 slow2
started=$(grep -c 'waiting for slow1 to stop' "$LOG")
mps_expect 0 shutdown --no-wait
must contains "$LOG" 'waiting for (.*, )?slow1, slow2(,.*)? to die'
[ "$(grep -c 'waiting for slow1 to stop' "$LOG")" = $((started + 1)) ] || fail "slow1 is waited for before it is stopped"
must -t 8 nothing_left
[ "$(grep -c ' to die$' "$LOG")" = 2 ] || fail "told $(grep -c ' to die$' "$LOG") times in 3.5 s"
