#!/bin/bash
# What programs leave behind in /dev/shm and elsewhere: unlinked when they have ended, unless it is somebody's; also when
# the supervisor, the keeper or both were killed.
# shellcheck source=tests/e2e/lib.sh
ALONE=1
. "$(dirname "$0")/lib.sh"
cp "$B/e2e/ipc" "$T/bin/" || exit 1
cp -P "$B"/libmpsup-preload*.so "$T/bin/" || exit 1
I=$T/bin/ipc
N=/mps-$$ # the beginning of all names

leaked() { # name, program: a line in the log
  contains "$LOG" "INFO leaked [a-zA-Z ]+ $1 unlinked \(program $2, pid [0-9]+\)"
}
in_ipc() { # program, key of "ipc" in status
  mps status --json "$1" | python3 -c '
import json, sys
print(json.load(sys.stdin)["processes"][0]["ipc"][sys.argv[1]])' "$2"
}
holds() { # program, number
  [ "$(in_ipc "$1" held)" = "$2" ]
}
cleaned() { # program, number
  [ "$(in_ipc "$1" cleaned)" = "$2" ]
}
there() { # names of files in /dev/shm
  local f
  for f in "$@"; do [ -e "/dev/shm$f" ] || return 1; done
}
not_there() {
  local f
  for f in "$@"; do [ ! -e "/dev/shm$f" ] || return 1; done
}
put() { # NAME: shared memory of nobody
  head -c 4096 /dev/zero >"/dev/shm$1"
}
# ends PROGRAM: it is killed, and stays so.
ends() {
  mps_expect 0 signal KILL "$1"
  must in_state "$1" "EXITED"
}
# told PROGRAM: it has come to its word "ok".
told() {
  must contains "$T/$1.out" ok
}
program() { # name, words of the helper, further lines
  local name=$1 words=$2
  shift 2
  printf '%s\n' "[program:$name]" "command=$I $words print:ok wait" "stdout_logfile=$T/$name.out" startsecs=0 \
    autorestart=false "$@"
}

# A key of System V that nobody else has.
K=$(printf %08x $((0x6b000000 + $$)))
put "$N-old"
is_old() { # NAME: by more than the clock of files may be late
  [ -n "$(find "/dev/shm$1" ! -newermt '0.2 seconds ago')" ]
}
must is_old "$N-old"
{
  program each "say:REGISTER:$N-a:shared_memory shm:$N-a say:REGISTER:$N-s:semaphore sem:$N-s say:REGISTER:$N-q:mqueue mq:$N-q say:REGISTER:k$K:sysv_shm sysvshm:$K"
  program maker "say:REGISTER:$N-c:shared_memory shm:$N-c"
  program user "hold:$N-c" autostart=false
  program old "say:REGISTER:$N-old:shared_memory"
  program given "say:REGISTER:$N-g:shared_memory shm:$N-g say:UNREGISTER:$N-g:shared_memory"
  program again "say:REGISTER:$N-r:shared_memory shm:$N-r"
  program late "say:REGISTER:$N-l:shared_memory shm:$N-l" ipc_cleanup=shutdown
  program never "say:REGISTER:$N-n:shared_memory shm:$N-n" ipc_cleanup=off
  program blind "shm:$N-b" track=off
  program mute "shm:$N-m sem:$N-m sysvshm" track=preload "environment=LD_PRELOAD=\"libm.so.6\""
  program bad "post:x::: huge:60000 crowd:1000 flood:5000"
} | config_with track=scan
start_mpsup
for p in each maker old given again late never blind bad; do told "$p"; done
must holds each 4

say "the shim tells of what a program says nothing of, before another library; track=scan does without"
told mute
must holds mute 3
tr '\0' '\n' <"/proc/$(pid_of mute)/environ" >"$T/environ"
contains "$T/environ" "^LD_PRELOAD=$T/bin/libmpsup-preload.before-libasan.so:libm.so.6$" || fail "$(grep LD_ "$T/environ")"
contains "$T/environ" "^MPSUP_TRACKER=$RUNTIME/ipc.sock$" || fail "$(grep MPSUP "$T/environ")"
tr '\0' '\n' <"/proc/$(pid_of each)/environ" >"$T/environ"
contains "$T/environ" "^LD_PRELOAD" && fail "$(grep LD_ "$T/environ")"
contains "$T/environ" "^MPSUP_TRACKER=$RUNTIME/ipc.sock$" || fail "$(grep MPSUP "$T/environ")"
tr '\0' '\n' <"/proc/$(pid_of blind)/environ" >"$T/environ"
contains "$T/environ" "^(LD_PRELOAD|MPSUP_TRACKER)" && fail "$(cat "$T/environ")"
ends mute
must cleaned mute 3
not_there "$N-m" "/sem.${N#/}-m" || fail "left: $(in_shm)"

