#!/bin/bash
# mpsup exec on a terminal: its keys, job control, an interactive shell and programs that use the whole screen, as without.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
export PYTHONPATH=$PWD/tests/e2e PYTHONDONTWRITEBYTECODE=1
export TERM=xterm
cat >"$T/common.py" <<'P'
import os, signal, sys, time
from terminal import Terminal
mpsup = sys.argv[1]
def run(*argv, **size):
    return Terminal([mpsup, "exec", "--", *argv], **size)
def python(text):
    return run(sys.executable, "-c", "import os, signal, sys, time\n" + text)
P
on_terminal() { # lines of Python
  { cat "$T/common.py" && cat; } >"$T/now.py"
  timeout -k 2 100 python3 "$T/now.py" "$MPSUP" >"$T/out" 2>"$T/err" || fail "on the terminal"
  must -t 2 nothing_left
}

say "Ctrl-C and Ctrl-\\ reach it once; Ctrl-D and lines too; the size of the window"
on_terminal <<'P'
t = python("""
n = []
signal.signal(signal.SIGINT, lambda *a: n.append("INT"))
signal.signal(signal.SIGWINCH, lambda *a: n.append("WINCH"))
print("ready", os.get_terminal_size(), os.isatty(0), os.tcgetpgrp(0) == os.getpgrp(), flush=True)
for line in sys.stdin:
    time.sleep(0.1)
    print("got", line.strip(), n, os.get_terminal_size(), flush=True)
print("end")
""")
t.see(r"ready os.terminal_size\(columns=80, lines=24\) True True")
t.type("\x03")
t.see(r"\^C")
t.type("one\n")
t.see(r"got one \['INT'\] ")
t.size(100, 40)
t.type("two\n")
t.see(r"got two \['INT', 'WINCH'\] os.terminal_size\(columns=100, lines=40\)")
t.type("\x04")
t.see("end")
assert t.end_of_program() == 0
t = run("sh", "-c", "echo ready; sleep 100 & wait")
t.see("ready")
t.type("\x1c")
assert t.end_of_program() == 128 + signal.SIGQUIT
t = run("sleep", "100")
while os.tcgetpgrp(t.master) != t.pid:
    pass
time.sleep(0.2)
t.type("\x03")
assert t.end_of_program() == -signal.SIGINT # so that a shell ends its script, too
t = Terminal(["/bin/bash", "-c", "for i in 1 2; do %s exec -- sh -c 'echo ready; exec sleep 100'; done; echo more" % mpsup])
t.see("ready")
t.type("\x03")
assert t.end_of_program() == -signal.SIGINT
assert t.all.count("ready") == 1 and "more" not in t.all
P

say "Ctrl-Z and fg: whether it is the group that stops, or the command itself, by any signal; what ignores it does not stop"
on_terminal <<'P'
t = python("""
print("ready", flush=True)
for line in sys.stdin:
    if line.startswith("stop"):
        os.kill(os.getpid(), getattr(signal, "SIG" + line.split()[1]))
    if line.startswith("ignore"):
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    print("got", line.strip(), flush=True)
""")
t.see("ready")
for i in range(20):
    t.type("\x1a")
    t.stopped()
    t.go_on()
    t.type("%d\n" % i)
    t.see("got %d" % i)
    t.type("stop %s\n" % ("TSTP", "STOP", "TTIN")[i % 3])
    t.stopped()
    t.go_on()
    t.see("got stop")
t.type("ignore\n")
t.see("got ignore")
t.type("\x1a")
t.type("on\n")
t.see("got on")
for i in range(20): # we stop with it, and go on perhaps before we have heard that it has
    os.killpg(t.pid, signal.SIGSTOP)
    t.stopped()
    t.go_on()
    t.type("more %d\n" % i)
    t.see("got more %d" % i)
os.kill(t.pid, signal.SIGTSTP) # it is the command's, which ignores it
t.type("and more\n")
t.see("got and more")
t.type("\x04")
assert t.end_of_program() == 0
P

