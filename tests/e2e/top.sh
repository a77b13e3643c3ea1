#!/bin/bash
# mpsup top: as lines, as JSON, and on a terminal, which is given back whatever happens.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
export PYTHONPATH=$PWD/tests/e2e PYTHONDONTWRITEBYTECODE=1
unset NO_COLOR
export TERM=xterm

cat >"$T/eat.py" <<'X'
import signal, sys, time
data = b"x" * (30 << 20)
while time.process_time() < 0.3:
    pass
open(sys.argv[1], "w").write("done\n")
signal.pause()
X
config <<X
[program:eater]
command=python3 $T/eat.py $T/eaten
startsecs=0
[program:web]
command=$W
process_name=%(program_name)s_%(process_num)d
numprocs=40
startsecs=0
[program:off]
command=$W
autostart=false
X
start_mpsup
must n_lines "$T/eaten" 1

say "not on a terminal: one table, as plain as that of status"
mps_expect 3 top
[ "$(wc -l <"$T/out")" = 43 ] || fail "$(wc -l <"$T/out") lines"
contains "$T/out" '^NAME +STATE +PID +UPTIME +CPU +MEM ' || fail "no titles"
! grep -q $'[\033\r]' "$T/out" || fail "control characters"
sed -n 2p "$T/out" | grep -q '^eater ' || fail "the first is not what uses the CPU"
mps_expect 0 top -d 0.1 -n 3 --sort name 'web:*'
[ "$(grep -c ^NAME "$T/out")" = 3 ] || fail "not three tables"
[ "$(grep -oE '^web:web_(9|10) ' "$T/out" | head -n 2 | tr -d '\n')" = 'web:web_9 web:web_10 ' ] || fail "not by name"

say "--json: one line a refresh, CPU from the last one on"
mps_expect 3 top --json -d 0.1 -n 3 --sort memory
python3 - "$T/out" <<'X' || fail "the JSON"
import json, sys
shots = [json.loads(line) for line in open(sys.argv[1])]
assert len(shots) == 3, len(shots)
eaters = [shot["processes"][0] for shot in shots]
assert all(e["name"] == "eater" and e["rss"] > 30 << 20 for e in eaters), eaters
assert eaters[0]["cpu"] > 0, "the first is over its life"
assert [e["cpu"] for e in eaters[1:]] == [0, 0], eaters
assert shots[0]["time"] < shots[1]["time"] < shots[2]["time"]
assert all(shot["supervisor"]["supervisor_pid"] > 0 for shot in shots)
ages = [shot["supervisor"]["uptime"] for shot in shots]
assert ages[0] < ages[1] < ages[2], ages
X

say "whoever reads the lines may go"
timeout 10 "$MPSUP" top -c "$CONF" --json -d 0.1 | head -n 1 >"$T/out"
[ "${PIPESTATUS[0]}" != 124 ] || fail "top runs on without a reader"
n_lines "$T/out" 1 || fail "not even a line"

say "wrong words"
for words in '--sort nothing' '-d 0' '-d x' '-d inf' '-n 0' '-n -1' '-n 1x'; do
  # shellcheck disable=SC2086 # two words
  mps_expect 2 top $words
done
mps_expect 4 top nobody
contains "$T/err" "^mpsup: .*nobody" || fail "the wrong name is not told"

cat >"$T/screen.py" <<'X'
import os, signal, sys
from terminal import Terminal
mpsup, conf = sys.argv[1:3]
def top(*more, **size):
    return Terminal([mpsup, "top", "-c", conf, *more], **size)
def quits(t):
    t.type("q")
    assert t.ended() == 3
X
on_screen() { # lines of Python
  { cat "$T/screen.py" && cat; } >"$T/now.py"
  timeout -k 2 100 python3 "$T/now.py" "$MPSUP" "$CONF" "$@" >"$T/out" 2>"$T/err" || fail "on the terminal"
}