say "what one that was killed has made of each type is gone, with a line and a count"
id=$(grep -m 1 -E '^[0-9]+$' "$T/each.out")
ends each
must leaked "$N-a" each
must leaked "$N-s" each
must leaked "$N-q" each
must leaked "k$K" each
not_there "$N-a" "/sem.${N#/}-s" || fail "there is still some of it: $(in_shm)"
[ ! -e "/dev/mqueue$N-q" ] || fail "the queue is there"
ipcs -m -i "$id" 2>/dev/null | grep -q "shmid=$id" && fail "the SysV memory is there"
cleaned each 4 || fail "cleaned: $(in_ipc each cleaned)"
holds each 0 || fail "held: $(in_ipc each held)"
mps_expect 3 status each
contains "$T/out" 'objects +0 held, 4 leaked and unlinked' || fail "status: $(cat "$T/out")"

say "what another program uses stays until that has ended"
mps_expect 0 start user
told user
ends maker
there "$N-c" || fail "it was taken from the other"
ends user
must leaked "$N-c" maker
must not_there "$N-c"
cleaned maker 1 || fail "cleaned: $(in_ipc maker cleaned)"

say "what was there before, was handed over or was made again by another is not touched"
rm "/dev/shm$N-r"
put "$N-r"
for p in old given again; do ends "$p"; done
there "$N-old" "$N-g" "$N-r" || fail "left: $(in_shm)"
contains "$LOG" "$N-(old|g|r) unlinked" && fail "the log tells of one"

say "ipc_cleanup and track are obeyed"
for p in late never blind; do ends "$p"; done
there "$N-l" "$N-n" "$N-b" || fail "left: $(in_shm)"

say "bad clients harm nobody"
mps_expect 0 start each
must holds each 4
ends bad
ends each
must cleaned each 8

say "the counts are known to the next supervisor, and it is told what the one before was not"
mps_expect 0 start each
must holds each 4
kill -STOP "$supervisor"
kill -KILL "$(pgrep -P "$keeper" -x ipc)"
take_over
must cleaned each 12
must leaked "$N-a" each
must not_there "$N-a"

say "an event is told"
mps events --json --type ipc >"$T/events" 2>&1 &
listener=$!
python3 -c 'import pty, sys; pty.spawn(sys.argv[1:])' "$MPSUP" events -c "$CONF" --type ipc </dev/null >"$T/events.tty" 2>&1 &
terminal=$!
event_comes() { # once they listen
  mps_expect 0 restart maker
  contains "$T/events" '"type": ?"shared_memory"' && contains "$T/events.tty" leaked
}
must event_comes
contains "$T/events" "\"object\": ?\"$N-c\"" || fail "events: $(cat "$T/events")"
contains "$T/events.tty" "maker .*leaked shared memory $N-c unlinked, pid [0-9]+" || fail "on a terminal: $(cat "$T/events.tty")"
kill "$listener" "$terminal"

say "a stranger is not heard"
MPSUP_TRACKER=$RUNTIME/ipc.sock expect 1 "$I" "say:REGISTER:$N-x:shared_memory" "shm:$N-x"
must contains "$LOG" "WARN the tracker has not heard [0-9]+ connections or words"

say "the keeper is killed: the supervisor looks into the journal"
must holds maker 1
kill -KILL "$keeper"
must -t 10 nothing_left
must not_there "$N-c"
must contains "$LOG" "leaked shared memory $N-c unlinked"
there "$N-old" "$N-g" "$N-r" "$N-n" "$N-b" || fail "left: $(in_shm)"
[ ! -e "$RUNTIME/ipc.journal" ] || fail "the journal is there"
must not_there "$N-l"

say "both are killed: the next start looks into it"
rm -f "/dev/shm$N"-[gnbr]
start_mpsup
for p in each maker; do must holds "$p" "$([ $p = each ] && echo 4 || echo 1)"; done
kill -KILL "$supervisor" "$keeper"
for p in $(ours); do kill -KILL "$p" 2>/dev/null; done
must nothing_left
there "$N-c" || fail "who has unlinked it?"
sed -i "/^autostart=/d; s/^autorestart=false/&\nautostart=false/" "$CONF"
"$I" "hold:$N-c" print:ok wait >"$T/holder.out" &
holder=$!
told holder
: >"$LOG"
start_mpsup
must not_there "$N-a" "/sem.${N#/}-s"
there "$N-c" || fail "it was taken from who uses it"
must contains "$LOG" "WARN shared memory $N-c is not unlinked: it is in use \((after [^,]*, )?program maker"
kill "$holder"
wait "$holder" 2>/dev/null

say "a shutdown unlinks what was to wait for it, and leaves no file of its own"
mps_expect 0 start late
must holds late 1
ends late # which is when it looks again at what was in use
must leaked "$N-c" maker
not_there "$N-c" || fail "it is there"
there "$N-l" || fail "it did not wait"
shutdown_mpsup
not_there "$N-l" || fail "it is there"
[ ! -e "$RUNTIME" ] || fail "left: $(ls "$RUNTIME")"
rm -f "/dev/shm$N"*
