#!/bin/bash
# What programs say on NOTIFY_SOCKET: that they are ready, alive, how they are; and who may say it.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

strangers() { # how many messages of strangers there were
  python3 - "$RUNTIME/control.sock" <<'P'
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b'{"id":1,"method":"info"}\n')
print(json.loads(s.makefile().readline())["result"]["strangers"])
P
}

export MPSUP MPSUP_NO=crash_limit # this test kills faster than supervisors die
config <<X
[program:word]
command=$W --once $T/word.once { --exit 1 } --after 300 --notify READY=1 --pidfile $T/word.ready
ready=notify
startsecs=9999
startretries=1
[program:silent]
command=$W --pidfile $T/silent.pids
ready=notify
start_timeout=0.3
startretries=0
autostart=false
[program:longer]
command=$W --notify EXTEND_TIMEOUT_USEC=60000000 --after 1000 --notify READY=1
ready=notify
start_timeout=0.5
startretries=0
autostart=false
[program:lingers]
command=sh -c 'trap "\"\$MPSUP\" tell EXTEND_TIMEOUT_USEC=60000000; $W --after 2000 --exit 5; exit 5" TERM; echo >$T/lingers; $W & wait'
stopwaitsecs=1
startsecs=0
autostart=false
[program:shell]
command=sh -c '"$MPSUP" tell READY=1 "STATUS=from a shell"; exec $W'
ready=notify
[program:status]
command=$W --notify "STATUS=Serving 3 clients" --notify STOPPING=1 --notify RELOADING=1
startsecs=0
[program:grandchild]
command=$W --fork 1 { --setsid --notify "STATUS=of a child" } --daemonize { --notify RELOADING=1 }
startsecs=0
[program:off]
command=$W --dump $T/off.dump
control=off
startsecs=0
[program:plain]
command=$W --dump $T/plain.dump
startsecs=0
X

say "READY=1 makes it RUNNING; an end before it is a failed start"
export NOTIFY_SOCKET=@mps-test/of-systemd WATCHDOG_PID=1 WATCHDOG_USEC=7
mps start >/dev/null 2>&1 || : # word fails once
unset NOTIFY_SOCKET WATCHDOG_PID WATCHDOG_USEC
supervisor=$(role supervisor)
keeper=$(role keeper)
must in_state word RUNNING
n_lines "$T/word.ready" 1 || fail "word was RUNNING before it said so"
must contains "$LOG" "exited: word \(exit status 1; not expected\)"
must contains "$LOG" "word entered RUNNING state, it has said that it is ready"

say "no READY=1 in time"
mps_expect 7 start silent
contains "$T/out" "start_timeout" || contains "$T/err" "start_timeout" || fail "the reason is not told: $(cat "$T/out" "$T/err")"
must in_state silent FATAL
must all_gone "$T/silent.pids"

say "EXTEND_TIMEOUT_USEC: longer to be ready, and to stop"
mps_expect 0 start longer lingers
in_state longer RUNNING || fail "longer is $(state longer)"
must [ -e "$T/lingers" ]
mps_expect 0 stop lingers
must contains "$LOG" "stopped: lingers \\(exit status 5\\)"

say "mpsup tell from a shell script, which ends at once"
must in_state shell RUNNING
must says shell status "from a shell"
mps status | grep "from a shell" >/dev/null || fail "INFO does not have it"

say "STATUS, STOPPING, RELOADING"
must says status status "Serving 3 clients"
must says status reloading True
must says status stopping True
mps status status | grep "Serving 3 clients" >/dev/null || fail "not in the details"

say "children and orphans of a program are of it too"
must says grandchild status "of a child"
must says grandchild reloading True

say "the environment: ours, and nothing of who started us but with control=off"
must [ -s "$T/off.dump" ]
must [ -s "$T/plain.dump" ]
contains "$T/plain.dump" "^env NOTIFY_SOCKET=@mpsup/$ID/" || fail "plain has no NOTIFY_SOCKET of ours"
contains "$T/plain.dump" "^env WATCHDOG_" && fail "plain has a watchdog"
contains "$T/plain.dump" "^env MPSUP_CONTROL_FD" && fail "plain has a channel"
contains "$T/plain.dump" "^fd [3-9]" && fail "plain has further descriptors"
contains "$T/off.dump" "^env NOTIFY_SOCKET=@mps-test/of-systemd" || fail "off has lost what was there"

