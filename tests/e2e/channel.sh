#!/bin/bash
# The channel of a process: what it may ask for, what is said to it, and what floods and garbage do to others.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

at_least() { # name, key, number
  local n
  n=$(said "$1" "$2")
  [ "$n" != None ] && [ "$n" -ge "$3" ]
}

export MPSUP MPSUP_NO=crash_limit # this test kills faster than supervisors die
config <<X
[program:calm]
command=$W --pidfile $T/calm.pids
startsecs=0
[program:again]
command=$W --pidfile $T/again.pids --once $T/again.once { --tell RESTART=1 } --hear $T/again.heard
control=self
startsecs=0
[program:ever]
command=$W --pidfile $T/ever.pids --tell RESTART=1 --hear $T/ever.heard
control=self
startsecs=0
autostart=false
restart_limit=3/60
[program:one]
command=$W --pidfile $T/one.pids --tell RESTART=calm --tell READY=1 --hear $T/one.heard
control=self
ready=notify
[program:two]
command=$W --once $T/two.once { --tell RESTART=pair:* } --hear $T/two.heard
control=group
autostart=false
startsecs=0
[program:twin]
command=$W --pidfile $T/twin.pids
startsecs=0
[group:pair]
programs=two,twin
[program:boss]
command=sh -c '"$MPSUP" tell START=late STOP=pair:twin RESTART=nosuch; echo \$? >$T/boss.status; exec $W'
control=all
autostart=false
startsecs=0
[program:late]
command=$W
autostart=false
startsecs=0
[program:plain]
command=sh -c '"$MPSUP" tell RESTART=1 STATUS=asked; exec $W'
startsecs=0
[program:asked]
command=$W --ignore TERM --hear $T/asked.heard
stop_method=message
startsecs=0
[program:deaf]
command=$W --ignore USR1
stop_method=message
stopwaitsecs=1
startsecs=0
X
start_mpsup

say "control=self: its own restart, nobody else's"
must n_lines "$T/again.pids" 2
must says one denied 1
in_state one RUNNING || fail "READY=1 on the channel was not heard: $(state one)"
must contains "$LOG" "again asks for RESTART=1"
must contains "$LOG" "one may not ask for RESTART=calm"
n_lines "$T/calm.pids" 2 && fail "calm was restarted"

say "its own restart again and again is as good as an end"
mps start --no-wait ever >"$T/out" 2>"$T/err"
must in_state ever FATAL
n_lines "$T/ever.pids" 4 || fail "it was restarted less often than it may"
n_lines "$T/ever.pids" 5 && fail "restart_limit does not hold"
must contains "$LOG" "gave up: ever entered FATAL state, 3 restarts in 60 seconds"

say "control=notify: nothing"
must says plain status asked
says plain denied 1 || fail "plain may ask"
says plain messages 1 || fail "a barrier counts as something said: $(said plain messages)"
in_state plain RUNNING || fail "plain is $(state plain)"

say "control=group"
must n_lines "$T/twin.pids" 1
mps_expect 0 start pair:two
must n_lines "$T/twin.pids" 2
mps_expect 0 stop pair:two

say "control=all, and a name that there is not"
mps_expect 0 start boss
must in_state late RUNNING
must in_state pair:twin STOPPED
must says boss bad 1
must n_lines "$T/boss.status" 1
[ "$(cat "$T/boss.status")" = 0 ] || fail "mpsup tell exits $(cat "$T/boss.status") though nobody tells it of a mistake"

say "mpsup send"
mps_expect 0 send one again "many words"
must contains "$T/one.heard" '^MESSAGE=many words$'
must contains "$T/again.heard" '^MESSAGE=many words$'
mps_expect 0 send --reload one
must contains "$T/one.heard" '^RELOAD=1$'
mps_expect 1 send calm text
contains "$T/out" "channel" || contains "$T/err" "channel" || fail "it does not say why: $(cat "$T/out" "$T/err")"
mps_expect 2 send one
mps_expect 1 send one $'two\nlines'
expect 2 "$MPSUP" tell "$(printf "%5000s" x)"
[ "$(wc -c <"$T/err")" -lt 200 ] || fail "it repeats all of it: $(cat "$T/err")"
expect 1 "$MPSUP" tell READY=1
contains "$T/err" "nobody to tell" || fail "tell outside of a program: $(cat "$T/err")"

say "who does not read gets no more, and who sends is told"
is_full() {
  ! mps send deaf "$(printf '%03900d' 1)" >"$T/out" 2>&1
}
must -t 30 is_full
contains "$T/out" "does not read its messages" || fail "the reason is not told: $(cat "$T/out")"

say "the channel outlives the supervisor"
take_over
mps_expect 0 send one "after it"
must contains "$T/one.heard" '^MESSAGE=after it$'
n_lines "$T/one.pids" 2 && fail "one was started again"

say "stop_method=message: asked first, the signal after half of the time"
before=$(now_ms)
mps_expect 0 stop asked
[ $(($(now_ms) - before)) -lt 4000 ] || fail "it was not asked"
contains "$T/asked.heard" '^STOP=1$' || fail "it was not asked in words"
mps_expect 0 stop deaf
must contains "$LOG" "stopped: deaf \(terminated by SIGTERM\)"
shutdown_mpsup

config <<X
[program:calm]
command=$W --pidfile $T/calm2.pids
startsecs=0
[program:prompt]
command=$W --dump $T/prompt.dump --notify READY=1
ready=notify
[program:noise]
command=$W --notify garbage --notify =1 --notify MAINPID=1 --notify-bytes 3 --notify-bytes 5000 --notify-bytes 1048576 --notify STATUS=there
startsecs=0
[program:flood]
command=$W --flood 20000 --pidfile $T/flood.done
startsecs=0
[program:brook]
command=$W --tell-bytes 1 --tell-bytes 4097 --tell-bytes 100000 --tell STATUS=there --tell-flood 20000 --pidfile $T/brook.done --hear $T/brook.heard
control=self
startsecs=0
[program:torrent]
command=sh -c 'while :; do $W --flood 1000 --exit 0; done'
startsecs=0
X
say "garbage, a message of 1 MiB, a flood: others are restarted meanwhile"
start_mpsup
must says noise status there
at_least noise bad 5 || fail "only $(said noise bad) are said to make no sense"
NOTIFY_SOCKET=$(sed -n 's/^env NOTIFY_SOCKET=//p' "$T/prompt.dump") "$W" --flood 20000 --pidfile "$T/stranger.done" --exit 0 &
stranger=$!
for _ in 1 2 3 4 5; do
  before=$(now_ms)
  mps_expect 0 restart calm prompt
  [ $(($(now_ms) - before)) -lt 3000 ] || fail "a restart took $(($(now_ms) - before)) ms"
done
must n_lines "$T/calm2.pids" 6
must -t 30 n_lines "$T/stranger.done" 1
wait $stranger
must -t 30 n_lines "$T/flood.done" 1
must at_least torrent dropped 1000
must -t 30 n_lines "$T/brook.done" 1
must at_least brook dropped 1000
says brook bad 3 || fail "of brook $(said brook bad) make no sense"
says brook status more || fail "brook says $(said brook status)"
mps_expect 0 send brook "still heard"
must contains "$T/brook.heard" '^MESSAGE=still heard$'
must contains "$LOG" "torrent says more than 50 messages a second"
[ "$(grep -c 'says more than' "$LOG")" -lt 60 ] || fail "the log is flooded too"
shutdown_mpsup
