#!/bin/bash
# Clients that say nothing, garbage, half a line, or never read cannot keep a worker from being restarted.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

config <<X
[program:w]
command=$W --pidfile $T/w
startsecs=0
restart_delay=0
numprocs=20
process_name=%(program_name)s_%(process_num)02d
[program:wait]
command=$W --ignore TERM --pidfile $T/wait
startsecs=0
stopwaitsecs=60
autostart=false
X
start_mpsup
must n_lines "$T/w" 20

cat >"$T/clients.py" <<'X'
import json, os, resource, select, signal, socket, subprocess, sys, time

path, pids, supervisor = sys.argv[1], sys.argv[2], int(sys.argv[3])


def connect():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(5)
    s.connect(path)
    return s


def call(method, **params):
    s = connect()
    s.sendall(json.dumps({"id": 1, "method": method, "params": params}).encode() + b"\n")
    rows = []
    for line in s.makefile("rb"):
        m = json.loads(line)
        if "error" in m:
            return m["error"]
        if isinstance(m.get("result"), dict):
            rows += m["result"].get("processes", [])
        if "id" in m and not m.get("more"):
            m["rows"] = rows
            return m
    raise SystemExit("no answer to " + method)


def lines():
    return open(pids).read().split()


def restart(limit):
    """How long until a killed worker's successor is there; within `limit` seconds in any case."""
    n = len(lines())
    os.kill(int(lines()[-1]), signal.SIGKILL)
    t = time.monotonic()
    while len(lines()) == n:
        if time.monotonic() - t > limit:
            raise SystemExit("a killed worker was not restarted in %s s" % limit)
        time.sleep(0.001)
    return time.monotonic() - t


def restarts(what):
    # Other tests run beside this one: what counts is that it can be fast whatever the clients do.
    limit = 6.0 if os.environ.get("SAN") else 2.0
    best = restart(limit)
    for _ in range(9):
        if best < 0.05:
            break
        best = min(best, restart(limit))
    if best >= 0.05 and not os.environ.get("SAN"):
        raise SystemExit("%s: restarted after %d ms at best" % (what, best * 1000))
    if len(call("status", targets=["w:*"])["rows"]) != 20:
        raise SystemExit(what + ": status does not show 20 processes")
    print("  %s: restarted in %.1f ms" % (what, best * 1000))


def cpu_ns():
    return sum(int(open("/proc/%d/task/%s/schedstat" % (supervisor, t)).read().split()[0])
               for t in os.listdir("/proc/%d/task" % supervisor))


def rss_kib():
    return next(int(l.split()[1]) for l in open("/proc/%d/status" % supervisor) if l.startswith("VmRSS"))


def push(s, data):
    """What the server takes of it: it may close, or stop reading."""
    try:
        s.settimeout(1)
        s.sendall(data)
    except OSError:
        pass


hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
MAX = 1024  # of connections in all, lib/base/limits.h
n_silent = min(1000, hard - 200) if hard != resource.RLIM_INFINITY else 1000


def stirring(sockets, ms):
    """How many of them have something to read, or were closed."""
    p = select.poll()
    for x in sockets:
        p.register(x, select.POLLIN)
    return len(p.poll(ms))


restarts("nobody")
silent = [connect() for _ in range(n_silent)]
restarts("%d silent clients" % n_silent)
before = cpu_ns()
if stirring(silent, 1000):
    raise SystemExit("a silent client was told something, or dropped")
spent = (cpu_ns() - before) / 1e6
if spent > 100:
    raise SystemExit("%d silent clients cost %d ms a second" % (n_silent, spent))

if n_silent == 1000:
    more = [connect() for _ in range(100)]
    gone = 100 - (MAX - n_silent)
    end = time.monotonic() + 5
    while stirring(more, 50) < gone:
        if time.monotonic() > end:
            raise SystemExit("more than %d clients are let in" % MAX)
    if stirring(more, 0) != gone:
        raise SystemExit("fewer than %d clients are let in" % MAX)
    for s in more + silent[100:]:
        s.close()
    del silent[100:]
    restarts("%d clients, and those that were too many" % MAX)

half = [connect() for _ in range(20)]
for s in half:
    s.sendall(b'{"id":1,"meth')
restarts("20 half lines")

garbage = []
for data in (b"\0" * 65536, b"\n" * 65536, b"GET / HTTP/1.1\r\n\r\n", b"[" * 200000 + b"\n", b'{"id":' * 1000 + b"\n",
             b"x" * (2 << 20), b'{"id":1}\n', b'{"method":7}\n', b'[1,2]\n', b'"text"\n', b'{"id":1,"method":"nope"}\n',
             b'{"id":1,"method":"status","params":[1]}\n', b'{"id":1,"method":"status","params":{"targets":"w"}}\n',
             b'{"id":1,"method":"signal","params":{"targets":["w:*"],"signal":99999999999}}\n', b"\xff\xfe\xfd\n",
             b'{"id":1,"method":"start","params":{"targets":[null,{},[]]}}\n'):
    s = connect()
    push(s, data)
    garbage.append(s)
    s = connect()
    push(s, data)
    s.close()