say "a stranger is not heard"
socket=$(sed -n 's/^env NOTIFY_SOCKET=//p' "$T/plain.dump")
before=$(strangers)
NOTIFY_SOCKET=$socket "$MPSUP" tell STATUS=forged || fail "a stranger could not even speak"
[ "$(strangers)" -gt "$before" ] || fail "it was not counted"
must contains "$LOG" "which is of no program, was dropped"
# Even with the mark of a program, which anybody can give himself.
before=$(strangers)
tag=$(awk '/file locks/ { print $4 }' "/proc/$(pid_of status)/limits")
NOTIFY_SOCKET=$socket prlimit --locks="$tag:unlimited" "$MPSUP" tell STATUS=forged || fail "tell has failed"
[ "$(strangers)" -gt "$before" ] || fail "a forged mark was believed"
says status status "Serving 3 clients" || fail "and what it said"

say "what was said outlives the supervisor, and so does the socket"
take_over
says status status "Serving 3 clients" || fail "STATUS is forgotten"
says status reloading True || fail "RELOADING is forgotten"
NOTIFY_SOCKET=$socket "$MPSUP" tell STATUS=forged || fail "the old name is gone"

say "nothing said while there is no supervisor is lost"
for i in 1 2 3; do
  rm -f "$T/word.ready"
  mps restart --no-wait word >/dev/null
  kill -KILL "$supervisor"
  must n_lines "$T/word.ready" 1
  next_supervisor
  must in_state word RUNNING
  n_lines "$T/word.ready" 2 && fail "word was started again ($i)"
done
shutdown_mpsup

config <<X
[program:dog]
command=$W --pidfile $T/dog.pids --notify WATCHDOG=1
watchdog_sec=0.5
startsecs=0
autorestart=unexpected
exitcodes=0
restart_limit=off
[program:good]
command=$W --pidfile $T/good.pids --heartbeat 300
watchdog_sec=2
startsecs=0
[program:env]
command=$W --dump $T/env.dump
watchdog_sec=60
startsecs=0
X
libsystemd=$(ldconfig -p 2>/dev/null | sed -n 's/.*libsystemd\.so\.0 .*=> //p' | head -n 1)
if [ -n "$libsystemd" ]; then # asked by a child: whoever of the program it is
  cat >>"$CONF" <<X
[program:enabled]
command=sh -c 'python3 $T/enabled.py; exec $W'
watchdog_sec=60
startsecs=0
X
  cat >"$T/enabled.py" <<P
import ctypes
usec = ctypes.c_uint64()
r = ctypes.CDLL("$libsystemd").sd_watchdog_enabled(0, ctypes.byref(usec))
print(r, usec.value, file=open("$T/enabled", "w"))
P
fi
say "WATCHDOG=1"
export WATCHDOG_PID=1
start_mpsup
unset WATCHDOG_PID
must n_lines "$T/dog.pids" 3
take_over
must n_lines "$T/dog.pids" 8 # so many times half a second
n_lines "$T/good.pids" 2 && fail "one that says it is alive was killed"
says good status None || fail "good says $(said good status)"
must contains "$LOG" "dog has not said WATCHDOG=1 for 0.5 seconds: ending it"
must contains "$LOG" "exited: dog \(terminated by SIGABRT.*; not expected\)"
must [ -s "$T/env.dump" ]
contains "$T/env.dump" "^env WATCHDOG_USEC=60000000$" || fail "no WATCHDOG_USEC"
contains "$T/env.dump" "^env WATCHDOG_PID" && fail "WATCHDOG_PID would keep children from saying so"
if [ -n "$libsystemd" ]; then
  must [ -s "$T/enabled" ]
  [ "$(cat "$T/enabled")" = "1 60000000" ] || fail "sd_watchdog_enabled() says $(cat "$T/enabled")"
fi
shutdown_mpsup

config <<X
[program:daemon]
command=sh -c 'setsid $W --pidfile $T/daemon.mains & "\$MPSUP" tell MAINPID=\$! READY=1'
ready=notify
restart_limit=off
[program:daemon2]
command=sh -c 'setsid $W --pidfile $T/daemon2.mains & exec "\$MPSUP" tell MAINPID=\$! READY=1'
ready=notify
control=self
[program:wrapper]
command=sh -c 'trap "echo TERM >>$T/wrapper.note" TERM; trap "echo USR1 >>$T/wrapper.note" USR1
  $W --note USR1 $T/wrapped.note --on-term 0 & "\$MPSUP" tell MAINPID=\$! READY=1; wait; wait'
