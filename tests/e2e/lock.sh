#!/bin/bash
# mpsup lock and sem: who holds what, in what order it is free again, and that it is free only when nothing of the holder's
# command is left, whoever is killed.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

L=lock-$$ # others use this user's locks, too
case $(id -u) in
0) DIR=/run/mpsup/locks ;;
*) DIR=$XDG_RUNTIME_DIR/mpsup/locks ;;
esac
holding() { # file that its command makes when it runs
  [ -e "$1" ]
}
# A command in the background that holds NAME until $T/go-on is there: $front.
hold() { # verb, name, option...
  local verb=$1 name=$2
  shift 2
  rm -f "$T/holds" "$T/go-on"
  "$MPSUP" "$verb" "$name" "$@" -- "$T/bin/holder" "$T" >"$T/hold.out" 2>&1 &
  front=$!
  must holding "$T/holds"
}
let_go() {
  : >"$T/go-on"
  wait "$front"
}
cat >"$T/bin/holder" <<'EOF'
#!/bin/bash
trap '' TERM
mkfifo "$1/fifo.$$" && exec 3<>"$1/fifo.$$" && rm "$1/fifo.$$"
: >"$1/holds"
until [ -e "$1/go-on" ]; do read -rt 0.02 -u 3; done
exit 0
EOF
chmod 755 "$T/bin/holder"
lock_waits() { # the front of a waiting lock has a second thread
  set -- "/proc/$1/task/"*
  [ $# = 2 ]
}
no_files() {
  set -- "$DIR/"*"$L"*
  [ ! -e "$1" ]
}

say "the status, the words, the options before and behind the name"
expect 0 "$MPSUP" lock "$L" -- true
expect 7 "$MPSUP" lock "$L" sh -c 'exit 7'
expect 143 "$MPSUP" lock --timeout 5 "$L" --shared -- sh -c 'kill -TERM $$'
expect 127 "$MPSUP" lock "$L" -- no-such-command
contains "$T/err" '^mpsup: lock: no-such-command: No such file or directory$' || fail "it says '$(cat "$T/err")'"
expect 0 "$MPSUP" lock "$L" --timeout 1 -- echo --timeout 1 -- -x
[ "$(cat "$T/out")" = '--timeout 1 -- -x' ] || fail "it got '$(cat "$T/out")'"
for words in '' "$L" "--timeout soon $L true" "--timout 3 $L true" '../x true' '.x true' 'a/b true'; do
  # shellcheck disable=SC2086 # words
  expect 2 "$MPSUP" lock $words
done
expect 2 "$MPSUP" lock '' true
expect 2 "$MPSUP" lock "$(printf '%0201d' 1)" true
expect 0 "$MPSUP" lock "$(printf "%0$((200 - ${#L}))d%s" 1 "$L")" true
expect 2 "$MPSUP" sem "$L" true
for n in 0 -1 121 many; do
  expect 2 "$MPSUP" sem "$L" -n "$n" true
done
expect 0 "$MPSUP" sem -n 120 "$L" true
no_files || fail "files are left in $DIR"

say "held by one: the others are told by whom, wait, and have it next"
hold lock "$L"
expect 124 "$MPSUP" lock "$L" --timeout 0 -- true
contains "$T/err" "^mpsup: lock $L: not free in time, held by pid $front \(mpsup: lock $T" ||
  fail "it says '$(cat "$T/err")'"
expect 124 "$MPSUP" lock "$L" --shared --timeout 0.2 -- true
"$MPSUP" lock "$L" -- echo got >"$T/out" 2>"$T/err" &
second=$!
must lock_waits "$second"
let_go || fail "the holder ended with $?"
wait "$second" || fail "the next one ended with $?"
[ "$(cat "$T/out")" = got ] || fail "it said '$(cat "$T/out")'"

say "shared: by several, but not beside one that is not"
hold lock "$L" --shared
expect 0 "$MPSUP" lock "$L" --shared --timeout 0 -- true
expect 124 "$MPSUP" lock "$L" --timeout 0 -- true
let_go
expect 0 "$MPSUP" lock "$L" --timeout 0 -- true

say "an interrupted wait"
hold lock "$L"
"$MPSUP" lock "$L" -- true 2>"$T/err" &
second=$!
must lock_waits "$second"
kill -TERM "$second"
wait "$second"
[ $? = 143 ] || fail "SIGTERM while it waits"
let_go

say "the holder killed: free when its command is gone, not before"
hold lock "$L"
kill -KILL "$front"
# shellcheck disable=SC2016 # its own
expect 0 "$MPSUP" lock "$L" --timeout 10 -- sh -c '! pgrep -f "^/bin/bash $0 $1\$" >/dev/null' "$T/bin/holder" "$T"
must nothing_left

say "its keeper killed: likewise"
hold lock "$L"
kill -KILL "$(pgrep -P "$front")"
expect 0 "$MPSUP" lock "$L" --timeout 10 -- true
wait "$front"
[ $? = 137 ] || fail "its status"
contains "$T/hold.out" 'its keeper was ended by SIGKILL' || fail "it says '$(cat "$T/hold.out")'"

say "flock(1) has the same lock; another user's is another"
hold lock "$L"
expect 1 flock -n "$DIR/$L.lock" true
let_go

say "a semaphore: so many at a time, whose places come back"
hold sem "$L" -n 2
one=$front
hold sem "$L" -n 2
expect 124 "$MPSUP" sem "$L" -n 2 -t 0 -- true
contains "$T/err" "^mpsup: sem $L: no unit was free in time$" || fail "it says '$(cat "$T/err")'"
expect 124 "$MPSUP" sem "$L" -n 2 -t 0.2 -- true
expect 2 "$MPSUP" sem "$L" -n 3 -- true
contains "$T/err" "it has 2 units as long as somebody uses it, not 3$" || fail "it says '$(cat "$T/err")'"
kill -KILL "$one"
expect 0 "$MPSUP" sem "$L" -n 2 -t 10 -- true
let_go
must nothing_left
# Who is ending has the file for a moment longer than it is seen.
sem_of_three() { "$MPSUP" sem "$L" -n 3 -t 0 -- true 2>/dev/null; }
must sem_of_three
no_files || fail "files are left in $DIR"

say "a file that is none is said"
mkdir -p "$DIR" && mkdir "$DIR/$L.lock"
expect 125 "$MPSUP" lock "$L" -- true
contains "$T/err" "^mpsup: lock $L: $DIR/$L.lock: Is a directory$" || fail "it says '$(cat "$T/err")'"
rmdir "$DIR/$L.lock"

say "many at once, and kill -9 of holders and keepers at random: never two within"
cat >"$T/bin/within" <<'EOF'
#!/bin/bash
read -r p <"$1/holder"
if [ -n "$p" ] && read -r stat 2>/dev/null <"/proc/$p/stat"; then
  case ${stat##*) } in Z* | X*) ;; *) echo "$p was there when $$ came" >>"$1/broken" ;; esac
fi
echo $$ >"$1/holder"
echo >>"$1/ran"
EOF
chmod 755 "$T/bin/within"
: >"$T/holder"
: >"$T/ran"
: >"$T/fronts"
again() {
  while [ ! -e "$T/stop" ]; do
    "$MPSUP" lock "$L" -- "$T/bin/within" "$T" >/dev/null 2>&1 &
    echo $! >>"$T/fronts"
    wait $!
  done 2>/dev/null
}
loops=
for _ in 1 2 3; do
  again &
  loops="$loops $!"
done
for i in $(seq 60); do
  must n_lines "$T/ran" "$((i * 2))"
  victim=$(tail -n $((RANDOM % 3 + 1)) "$T/fronts" | head -n 1)
  [ $((RANDOM % 2)) = 0 ] || victim=$(pgrep -P "$victim" -f 'mpsup: ' | head -n 1)
  [ -z "$victim" ] || kill -KILL "$victim" 2>/dev/null
done
: >"$T/stop"
# shellcheck disable=SC2086 # pids
wait $loops
[ ! -e "$T/broken" ] || fail "$(cat "$T/broken")"
must nothing_left
expect 0 "$MPSUP" lock "$L" --timeout 10 -- true
no_files || fail "files are left in $DIR"
