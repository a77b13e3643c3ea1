#!/bin/bash
# mpsup map: whatever is killed, stopped, closed or full, it ends, says what was, and leaves nothing behind.
# shellcheck source=tests/e2e/lib.sh
# shellcheck disable=SC1083,SC2016 # braces are placeholders; dollars are the tasks' own
. "$(dirname "$0")/lib.sh"
cp -P "$B"/libmpsup-preload*.so "$T/bin/" || exit 1

# In the background: $front is its pid. Its tasks write their pids to $T/pids.
map_start() {
  rm -f "$T/pids"
  # A shell starts what is in the background with SIGINT ignored, and /dev/null as its input.
  env --default-signal=INT,QUIT "$MPSUP" map "$@" <&0 >"$T/out" 2>"$T/err" &
  front=$!
}
ends_with() { # status
  wait_status "$front" "$1"
  must -t 3 nothing_left
}
tree='echo $$ >>"$0"; setsid sleep 1000 & sleep 1000 & sleep 1000; exit 0 {}'
lines='echo $$ >>"$0"; while read -r x; do setsid sleep 1000 & sleep 1000; done'
has_engine() { # $e
  e=$(engine)
  [ -n "$e" ]
}
engine() {
  role "map engine"
}

say "signals to it end all trees: TERM, HUP, INT, QUIT"
for sig in TERM:143 HUP:129 INT:130 QUIT:131; do
  map_start -j 2 -- sh -c "$tree" "$T/pids" < <(seq 10)
  must n_lines "$T/pids" 2
  kill -"${sig%:*}" "$front"
  ends_with "${sig#*:}"
  map_start -j 2 -- sh -c "$lines" "$T/pids" < <(yes)
  must n_lines "$T/pids" 2
  kill -"${sig%:*}" "$front"
  ends_with "${sig#*:}"
done

say "what ignores TERM is killed; a second signal does not wait"
map_start -j 1 --grace 0.2 -- sh -c 'trap "" TERM; echo $$ >>"$0"; while :; do sleep 1000; done; exit {}' "$T/pids" <<<1
must n_lines "$T/pids" 1
kill "$front"
ends_with 143
map_start -j 1 --grace 1000 -- sh -c 'trap "echo x >>\$0.term" TERM; echo $$ >>"$0"; while :; do sleep 1000 & wait; done; exit {}' "$T/pids" <<<1
must n_lines "$T/pids" 1
kill "$front"
must n_lines "$T/pids.term" 1
kill "$front"
ends_with 143

say "its front, its keeper, its engine killed: nothing stays"
for who in front keeper engine; do
  for kind in "$tree" "$lines"; do
    map_start -j 3 -- sh -c "$kind" "$T/pids" < <(yes 1)
    must n_lines "$T/pids" 3
    case $who in
    front) kill -KILL "$front" ;;
    engine) kill -KILL "$(engine)" ;;
    keeper) kill -KILL "$(ps -o ppid= -p "$(engine)" | tr -d ' ')" ;;
    esac
    wait "$front" 2>/dev/null
    must -t 5 nothing_left
  done
done

say "at any moment"
for i in $(seq 20); do
  map_start -j 3 -- sh -c 'setsid sleep 1000 & setsid sleep 1000 & exit 0 {}' < <(yes 1)
  must has_engine
  case $((i % 3)) in
  0) victim=$front ;;
  1) victim=$e ;;
  2) victim=$(ps -o ppid= -p "$e" | tr -d ' ') ;;
  esac
  read -r -t 0.0$((RANDOM % 9 + 1)) _ <> <(:)
  kill -KILL "$victim" 2>/dev/null
  wait "$front" 2>/dev/null
  must -t 5 nothing_left
done

say "workers killed at any moment: each task is answered or listed"
map_start -j 3 --retries 100 -- sh -c 'echo $$ >>"$0"; while read -r x; do echo $x; done' "$T/pids" < <(seq 200000)
started_or_over() { # workers
  n_lines "$T/pids" "$1" || ! alive "$front"
}
for i in $(seq 60); do
  must started_or_over "$i"
  kill -KILL "$(shuf -n 1 "$T/pids")" "$(tail -n 1 "$T/pids")" 2>/dev/null
  alive "$front" || break
