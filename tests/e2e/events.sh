#!/bin/bash
# Events over the control socket and mpsup events: what is told, to whom, and that nobody waits for one who does not listen.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

config <<Y
[program:w]
command=$W --pidfile $T/w
process_name=%(program_name)s_%(process_num)d
numprocs=4
startsecs=0
[program:once]
command=$W --exit 3
startsecs=0
autorestart=false
autostart=false
[program:job]
command=$W --exit 0
startsecs=0
autorestart=false
autostart=false
[program:none]
command=/nonexistent
startretries=0
autostart=false
Y
start_mpsup
must n_lines "$T/w" 4

cat >"$T/client.py" <<'Y'
import json, os, select, signal, socket, sys, time

path, pids, supervisor = sys.argv[1], sys.argv[2], int(sys.argv[3])


class Client:
    def __init__(self, limit=10):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(limit)
        self.s.connect(path)
        self.f = self.s.makefile("rb")
        self.events = []

    def line(self):
        text = self.f.readline()
        return json.loads(text) if text else None

    def call(self, method, **params):
        self.s.sendall(json.dumps({"id": 1, "method": method, "params": params}).encode() + b"\n")
        while True:
            m = self.line()
            if m is None:
                raise SystemExit("no answer to " + method)
            if "event" in m:
                self.events.append(m)
            elif not m.get("more"):
                return m

    def event(self):
        return self.events.pop(0) if self.events else self.line()

    def until(self, **want):
        """The next event with this data; what came before it is in self.passed."""
        self.passed = []
        while True:
            e = self.event()
            if e is None:
                raise SystemExit("the connection ended before %s" % want)
            if all(e["data"].get(k) == v for k, v in want.items()):
                return e
            self.passed.append(e)

    def nothing(self, ms=0):
        return not self.events and not select.select([self.s], [], [], ms / 1000)[0]


def check(what, good, *more):
    if not good:
        raise SystemExit(what + ": " + " ".join(str(m) for m in more))


def subscriber(**params):
    c = Client()
    c.answer = c.call("events", **params)
    return c


def pid_of(name):
    return next(r["pid"] for r in Client().call("status", targets=[name])["result"]["processes"])


everything = subscriber()
check("the answer", everything.answer["result"]["supervisor_pid"] == supervisor, everything.answer)
seq = everything.answer["result"]["seq"]
one = subscriber(targets=["w:w_1", "once"], types=["state"])
wrong = subscriber(targets=["w:w_1", "wbe"])
check("a wrong target is told", wrong.answer["result"]["errors"][0]["target"] == "wbe", wrong.answer)
for params, code in (({"types": ["states"]}, 3), ({"types": "state"}, 2), ({"targets": "w"}, 2), ({"types": [1]}, 3)):
    answer = Client().call("events", **params)
    check("wrong parameters", answer["error"]["code"] == code, params, answer)

# One that is killed: exit, then the states.
victim = pid_of("w:w_1")
t = time.time()
os.kill(victim, signal.SIGKILL)
e = everything.until(name="w:w_1")
check("exit comes first", e["event"] == "exit", e)
check("exit", e["data"]["pid"] == victim and e["data"]["signal"] == "KILL" and e["data"]["expected"] is False, e)
check("exit's names", e["data"]["group"] == "w" and e["data"]["process"] == "w_1", e)
check("the time", t - 1 < e["time"] < time.time() + 1, e)
e = everything.until(name="w:w_1", state="EXITED")
check("passed through", e["data"]["passing"] is True and e["data"]["from"] == "RUNNING", e)
e = everything.until(name="w:w_1", state="STARTING")
check("not passed through", "passing" not in e["data"], e)
e = everything.until(name="w:w_1", state="RUNNING")
check("the new pid", e["data"]["pid"] == pid_of("w:w_1"), e)
check("of one only its own", [one.event()["data"]["state"] for _ in range(3)] == ["EXITED", "STARTING", "RUNNING"])

# Exits and what is expected.
caller = Client()
everything.until(name="w:w_1") if everything.events else None
for name, code, expected in (("once", 3, False), ("job", 0, True)):
    caller.call("start", targets=[name], wait=False)
    e = everything.until(name=name, code=code)
    check("exit of " + name, e["data"]["expected"] is expected, e)
    everything.until(name=name, state="EXITED")
