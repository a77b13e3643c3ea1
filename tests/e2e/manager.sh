#!/bin/bash
# mpsup manager and the verbs for its objects: what they say and exit with, which manager they mean, [manager:NAME], and who is
# killed meanwhile.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

here=$PWD
unset "${!MPSUP_MANAGER_@}" "${!MPSUP_AUTHKEY_FILE_@}"
A=unix:$T/m.sock
serve() { # option...: $server, and its address in $T/address
  : >"$T/address"
  "$MPSUP" manager "$@" >"$T/address" 2>>"$T/serve.err" </dev/null &
  server=$!
  must n_lines "$T/address" 1
}
is() { # what is to be printed, verb, word...
  local want=$1
  shift
  expect 0 "$MPSUP" "$@"
  [ "$(cat "$T/out")" = "$want" ] || fail "mpsup $*: '$(cat "$T/out")' is not '$want'"
}
silently() { # exit status, verb, word...
  expect "$@"
  [ "$(stat -c %s "$T/out" "$T/err" | xargs)" = '0 0' ] || fail "$*: it says '$(cat "$T/out" "$T/err")'"
}
holding() {
  [ -e "$1" ]
}
parks() { # how many requests wait in the server
  [ "$("$MPSUP" manager info -m "$A" | sed -n 's/^parked\t//p')" = "$1" ]
}
parts() { # how many wait at a barrier, or in shared memory: processes that sleep in a futex
  grep -qs futex "/proc/$1/wchan"
}

say "without a manager it is said what to do"
expect 4 "$MPSUP" dict x get k -c "$CONF"
expect 4 "$MPSUP" dict x get k -s "$T/none.sock"
contains "$T/err" 'no manager: --manager names none, there is no MPSUP_MANAGER_\* in the environment, and' || fail "it says '$(cat "$T/err")'"
expect 4 "$MPSUP" dict x get k -m "unix:$T/none.sock"
expect 4 "$MPSUP" dict x get k -m "$T/none.sock"
expect 2 "$MPSUP" dict x get k -m nothing:at:all
expect 2 env MPSUP_MANAGER_A="$A" MPSUP_MANAGER_B="$A" "$MPSUP" dict x get k
contains "$T/err" 'which manager\? --manager one of (A, B|B, A)$' || fail "it says '$(cat "$T/err")'"
expect 4 "$MPSUP" dict x get k -m foo
contains "$T/err" "^mpsup: dict x: no manager 'foo': MPSUP_MANAGER_FOO is not in the environment, and " || fail "it says '$(cat "$T/err")'"
expect 4 "$MPSUP" dict x get k -m foo -s "$T/none.sock"
contains "$T/err" "^mpsup: dict x: no manager 'foo': [^M]" || fail "it says '$(cat "$T/err")'"
expect 2 "$MPSUP" barrier x wait -n 121
contains "$T/err" "'121' is no number from 1 to 120$" || fail "it says '$(cat "$T/err")'"

serve --address "$A"
[ "$(cat "$T/address")" = "$A" ] || fail "it says it is at $(cat "$T/address")"
expect 1 "$MPSUP" manager --address "$A"
export MPSUP_MANAGER_ONLY=$A

say "dict"
silently 0 "$MPSUP" dict d set k v
is v dict d get k
is 5 dict d incr n 5
is 6 dict d incr n
is 3 dict d incr n -3
is $'k\tv\nn\t3' dict d items
is $'k\nn' dict d keys
is 2 dict d size
silently 0 "$MPSUP" dict d has k
silently 1 "$MPSUP" dict d has q
silently 1 "$MPSUP" dict d get q
silently 1 "$MPSUP" dict d del q
is v dict d pop k
silently 1 "$MPSUP" dict d pop k
silently 0 "$MPSUP" dict d update '{"a": 1, "b": [1, 2]}'
is '[["n", 3], ["a", 1], ["b", [1, 2]]]' dict d items --json
is $'1\n2' dict d get b
silently 0 "$MPSUP" dict d set -- -k -v
is -v dict d get -- -k
silently 0 "$MPSUP" dict d clear
is 0 dict d size
expect 1 "$MPSUP" dict --json d has k
[ "$(cat "$T/out")" = false ] || fail "has --json says $(cat "$T/out")"
is '' dict d keys
is '[]' dict d keys --json

say "values: what JSON can say comes back as it was; what it cannot has a form of its own"
while read -r json; do
  silently 0 "$MPSUP" dict d --json set odd "$json"
  is "$json" dict d --json get odd