done
ends_with 0
cmp -s "$T/out" <(seq 200000) || fail "an answer is missing"
[ "$(wc -l <"$T/pids")" -gt 10 ] || fail "only $(wc -l <"$T/pids") workers were needed"

say "nobody reads the results: it ends, and says nothing"
for n in 1 1000; do
  yes | { "$MPSUP" map -j 2 -- cat 2>"$T/err"; echo $? >"$T/status"; } | head -n "$n" >"$T/out"
  [ "$(cat "$T/status")" = 141 ] || fail "ends with $(cat "$T/status")"
  [ ! -s "$T/err" ] || fail "it says '$(cat "$T/err")'"
  yes | { "$MPSUP" map -j 2 -- echo {} 2>"$T/err"; echo $? >"$T/status"; } | head -n "$n" >"$T/out"
  [ "$(cat "$T/status")" = 141 ] || fail "ends with $(cat "$T/status")"
done
must -t 2 nothing_left

say "an endless input, and nobody in a hurry: little memory"
mkfifo "$T/slow"
map_rss() {
  awk '/VmHWM/ { print $2 }' "/proc/$(engine)/status" 2>/dev/null
}
exec 8<>"$T/slow"
{ yes "a line of some length, which is read and read again" | "$MPSUP" map -j 2 -- cat >"$T/slow" 2>"$T/err"; } 8>&- &
is_blocked() { # it has done all that it can
  local a
  a=$(awk '{ print $14 + $15 }' "/proc/$(engine)/stat")
  read -r -t 0.1 _ <> <(:)
  [ "$a" = "$(awk '{ print $14 + $15 }' "/proc/$(engine)/stat")" ]
}
must has_engine
must is_blocked
[ "$(map_rss)" -lt $((80000 * SLOW * SLOW)) ] || fail "$(map_rss) kB"
exec 8>&-
wait
must -t 2 nothing_left

say "nor where tasks say much that nobody reads"
rm -f "$T/slow" && mkfifo "$T/slow"
exec 8<>"$T/slow"
{ "$MPSUP" map -j 2 -- sh -c 'yes >&2; exit {}' 2>"$T/slow" >"$T/out" < <(seq 2); } 8>&- &
must has_engine
must is_blocked
[ "$(map_rss)" -lt $((80000 * SLOW * SLOW)) ] || fail "$(map_rss) kB"
kill "$e"
wait
exec 8>&-
must -t 2 nothing_left

say ".. nor where the first of an ordered lot is slow: some thousand are done ahead, and outputs go to a file"
rm -f "$T/f" && mkfifo "$T/f"
seq 1000000 | TMPDIR=$T "$MPSUP" map -j 2 -- sh -c 'if [ {} = 1 ]; then read -r _ <"$0"; fi; if [ {} -lt 200 ]; then head -c 500000 /dev/zero; fi; echo {}' "$T/f" >"$T/big" 2>"$T/err" &
front=$!
must has_engine
must -t 60 is_blocked
rss=$(map_rss)
[ "$rss" -lt $((100000 * SLOW * SLOW)) ] || fail "$rss kB"
kill "$(engine)"
wait "$front"
must -t 2 nothing_left
map_start -j 2 -- sh -c 'if [ {} = 1 ]; then read -r _ <"$0"; fi; [ {} != 150 ] || echo go >"$0"; head -c 500000 /dev/zero | tr "\0" x; echo {}' "$T/f" < <(seq 150)
ends_with 0
[ "$(md5sum <"$T/out")" = "$(for i in $(seq 150); do head -c 500000 /dev/zero | tr '\0' x; echo "$i"; done | md5sum)" ] || fail "outputs of 75 MB are not what they were"

say "a full disk, a closed standard output"
for kind in 'cat' 'echo {}'; do
  # shellcheck disable=SC2086 # words
  seq 1000 | "$MPSUP" map -j 2 -- $kind >/dev/full 2>"$T/err"
  [ $? = 1 ] || fail "a full disk is no failure"
  contains "$T/err" '^mpsup: map: cannot write the output: No space left on device$' || fail "it says '$(cat "$T/err")'"
  # shellcheck disable=SC2086
  seq 10 | "$MPSUP" map -j 2 -- $kind >&- 2>"$T/err" || fail "it says '$(cat "$T/err")'"