caller.call("stop", targets=["w:w_2"])
e = everything.until(name="w:w_2", signal="TERM")
check("asked for, so expected", e["data"]["expected"] is True, e)
everything.until(name="w:w_2", state="STOPPED")
caller.call("start", targets=["none"])
e = everything.until(name="none", state="FATAL")
errors = [p for p in everything.passed if p["event"] == "spawn_error"]
check("one spawn_error", len(errors) == 1 and "nonexistent" in errors[0]["data"]["message"], everything.passed)

# No number is missing for one who gets all.
fresh = subscriber()
check("seq goes on", fresh.answer["result"]["seq"] == e["seq"], fresh.answer, e)
again = subscriber()
numbers = [again.answer["result"]["seq"]]
caller.call("restart", targets=["w:*"])
again.until(name="w:w_3", state="RUNNING")
numbers += [p["seq"] for p in again.passed]
check("gapless", numbers == list(range(numbers[0], numbers[0] + len(numbers))), numbers)

# A second request takes the place of the first; status comes in line.
again.call("events", types=["shutdown"])
again.events.clear()
caller.call("restart", targets=["w:w_0"])
again.call("info")
check("the first subscription is gone", again.nothing(), again.events)
both = subscriber(types=["state"])
rows = both.call("status", fields=["name", "state"])["result"]["processes"]
check("status of a subscriber", len(rows) == 7, rows)

# One that has shut its side down is told on.
half = subscriber(types=["state"], targets=["w:w_0"])
half.s.shutdown(socket.SHUT_WR)
caller.call("restart", targets=["w:w_0"])
half.until(name="w:w_0", state="RUNNING")


# Those who never read are dropped; nobody waits for them.
def fds():
    return len(os.listdir("/proc/%d/fd" % supervisor))


def rss_kib():
    return next(int(l.split()[1]) for l in open("/proc/%d/status" % supervisor) if l.startswith("VmRSS"))


for c in (everything, one, wrong, fresh, again, both, half):
    c.s.close()
    c.f.close()
base_fds, base_rss = fds(), rss_kib()
deaf = [subscriber() for _ in range(100)]
listener = subscriber(types=["state"], targets=["w:w_0"])
with_all = fds()
restarts, most, slowest, end = 0, 0, 0, time.monotonic() + 60
while fds() > with_all - 100:
    check("deaf subscribers are dropped", time.monotonic() < end, fds(), with_all)
    t = time.monotonic()
    caller.call("restart", targets=["w:*"])
    slowest = max(slowest, time.monotonic() - t)
    restarts += 1
    most = max(most, rss_kib())
    while not listener.nothing():
        listener.event()
print("  100 deaf subscribers: gone after %d restarts of 4, at most %d KiB more, slowest %d ms" %
      (restarts, most - base_rss, slowest * 1000))
check("a restart waits for nobody", slowest < 2, slowest)
check("memory", os.environ.get("SAN") or most - base_rss < 64 << 10, most - base_rss)
caller.call("restart", targets=["w:w_0"])
listener.until(name="w:w_0", state="RUNNING")
for c in deaf:
    got = b""
    while True:
        part = c.s.recv(1 << 20)
        if not part:
            break
        got = (got + part)[-200:]
Y

say "what is told, and to whom"
python3 "$T/client.py" "$RUNTIME/control.sock" "$T/w" "$supervisor" || fail "see above"
[ "$(role supervisor)" = "$supervisor" ] || fail "the supervisor is another one"

say "a takeover, to one who has heard the old supervisor; shutdown, also to one who comes late"
cat >"$T/takeover.py" <<'Y'
import fcntl, signal, struct, termios

