#!/bin/bash
# mpsup ipc: what it lists, cleans, unlinks and registers.
# shellcheck disable=SC2034 # lib.sh reads it
ALONE=1
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

cp "$B/libmpsup-preload.so" "$T/bin/" || exit 1
ln -s libmpsup-preload.so "$T/bin/libmpsup-preload.before-libasan.so"
N=mpsv$$
shm=/dev/shm/$N
ipc() { # status, arguments
  local want=$1
  shift
  expect "$want" "$MPSUP" ipc "$@"
}
there() { [ -e "$1" ]; }
is_not_there() { [ ! -e "$1" ]; }
# A row's column of ls --json: column NAME KEY
column() {
  "$MPSUP" ipc ls --all --json | python3 -c '
import json, sys
for o in json.load(sys.stdin)["objects"]:
    if o["name"] == sys.argv[1]:
        print(o[sys.argv[2]])' "$1" "$2"
}

say "ls shows what programs have, of whom, and who uses it"
config <<X2
[program:makes]
command=bash -c 'echo x >$shm-a; exec 7<$shm-a; echo \$\$ >$T/pid; read -r <$T/never'
startsecs=0
autorestart=false
X2
mkfifo "$T/never"
start_mpsup
must test -s "$T/pid"
pid=$(cat "$T/pid")
ipc 0 ls
contains "$T/out" "^TYPE +NAME +SIZE +AGE +CREATOR +PROGRAM +USED BY" || fail "no title"
contains "$T/out" "^shared_memory +/$N-a +[0-9]+. +[0-9:]+ +$pid +makes +.*$pid \(bash\)" || fail "no row"
[ "$(column "/$N-a" program)" = makes ] || fail "JSON: $(column "/$N-a" program)"
[ "$(column "/$N-a" left)" = False ] || fail "JSON: left"
[ "$(column "/$N-a" used_by)" = "[$pid]" ] || fail "used by $(column "/$N-a" used_by)"

say "what is in use is not unlinked, and it is said by whom"
ipc 1 unlink "/$N-a"
contains "$T/err" "shared memory /$N-a is in use by $pid \(bash\)" || fail "it says otherwise"
ipc 1 unlink "/$N-none"
contains "$T/err" "there is no object /$N-none" || fail "it says otherwise"
echo y >"$shm-b"
ipc 0 unlink "shared_memory:/$N-b"
is_not_there "$shm-b" || fail "it is still there"

say "clean finds what strangers have left, by name, unless it is in use or of a program that runs"
echo y >"$shm-c"
echo y >"$shm-d"
exec 8<"$shm-d"
ipc 0 clean --dry-run --match "$N-*"
contains "$T/out" "^would unlink shared memory /$N-c$" || fail "not that it would"
there "$shm-c" || fail "a dry run unlinks"
ipc 0 clean --older-than 1h --match "$N-*"
there "$shm-c" || fail "it is not as old as that"
ipc 0 clean --match "$N-*"
contains "$T/out" "^unlinked shared memory /$N-c$" || fail "not that it did"
contains "$T/out" "^kept shared memory /$N-d: in use$" || fail "not that it is in use"
is_not_there "$shm-c" || fail "it is still there"
there "$shm-d" || fail "one too many is gone"
there "$shm-a" || fail "one too many is gone"
exec 8<&-
ipc 0 unlink "/$N-d"

say "what an instance has left whose keeper and supervisor were killed is listed as left, and cleaned"
kill -STOP "$supervisor"
kill -KILL "$keeper" "$supervisor"
must gone "$keeper" "$supervisor" "$pid"
there "$shm-a" || fail "it is gone already"
ipc 0 ls
contains "$T/out" "/$N-a .* makes \(left\) " || fail "not marked"
ipc 0 clean --dry-run
contains "$T/out" "^would unlink shared memory /$N-a \(program makes\)$" || fail "not that it would"
ipc 0 clean
contains "$T/out" "^unlinked shared memory /$N-a \(program makes\)$" || fail "not that it did"
is_not_there "$shm-a" || fail "it is still there"

say "register makes files and folders go with what runs, and unregister keeps them"
mkdir -p "$T/scratch/deep" "$T/kept"
touch "$T/scratch/deep/x" "$T/one" "$T/kept/y"
expect 0 "$MPSUP" exec -- bash -c "
  $MPSUP ipc register folder $T/scratch && $MPSUP ipc register file $T/one && $MPSUP ipc register folder $T/kept &&
  $MPSUP ipc unregister folder $T/kept"
