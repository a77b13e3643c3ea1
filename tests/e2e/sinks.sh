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
wait_status() { # pid, status
  local rc
  wait "$1"
  rc=$?
  [ $rc = "$2" ] || { cat "$T/run.err" && fail "exit status $rc instead of $2"; }
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