done <<'X'
null
true
0
-9223372036854775808
9223372036854775807
0.1
1e+300
""
"\u0000 \" \\ \n \u001B"
"ä€"
[]
{}
[[[[]]], {"a": {"b": null}}]
{"$bytes": ""}
{"$bytes": "AP8QgA=="}
{"": 1, " ": 2}
X
expect 2 "$MPSUP" dict d --json set odd "{'no': json}"
expect 2 "$MPSUP" dict d --json set odd '{"a": 1, "a": 2}'
expect 2 "$MPSUP" dict d --json set odd 9223372036854775808
# shellcheck disable=SC2016 # it is no variable
expect 2 "$MPSUP" dict d --json set odd '{"$bytes": "no"}'
expect 2 "$MPSUP" dict d --json set odd "$(printf '%070d' 0 | tr 0 '[')$(printf '%070d' 0 | tr 0 ']')"
expect 2 "$MPSUP" dict d update '[1]'
for text in 007 +1 1.0 ' 1' 9223372036854775808 '' $'two\nlines' -0; do # not numbers: text, as it is
  silently 0 "$MPSUP" dict d set -- text "$text"
  expect 0 "$MPSUP" dict d get text
  [ "$(cat "$T/out" && echo .)" = "$text"$'\n.' ] || fail "'$text' comes back as '$(cat "$T/out")'"
  "$MPSUP" dict d get text --json | grep -q '^"' || fail "'$text' is a number"
done
silently 0 "$MPSUP" dict d set text -5
is -5 dict d get text --json

say "list"
silently 0 "$MPSUP" list l append a b 3
is $'a\nb\n3' list l slice
is '["a", "b", 3]' list l slice --json
is 3 list l get -1
is b list l get 1
silently 1 "$MPSUP" list l get 3
silently 0 "$MPSUP" list l set 1 B
silently 0 "$MPSUP" list l insert 0 first
is $'first\na' list l slice 0 2
is $'B\n3' list l slice -2
is 3 list l pop
is first list l pop 0
is 2 list l size
expect 0 "$MPSUP" list l append - < <(seq 5)
is 7 list l size
silently 0 "$MPSUP" list l clear
silently 1 "$MPSUP" list l pop

say "queue"
silently 1 "$MPSUP" queue q get --timeout 0
silently 124 "$MPSUP" queue q get --timeout 0.1
silently 0 "$MPSUP" queue q put a 'b c'
seq 1000 | "$MPSUP" queue q put - || fail "put - exits with $?"
is 1002 queue q size
is a queue q get
is '"b c"' queue q get --json
for i in 1 2 3; do is "$i" queue q get; done
say "what is taken out and cannot be written is put back, and that is said"
silently 0 "$MPSUP" queue back put a b
[ "$("$MPSUP" queue back get 2>&1 >/dev/full)" = 'mpsup: queue back: cannot write what it gave: No space left on device; it is put back, behind the others' ] || fail "a get to a full disk says something else"
[ "$("$MPSUP" queue back get 2>&1 >&-)" = 'mpsup: queue back: standard output is closed; nothing is taken out' ] || fail "a get to nowhere says something else"
is 2 queue back size
is b queue back get
is a queue back get
mkfifo "$T/reader"
"$MPSUP" queue back get >"$T/reader" 2>"$T/back.err" &
get=$!
exec 7<"$T/reader"
must parts $get
exec 7<&-
silently 0 "$MPSUP" queue back put late
wait $get
[ $? = 1 ] || fail "a get whose reader has gone exits with $?"
contains "$T/back.err" "^mpsup: queue back: cannot write what it gave: Broken pipe; it is put back" || fail "it says $(cat "$T/back.err")"
is late queue back get
silently 0 "$MPSUP" list back-list append 1 2 3
for place in 0 1 -1 -2 -3; do expect 1 bash -c '"$@" >/dev/full' - "$MPSUP" list back-list pop "$place"; done
is $'1\n2\n3' list back-list slice
silently 0 "$MPSUP" dict back-dict set k v
expect 1 bash -c '"$@" >/dev/full' - "$MPSUP" dict back-dict pop k
is v dict back-dict get k

silently 0 "$MPSUP" queue bounded --max 2 put 1 2
silently 1 "$MPSUP" queue bounded put 3 --timeout 0
silently 124 "$MPSUP" queue bounded put 3 --timeout 0.1
"$MPSUP" queue late get >"$T/late" &
late=$!
must parts "$late"
silently 0 "$MPSUP" queue late put now
wait "$late" || fail "a get that waited exits with $?"
[ "$(cat "$T/late")" = now ] || fail "it got '$(cat "$T/late")'"
"$MPSUP" queue late get &
late=$!
must parts "$late"
silently 0 "$MPSUP" queue late close
wait_status "$late" 1 # the queue is closed
expect 1 "$MPSUP" queue late put x
contains "$T/err" 'the queue is closed$' || fail "it says '$(cat "$T/err")'"