done
expect 0 "$MPSUP" map -j 2 -- cat <&-

say "shared memory that is left: unlinked at the end, but what others use, which is said"
mine=/mps-map-$$
objects() { find /dev/shm -maxdepth 1 -name "${mine#/}-*" | wc -l; }
expect 0 "$MPSUP" map -j 2 -- sh -c "while read -r x; do '$B/e2e/ipc' shm:$mine-\$x; echo \$x; done" < <(seq 5)
[ "$(wc -l <"$T/out")-$(objects)" = 5-0 ] || fail "of workers $(objects) are left"
expect 0 "$MPSUP" map -j 2 -0 -- "$B/e2e/ipc" "shm:$mine-0" </dev/null
expect 1 "$MPSUP" map -j 1 -0 -- "$B/e2e/ipc" "shm:$mine-0" <<<1
[ "$(objects)" = 0 ] || fail "of a worker by -0 $(objects) are left"
expect 0 "$MPSUP" map -j 2 --track preload -- "$B/e2e/ipc" "shm:$mine-{}" < <(seq 5)
[ "$(objects)" = 0 ] || fail "of tasks $(objects) are left"
expect 0 "$MPSUP" map -j 2 --track off -- "$B/e2e/ipc" "shm:$mine-{}" < <(seq 3)
[ "$(objects)" = 3 ] || fail "with --track off $(objects) are left"
rm -f /dev/shm"$mine"-*
expect 2 "$MPSUP" map --track on -- true
rm -f "$T/go" && mkfifo "$T/go"
base=${XDG_RUNTIME_DIR:-/tmp}/mpsup
[ "$(id -u)" != 0 ] || base=/run/mpsup
for without in '' fanotify; do # it has noticed before they end
  export MPSUP_NO=$without
  map_start -j 2 -- "$B/e2e/ipc" "raw:$mine-{}" "hold:$mine-{}" "read:$T/go" < <(seq 2)
  unset MPSUP_NO
  journal=$base/exec-$front-0/ipc.journal
  must contains "$journal" "$mine-1"
  must contains "$journal" "$mine-2"
  exec 8<>"$T/go"
  printf '\n\n' >&8
  ends_with 0
  exec 8>&-
  [ "$(objects)" = 0 ] || fail "of tasks that do not tell (without '$without') $(objects) are left"
  [ ! -e "${journal%/*}" ] || fail "the tracker's folder is left"
done
map_start -j 1 -- sh -c "'$B/e2e/ipc' shm:$mine-u; read -r _ <'$T/go'; read -r x; echo \$x" <<<1
must test -e "/dev/shm$mine-u"
"$B/e2e/ipc" "hold:$mine-u" print:held wait >"$T/held" 2>&1 </dev/null &
user=$!
must contains "$T/held" '^held$'
echo >"$T/go"
wait "$front" || fail "ends with $?"
contains "$T/err" "^mpsup: map: shared memory $mine-u \(program map, pid [0-9]+\) is not unlinked: it is in use by ipc \(pid $user\)$" || fail "it says '$(cat "$T/err")'"
kill "$user"
wait "$user" 2>/dev/null
expect 0 "$MPSUP" map -- cat </dev/null
[ "$(objects)" = 0 ] || fail "what was in use is left"

say "100,000 tasks"
seq 100000 | "$MPSUP" map -j 2 -- cat | cmp -s - <(seq 100000) || fail "100,000 answers"
[ -n "${SAN:-}" ] || [ "$(seq 5000 | "$MPSUP" map -j 50 -- "$W" --exit 0 {} | wc -l)" = 0 ] || fail "5000 tasks, 50 at a time"

say "fewer at a time where there are not enough descriptors"
seq 60 | timeout 30 prlimit --nofile=40 "$MPSUP" map -j 30 -- echo {} 2>"$T/err" | cmp -s - <(seq 60) || fail "with few descriptors"
contains "$T/err" '^mpsup: map: at most [0-9]+ at a time: no more than 40 descriptors are allowed$' || fail "it says '$(cat "$T/err")'"
seq 60 | timeout 30 prlimit --nofile=40 "$MPSUP" map -j 30 -- sed -u s/x/y/ 2>/dev/null | cmp -s - <(seq 60) || fail "with few descriptors"
must -t 2 nothing_left
