#!/bin/bash
# The runtime directory, the socket or the lock are removed while the supervisor runs: made again, nothing else happens.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

config <<Y
[program:a]
command=$W --pidfile $T/a
startsecs=0
restart_delay=0
Y
start_mpsup
must n_lines "$T/a" 1

mode=700
[ "$(id -u)" != 0 ] || mode=711 # programs of all users find the tracker's socket there

answers() {
  timeout 5 "$MPSUP" status -c "$CONF" >"$T/out" 2>"$T/err"
}
# remove WHAT: what the supervisor makes again while rm is still at it is removed again.
remove() {
  local i
  for ((i = 0; i < 100; i++)); do
    rm -rf "$1" 2>"$T/err" && return
  done
  fail "rm: $(cat "$T/err")"
}
# removed WHAT: within a second there is an answer again, the lock holds, and the program was not touched.
removed() {
  local t0
  t0=$(now_ms)
  remove "$1"
  must -t 1 answers
  say "  answers again after $(($(now_ms) - t0)) ms"
  [ "$(stat -c '%a %u' "$RUNTIME")" = "$mode $(id -u)" ] || fail "the directory is $(stat -c '%a %u' "$RUNTIME")"
  must -t 2 test -e "$RUNTIME/lock"
  expect 1 "$MPSUP" run -c "$CONF"
  contains "$T/err" "already running: $ID .pid $keeper" || fail "a second run says '$(cat "$T/err")'"
  [ "$(wc -l <"$T/a")" = 1 ] || fail "the program was started again"
  [ "$(mps pid)" = "$keeper" ] || fail "another keeper"
}

say "the socket"
removed "$RUNTIME/control.sock"
say "the lock"
removed "$RUNTIME/lock"
say "the directory, more than once"
removed "$RUNTIME"
removed "$RUNTIME"
must contains "$LOG" "$RUNTIME or what was in it had been removed"

say "the supervisor that follows one that was killed has the lock too"
take_over
expect 1 "$MPSUP" run -c "$CONF"
contains "$T/err" "already running: $ID .pid $keeper" || fail "a second run says '$(cat "$T/err")'"
removed "$RUNTIME"

say "a client that is connected stays so, and programs are restarted meanwhile"
python3 - "$RUNTIME" "$T/a" <<'Y' || fail "see above"
import json, os, select, shutil, signal, socket, sys, time
rundir, pids = sys.argv[1:]
s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
s.connect(rundir + "/control.sock")
f = s.makefile("rwb")
for turn in range(100): # what is made again meanwhile is removed again
    try:
        shutil.rmtree(rundir)
        break
    except OSError as e:
        last = e
else:
    raise SystemExit(f"rmtree: {last}")
n = len(open(pids).readlines())
os.kill(int(open(pids).read().split()[-1]), signal.SIGKILL)
end = time.monotonic() + 5
while len(open(pids).readlines()) == n:
    if time.monotonic() > end:
        raise SystemExit("not restarted")
    select.select([s], [], [], 0.01)
f.write(b'{"id":1,"method":"status"}\n')
f.flush()
if json.loads(f.readline())["id"] != 1:
    raise SystemExit("the old connection is not answered")
Y
must -t 2 answers

if [ "$(id -u)" != 0 ]; then
  say "what lies above it"
  remove "$(dirname "$RUNTIME")"
  must -t 1 answers

  say "a file in its place is told, and the end of that is noticed"
  touch "$T/file"
  for ((i = 0; i < 100; i++)); do
    remove "$(dirname "$RUNTIME")"
    ln -T "$T/file" "$(dirname "$RUNTIME")" 2>"$T/err" && break
  done
  must contains "$LOG" 'CRIT .*nobody can ask us'
  ! answers || fail "answers"
  rm "$(dirname "$RUNTIME")"
  must -t 1 answers
fi

say "and at the end nothing of it is left"
shutdown_mpsup
[ ! -e "$RUNTIME" ] || fail "$RUNTIME is left"
