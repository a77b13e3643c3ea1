#!/bin/bash
# A supervisor that is killed is followed by another: programs keep their pids, none runs twice, no exit is missed.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

config <<X
[program:calm]
command=$W --pidfile $T/calm.pids
[program:piped]
command=$W --pidfile $T/piped.pids
log_prefix=auto
stdout_logfile=$T/piped.log
[program:oneoff]
command=$W --pidfile $T/oneoff.pids
autostart=false
startsecs=0
autorestart=false
[program:slow]
command=$W --ignore TERM --pidfile $T/slow.pids
stopwaitsecs=4
[program:waits]
command=$W --pidfile $T/waits.pids --exit 3
restart_delay=1000
startretries=infinite
[program:missing]
command=/nonexistent/program
startretries=0
[program:auto]
command=$W --pidfile $T/auto.pids
stdout_logfile=AUTO
X

say "idle"
export MPSUP_NO=crash_limit # this test kills faster than supervisors die
mps_expect 0 start --no-wait
supervisor=$(role supervisor)
keeper=$(role keeper)
must in_state calm RUNNING
must in_state waits BACKOFF
must in_state missing FATAL
for p in calm piped slow auto; do must in_state $p RUNNING; done
mps status --compat >"$T/before"
before_pid=$(pid_of calm)
auto_log=$(mps status --json auto | grep -o '"stdout_logfile": *"[^"]*"')
take_over
for p in calm piped slow auto; do in_state $p RUNNING || fail "$p is $(state $p)"; done
[ "$(pid_of calm)" = "$before_pid" ] || fail "calm has another pid"
in_state waits BACKOFF || fail "waits is $(state waits)"
in_state missing FATAL || fail "missing is $(state missing)"
[ "$(mps status --compat missing)" = "$(grep '^missing' "$T/before")" ] || fail "missing has lost its reason"
[ "$auto_log" = "$(mps status --json auto | grep -o '"stdout_logfile": *"[^"]*"')" ] || fail "auto's log is another"
must contains "$LOG" "was ended by signal 9; pid $supervisor has taken over 4 programs"
n_lines "$T/calm.pids" 2 && fail "calm was started twice"

say "again and again, with what it has learned"
take_over
[ "$(pid_of calm)" = "$before_pid" ] || fail "calm has another pid"

say "a program that dies while there is no supervisor"
keeper_pid=$keeper
mps_expect 0 start oneoff
victim=$(pid_of oneoff)
freeze "$supervisor" # it reads no report any more
kill -TERM "$victim"
must gone "$victim"
take_over
must in_state oneoff EXITED
mps status --json oneoff | grep -qE '"signal": *"(SIG)?TERM"' || fail "its exit was missed: $(mps status --json oneoff)"

say "and is started again, where it is to be"
victim=$(pid_of calm)
freeze "$supervisor"
kill -KILL "$victim"
must gone "$victim"
take_over
must in_state calm RUNNING
[ "$(pid_of calm)" != "$victim" ] || fail "calm is said to have a dead pid"
n_lines "$T/calm.pids" 2 || fail "calm was not started again"
n_lines "$T/calm.pids" 3 && fail "calm was started twice"

say "a stop that is under way goes on"
victim=$(pid_of slow)
mps_expect 0 stop --no-wait slow
in_state slow STOPPING || fail "slow is $(state slow)"
take_over
in_state slow STOPPING || fail "slow is $(state slow)"
must -t 8 in_state slow STOPPED
gone "$victim" || fail "slow lives on"
[ "$(role keeper)" = "$keeper_pid" ] || fail "there is another keeper"
mps_expect 0 start slow

say "connections are never refused"
(
  while [ ! -e "$T/enough" ]; do
    "$MPSUP" pid -c "$CONF" calm 2>&1 || true
  done >"$T/answers"
) &
asking=$!
take_over
touch "$T/enough"
wait $asking
contains "$T/answers" "no supervisor|[Cc]onnection refused" && fail "somebody was turned away: $(sort "$T/answers" | uniq -c)"

say "a record that makes no sense: its program is not forgotten"
# Where its pid is written; the time of its start, six numbers before, becomes one that cannot be.
state_fd=$(find "/proc/$keeper/fd" -lname '/memfd:mpsup-state*' | head -n 1)
spoil() { # pid
  local pattern at
  pattern=$(printf '\\x01\\x00\\x00\\x00\\x%02x\\x%02x\\x%02x\\x00' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16)))
  head -c 1000000 "$state_fd" | python3 -c 'import re, sys
for m in re.finditer(sys.argv[1].encode(), sys.stdin.buffer.read(), re.S): print(m.start())' "$pattern" >"$T/at"
  [ -s "$T/at" ] || fail "pid $1 is not in the state"
  while read -r at; do
    printf '\377\377\377\377\377\377\377\377' | dd of="$state_fd" bs=1 seek=$((at - 48)) conv=notrunc 2>"$T/err"
  done <"$T/at"
}
victim=$(pid_of piped)
freeze "$supervisor" # it writes no more
spoil "$victim"
take_over
in_state piped RUNNING || fail "piped is $(state piped)"
[ "$(pid_of piped)" = "$victim" ] || fail "piped has another pid"
must contains "$LOG" "about piped makes no sense: it goes on as it is, with pid $victim"
mps_expect 0 restart piped
gone "$victim" || fail "it was not ended"
[ "$(pid_of piped)" != "$victim" ] || fail "it was not started again"

