#!/bin/bash
# What programs leave behind that load no library and tell nobody: static ones with system calls of their own, track=scan,
# set-user-ID ones; told by fanotify, by open files where that is missing, and to a plain user.
# shellcheck source=tests/e2e/lib.sh
ALONE=1
. "$(dirname "$0")/lib.sh"
cp "$B/e2e/ipc" "$T/bin/" || exit 1
cp -P "$B"/libmpsup-preload*.so "$T/bin/" || exit 1
I=$T/bin/ipc
N=mps-$$ # the beginning of all names

leaked() { # name, program: a line in the log
  contains "$LOG" "INFO leaked [a-zA-Z ]+ $1 unlinked \(program $2, pid [0-9]+\)"
}
holds() { # program, number
  [ "$(mps status --json "$1" | python3 -c '
import json, sys
print(json.load(sys.stdin)["processes"][0]["ipc"]["held"])')" = "$2" ]
}
ends() { # program: it is killed, and stays so
  mps_expect 0 signal KILL "$1"
  must in_state "$1" "EXITED"
}
program() { # name, further lines
  local name=$1
  shift
  printf '%s\n' "[program:$name]" "stdout_logfile=$T/$name.out" startsecs=0 autorestart=false "$@"
}
cat >"$T/bin/make.py" <<'END'
import os, signal, sys, tempfile
tempfile.mkstemp(dir="/dev/shm", prefix=sys.argv[1] + "-t")
os.chdir("/dev/shm")
os.open(sys.argv[1] + "-r", os.O_CREAT | os.O_RDWR)
stranger = os.open(sys.argv[1] + "-s", os.O_RDWR)
print("ok", flush=True)
signal.pause()
END

# All of it, with what the keeper can do here.
round() { # name of the round
  say "$1: what nobody tells of is found"
  rm -f "$LOG" "$T"/*.out
  "${AS[@]}" sh -c "umask 077; echo >/dev/shm/$N-s"
  {
    program raw "command=$I raw:/$N-a print:ok wait"
    program forked "command=/bin/sh -c '$I raw:/$N-f print:ok wait; :'"
    program sysv "command=$I sysvshm print:ok wait"
    program python "command=python3 $T/bin/make.py $N" track=scan
    program blind "command=$I raw:/$N-b print:ok wait" track=off
  } | config
  start_mpsup
  for p in raw forked sysv python blind; do must contains "$T/$p.out" ok; done
  "${AS[@]}" sh -c "umask 077; echo >/dev/shm/$N-u"
  must holds raw 1
  must holds forked 1
  must holds python 2
  id=$(grep -m 1 -E '^[0-9]+$' "$T/sysv.out")
  for p in raw forked sysv python blind; do ends "$p"; done
  must leaked "/$N-a" raw
  must leaked "/$N-f" forked
  must leaked "$id" sysv
  must leaked "/$N-r" python
  must leaked "/$N-t[^ ]+" python

  say "$1: and nothing else is touched"
  for f in s u b; do [ -e "/dev/shm/$N-$f" ] || fail "$N-$f is gone"; done
  left=$(in_shm | grep -cF "$N-")
  [ "$left" = 3 ] || fail "left: $(in_shm)"
  ipcs -m -i "$id" 2>/dev/null | grep -q "shmid=$id" && fail "the SysV memory is there"
  shutdown_mpsup
  [ "$(grep -c ' leaked ' "$LOG")" = 5 ] || fail "lines: $(grep ' leaked ' "$LOG")"
  rm -f "/dev/shm/$N"-[sub]
}

# A name that is there before its maker has it open, as of any file for a moment.
cat >"$T/bin/late.py" <<'END'
import os, signal, sys
os.chdir("/dev/shm")
os.mknod(sys.argv[1] + "-w", 0o600)
print("made", flush=True)
open(sys.argv[2]).read()
os.open(sys.argv[1] + "-w", os.O_RDWR)
print("ok", flush=True)
signal.pause()
END
mkfifo "$T/cue"
opens_late() {
  rm -f "$T"/*.out
  program late "command=python3 $T/bin/late.py $N $T/cue" track=scan | config
  start_mpsup
  must contains "$T/late.out" made
  echo >"$T/cue"
  must contains "$T/late.out" ok
  wait_for -t 3 holds late 1
  found=$?
  shutdown_mpsup
  rm -f "/dev/shm/$N-w"
  return $found
}

round "here"
MPSUP_NO=fanotify round "without fanotify"
say "without fanotify: what is opened after it was made" # a busy machine may take more than the second that there is
export MPSUP_NO=fanotify
opens_late || opens_late || opens_late || fail "it is not found"
unset MPSUP_NO

if [ "$(id -u)" = 0 ]; then
  say "a name that is short-lived, and one that dies at once"
  {
    program moved "command=$I raw:/$N-m mv:/$N-m print:ok wait"
    program short "command=$I raw:/$N-x print:ok"
  } | config
  start_mpsup
  must leaked "/$N-x" short
  must contains "$T/moved.out" ok
  must holds moved 1
  ends moved
  must leaked "/$N-m-n" moved
  shutdown_mpsup

  say "more than the kernel keeps for it: it says that it has missed some"
  program raw "command=$I raw:/$N-q print:ok wait" | config
  start_mpsup
  must contains "$T/raw.out" ok
  must holds raw 1
  kill -STOP "$keeper"
  python3 - "/dev/shm/$N-o" "$(cat /proc/sys/fs/fanotify/max_queued_events)" <<'END' || fail "it cannot make them"
import os, sys
for i in range(int(sys.argv[2]) + 100):
    os.close(os.open(sys.argv[1], os.O_CREAT | os.O_RDWR, 0o600))
    os.unlink(sys.argv[1])
END
  kill -CONT "$keeper"
  must contains "$LOG" "WARN the tracker has not heard [0-9]+ connections or words"
  ends raw
  must leaked "/$N-q" raw
  shutdown_mpsup

  say "a set-user-ID program"
  cp "$I" "$T/bin/setuid" && chown daemon "$T/bin/setuid" && chmod 4755 "$T/bin/setuid" || exit 1
  program rights "command=$T/bin/setuid raw:/$N-y print:ok wait" user=nobody | config
  start_mpsup
  must contains "$T/rights.out" ok
  must holds rights 1
  ends rights
  must leaked "/$N-y" rights
  shutdown_mpsup
  in_shm | grep -qF "$N-" && fail "left: $(in_shm)"

  as_user 65534
  round "a plain user"
fi
