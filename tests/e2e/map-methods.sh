#!/bin/bash
# mpsup map --start-method: what a command is, an entry is too, in each way that it is started; and what becomes of the
# forkserver is not the tasks' business.
# shellcheck source=tests/e2e/lib.sh
# shellcheck disable=SC1083,SC2016 # braces are placeholders
. "$(dirname "$0")/lib.sh"
cp -P "$B"/libmpsup-preload*.so "$T/bin/" || exit 1

METHODS='spawn fork forkserver'
server='' spare='' engine='' # pids, by has_role
so=$T/bin/worker.so
main=$so:main

map() { # status, method, arguments
  local want=$1 method=$2
  shift 2
  expect "$want" "$MPSUP" map --start-method "$method" "$@"
}
out_is() {
  [ "$(cat "$T/out")" = "$1" ] || fail "the output is '$(head -c 300 "$T/out")' and not '$1'"
}
err_has() { # pattern
  contains "$T/err" "$1" || fail "no '$1' in '$(cat "$T/err")'"
}
map_start() { # method, arguments: in the background, $front is its pid
  local method=$1
  shift
  env --default-signal=INT,QUIT "$MPSUP" map --start-method "$method" "$@" <&0 >"$T/out" 2>"$T/err" &
  front=$!
}
ends_with() { # status
  wait_status "$front" "$1"
  must -t 3 nothing_left
}
has_role() { # role, variable
  local pid
  pid=$(role "$1")
  [ -n "$pid" ] && printf -v "$2" %s "$pid"
}

seen() { # what is the same for all; handlers of a sanitizer are those of the host
  sed -E '/^env _=|^(pid|ppid|pgrp|pgid|sid|session) /d; s/pipe:.*|exec-[0-9]+/.../'"${SAN:+; /^SigCgt/d}" "$1"
}
trap '' USR2 # inherited by all that follow
map 0 command -j 1 -- "$W" --dump "$T/dump.command" --exit 0 {} 9</dev/null <<<x

for method in $METHODS; do
  say "$method: a process a task, and workers that live on"
  map 0 "$method" -j 3 -- "$main" --say '<{}>' --exit 0 < <(seq 300)
  cmp -s "$T/out" <(seq 300 | sed 's/.*/<&>/') || fail "the results are '$(head -c 300 "$T/out")'"
  map 0 "$method" -j 3 -- "$main" --answer '+' < <(seq 3000)
  cmp -s "$T/out" <(seq 3000 | sed 's/^/+/') || fail "the answers are '$(head -c 300 "$T/out")'"
  [ ! -s "$T/err" ] || fail "it says '$(cat "$T/err")'"
  map 0 "$method" -j 2 --max-tasks 7 -- "$main" --answer '' < <(seq 100)
  cmp -s "$T/out" <(seq 100) || fail "by workers of seven tasks the answers are '$(head -c 300 "$T/out")'"

  say "$method: status, signal and time limit are those of the task"
  map 1 "$method" --json -j 2 -- "$main" --once "$T/$method-{}" '{' --exit 3 '}' --signal SEGV <<<x
  grep -q '"status":3,"signal":null,"failed":"exit"' <(tr -d ' ' <"$T/out") || fail "it is '$(cat "$T/out")'"
  map 1 "$method" -- "$main" --say '{}' --signal SEGV <<<x
  err_has '^  task 1: SIGSEGV: x$'
  map 1 "$method" -t 0.2 -- "$main" --say '{}' <<<x
  err_has '^  task 1: not over after 0.2 s: x$'
  map 0 "$method" -r 1 -- "$main" --once "$T/again-$method-{}" '{' --exit 3 '}' --exit 0 <<<x
  map 1 "$method" -- "$main" --exit 5 <<<x
  err_has "^mpsup: map: $main exited with 5 before it read a task, 3 times in a row$"

  say "$method: what a task finds is what a command would"
  map 0 "$method" -j 1 -- "$main" --dump "$T/dump" --exit 0 {} 9</dev/null <<<x
  diff <(seen "$T/dump.command") <(seen "$T/dump") || fail "an entry finds something else"
  say "$method: one error for what cannot be loaded, and not one a task"
  map 126 "$method" -j 2 -- "$so:nothing" {} < <(seq 10)
  err_has "^mpsup: map: cannot start $so:nothing: entry: undefined symbol: nothing$"
  [ "$(wc -l <"$T/err")" = 1 ] || fail "it says '$(cat "$T/err")'"
  map 126 "$method" -j 2 -- "$T/text.so:main" {} < <(echo x >"$T/text.so" && seq 10)
  err_has "^mpsup: map: cannot start $T/text.so:main: .*(invalid ELF header|file too short)$"
  [ "$(wc -l <"$T/err")" = 1 ] || fail "it says '$(cat "$T/err")'"
  map 127 "$method" -- "$T/none.so:main" {} <<<1
  err_has "^mpsup: map: $T/none.so: No such file or directory$"

  say "$method: signals end all trees"
  for kind in '{}' x; do
    rm -f "$T/pids"
    map_start "$method" -j 2 -- "$main" --pidfile "$T/pids" --tree 2 --daemonize --note USR1 "$kind" < <(yes)
    must n_lines "$T/pids" 2
    kill "$front"
    ends_with 143
  done
  for who in front keeper engine; do
    rm -f "$T/pids"
    map_start "$method" -j 2 -- "$main" --pidfile "$T/pids" --fork 1 '{' --setsid '}' --note USR1 '{}' < <(yes)
    must n_lines "$T/pids" 2
    must has_role "map engine" engine
    keeper=$(($(ps -o ppid= -p "$engine")))
    kill -KILL "${!who}"
    wait "$front" 2>/dev/null
    must -t 3 nothing_left
  done
