#!/bin/bash
# mpsup map on a terminal: its keys, job control, the bar.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
export PYTHONPATH=$PWD/tests/e2e PYTHONDONTWRITEBYTECODE=1
export TERM=xterm
cat >"$T/common.py" <<'P'
import os, re, signal, subprocess, sys, time
from terminal import Terminal
mpsup, folder = sys.argv[1:]
def run(*argv, **size):
    return Terminal([mpsup, "map", *argv], **size)
def script(text, **size):
    return Terminal(["/bin/bash", "-c", text], **size)
def lines(t, pattern):
    "What the screen shows in the end: lines that were drawn over are gone."
    return [l.split("\r")[-1].replace("\x1b[K", "") for l in t.all.replace("\r\n", "\n").split("\n") if re.search(pattern, l)]
P
on_terminal() { # lines of Python
  { cat "$T/common.py" && cat; } >"$T/now.py"
  timeout -k 2 60 python3 "$T/now.py" "$MPSUP" "$T" >"$T/out" 2>"$T/err" || fail "on the terminal"
  must -t 2 nothing_left
}

say "Ctrl-C ends all trees, and the loop of a script; Ctrl-\\ too"
on_terminal <<'P'
for command in ["sh -c 'echo ready{} >&2; setsid sleep 1000 & sleep 1000'", "sh -c 'while read -r x; do echo ready >&2; setsid sleep 1000 & sleep 1000; done'"]:
    t = script("for i in 1 2; do seq 10 | %s map -j 2 -- %s; done; echo more" % (mpsup, command))
    t.see("ready")
    t.see("ready")
    t.type("\x03")
    assert t.end_of_program() == -signal.SIGINT
    assert "more" not in t.all, t.all
t = script("seq 10 | %s map -j 1 -- sh -c 'echo ready{} >&2; sleep 1000'; echo rc=$?" % mpsup)
t.see("ready")
t.type("\x1c")
t.end_of_program()
P

say "lines that a person types are answered at once; Ctrl-D is the end"
on_terminal <<'P'
t = run("-j", "2", "--no-progress", "--", "sed", "-u", "s/$/!/")
t.type("one\n")
t.see("one!\r\n")
t.type("two\n")
t.see("two!\r\n")
t.type("\x04")
assert t.end_of_program() == 0
P

say "Ctrl-Z stops the tasks, and they go on"
on_terminal <<'P'
state = lambda pid: open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[0]
t = run("-j", "1", "--", sys.executable, "-uc", """
import os, sys, time
print("pid", os.getpid(), file=sys.stderr)
while True:
    time.sleep(0.05)
    print("tick", file=sys.stderr)
""", "{}")
t.type("x\n")
pid = int(t.see(r"pid (\d+)\r\n").group(1))
t.see("tick")
t.type("\x1a")
t.stopped()
end = time.monotonic() + 10 # it is sent to the task before the stop of mpsup is seen, and takes effect when that runs
while state(pid) != "T":
    assert time.monotonic() < end, state(pid)
t.text = ""
t.go_on()
t.see("tick")
t.type("\x03")
assert t.end_of_program() == -signal.SIGINT
P

say "the bar: how many of how many, how fast, how long; it is wiped, and fits"
on_terminal <<'P'
open(folder + "/in", "w").write("".join("%d\n" % i for i in range(400)))
for columns in 80, 200, 30:
    t = script("%s map -p -j 2 -- sh -c 'sleep 0.01; exit {}' <%s/in >/dev/null" % (mpsup, folder), columns=columns)
    t.see(r"\r(\[=*>? *\] )?\d+/~?\d+")
    t.end_of_program()
    drawn = [d for d in re.findall(r"\r([^\r\n]+?)\x1b\[K", t.all) if d]
    assert drawn and all(len(d) < columns for d in drawn), drawn[:3]
    if columns >= 80:
        assert any(re.search(r"^\[=+> *\] \d+/~?\d+ +\d+%  2 running  \d+ failed  [\d.]+/s  0:\d\d  ETA 0:\d\d$", d) for d in drawn), drawn[-3:]
    assert re.search(r"\r\x1b\[Kmpsup: map: 398 of 400 tasks failed:", t.all), t.all[-300:]
t = run("-j", "2", "--", "echo", "{}") # nothing to see within a second
t.type("a\n\x04")
assert t.end_of_program() == 0
assert "running" not in t.all
t = script("seq 20 | %s map -p -j 1 -- sh -c 'sleep 0.05; echo out{}; echo err{} >&2'" % mpsup)
assert t.end_of_program() == 0
while "out20" not in t.all:
    t.see("\n")
assert lines(t, "out") == ["out%d" % i for i in range(1, 21)], lines(t, "out")
assert lines(t, "err") == ["[%d] err%d" % (i, i) for i in range(1, 21)], lines(t, "err")
P