say "a stop that is waited for goes on, and whoever waits hears of its end"
mps_expect 0 start slow
mps stop slow >"$T/stop.out" 2>&1 &
asking=$!
must in_state slow STOPPING
take_over
wait $asking || fail "exit status $?: $(cat "$T/stop.out")"
contains "$T/stop.out" "^slow: stopped$" || fail "it says: $(cat "$T/stop.out")"
in_state slow STOPPED || fail "slow is $(state slow)"
mps_expect 0 start slow

say "a shutdown too"
mps stop >"$T/stop.out" 2>&1 &
asking=$!
must in_state slow STOPPING
take_over
wait $asking || fail "exit status $?: $(cat "$T/stop.out")"
contains "$T/stop.out" "^Shut down$" || fail "it says: $(cat "$T/stop.out")"
must -t 6 nothing_left
[ ! -e "$T/mpsup.pid" ] || fail "the pid file is left"

say "also where nobody waits for it"
mps_expect 0 start --no-wait
supervisor=$(role supervisor)
must in_state slow RUNNING
mps_expect 0 shutdown --no-wait
must in_state slow STOPPING
kill -KILL "$supervisor"
must -t 6 nothing_left
[ ! -e "$T/mpsup.pid" ] || fail "the pid file is left"

unset MPSUP_NO
say "one that dies again and again is given up"
config <<X
[program:calm]
command=$W --pidfile $T/loop.pids
X
start_mpsup
for _ in 1 2 3 4; do take_over; done
kill -KILL "$supervisor"
must -t 3 nothing_left

say "on_crash=stop"
config_with on_crash=stop <<X
[program:calm]
command=$W --pidfile $T/stop.pids
X
start_mpsup
kill -KILL "$supervisor"
must -t 3 nothing_left

# ------------------------------------------------------------------------------------------------ mpsup upgrade

script() { # the new "mpsup": a shell script
  { echo '#!/bin/sh' && cat; } >"$T/bin/new"
  chmod 755 "$T/bin/new"
  mv "$T/bin/new" "$T/bin/mpsup"
}

again() { # the client is the good one, whatever lies where the supervisor came from
  expect "$1" "$T/good" upgrade -c "$CONF" "${@:2}"
}

same_supervisor() {
  [ "$(role supervisor)" = "$supervisor" ] || fail "the old supervisor is gone"
  [ "$(pid_of calm)" = "$victim" ] || fail "calm has another pid"
}

say "upgrade: nobody notices"
cp "$T/bin/mpsup" "$T/good"
cp "$T/bin/mpsup-host" "$T/"
MPSUP=$T/good
config <<X
[program:calm]
command=$W --pidfile $T/upgrade.pids
[program:waits]
command=$W --exit 3
restart_delay=1000
startretries=infinite
X
expect 0 "$T/bin/mpsup" start --no-wait -c "$CONF"
supervisor=$(role supervisor)
keeper=$(role keeper)
must in_state calm RUNNING
must in_state waits BACKOFF
victim=$(pid_of calm)
cp "$T/good" "$T/bin/next" && mv "$T/bin/next" "$T/bin/mpsup"
for _ in 1 2 3 4 5 6; do # these are no crashes
  again 0
  contains "$T/out" "^Upgraded from .* \\(pid $supervisor\\)" || fail "it does not say from what: $(cat "$T/out")"
  supervisor=$(role supervisor)
done
again 0 --json
contains "$T/out" '"supervisor_pid":' || fail "no JSON"
supervisor=$(role supervisor)
same_supervisor
in_state waits BACKOFF || fail "waits is $(state waits)"
[ "$(role keeper)" = "$keeper" ] || fail "there is another keeper"
must contains "$LOG" "has made room for pid $supervisor"

say "upgrade: one that exits at once"
script <<'X'
echo "no such library" >&2
exit 12
X
again 1
contains "$T/err" "exited with status 12" || fail "the status is not told"
contains "$T/err" "no such library" || fail "its words are not told"
same_supervisor

say "upgrade: one that cannot be executed"
echo nonsense >"$T/bin/new" && mv "$T/bin/new" "$T/bin/mpsup"
again 1
contains "$T/err" "could not be started: Permission denied" || fail "it does not say why: $(cat "$T/err")"
same_supervisor

say "upgrade: none at all"
rm "$T/bin/mpsup"
again 1
contains "$T/err" "could not be started: No such file or directory" || fail "it does not say why: $(cat "$T/err")"
same_supervisor

say "upgrade: one that hangs"
script <<'X'
read line <&9
sleep 1000
X
again 1
contains "$T/err" "SIGKILL" || fail "it does not say how that ended: $(cat "$T/err")"
same_supervisor

say "upgrade: one that was there before everything else still takes over"
cp "$T/good" "$T/bin/new" && mv "$T/bin/new" "$T/bin/mpsup"
take_over
same_supervisor
n_lines "$T/upgrade.pids" 2 && fail "calm was started twice"
mps_expect 0 shutdown
must -t 5 nothing_left