done

say "an argument has the room of a start, which is no exec but for spawn"
long=$(head -c 200000 /dev/zero | tr '\0' x)
for method in fork forkserver; do
  map 0 "$method" -j 1 -- "$main" --say '{}' --exit 0 <<<"$long"
  out_is "$long"
done
map 1 spawn -j 1 -- "$main" --say '{}' --exit 0 <<<"$long"
err_has '^  task 1: cannot start: Argument list too long: xxx'
{ echo a && head -c 5000000 /dev/zero | tr '\0' x && echo && echo b; } >"$T/long"
map 1 forkserver -j 1 -- "$main" --say '{}' --exit 0 <"$T/long"
out_is $'a\nb'
err_has '^  task 2: cannot start: Argument list too long: xxx'

say "shared memory that an entry leaves is unlinked"
mine=/dev/shm/mps-map-$$
objects() { find /dev/shm -maxdepth 1 -name "${mine##*/}-*" | wc -l; }
for method in $METHODS; do
  for track in preload scan; do
    map 0 "$method" -j 2 --track $track -- "$main" --leave "$mine-{}" --exit 0 < <(seq 4)
    [ "$track-$method" != preload-spawn ] && [ "$track-$method" != preload-forkserver ] || [ "$(objects)" = 0 ] || fail "by $method with $track $(objects) are left"
    rm -f "$mine"-*
  done
done

say "a forkserver that is killed is followed by another; no task is lost or done twice"
rm -f "$T/go" && mkfifo "$T/go"
map_start forkserver -j 2 -- "$main" --say '{}' --exit 0 < <(seq 200; read -r _ <"$T/go"; seq 201 1000)
must contains "$T/out" '^200$'
must has_role "forkserver" server
kill -KILL "$server"
echo >"$T/go"
ends_with 0
cmp -s "$T/out" <(seq 1000) || fail "the results are '$(head -c 300 "$T/out")'"
map_start forkserver -j 2 -- "$main" --say '{}' --exit 0 < <(seq 3000)
for _ in 1 2 3 4 5 6 7 8; do
  has_role "forkserver" server && kill -KILL "$server" 2>/dev/null
  has_role "spare" spare && kill -KILL "$spare" 2>/dev/null
done
wait "$front"
rc=$?
case $rc in
0) cmp -s "$T/out" <(seq 3000) || fail "the results are '$(head -c 300 "$T/out")'" ;;
*) err_has "cannot start $main: its forkserver" ;;
esac
must -t 3 nothing_left

say "the third that ends without a start is the last one"
map_start forkserver -j 1 -- "$main" --say '{}' --exit 0 < <(echo 1; read -r _ <"$T/go"; echo 2)
must contains "$T/out" '^1$'
spare_of_another() { # than $last
  has_role "spare" spare && [ "$spare" != "$last" ] && has_role "forkserver" server
}
last=
for _ in 1 2 3; do
  must spare_of_another
  last=$spare
  kill -KILL "$server"
done
wait_status "$front" 1
err_has "^mpsup: map: cannot start $main: its forkserver has ended, and so have those after it$"
timeout 10 sh -c "echo >'$T/go'" || fail "nobody waits to write the next task"
must -t 3 nothing_left

say "what does not fit is said"
expect 2 "$MPSUP" map --start-method never -- true
err_has "^mpsup: map: --start-method 'never' is none of command, spawn, fork, forkserver$"
map 2 forkserver -- gzip {} <<<x
err_has "^mpsup: map: --start-method forkserver needs FILE:FUNCTION \(such as ./worker.so:main\), and 'gzip' is a command$"
map 2 spawn -- {}:main <<<x
err_has "^mpsup: map: --start-method spawn: '\{\}:main' is another for each task; placeholders may stand in its arguments$"
map 127 command -- "$main" {} <<<x
err_has "; a function of a shared object needs --start-method spawn, fork or forkserver$"
map 0 command -- echo {} <<<x
out_is x
MPSUP_HOST=/nonexistent map 125 forkserver -- "$main" {} <<<x
err_has "^mpsup: map: MPSUP_HOST=/nonexistent: No such file or directory$"
MPSUP_HOST=/bin/false map 126 forkserver -- "$main" {} <<<x
err_has "^mpsup: map: cannot start $main: its forkserver exited with 1 while it loaded that$"
echo text >"$T/text" && chmod +x "$T/text"
MPSUP_HOST=$T/text map 126 forkserver -- "$main" {} <<<x
err_has "^mpsup: map: cannot start $main: $T/text: Exec format error$"
(cd "$T/bin" && echo x | timeout 20 "$MPSUP" map --start-method forkserver -- worker.so:main --say {} --exit 0 >"$T/out") || fail "not found here"
out_is x
