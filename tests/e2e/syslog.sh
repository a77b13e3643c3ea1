#!/bin/bash
# The system's log: RFC 3164, a datagram a line.
# shellcheck source=tests/e2e/lib.sh
if [ -z "${FRESH:-}" ]; then
  { [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; } || { echo "unshare is not permitted" && exit 77; }
  FRESH=1 exec unshare -m "$0"
fi
. "$(dirname "$0")/lib.sh"

# A /dev of our own.
mkdir "$T/dev"
mount -t tmpfs none "$T/dev" || fail "no tmpfs"
for d in null zero full random urandom tty ptmx pts shm fd stdin stdout stderr; do
  if [ -L "/dev/$d" ]; then
    cp -P "/dev/$d" "$T/dev/"
  elif [ -d "/dev/$d" ]; then
    mkdir "$T/dev/$d" && mount --rbind "/dev/$d" "$T/dev/$d"
  elif [ -e "/dev/$d" ]; then
    : >"$T/dev/$d" && mount --bind "/dev/$d" "$T/dev/$d"
  fi
done
mount --move "$T/dev" /dev

daemon=
listen() {
  socat -u UNIX-RECV:/dev/log,mode=666 "OPEN:$T/datagrams,creat,append" &
  daemon=$!
  must test -S /dev/log
}
silence() {
  kill "$daemon"
  wait "$daemon" 2>/dev/null
  rm -f /dev/log
}
got() { # pattern, number
  [ "$(tr '<' '\n' <"$T/datagrams" | grep -cE -- "$1")" = "$2" ]
}
head='^14>(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 123][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} mpsup\[[0-9]+\]:'

export MPSUP_NO=crash_limit
listen
mkfifo "$T/go"
config <<X
[program:plain]
command=$W --write 100
stdout_logfile=syslog
startsecs=0
[program:both]
command=$W --write 100 --error 2
redirect_stderr=true
stdout_logfile=$T/both
stdout_syslog=true
startsecs=0
[program:err]
command=$W --write 3 --error 3
stdout_logfile=NONE
stderr_logfile=syslog
startsecs=0
[program:talk]
command=/bin/bash -c 'while read -r l; do echo "\$l"; done <>$T/go'
stdout_logfile=$T/talk
stdout_syslog=true
startsecs=0
X
start_mpsup

say "instead of a file"
must -t 30 got "$head plain line [0-9]+$" 100
[ ! -e syslog ] || fail "a file with the name syslog"

say "beside one"
must -t 30 got "$head both line [0-9]+$" 100
must got "$head both error [0-9]+$" 2
must n_lines "$T/both" 102

say "of standard error"
must got "$head err error [0-9]+$" 3
got "$head err line" 0 || fail "standard output too"

say "a daemon that is started again is found again"
silence
listen
echo again >"$T/go"
must got "$head talk again$" 1

say "each line once, over takeovers, and as fast as the daemon reads"
sent() {
  tr '<' '\n' <"$T/datagrams" | sed -n 's/.*: talk n\([0-9]*\)$/\1/p' | awk 1
}
all_sent() {
  [ "$(sent | wc -l)" -ge "$1" ]
}
for turn in 1 2 3 4 5; do
  seq -f n%.0f $(((turn - 1) * 2000 + 1)) $((turn * 2000)) >"$T/go" &
  must all_sent $((turn * 2000 - 1000))
  take_over
  wait $!
done
must -t 30 all_sent 10000
sent | cmp - <(seq 10000) || fail "lines are missing, or there twice: $(sent | wc -l)"

say "one that is not there holds nobody up, and is told of once"
silence
for _ in 1 2 3; do echo nobody >"$T/go"; done
must n_lines "$T/talk" 10004
must contains "$LOG" 'CRIT cannot write output of programs to /dev/log'
[ "$(grep -c 'output of programs to /dev/log' "$LOG")" = 1 ] || fail "told more than once"
listen
echo back >"$T/go"
must got "$head talk back$" 1
silence
shutdown_mpsup

say "the supervisor's own log, with the severity of each line"
: >"$T/datagrams"
listen
config_with logfile=syslog <<X
[program:x]
command=$W
startsecs=0
[program:bad]
command=$W --exit 3
startsecs=0
autostart=false
autorestart=false
X
start_mpsup
mps start --no-wait bad >/dev/null 2>&1
must got "$head [0-9-]{10} [0-9:]{8},[0-9]{3} INFO spawned: 'x' with pid [0-9]+$" 1
must got "${head/14/12} [0-9-]{10} [0-9:]{8},[0-9]{3} WARN exited: bad \(exit status 3; not expected\)$" 1
kill -KILL "$supervisor"
must got "${head/14/10} .* CRIT supervisor \(pid $supervisor\) was ended by signal 9; " 1
[ ! -e syslog ] || fail "a file with the name syslog"
silence
shutdown_mpsup