say "counter, event, barrier"
is 1 counter c add
is 11 counter c add 10
is 1 counter c add -10
silently 0 "$MPSUP" counter c set -5
is -5 counter c get
silently 1 "$MPSUP" event e is-set
silently 124 "$MPSUP" event e wait --timeout 0.1
silently 1 "$MPSUP" event e wait --timeout 0
silently 0 "$MPSUP" event e set
silently 0 "$MPSUP" event e wait
silently 0 "$MPSUP" event e is-set
is true event e is-set --json
silently 0 "$MPSUP" event e clear
expect 2 "$MPSUP" barrier b wait
contains "$T/err" 'no such barrier yet: -n' || fail "it says '$(cat "$T/err")'"
parties=()
for i in 1 2 3; do
  "$MPSUP" barrier b wait -n 3 >"$T/b$i" &
  parties+=($!)
done
for i in "${parties[@]}"; do
  wait "$i" || fail "a barrier exits with $?"
done
[ "$(sort "$T/b1" "$T/b2" "$T/b3" | xargs)" = '0 1 2' ] || fail "the places are $(sort "$T"/b[123] | xargs)"
silently 124 "$MPSUP" barrier b wait --timeout 0.1
expect 1 "$MPSUP" barrier b wait --timeout 1
contains "$T/err" 'the barrier is broken' || fail "it says '$(cat "$T/err")'"
silently 0 "$MPSUP" barrier b reset

say "words that are wrong"
for words in "dict" "dict d" "dict d gett k" "dict d get" "dict d get a b" "dict d set a" "list l get x" "counter c add x" \
  "queue q put" "queue q put x --max 0" "barrier b wait -n 0" "event e set x" "dict d get k --timeout soon" "manager foo" \
  "manager ls x" "manager ls --address $A" "manager --json"; do
  # shellcheck disable=SC2086 # words
  expect 2 "$MPSUP" $words
done
expect 1 "$MPSUP" list d size
contains "$T/err" "list d: it is no list but another kind of object" || fail "it says '$(cat "$T/err")'"
silently 0 "$MPSUP" dict d set text word
expect 1 "$MPSUP" dict d incr text
contains "$T/err" 'what is there is no value for that, or the words are none for .*--help. lists what there is' || fail "it says '$(cat "$T/err")'"
expect 2 "$MPSUP" dict '' size

say "manager ls, info, rm"
expect 0 "$MPSUP" manager ls
contains "$T/out" '^q +queue +1 +[0-9]+$' || fail "ls says $(cat "$T/out")"
"$MPSUP" manager ls --json | python3 -c 'import json, sys
assert {(o["name"], o["type"]) for o in json.load(sys.stdin)} >= {("d", "dict"), ("l", "list"), ("q", "queue")}' || fail "ls --json"
"$MPSUP" manager info --json | python3 -c 'import json, sys
import time
info = json.load(sys.stdin)
assert info["objects"] >= 7 and abs(time.time() - info["since"]) < 600, info' || fail "info --json"
expect 0 "$MPSUP" manager info
contains "$T/out" $'^since\t20[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$' || fail "info says $(cat "$T/out")"
silently 0 "$MPSUP" manager rm d l
is 0 dict d size
expect 1 "$MPSUP" manager rm nothing

say "lock and sem of a manager: one at a time, and not free before nothing of the command is left"
cat >"$T/bin/holder" <<'X'
#!/bin/bash
trap '' TERM
echo $$ >"$1/holder.pid"
mkfifo "$1/fifo.$$" && exec 3<>"$1/fifo.$$" && rm "$1/fifo.$$"
: >"$1/holds"
until [ -e "$1/go-on" ]; do read -rt 0.02 -u 3; done
X
chmod 755 "$T/bin/holder"
for verb in "lock x" "sem y -n 1"; do
  for victim in nobody front keeper holder; do
    rm -f "$T/holds" "$T/go-on"
    # shellcheck disable=SC2086 # words
    "$MPSUP" $verb --manager only -- "$T/bin/holder" "$T" >"$T/hold.out" 2>&1 &
    front=$!
    must holding "$T/holds"
    # shellcheck disable=SC2086
    expect 124 "$MPSUP" $verb -m only --timeout 0 -- true
    # shellcheck disable=SC2086
    expect 124 "$MPSUP" $verb -m only --timeout 0.1 -- true
    case $victim in
    nobody) : >"$T/go-on" ;;
    front) kill -KILL "$front" ;;
    keeper) kill -KILL "$(($(ps -o ppid= -p "$(cat "$T/holder.pid")")))" ;;
    holder) kill -KILL "$(cat "$T/holder.pid")" ;;
    esac
    # shellcheck disable=SC2086,SC2016
    expect 0 "$MPSUP" $verb -m only --timeout 10 -- sh -c 'readlink -q "/proc/$(cat "$0/holder.pid")/exe" >/dev/null && echo alive; true' "$T"
    [ ! -s "$T/out" ] || fail "$verb, $victim ended: the holder was alive when the next one had it"
    wait "$front" 2>/dev/null
  done
