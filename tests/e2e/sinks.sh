#!/bin/bash
# Readers of the output that are slow, or do not read at all.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# A reader that takes nothing before somebody writes to $T/go.
mkfifo "$T/go"
late_reader() {
  read -r _ <"$T/go"
  cat >"$T/read"
}
let_go() {
  timeout 10 sh -c "echo >'$T/go'" || fail "the reader is not there"
}
said() {
  contains "$T/run.err" "$1"
}
unlogged() {
  sed -i '/^logfile=/d; /^pidfile=/d' "$CONF"
}

say "all that a program wrote reaches a reader that comes late"
config <<X
[program:talk]
command=/bin/sh -c 'i=0; while [ \$i -lt 6000 ]; do i=\$((i+1)); echo "line \$i of a program that says much and then ends"; done; printf tail'
daemon=no
startsecs=0
autorestart=false
X
unlogged
set -o pipefail
"$MPSUP" run -c "$CONF" 2>"$T/run.err" </dev/null | late_reader &
run=$!
must said 'entered RUNNING'
wait_for -t 2 said 'last program with daemon=no has ended'
let_go
wait_status $run 0
n=$(grep -c 'line [0-9]* of a program that says much and then ends$' "$T/read")
[ "$n" = 6000 ] || fail "$n of 6000 lines"
contains "$T/read" '\| tail$' || fail "the last line, without an end, is lost"
must -t 3 nothing_left

say "standard error that nobody reads holds neither clients nor the end"
config <<X
[program:fails]
command=/bin/false
startsecs=0
autorestart=true
[program:stays]
command=$W --pidfile $T/stays
startsecs=0
X
unlogged
mkfifo "$T/unread"
exec 7<>"$T/unread"
# Full from the first line on.
dd if=/dev/zero of="$T/unread" bs=4096 count=4096 oflag=nonblock 2>/dev/null
"$MPSUP" run -c "$CONF" >"$T/unread" 2>&1 </dev/null 7>&- &
run=$!
must n_lines "$T/stays" 1
expect 0 timeout 5 "$MPSUP" status -c "$CONF" stays
t0=$(now_ms)
kill -TERM $run
sup=$(role supervisor)
must -t 8 gone "$run" "$sup"
t=$(($(now_ms) - t0))
[ $t -lt $((8000 * SLOW)) ] || fail "ended after $t ms"
wait_status $run 0
must -t 3 nothing_left

say "nor does it for who asked for it with mpsup shutdown"
"$MPSUP" run -c "$CONF" >"$T/unread" 2>&1 </dev/null 7>&- &
run=$!
must n_lines "$T/stays" 2
must in_state stays RUNNING
t0=$(now_ms)
expect 0 timeout 8 "$MPSUP" shutdown -c "$CONF"
t=$(($(now_ms) - t0))
[ $t -lt $((8000 * SLOW)) ] || fail "ended after $t ms"
wait_status $run 0
must -t 3 nothing_left

say "and it is read on when somebody does"
"$MPSUP" run -c "$CONF" >"$T/unread" 2>&1 </dev/null 7>&- &
run=$!
must n_lines "$T/stays" 3
cat "$T/unread" >"$T/read" 7>&- &
reader=$!
must contains "$T/read" 'spawned: .stays. with pid'
kill -TERM $run
wait_status $run 0
kill $reader
exec 7>&-
must -t 3 nothing_left