old = subscriber()
os.kill(supervisor, signal.SIGKILL)
check("the connection ends with the supervisor", old.line() is None)
new = subscriber(supervisor_pid=supervisor)
e = new.event()
check("takeover", e["event"] == "takeover" and e["data"]["before"] == supervisor, e)
check("takeover's pid", e["data"]["supervisor_pid"] == new.answer["result"]["supervisor_pid"] != supervisor, e)
check("how the old one ended", e["data"]["signal"] == "KILL", e)
check("takeover's number", 0 < e["seq"] <= new.answer["result"]["seq"], e, new.answer)
check("not to one who knows", subscriber(supervisor_pid=e["data"]["supervisor_pid"]).nothing())
check("not to a new one", subscriber().nothing())
check("not to one who does not want it", subscriber(supervisor_pid=supervisor, types=["state"]).nothing())
# One that reads nothing until the programs have ended: what waits for it, and the last words, still come.
lazy = subscriber()
waiting, before = 0, -1
while waiting > before:
    for _ in range(5):
        Client().call("restart", targets=["quick"])
    before, waiting = waiting, struct.unpack("i", fcntl.ioctl(lazy.s, termios.FIONREAD, b"\0" * 4))[0]
    while not new.nothing():
        new.event()
caller = Client()
caller.call("shutdown")
e = new.until(exit_status=0)
check("shutdown", e["event"] == "shutdown", e)
late = subscriber()
e = late.event()
check("shutdown, late", e["event"] == "shutdown", e)
last = new.until(process="w", state="STOPPED")
told = []
while (e := lazy.event()) is not None:
    told.append(e)
check("the last word", new.event() is None and told[-1]["seq"] == last["seq"], told[-1], last)
check("all that waited", sum(e["event"] == "shutdown" for e in told) == 1)
check("each of it", [e["seq"] for e in told] == list(range(told[0]["seq"], last["seq"] + 1)))
Y
sed '/^everything = /,$d' "$T/client.py" >"$T/common.py"
shutdown_mpsup
config <<Y
[program:w]
command=$W --ignore TERM
startsecs=0
stopwaitsecs=1
[program:quick]
command=$W
startsecs=0
Y
start_mpsup
python3 <(cat "$T/common.py" "$T/takeover.py") "$RUNTIME/control.sock" "$T/w" "$supervisor" || fail "see above"
must -t 6 nothing_left

# ------------------------------------------------------------------------------------------------ mpsup events

export MPSUP_NO=crash_limit
config <<Y
[program:w]
command=$W --pidfile $T/v
process_name=%(program_name)s_%(process_num)d
numprocs=2
startsecs=0
[program:once]
command=$W
startsecs=0
autorestart=false
Y

# mpsup events in the background; a shell's background processes ignore ^C.
listen() { # file, arguments
  local out=$1
  shift
  python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$MPSUP" events -c "$CONF" "$@" >"$out" 2>"$out.err" </dev/null &
  listener=$!
  must sits "$listener"
  mps pid >/dev/null # asked later, so its subscription was answered before
}

has() { # file, event, further words
  local file=$1 event=$2
  shift 2
  awk -v e="\"event\":\"$event\"" -v words="$*" 'BEGIN { n = split(words, w, " ") }
    index($0, e) { good = 1; for (i = 1; i <= n; i++) if (!index($0, w[i])) good = 0; if (good) found = 1 }
    END { exit !found }' "$file"
}

say "nobody there, no such name, no such event"
mps_expect 7 events
start_mpsup
mps_expect 1 events wbe
contains "$T/err" "'wbe'" || fail "it does not say what is wrong"
mps_expect 2 events --type states
contains "$T/err" "did you mean state" || fail "it does not say what would be right"
mps_expect 2 events --type ,

say "JSON on a pipe; only what was asked for"
listen "$T/all"
all=$listener
listen "$T/one" --type exit,shutdown w:w_1
one=$listener
kill -KILL "$(pid_of w:w_1)"
must has "$T/all" state '"name":"w:w_1"' '"state":"RUNNING"'
must has "$T/one" exit '"name":"w:w_1"' '"signal":"KILL"'
contains "$T/one" '"event":"state"' && fail "states were not asked for"
contains "$T/all" '"name":"w:w_0"' && fail "w_0 has done nothing"

say "killed supervisors: the takeover is told, and what nobody told is found out"
for _ in 1 2 3; do
  victim=$(pid_of w:w_0)
  kill -STOP "$supervisor"
  kill -KILL "$victim"
  : >"$T/all"
  must gone "$victim"
  before=$supervisor
  take_over
  must has "$T/all" takeover "\"before\":$before" '"signal":"KILL"'
  must has "$T/all" state '"name":"w:w_0"' '"state":"RUNNING"'