restarts("garbage")

e = call("no-such-method")
if e.get("code") != 1:
    raise SystemExit("unknown method: %s" % e)

base = rss_kib()
deaf = [connect() for _ in range(30)]
for s in deaf:
    push(s, b'{"id":1,"method":"status","params":{"detail":true}}\n' * 20000)
restarts("30 clients that never read")
grown = rss_kib() - base
if grown > 64 << 10 and not os.environ.get("SAN"):  # a sanitizer keeps what was freed
    raise SystemExit("30 clients that never read made the supervisor grow by %d KiB" % grown)

# One that reads a little now and then gets all it asked for.
slow = connect()
slow.sendall(b'{"id":1,"method":"status","params":{"detail":true}}\n' * 100)
got = slow.recv(100)
restarts("a client that reads slowly")
while got.count(b"\n") < 100:
    part = slow.recv(4000)
    if not part:
        raise SystemExit("a slow client was dropped after %d answers" % got.count(b"\n"))
    got += part

# All together hold no more than that either, whatever each may, and have one request served in turn.
def bounded(what, clients):
    grown = rss_kib() - base
    if grown > 96 << 10 and not os.environ.get("SAN"):
        raise SystemExit("%s made the supervisor grow by %d KiB" % (what, grown))
    for s in clients:
        s.close()


n_crowd = min(700, hard - 400) if hard != resource.RLIM_INFINITY else 700
for s in deaf:
    s.close()
base = rss_kib()
crowd = [connect() for _ in range(n_crowd)]
for s in crowd:
    push(s, b'{"id":1,"method":"status"}\n' * 2000)
restarts("%d clients that ask much and never read" % n_crowd)
t = time.monotonic()
call("info")
t = time.monotonic() - t
if t > 2 and not os.environ.get("SAN"):
    raise SystemExit("who asks little waits %d ms for those who ask much" % (t * 1000))
bounded("%d clients that never read" % n_crowd, crowd)

crowd = [connect() for _ in range(200)]
for s in crowd:
    push(s, b'{"id":1,"method":"' + b"x" * 1000000)
restarts("200 half lines of 1 MB")
bounded("200 half lines of 1 MB", crowd)

for s in silent + half + garbage + [slow]:
    s.close()
restarts("all gone again")


def descriptors():
    return len(os.listdir("/proc/%d/fd" % supervisor))


def until(what, condition):
    t = time.monotonic()
    while not condition():
        if time.monotonic() - t > 5:
            raise SystemExit("not in time: " + what)
        time.sleep(0.005)


def ask_and_shut(method, **params):
    s = connect()
    s.sendall(json.dumps({"id": 1, "method": method, "params": params}).encode() + b"\n")
    s.shutdown(socket.SHUT_WR)
    return s


call("start", targets=["wait"], wait=False)
until("a program that ignores TERM", lambda: os.path.exists(pids + "ait"))
base = descriptors()
shut = [ask_and_shut("stop", targets=["wait"]) for _ in range(100)]
until("100 clients that wait for an answer", lambda: descriptors() >= base + 100)
for s in shut[1:]:
    s.close()
until("99 clients are dropped when they hang up", lambda: descriptors() <= base + 2)
os.kill(next(r["pid"] for r in call("status", targets=["wait"])["rows"]), signal.SIGKILL)
answer = json.loads(shut[0].makefile("rb").readline())
if answer["result"]["processes"][0]["status"] != "SUCCESS":
    raise SystemExit("a client that has shut down its side: %s" % answer)
until("it is let go", lambda: descriptors() <= base)
X

say "whatever clients do, workers are restarted and others are answered"
python3 "$T/clients.py" "$RUNTIME/control.sock" "$T/w" "$supervisor" || fail "see above"
[ "$(role supervisor)" = "$supervisor" ] || fail "the supervisor is another one"
if [ "$(id -u)" = 0 ]; then
  say "another user is refused"
  setpriv --reuid 65534 --regid 65534 --clear-groups "$MPSUP" status -c "$CONF" >"$T/out" 2>"$T/err" && fail "nobody may ask"
  setpriv --reuid 65534 --regid 65534 --clear-groups "$MPSUP" status -s "$RUNTIME/control.sock" >"$T/out" 2>"$T/err" &&
    fail "nobody may ask by -s"
fi
shutdown_mpsup