done
expect 2 "$MPSUP" lock x -m only --shared -- true
expect 2 "$MPSUP" sem only-three -m only -n 0 -- true
expect 2 "$MPSUP" sem units -m only -n 2 -- "$MPSUP" sem units -m only -n 3 -- true
contains "$T/err" '^mpsup: sem units: it has 2 units as long as somebody uses it, not 3$' || fail "it says '$(cat "$T/err")'"
expect 0 "$MPSUP" sem units -m only -n 2 -- "$MPSUP" sem units -m only -n 2 -- true
expect 0 "$MPSUP" sem units -m only -n 3 -- true

say "a client that is killed takes nothing along"
for i in 1 2 3 4 5; do
  "$MPSUP" queue killed get >/dev/null &
  victim=$!
  must parts "$victim"
  kill -KILL $victim
  wait $victim 2>/dev/null
  silently 0 "$MPSUP" queue killed put "$i"
  is "$i" queue killed get --timeout 5
done

say "a stopped server runs into the time limit, a killed one ends who waits"
freeze "$server"
expect 124 "$MPSUP" dict d get k --timeout 0.2
kill -CONT "$server"
"$MPSUP" event never wait 2>"$T/never" &
waiter=$!
must parts "$waiter"
kill -KILL "$server"
wait "$server" 2>/dev/null
wait_status "$waiter" 4
contains "$T/never" 'event never: the manager has gone' || fail "it says '$(cat "$T/never")'"

say "a snapshot, and the end by TERM"
serve --address "$A" --snapshot "$T/snap"
silently 0 "$MPSUP" dict kept set a 1
silently 0 "$MPSUP" queue kept-queue put x y
kill "$server"
wait "$server" || fail "the server ends with $?"
serve --address "$A" --snapshot "$T/snap"
is 1 dict kept get a
is x queue kept-queue get
kill "$server"
wait "$server"
unset MPSUP_MANAGER_ONLY

say "what README shows of it"
serve --address "$A"
export MPSUP_MANAGER_ONLY=$A PATH="$B:$PATH"
for n in 1 2 3; do
  sed -n '/^## State for scripts/,/^## Nothing/p' "$here/README.md" |
    awk -v n="$n" '/^```sh$/ { k++; inside = 1; next } /^```$/ { inside = 0 } inside && k == n' >"$T/recipe$n"
  n_lines "$T/recipe$n" 8 || fail "README has no recipe $n"
  expect 0 bash "$T/recipe$n"
  cp "$T/out" "$T/recipe$n.out"
done
[ "$(tail -n 1 "$T/recipe1.out")" = 100 ] || fail "the first says $(cat "$T/recipe1.out")"
[ "$(grep -c '^worker [1-4]: https://example.org/[0-9]*$' "$T/recipe1.out")" = 100 ] || fail "the first says $(cat "$T/recipe1.out")"
[ "$(head -n 2 "$T/recipe2.out")" = $'backup\tdone\nindex\tdone' ] || fail "the second says $(cat "$T/recipe2.out")"
[ "$(xargs <"$T/recipe3.out")" = '1 2 3 4 5 6' ] || fail "the third says $(cat "$T/recipe3.out")"
is 0 counter running get
kill "$server"
wait "$server"
unset MPSUP_MANAGER_ONLY