say "an interactive shell: its jobs, its suspend, and the terminal is whose it was"
on_terminal <<'P'
os.environ["PS1"] = "pro" "mpt> "
t = run("bash", "--norc", "--noprofile", "-i")
t.see("prompt> ")
t.type("echo $((40+1)); cat\n")
t.see("41\r\n")
t.type("hello\n")
t.see("hello\r\nhello\r\n")
t.type("\x1a")
t.see(r"Stopped +.*prompt> ")
t.type("fg\n")
t.see("fg\r\n.*cat\r\n")
t.type("again\n")
t.see("again\r\nagain\r\n")
t.type("\x03")
t.see("prompt> ")
t.type("\x1aecho $((40+2))\n")
t.see("42\r\n.*prompt> ")
t.type("suspend\n")
t.stopped()
t.go_on()
t.type("echo $((41+2))\n")
t.see("43\r\n.*prompt> ")
t.type("sleep 100 & jobs -l\n")
t.see(r"Running +sleep 100 &")
t.type("exit 5\n")
assert t.end_of_program() == 5
P

say "below an interactive shell: fg, bg, what reads in the background, kill %1"
on_terminal <<'P'
os.environ["PS1"] = "pro" "mpt> "
t = Terminal(["/bin/bash", "--norc", "--noprofile", "-i"])
t.see("prompt> ")
t.type("%s exec cat &\n" % mpsup)
t.see("prompt> ")
t.type("until [ -n \"$(jobs -s)\" ]; do :; done; jobs\n")
t.see(r"Stopped +\S+ exec cat\r\n.*prompt> ")
t.type("fg\n")
t.see(r"fg\r\n.*exec cat\r\n")
t.type("line\n")
t.see("line\r\nline\r\n")
t.type("\x1a")
t.see(r"Stopped +\S+ exec cat\r\n.*prompt> ")
t.type("kill %1; kill -CONT %1; wait %1; echo is $?\n")
t.see("is 143\r\n")
t.type("echo abc | %s exec -- cat | %s exec -- tr a-z A-Z\n" % (mpsup, mpsup))
t.see("ABC\r\n")
# exec: a cat whose parent is stopped first may still read what is typed to the shell then, without us too.
t.type("%s exec -- %s exec -- sh -c 'echo $((40+3)); exec cat'\n" % (mpsup, mpsup))
t.see("43\r\n")
t.type("deep\n")
t.see("deep\r\ndeep\r\n")
t.type("\x1a")
t.see("Stopped.*prompt> ")
t.type("fg\n")
t.see("fg\r\n.*cat'?\r\n")
t.type("deeper\n")
t.see("deeper\r\ndeeper\r\n")
t.type("\x03")
t.see("prompt> ")
t.type("echo is $?\n")
t.see("is 130\r\n")
t.type("exit\n")
t.end_of_program()
P

say "as the leader of a session: Ctrl-Z does not stop what nobody could let go on; a hang-up ends it"
on_terminal <<'P'
import pty
pid, master = pty.fork()
if pid == 0:
    os.execv(mpsup, [mpsup, "exec", "--", sys.executable, "-c", "print('ready', flush=True)\nimport signal\nprint('got', input(), flush=True)\nsignal.pause()"])
def see(what):
    text = b""
    while what not in text:
        text += os.read(master, 1000)
see(b"ready")
os.write(master, b"\x1a")
os.write(master, b"line\n")
see(b"got line")
os.close(master)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGHUP
P

for program in vim less; do
  command -v $program >/dev/null || continue
  say "$program: stops, goes on, ends"
  on_terminal <<P
open("$T/text", "w").write("".join("line %d\n" % i for i in range(1000)))
t = run(*("$program -u NONE -N".split() if "$program" == "vim" else ["less"]), "$T/text")
t.see("line 5")
# A less that does not read yet only notes the signal and stops at the next key, without us too. This one draws anew.
t.type("\x1a\x0c")
t.stopped()
t.go_on()
t.see("line 5")
t.type(":500\n" if "$program" == "vim" else "500g")
t.see("50[12]")
t.type(":q!\n" if "$program" == "vim" else "q")
assert t.end_of_program() == 0
P
done
