#!/bin/bash
# Every verb once under valgrind, its keeper and supervisor with it: what succeeds and what is told as a mistake. No error of
# memory, and no leak that nothing leads to any more. Part of `make valgrind`, built as for valgrind.sh.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
command -v valgrind >/dev/null || { echo "valgrind is not installed" && exit 77; }
SLOW=6
# It knows no second process in the same memory.
export MPSUP_NO=clone_vm,crash_limit
# Only what is mpsup's; a child is looked at when it is another program. Its own exit status is that of no verb.
VALGRIND=(valgrind -q --trace-children=yes "--trace-children-skip=*/worker,*/sh,*/bash,*/cat,*/true,*/sleep"
  --child-silent-after-fork=yes --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite
  --run-libc-freeres=no --error-exitcode=99 "--log-file=$T/valgrind.%p")
n=0
verb() { # exit status, verb, argument...
  local want=$1
  shift
  n=$((n + 1))
  expect "$want" "${VALGRIND[@]}" "$MPSUP" "$@"
}
prints() { # what, verb, argument...
  local want=$1
  shift
  verb 0 "$@"
  [ "$(cat "$T/out")" = "$want" ] || fail "mpsup $*: '$(cat "$T/out")' is not '$want'"
}

say "without a supervisor"
verb 0 help start
verb 0 version
verb 0 completion bash
verb 0 keys program
verb 2 keys nothing
verb 2 stat --nothing
verb 2 nothing

config <<X
[program:calm]
command=$W --pidfile $T/calm
stdout_logfile=NONE
[program:piped]
command=/bin/sh -c 'echo a line; exec $W --pidfile $T/piped'
stdout_logfile=AUTO
[program:asks]
command=$MPSUP tell READY=1 STATUS=here
ready=notify
control=self
autorestart=false
autostart=false
startsecs=0
[program:ends]
command=$W --exit 3
autostart=false
autorestart=false
startsecs=0
[pipe:p]
from=calm
to=piped
X
verb 0 check -c "$CONF"
verb 0 graph -c "$CONF"
verb 4 status -c "$CONF"
verb 7 reload -c "$CONF"
printf '%s\n' '[program:x]' 'command=' 'stopwaitsecs=5 min' >"$T/wrong.conf"
verb 1 check -c "$T/wrong.conf"
verb 1 start -c "$T/wrong.conf"

say "with one"
verb 0 start -c "$CONF"
at=(-c "$CONF")
verb 3 status "${at[@]}" # not all of them run
verb 3 status "${at[@]}" --json
verb 0 status "${at[@]}" calm
verb 0 status "${at[@]}" --compat piped
verb 0 pid "${at[@]}" calm
verb 0 pipes "${at[@]}"
verb 0 logs "${at[@]}" piped
verb 0 ls
verb 0 wait "${at[@]}" calm
verb 0 signal "${at[@]}" HUP calm
verb 0 start "${at[@]}" asks
verb 0 restart "${at[@]}" calm
verb 0 reload "${at[@]}"
verb 0 ipc ls
verb 3 top "${at[@]}" -n 1
verb 3 top "${at[@]}" -n 1 --json
verb 0 stop "${at[@]}" calm
verb 1 send "${at[@]}" piped hello
verb 1 start "${at[@]}" calmer
"${VALGRIND[@]}" "$MPSUP" events "${at[@]}" >"$T/events" 2>&1 &
events=$!
verb 0 upgrade "${at[@]}"
verb 0 start "${at[@]}" calm
must n_lines "$T/events" 1
verb 0 shutdown "${at[@]}"
wait "$events"
must -t 5 nothing_left

say "in the foreground, and commands"
config <<X
[program:once]
command=$MPSUP shutdown -c $CONF
startsecs=0
X
verb 0 run -c "$CONF"
verb 3 exec -- "$W" --exit 3
verb 127 exec -- "$T/none"
verb 124 exec --timeout 0.2 -- "$W"
prints hello lock "valgrind-$$" -- echo hello
prints hello sem "valgrind-$$" -n 2 -- echo hello
prints $'1\n2\n3' map -k -j 2 -- echo {} < <(seq 3)
verb 1 map -- false {} < <(seq 3)
verb 127 map -- "$T/none" < <(seq 3)

say "a manager"
export MPSUP_MANAGER_ONLY=unix:$T/m.sock
verb 124 dict d get k -t 0.1
"${VALGRIND[@]}" "$MPSUP" manager --address "unix:$T/m.sock" >"$T/address" 2>"$T/serve.err" </dev/null &
server=$!
must n_lines "$T/address" 1
verb 0 dict d set k v
prints v dict d get k
prints -3 dict d incr n -3
verb 1 dict d get q
verb 0 list l append a
prints 1 list l size
verb 0 queue q put x
prints x queue q get
prints 5 counter c add 5
verb 0 event e set
verb 0 event e wait
verb 0 barrier b wait -n 1
prints held lock "valgrind-$$" -m only -- echo held
prints held sem "valgrind-$$" -n 1 -m only -- echo held
verb 0 manager ls
verb 0 manager info
kill -TERM "$server"
wait "$server" || fail "the manager exits with $?: $(cat "$T/serve.err")"

say "what valgrind has to say"
errors='Invalid (read|write|free)|uninitialised|Mismatched|unaddressable|are definitely lost'
for f in "$T"/valgrind.*; do
  ! contains "$f" "$errors" || { cat "$f" && fail "errors"; }
done
say "  $n calls"