say "on a terminal: as many rows as fit; keys sort and scroll; q gives it back"
on_screen <<'X'
t = top("-d", "3600", columns=80, rows=13)
screen = t.see(r"\x1b\[H.*\x1b\[J").group()
assert "42 programs" in screen and "q quit" in screen and "by cpu" in screen, screen
assert screen.count("\r\n") == 12 and screen.count("RUNNING\x1b[0m") == 10, screen
assert screen.index("eater") < screen.index("web:web_0"), screen
t.type("n")
screen = t.see(r"\x1b\[H.*by name.*\x1b\[J").group()
assert "off" in screen and "web:web_7" in screen and "web:web_8" not in screen, screen
t.type("n")
screen = t.see(r"\x1b\[H.*by -name.*\x1b\[J").group()
assert "web:web_39" in screen and "off" not in screen, screen
t.type("n")
t.see(r"by name\r")
t.type("\x1b[B")
assert "eater" not in t.see(r"\x1b\[H.*web:web_8.*\x1b\[J").group()
t.type("\x1b[6~")
t.see(r"web:web_18")
t.type("\x1b[5~\x1bOA")
t.see(r"eater")
t.type("\x1b[F")
t.see(r"web:web_39")
t.type("\x1b[")
t.type("H")
t.see(r"eater")
t.type("\x1b[Zm")
t.see(r"by memory")
t.size(200, 45)
screen = t.see(r"\x1b\[H.*web:web_39.*\x1b\[J").group()
t.type(" ")
t.see(r"\x1b\[J")
t.size(20, 2)
t.see(r"\x1b\[H\x1b\[Ktop[^\n]*\r\n\x1b\[Kq quit[^\n]*\x1b\[J").group()
quits(t)
X

say "the refreshes come by themselves, and end with -n"
on_screen <<'X'
t = top("-d", "0.1", "-n", "5")
for i in range(4):
    t.see(r"\x1b\[H")
assert t.ended() == 3
X

say "signals end it as they end every program, and the terminal is given back before"
on_screen <<'X'
for sig in signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT:
    t = top("-d", "3600")
    t.see(r"\x1b\[J")
    t.kill(sig)
    assert t.ended() == -sig, sig
t = top("-d", "3600")
t.see(r"\x1b\[J")
t.type("\x03")
assert t.ended() == -signal.SIGINT
X

say "stopped and continued"
on_screen <<'X'
t = top("-d", "3600")
t.see(r"\x1b\[J")
t.type("\x1a")
t.stopped()
t.check_restored()
t.go_on()
t.see(r"\x1b\[\?1049h.*programs.*\x1b\[J")
t.kill(signal.SIGSTOP)
t.stopped()
t.go_on()
t.see(r"\x1b\[\?1049h.*programs.*\x1b\[J")
quits(t)
X

say "without colours where they are not wanted"
NO_COLOR=1 on_screen <<'X'
t = top("-d", "3600")
screen = t.see(r"\x1b\[H.*\x1b\[J").group()
assert "[0m" not in screen and "[32m" not in screen, screen
quits(t)
X

say "a supervisor that hangs is told, and keys still count"
on_screen "$supervisor" <<'X'
t = top("-d", "0.1")
t.see(r"\x1b\[J")
os.kill(int(sys.argv[3]), signal.SIGSTOP)
t.see(r"the supervisor does not answer")
t.type("n")
t.see(r"by name")
os.kill(int(sys.argv[3]), signal.SIGCONT)
t.see(r"q quit")
quits(t)
X

say "another supervisor takes over, and then there is none"
on_screen "$supervisor" <<'X'
t = top("-d", "3600")
t.see(r"\x1b\[J")
os.kill(int(sys.argv[3]), signal.SIGKILL)
now = int(t.see(r"process (\d+) supervises now, not " + sys.argv[3]).group(1))
quits(t)
t = top("-d", "0.2")
t.see(r"\x1b\[J")
assert os.spawnv(os.P_WAIT, mpsup, [mpsup, "shutdown", "-c", conf]) == 0
t.see(r"no supervisor at")
t.type("q")
assert t.ended() == 4
X
must nothing_left

say "lines and a supervisor that is replaced meanwhile"
start_mpsup
mkfifo "$T/fifo"
timeout 20 "$MPSUP" top -c "$CONF" --json -d 0.3 -n 3 >"$T/fifo" &
exec 3<"$T/fifo"
read -r line <&3
kill -KILL "$supervisor"
{ echo "$line" && cat <&3; } >"$T/lines"
exec 3<&-
wait $! || [ $? = 3 ] || fail "not the exit status of status"
python3 - "$T/lines" <<'X' || fail "the lines of two supervisors"
import json, sys
pids = [json.loads(line)["supervisor"]["supervisor_pid"] for line in open(sys.argv[1])]
assert len(pids) == 3 and pids[0] != pids[1] == pids[2], pids
X
shutdown_mpsup

say "no supervisor: as status"
mps_expect 4 top
contains "$T/err" "^mpsup: no supervisor at " || fail "$(cat "$T/err")"
