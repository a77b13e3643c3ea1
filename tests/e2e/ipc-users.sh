#!/bin/bash
# The tracker, as root, with programs of another user: their objects go, and they cannot have those of others unlinked. What
# a stranger still uses at the end is named, and so is he.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || exit 77
uid=$(id -u nobody) || exit 77
cp "$B/libmpsup-preload.so" "$B/e2e/ipc" "$T/bin/" || exit 1
[ ! -e "$B/libmpsup-preload.before-libasan.so" ] || ln -s libmpsup-preload.so "$T/bin/libmpsup-preload.before-libasan.so"
chmod 711 "$T" "$T/bin"
own=mps-users-$$
there() { [ -e "/dev/shm/$own-$1" ]; }
absent() { ! there "$1"; }

# Root's, before and after somebody else has told of their names: he says that he is about to make them.
say "a program of another user: what it has made goes, and what is root's stays"
"$T/bin/ipc" "shm:/$own-before" || fail "it cannot make one"
config <<X2
[program:other]
command=$T/bin/ipc shm:/$own-made sem:/$own-made "say:REGISTER:/$own-before:shared_memory" "say:REGISTER:/$own-after:shared_memory" print:ok wait
user=nobody
startsecs=0
stdout_logfile=$T/other.out
[program:root]
command=$T/bin/ipc "say:REGISTER:/$own-root:shared_memory" shm:/$own-root print:ok wait
startsecs=0
stdout_logfile=$T/root.out
[program:thief]
command=$T/bin/ipc "say:REGISTER:/$own-root:shared_memory" "say:UNREGISTER:/$own-root:shared_memory" print:ok wait
user=nobody
autostart=false
startsecs=0
stdout_logfile=$T/thief.out
X2
start_mpsup
must contains "$T/other.out" '^ok$'
must contains "$T/root.out" '^ok$'
[ "$(stat -c %u "/dev/shm/$own-made")" = "$uid" ] || fail "it is not nobody's"
"$T/bin/ipc" "shm:/$own-after"
mps_expect 0 stop other
must absent made
[ ! -e "/dev/shm/sem.$own-made" ] || fail "its semaphore is left"
must contains "$LOG" "leaked shared memory /$own-made unlinked \(program other, pid [0-9]+\)"
there before || fail "what was there before is gone"
there after || fail "what root has made since is gone"

say "nor can it take root's from the program that has them"
mps_expect 0 start thief
must contains "$T/thief.out" '^ok$'
mps_expect 0 stop thief
there root || fail "it is gone"
mps_expect 0 stop root
must absent root

say "nor by its slate: all of it is killed, and the next start reads that"
slate=$RUNTIME/ipc.slate.$uid
[ "$(stat -c '%u %a' "$slate")" = "$uid 600" ] || fail "the slate is $(stat -c '%u %a' "$slate")"
[ "$(stat -c '%u %a' "$RUNTIME/ipc.slate.0")" = "0 600" ] || fail "root's slate is open to others"
# struct slate_place: taken, told_ns, pid, length, line
python3 - "$slate" "$own" "$uid" <<'X2' || fail "it cannot write there"
import os, struct, sys
slate, own, uid = sys.argv[1:]
fd = os.open(slate, os.O_RDWR)
os.setuid(int(uid))
for i, name in enumerate(("before", "after")):
    line = f"REGISTER:/{own}-{name}:shared_memory\n".encode()
    os.pwrite(fd, struct.pack("<QqiI", 1, 1, 1, len(line)) + line, i * 320)
X2
old=$keeper
kill -KILL "$old" "$supervisor"
must gone "$old"
must gone "$supervisor"
start_mpsup
there before || fail "what was there before is gone"
there after || fail "what root has made since is gone"

say "what a stranger uses at the end is named, and so is he"
must contains "$T/root.out" '^ok$'
must there root
"$T/bin/ipc" "hold:/$own-root" print:ok wait >"$T/stranger.out" 2>&1 </dev/null &
stranger=$!
must contains "$T/stranger.out" '^ok$'
mps_expect 0 shutdown
must gone "$keeper"
there root || fail "it was taken from its user"
must contains "$LOG" "shared memory /$own-root \(program root, pid [0-9]+\) is not unlinked: it is in use by ipc \(pid $stranger\)"
kill -KILL "$stranger"
wait "$stranger" 2>/dev/null
expect 0 "$MPSUP" ipc clean
absent root || fail "it is left"
rm -f "/dev/shm/$own-before" "/dev/shm/$own-after"