say "over TCP with a key; who says nothing is dropped after five seconds"
(umask 077 && echo 'a secret' >"$T/key" && echo other >"$T/other.key")
expect 2 "$MPSUP" manager --address tcp:127.0.0.1:0
contains "$T/err" '^mpsup: manager: tcp:127.0.0.1:0: over TCP there has to be a key .*is --authkey-file missing' || fail "it says '$(cat "$T/err")'"
cp "$T/key" "$T/open.key" && chmod 644 "$T/open.key"
expect 1 "$MPSUP" manager --address tcp:127.0.0.1:0 --authkey-file "$T/open.key"
contains "$T/err" 'others may read this key' || fail "it says '$(cat "$T/err")'"
serve --address tcp:127.0.0.1:0 --authkey-file "$T/key"
R=$(cat "$T/address")
far=(-m "$R" --authkey-file "$T/key")
silently 0 "$MPSUP" dict d set k v "${far[@]}"
is v dict d get k "${far[@]}"
is 2 counter c add 2 "${far[@]}"
silently 0 "$MPSUP" queue q put item "${far[@]}"
is item queue q get --timeout 5 "${far[@]}"
silently 124 "$MPSUP" queue q get --timeout 0.1 "${far[@]}"
expect 0 "$MPSUP" lock l "${far[@]}" -- true
expect 0 python3 -c 'import socket, sys, time
host, port = sys.argv[1].split(":")[1:]
began = time.monotonic()
with socket.create_connection((host, int(port))) as s:
    s.settimeout(60)
    while s.recv(4096):
        pass
assert time.monotonic() - began > 4, "it is dropped too early"' "$R"
is v dict d get k "${far[@]}"
expect 4 "$MPSUP" dict d get k -m "$R" --authkey-file "$T/other.key"
expect 4 "$MPSUP" dict d get k -m "$R"
kill "$server"
wait "$server"

say "[manager:NAME]: a program that others find"
export PATH="$B:$PATH"
jobs_config() { # further sections
  config <<X
[manager:jobs]
snapshot=$T/jobs.snap
$1
[program:client]
command=sh -c 'mpsup counter starts add; env | grep MPSUP_MANAGER; exec $W'
stdout_logfile=$T/client.log
startsecs=0
X
}
jobs_config ''
expect 0 "$MPSUP" check --strict -c "$CONF"
start_mpsup
must in_state jobs RUNNING
must n_lines "$T/client.log" 2
[ "$(cat "$T/client.log")" = "1
MPSUP_MANAGER_JOBS=unix:$RUNTIME/manager-jobs.sock" ] || fail "the client says $(cat "$T/client.log")"
mps_expect 0 counter starts get
[ "$(cat "$T/out")" = 1 ] || fail "from outside it is $(cat "$T/out")"
mps_expect 2 counter starts get -m other
contains "$T/err" "there is no manager 'other' \(there is jobs\)" || fail "it says '$(cat "$T/err")'"
mps_expect 0 dict d set k v
mps_expect 0 manager ls

say "killed, it comes again with what it has kept; a supervisor that is killed leaves it alone"
mps_expect 0 dict kept set a 1
settled() { # the snapshot has it
  grep -qs kept "$T/jobs.snap"
}
must settled
old=$(pid_of jobs)
kill -KILL "$old"
again() {
  local pid
  pid=$(pid_of jobs)
  [ -n "$pid" ] && [ "$pid" != 0 ] && [ "$pid" != "$old" ]
}
must again
mps_expect 0 dict kept get a --timeout 10
[ "$(cat "$T/out")" = 1 ] || fail "it has $(cat "$T/out")"
old=$(pid_of jobs)
take_over
mps_expect 0 dict kept get a
[ "$(pid_of jobs)" = "$old" ] || fail "the next supervisor has started it anew"

say "reload adds one, and removes it"
jobs_config "[manager:other-one]
address=unix:$T/other.sock"
mps_expect 0 reload
must in_state other-one RUNNING
mps_expect 2 counter c get
contains "$T/err" 'which manager\? --manager one of jobs, other-one' || fail "it says '$(cat "$T/err")'"
mps_expect 0 counter c add -m other-one
mps_expect 0 restart client
must n_lines "$T/client.log" 3
contains "$T/client.log" "^MPSUP_MANAGER_OTHER_ONE=unix:$T/other.sock\$" || must contains "$T/client.log" 'OTHER_ONE'
jobs_config ''
mps_expect 0 reload
mps_expect 0 counter c get
expect 4 "$MPSUP" counter c get -m "unix:$T/other.sock"
shutdown_mpsup

say "what is wrong in a section"
wrong() { # lines, what is said
  config <<<"$1"
  expect 1 "$MPSUP" check -c "$CONF"
  contains "$T/out" "$2" || contains "$T/err" "$2" || fail "'$1' is said to be $(cat "$T/out" "$T/err")"
}
wrong $'[manager:a]\naddress=nowhere' "is no address"
wrong $'[manager:a]\naddress=tcp:localhost:1' 'authkey_file= is missing'
wrong $'[manager:a-b]\n[manager:a_b]' 'its variable MPSUP_MANAGER_A_B is that of'
wrong $'[manager:a]\nuser=nobody' 'goes with an address='
