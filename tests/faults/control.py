"""Faults: what is done to the way in."""

import os
import random
import resource
import select
import socket
import stat

from table import fault
from world import Failed, Late, kill

CLIENTS = 1000


@fault("runtime-removed", "what it keeps its control in is removed: it can be asked again, within 2 s")
def runtime_removed(c):
    c.start(c.worker("a"), c.worker("b"))
    c.w.aged(["a", "b"])
    pids = [c.w.runs(n)[-1] for n in ("a", "b")]
    if not c.answers("a"):
        raise Failed("no answer to begin with")
    places = c.runtime() if isinstance(c.runtime(), list) else [c.runtime()]
    for p in places:
        c.w.watch(os.path.dirname(p))
        c.w.remove(p)

    def answers():
        for p in places:
            if os.path.isdir(p):
                c.w.watch(p)
        return c.answers("a")

    if not c.w.until(answers, 2):
        raise Failed("it cannot be asked any more")
    if c.w.pause(0.1, pids):
        raise Failed("programs have ended")
    if c.w.restarted("b", 3) is None or not c.answers_soon("b"):
        raise Failed("a program is not restarted afterwards")


def request(c):
    if c.name == "mpsup":
        return b'{"id":1,"method":"status"}\n'
    body = b"<?xml version='1.0'?><methodCall><methodName>supervisor.getAllProcessInfo</methodName></methodCall>"
    return b"POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def crowd(c, path, ready):
    """In a process of its own: half of the clients say nothing, half ask and ask and never read, one sends garbage."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    garbage = random.Random(1).randbytes(1 << 20)
    clients = []
    fifo = stat.S_ISFIFO(os.stat(path).st_mode)
    for _ in range(CLIENTS):
        if fifo:
            clients.append(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            continue
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(2)
        try:
            s.connect(path)
        except OSError:
            continue  # turned away
        s.setblocking(False)
        clients.append(s.detach())
    poll = select.poll()
    sends = {clients[0]: garbage}
    if not fifo:
        sends.update({fd: request(c) * 100 for fd in clients[CLIENTS // 2:]})
    for fd in sends:
        poll.register(fd, select.POLLOUT)
    os.write(ready, b"x")
    while True:
        for fd, events in poll.poll():
            try:
                n = os.write(fd, sends[fd])
                if sends[fd] is garbage or fd == clients[0]:
                    sends[fd] = sends[fd][n:]
                    if not sends[fd]:
                        poll.unregister(fd)
            except BlockingIOError:
                pass
            except OSError:
                poll.unregister(fd)
                os.close(fd)


@fault("control-flood", "%d control connections, silent and flooding, and 1 MiB of garbage: restarts < 50 ms" % CLIENTS)
def control_flood(c):
    names = ["w%d" % n for n in range(7)]
    c.start(*[c.worker(n) for n in names])
    c.w.aged(names)
    path = c.control(names[0])
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            crowd(c, path, w)
        finally:
            os._exit(0)
    os.close(w)
    try:
        select.select([r], [], [], 30)
        if c.w.pause(0.5, [c.w.runs(n)[-1] for n in names]):
            raise Failed("garbage has ended a program")
        took = [c.w.restarted(n, 3) for n in names]
    finally:
        kill(pid)
        os.waitpid(pid, 0)
        os.close(r)
    if None in took:
        raise Failed("a program is not restarted")
    if max(took) >= 0.05:
        raise Late("a restart takes %d ms" % (max(took) * 1000))
    if not c.answers_soon(names[1]):
        raise Failed("it does not answer afterwards")