done
victim=$(pid_of once)
kill -STOP "$supervisor"
kill -TERM "$victim"
must gone "$victim"
kill -KILL "$supervisor"
must has "$T/all" state '"name":"once"' '"state":"EXITED"' '"from":"RUNNING"' '"missed":true'
supervisor=$(role supervisor)
mps_expect 0 upgrade
must has "$T/all" takeover "\"before\":$supervisor"
supervisor=$(role supervisor)
contains "$T/one" takeover && fail "takeovers were not asked for"

say "one that does not read loses events, is told so, and knows the states all the same"
kill -STOP "$all"
base=$(wc -l <"$T/all")
dropped() {
  for _ in 1 2 3 4 5 6 7 8; do mps restart w:w_0 >/dev/null; done
  [ "$(find "/proc/$supervisor/fd" -lname 'socket:*' | wc -l)" -lt "$sockets" ]
}
sockets=$(find "/proc/$supervisor/fd" -lname 'socket:*' | wc -l)
must -t 60 dropped
mps_expect 0 stop w:w_0
kill -CONT "$all"
must contains "$T/all.err" 'too slow: up to [0-9]+ events were lost'
must has "$T/all" state '"name":"w:w_0"' '"state":"STOPPED"'
n_lines "$T/all" $((base + 10)) || fail "what had been sent was lost too"
mps_expect 0 start w:w_0

say "a reload: which are new, and what those do that a pattern now means"
listen "$T/pattern" --type state,reload 'w:*'
sed -i 's/^numprocs=2$/numprocs=3/' "$CONF"
mps_expect 0 reload
must has "$T/all" reload '"added":["w:w_2"]' '"removed":[]'
must has "$T/pattern" state '"name":"w:w_2"' '"state":"RUNNING"'
sed -i 's/^numprocs=3$/numprocs=2/' "$CONF"
mps_expect 0 reload
must has "$T/pattern" reload '"removed":["w:w_2"]'
must has "$T/pattern" state '"name":"w:w_2"' '"state":"STOPPED"'
kill -TERM "$listener"
wait "$listener"

say "^C"
listen "$T/ctrl_c"
kill -INT "$listener"
wait_status "$listener" 130

say "on a terminal: text, aligned"
cat >"$T/terminal.py" <<'Y'
import os, pty, re, select, subprocess, sys, time

mpsup, conf = sys.argv[1:]
pid, fd = pty.fork()
if pid == 0:
    os.execv(mpsup, [mpsup, "events", "-c", conf, "w:w_0", "w:w_1"])
got = b""
subprocess.run([mpsup, "restart", "-c", conf, "w:w_0"], stdout=subprocess.DEVNULL, check=True)
end = time.monotonic() + 10
while not re.search(rb"exit      SIGTERM, expected, pid \d+\r\n(.*\r\n)*.*RUNNING.* from STARTING, pid \d+\r\n", got):
    if time.monotonic() > end:
        raise SystemExit("not in time: %r" % got)
    if select.select([fd], [], [], 0.1)[0]:
        got += os.read(fd, 65536)
    else:  # it may not have listened to all of the last one
        subprocess.run([mpsup, "restart", "-c", conf, "w:w_0"], stdout=subprocess.DEVNULL, check=True)
os.kill(pid, 9)
os.waitpid(pid, 0)
for line in got.decode().splitlines():
    if not re.match(r"\d\d:\d\d:\d\d\.\d{3}  w:w_0  (\x1b\[|exit      )", line):
        raise SystemExit("what is this: %r" % line)
Y
TERM=xterm NO_COLOR='' python3 "$T/terminal.py" "$MPSUP" "$CONF" || fail "see above"

say "the end of the supervisor is its end"
mps_expect 0 shutdown
for p in $all $one; do wait "$p" || fail "exit status $?"; done
contains "$T/all.err" "the supervisor has ended" || fail "it does not say so"
has "$T/one" shutdown '"exit_status":0' || fail "no shutdown event"
must -t 6 nothing_left
python3 -c 'import json, sys
for line in open(sys.argv[1]):
    assert line.endswith("\n") and "event" in json.loads(line), line' "$T/one" || fail "not JSON"

say "a killed keeper is no shutdown"
start_mpsup
listen "$T/killed"
kill -KILL "$keeper"
wait_status "$listener" 7
contains "$T/killed.err" "gone without a shutdown" || fail "it says $(cat "$T/killed.err")"
must -t 6 nothing_left
