#!/bin/bash
# mpsup start as a daemon: ready when it returns, one a name, and errors where the caller sees them.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

config <<X
[program:a]
command=$W --pidfile $T/a
startsecs=0
X

say "the daemon answers as soon as start returns"
start_mpsup
mps_expect 0 status
[ -S "$RUNTIME/control.sock" ] || fail "no control socket in $RUNTIME"
mode=700
[ "$(id -u)" != 0 ] || mode=711 # programs of all users find the tracker's socket there
[ "$(stat -c %a "$RUNTIME")" = $mode ] || fail "the runtime directory is $(stat -c %a "$RUNTIME"), not $mode"

say "the pid file names a process that a supervisord script may signal"
[ "$(cat "$T/mpsup.pid")" = "$(mps pid)" ] || fail "pid file $(cat "$T/mpsup.pid"), mpsup pid $(mps pid)"
[ "$(mps pid)" = "$keeper" ] || fail "mpsup pid is not the keeper's"

say "it is nobody's child and holds none of our descriptors"
sid=$(ps -o sid= -p "$keeper" | tr -d ' ')
[ "$sid" != "$(ps -o sid= -p $$ | tr -d ' ')" ] || fail "the daemon shares our session"
for p in $keeper $supervisor; do
  for fd in 0 1 2; do
    case $(readlink "/proc/$p/fd/$fd") in "$T/out" | "$T/err") fail "process $p holds our output open" ;; esac
  done
done

say "a second start starts nothing again"
mps_expect 0 start
[ "$(wc -l <"$T/a")" = 1 ] || fail "a was started again"
[ "$(role keeper)" = "$keeper" ] || fail "another keeper"

say "another file with the same identifier is told who holds it"
sed "s,logfile=.*,logfile=$T/other.log," "$CONF" >"$T/other.conf"
expect 1 "$MPSUP" run -c "$T/other.conf"
contains "$T/err" "already running.*$ID.*pid $keeper" || fail "it says '$(cat "$T/err")'"

mps_expect 0 start
[ ! -s "$T/err" ] || fail "of its own file it says '$(cat "$T/err")'"
expect 0 "$MPSUP" start -c "$T/other.conf"
contains "$T/err" "is that of $CONF, not of $T/other.conf; set another identifier in one of them, or use -c $CONF$" || fail "it says '$(cat "$T/err")'"

say "a name that is no UTF-8 is an unknown name, not none"
for verb in status:4 stop:1 start:1 restart:1 pid:1; do
  mps_expect "${verb#*:}" "${verb%:*}" $'a\xff'
done
mps_expect 1 signal HUP $'a\xff'
in_state a RUNNING || fail "a is $(state a)"

say "a command line and an environment may be longer than a datagram"
long=$(head -c 100000 /dev/zero | tr '\0' x)
config <<X
[program:a]
command=$W --pidfile $T/a
environment=A="$long",B="$long"
startsecs=0
X
mps_expect 0 reload
must n_lines "$T/a" 2
must in_state a RUNNING
tr '\0' '\n' <"/proc/$(pid_of a)/environ" >"$T/environ"
for v in A B; do grep -qxF "$v=$long" "$T/environ" || fail "$v is another"; done

say "the pid file goes with the daemon"
shutdown_mpsup
[ ! -e "$T/mpsup.pid" ] || fail "the pid file is left"
[ ! -e "$RUNTIME/control.sock" ] || fail "the control socket is left"

say "TERM to the pid in the pid file ends it"
start_mpsup
kill -TERM "$(cat "$T/mpsup.pid")"
must -t 5 nothing_left

say "a wrong configuration: message with file and line on the caller's stderr, and nothing starts"
printf '[program:b]\ncommand=/bin/true\nstartsecs=soon\n' >>"$CONF"
mps start >"$T/out" 2>"$T/err" && fail "start with a wrong configuration exits 0"
contains "$T/err" "$CONF:[0-9]+:.*startsecs.*soon" || fail "it says '$(cat "$T/err")'"
nothing_left || fail "it started something"

say "a missing configuration file is named"
"$MPSUP" start -c "$T/none.conf" >"$T/out" 2>"$T/err" && fail "start without a configuration exits 0"
contains "$T/err" "none.conf" || fail "it says '$(cat "$T/err")'"

say "a log file that cannot be opened is an error of start"
config <<X
[program:a]
command=$W
startsecs=0
X
sed -i "s,^logfile=.*,logfile=$CONF/log," "$CONF"
mps start >"$T/out" 2>"$T/err" && fail "start without a log file exits 0"
contains "$T/err" "^mpsup: logfile $CONF/log: Not a directory \\(mpsup.conf:3\\)\$" || fail "it says '$(cat "$T/err")'"
must -t 5 nothing_left