ready=notify
kill_mode=process
[program:liar]
command=sh -c '"\$MPSUP" tell MAINPID=1; "\$MPSUP" tell MAINPID=\$PPID; "\$MPSUP" tell MAINPID=4194304; exec $W'
startsecs=0
X
say "MAINPID: a stranger's is refused and counted"
start_mpsup
must says liar bad 3
[ "$(pid_of liar)" = "$(sed -n "s/.*spawned: 'liar' with pid //p" "$LOG")" ] || fail "liar was believed"
must contains "$LOG" "liar says MAINPID=1, which is none of its own"
say "MAINPID: the process that a program names is its main one, and goes on when the one that was started ends"
must n_lines "$T/daemon.mains" 1
[ "$(pid_of daemon)" = "$(cat "$T/daemon.mains")" ] || fail "daemon is $(pid_of daemon), not $(cat "$T/daemon.mains")"
must n_lines "$T/daemon2.mains" 1
[ "$(pid_of daemon2)" = "$(cat "$T/daemon2.mains")" ] || fail "daemon2, which speaks on its channel, is $(pid_of daemon2)"
first=$(sed -n "s/.*spawned: 'daemon' with pid //p" "$LOG")
must gone "$first"
take_over
in_state daemon RUNNING || fail "daemon is $(state daemon)"
n_lines "$T/daemon.mains" 2 && fail "daemon was started again"
n_lines "$T/daemon2.mains" 2 && fail "daemon2 was started again"
[ "$(pid_of daemon)" = "$(cat "$T/daemon.mains")" ] || fail "after the takeover daemon is $(pid_of daemon)"
mps status daemon | grep -q "$(cat "$T/daemon.mains")  *$W" || fail "it is not among its processes: $(mps status daemon)"
kill -SEGV "$(pid_of daemon)"
must n_lines "$T/daemon.mains" 2
must contains "$LOG" "exited: daemon \(terminated by SIGSEGV"

say "MAINPID: it gets the signals, with kill_mode=process nobody else does"
wrapper=$(sed -n "s/.*spawned: 'wrapper' with pid //p" "$LOG")
wrapped=$(pid_of wrapper)
[ "$wrapped" != "$wrapper" ] || fail "wrapper has not named another"
mps status wrapper | grep -q "$wrapper  sh -c" || fail "who was started is not among its processes: $(mps status wrapper)"
mps_expect 0 signal USR1 wrapper
must contains "$T/wrapped.note" USR1
mps_expect 0 stop wrapper
gone "$wrapper" "$wrapped" || fail "wrapper has not ended"
contains "$T/wrapper.note" USR1 && fail "the signal went to who was started, too"

shutdown_mpsup

say "programs that know systemd, unchanged; as another user, too"
run_as=
[ "$(id -u)" != 0 ] || run_as=user=nobody
programs=(nobody)
config <<X
[program:nobody]
command=sh -c '"$MPSUP" tell READY=1 STATUS=ready; exec $W'
ready=notify
$run_as
X
if command -v systemd-notify >/dev/null; then
  programs+=(script script_user)
  cat >>"$CONF" <<X
[program:script]
command=sh -c 'systemd-notify --ready --status=ready; exec $W'
ready=notify
[program:script_user]
command=sh -c 'systemd-notify --ready --status=ready; exec $W'
ready=notify
$run_as
X
fi
if command -v redis-server >/dev/null; then
  programs+=(redis)
  mkdir "$T/redis"
  cat >>"$CONF" <<X
[program:redis]
command=$(command -v redis-server) --supervised systemd --port 0 --unixsocket $T/redis.sock --save "" --dir $T/redis
ready=notify
startsecs=9999
X
fi
start_mpsup
for p in "${programs[@]}"; do
  in_state "$p" RUNNING || fail "$p is $(state "$p")"
  says "$p" status "$([ "$p" != redis ] && echo ready || said redis status)" || fail "$p says $(said "$p" status)"
done
if command -v redis-server >/dev/null; then
  must contains "$LOG" "redis entered RUNNING state, it has said that it is ready"
fi
[ "$(strangers)" = 0 ] || fail "$(strangers) messages were taken for those of strangers"
shutdown_mpsup