is_not_there "$T/scratch" || fail "the folder is still there"
is_not_there "$T/one" || fail "the file is still there"
there "$T/kept/y" || fail "what was unregistered is gone"
echo y >"$shm-e"
expect 1 "$MPSUP" exec -- "$MPSUP" ipc register shared_memory "/$N-e"
contains "$T/err" "is there already" || fail "it says otherwise"
there "$shm-e" || fail "what was there before is gone"
rm "$shm-e"
ipc 2 register folders "$T/kept"
contains "$T/err" "did you mean folder" || fail "it does not guess"
ipc 1 register folder "$T/kept"
contains "$T/err" "MPSUP_TRACKER is not set" || fail "it says otherwise"
ipc 2 unlink
ipc 2 nonsense
ipc 2 claen
contains "$T/err" "did you mean ipc clean" || fail "it does not guess"

say "an action does not take the options of another; a name may lack its slash"
echo y >"$shm-f"
ipc 2 unlink --dry-run "/$N-f"
contains "$T/err" "ipc unlink takes no --dry-run, which is for ipc clean" || fail "it says otherwise"
there "$shm-f" || fail "it has unlinked it"
ipc 2 ls --match x
ipc 2 clean --all
ipc 0 unlink "$N-f"
is_not_there "$shm-f" || fail "it is still there"

say "any name is one row: spaces, newlines, escapes; bytes below a kilobyte"
printf 123 >"$shm-"$'g h\n\e[31m\xff'
ipc 0 ls --all
contains "$T/out" "^shared_memory +/$N-g h\?\?\[31m[^ ]+ +3B " || fail "no such row"
[ "$(column "/$N-g h"$'\n\e[31m\xef\xbf\xbd' size)" = 3 ] || fail "JSON: it has no such name"
ipc 0 clean --match "$N-g*"
[ "$(grep -c '^unlinked' "$T/out")" = 1 ] || fail "it says '$(cat "$T/out")'"
[ ! -e "$shm-"$'g h\n\e[31m\xff' ] || fail "it is still there"

say "what a program makes while strangers' are cleaned is its own"
cat >"$T/busy.py" <<'X2'
import os, sys
n = 0
while not os.path.exists(sys.argv[2]):
    names = ["%s-busy%d-%d" % (sys.argv[1], os.getpid(), n + i) for i in range(50)]
    n += 50
    for name in names:
        os.close(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    for name in names:
        os.unlink(name) # what is gone is an error
    if n == 5000:
        open(sys.argv[2] + ".begun", "w")
X2
"$MPSUP" exec -- python3 "$T/busy.py" "$shm" "$T/over" 2>"$T/busy.err" &
busy=$!
must -t 20 test -e "$T/over.begun"
for _ in $(seq 100); do
  ipc 0 clean --match "$N-busy*"
done
touch "$T/over"
wait $busy || fail "a file of a program that runs is gone: $(tail -n 1 "$T/busy.err")"

say "what is kept is told of once, and what a dead one has left too"
config <<X2
[program:left]
command=bash -c 'echo x >$shm-l; echo \$\$ >$T/pid; read -r <$T/never'
startsecs=0
autorestart=false
X2
rm -f "$T/pid"
start_mpsup
must test -s "$T/pid"
exec 8<"$shm-l"
kill -STOP "$supervisor"
kill -KILL "$keeper" "$supervisor"
must gone "$keeper" "$supervisor" "$(cat "$T/pid")"
ipc 0 clean --match "$N-l*"
[ "$(grep -c "/$N-l" "$T/out")" = 1 ] || fail "it says '$(cat "$T/out")'"
contains "$T/out" "^kept shared memory /$N-l \(program left\): in use$" || fail "it says '$(cat "$T/out")'"
exec 8<&-
ipc 0 clean --dry-run --match "$N-l*"
[ "$(grep -c "^would unlink .*/$N-l" "$T/out")" = 1 ] || fail "it says '$(cat "$T/out")'"
ipc 0 clean
is_not_there "$shm-l" || fail "it is still there"

say "a semaphore set of a program that runs is in use by who has made it"
cat >"$T/set.py" <<'X2'
import ctypes, os, sys, time
libc = ctypes.CDLL(None)
with open(sys.argv[1] + ".new", "w") as f:
    print(os.getpid(), libc.semget(0, 1, 0o1600), file=f)
os.rename(sys.argv[1] + ".new", sys.argv[1])
open(sys.argv[2]).read()
X2
"$MPSUP" exec -- python3 "$T/set.py" "$T/set" "$T/never" &
front=$!
must -t 20 test -s "$T/set"
read -r pid set <"$T/set"
ipc 1 unlink "sysv_sem:$set"
contains "$T/err" "SysV semaphore set $set is in use by $pid \(python3\), which has made it" || fail "it says otherwise"
kill "$front"
wait "$front"
[ "$(column "$set" type)" != sysv_sem ] || fail "it is still there"
