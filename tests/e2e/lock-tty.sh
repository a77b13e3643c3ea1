#!/bin/bash
# mpsup lock and sem on a terminal: who holds it is said, and the keys mean the command.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
export PYTHONPATH=$PWD/tests/e2e PYTHONDONTWRITEBYTECODE=1
export TERM=xterm
cat >"$T/common.py" <<'P'
import os, re, signal, subprocess, sys, time
from terminal import Terminal
mpsup, manager = sys.argv[1:3]
kinds = [["lock", "tty-%d" % os.getpid()], ["sem", "tty-%d" % os.getpid(), "-n", "1"],
         ["lock", "tty", "-m", manager], ["sem", "tty", "-n", "1", "-m", manager]]
def hold(kind, *command):
    return Terminal([mpsup, *kind, "--", *command])
def is_free(kind):
    return subprocess.run([mpsup, *kind, "--timeout", "0", "--", "true"], stderr=subprocess.DEVNULL).returncode == 0
P
on_terminal() { # lines of Python
  { cat "$T/common.py" && cat; } >"$T/now.py"
  timeout -k 2 60 python3 "$T/now.py" "$MPSUP" "unix:$T/m.sock" >"$T/out" 2>"$T/err" || fail "on the terminal"
}
"$MPSUP" manager --address "unix:$T/m.sock" >"$T/address" 2>"$T/serve.err" </dev/null &
server=$!
must n_lines "$T/address" 1

say "Ctrl-C ends the command, and it is free"
on_terminal <<'P'
for kind in kinds:
    t = hold(kind, "sh", "-c", "echo ready; exec sleep 1000")
    t.see("ready")
    assert not is_free(kind), kind
    t.type("\x03")
    assert t.end_of_program() == -signal.SIGINT, kind
    assert is_free(kind), kind
P

say "Ctrl-Z stops the command, which goes on holding it"
on_terminal <<'P'
for kind in kinds:
    t = hold(kind, "sh", "-c", "echo ready; read -r x; echo got $x")
    t.see("ready")
    t.type("\x1a")
    t.stopped()
    assert not is_free(kind), kind
    t.go_on()
    t.type("more\n")
    t.see("got more")
    assert t.end_of_program() == 0, kind
    assert is_free(kind), kind
P

say "who waits is told for whom, and may be interrupted"
on_terminal <<'P'
waits = ["waiting, held by pid \\d+ \\(", "waiting, all 1 units are held", "waiting", "waiting, all 1 units are held"]
for kind, text in zip(kinds, waits):
    first = hold(kind, "sh", "-c", "echo ready; read -r x")
    first.see("ready")
    second = hold(kind, "echo", "mine")
    second.see("mpsup: %s: %s[^\r]*\r\n" % (kind[0], text))
    second.type("\x03")
    assert second.end_of_program() == -signal.SIGINT, kind
    third = hold(kind, "echo", "mine")
    third.see("waiting")
    first.type("\n")
    third.see("mine")
    assert third.end_of_program() == 0 and first.end_of_program() == 0, kind
P
kill "$server" && wait "$server"