say "so is that of a program, with the place of its key"
config <<X
[program:plain]
command=$W
stdout_logfile=$T/bin
startretries=0
[program:marked]
command=$W
stderr_logfile=$T/bin
log_prefix=marked
startretries=0
X
mps_expect 7 start
grep -qxF "mpsup: plain: stdout_logfile $T/bin: Is a directory (mpsup.conf:8)" "$T/err" || fail "it says '$(cat "$T/err")'"
grep -qxF "mpsup: marked: stderr_logfile $T/bin: Is a directory (mpsup.conf:12)" "$T/err" || fail "it says '$(cat "$T/err")'"
mps_expect 0 stop
must -t 5 nothing_left

say "status --json and ls --json tell who the keeper and the supervisor are"
config <<X
[program:a]
command=$W
startsecs=0
X
start_mpsup
mps status --json >"$T/out"
contains "$T/out" "\"keeper_pid\":$(mps pid)," || fail "status --json: $(cat "$T/out")"
"$MPSUP" ls --json >"$T/out"
contains "$T/out" "$(mps pid)" || fail "ls --json: $(cat "$T/out")"
mps_expect 0 stop

say "a one-off that has done its work before start asks has been started"
config <<X
[program:once]
command=true
startsecs=0
X
start_mpsup
must in_state once EXITED
# What mpsup start asks a fresh supervisor: everything that is on its way up.
answer=$(python3 - "$RUNTIME/control.sock" <<'X'
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b'{"id":1,"method":"start","params":{"targets":[]}}\n')
print(s.makefile().readline())
X
)
case $answer in
*'"name":"once","code":80'*) ;;
*) fail "start of nothing answers $answer" ;;
esac
shutdown_mpsup

say "a pid file that cannot be written is told to who starts it, and does not keep it from starting"
config <<Y
[program:w]
command=$W
Y
sed -i "s|^pidfile=.*|pidfile=$T/none/x.pid|" "$CONF"
"$MPSUP" start -c "$CONF" >"$T/out" 2>"$T/err" || fail "start: $(cat "$T/err")"
grep -qx "mpsup: could not write pidfile $T/none/x.pid: No such file or directory" "$T/err" || fail "$(cat "$T/err")"
must in_state w RUNNING
shutdown_mpsup

say "a program that ends too early: why, and where to read on"
config <<Y
[program:early]
command=sh -c 'echo no database >&2; exit 3'
restart_delay=60
Y
mps_expect 7 start
grep -qx "mpsup: early: exit status 3; 'mpsup logs early' shows what it has said" "$T/err" || fail "it says $(cat "$T/err")"

say "a start of what waits for its next try is no failure, and says in what state it is"
waits="^mpsup: early: BACKOFF, code 3, retry in [0-9.]+ s \(1 of 3\)$"
mps_expect 0 start early
contains "$T/out" "^early: ERROR \(already started\)$" || fail "start early prints $(cat "$T/out")"
contains "$T/err" "$waits" || fail "start early says $(cat "$T/err")"
mps_expect 0 start
[ ! -s "$T/out" ] || fail "start prints $(cat "$T/out")"
contains "$T/err" "$waits" || fail "start says $(cat "$T/err")"
mps_expect 0 start --json early
contains "$T/out" '"message":"BACKOFF, code 3, retry in .*"state":"BACKOFF"' || fail "start --json early prints $(cat "$T/out")"
shutdown_mpsup

say "a program that is given up: also how it ended last, where it has run"
config <<Y
[program:early]
command=sh -c 'exit 3'
startretries=0
[program:shot]
command=sh -c 'kill -KILL \$\$'
startretries=0
[program:none]
command=$T/once
startretries=0
Y
printf '#!/bin/sh\nrm %s\n' "$T/once" >"$T/once" && chmod +x "$T/once"
mps_expect 7 start
for line in "early: Exited too quickly (process log may have details): exit status 3" \
  "shot: Exited too quickly (process log may have details): terminated by SIGKILL"; do
  grep -qxF "mpsup: $line" "$T/err" || fail "it says $(cat "$T/err")"
done
mps_expect 7 start none
grep -qxF "mpsup: none: exec $T/once: No such file or directory (mpsup.conf:13)" "$T/err" || fail "it says $(cat "$T/err")"
shutdown_mpsup

say "a configuration without programs is told by what would have nothing to say"
config </dev/null
start_mpsup
for verb in start restart logs; do
  mps_expect 0 $verb
  grep -qxF "mpsup: $CONF: no programs (such as [program:web]); mpsup reload reads it again" "$T/err" || fail "$verb says $(cat "$T/err")"
  [ ! -s "$T/out" ] || fail "$verb prints $(cat "$T/out")"
done
mps_expect 0 graph
grep -qxF "mpsup: $CONF: no programs (such as [program:web])" "$T/err" || fail "graph says $(cat "$T/err")"
printf '[program:later]\ncommand=%s\nautostart=false\n' "$W" >>"$CONF"
mps_expect 0 reload
mps_expect 0 stop
[ ! -s "$T/err" ] || fail "stop says $(cat "$T/err")"
must -t 5 nothing_left
mps_expect 0 start
[ ! -s "$T/err" ] || fail "start says $(cat "$T/err")"
shutdown_mpsup
