"""Faults: the machine has no room: no process, no descriptor, no memory. It passes, and all must be as before."""

import os
import resource
import time

from death import once, two
from table import fault
from world import Failed, Late

LASTS = 8  # seconds: longer than who gives up after three tries
PLAIN = {"user": 54324} if os.getuid() == 0 else {}


def lowest_free(pid):
    used = {int(f) for f in os.listdir("/proc/%d/fd" % pid)}
    return next(n for n in range(len(used) + 1) if n not in used)


def vm_size(pid):
    with open("/proc/%d/status" % pid) as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmSize:"))


def set_limit(c, pid, what, soft):
    """Of one's own processes anybody may; of others not even root may everywhere."""
    if not c.user:
        resource.prlimit(pid, what, (soft, resource.prlimit(pid, what)[1]))
        return
    status, said = c.ctl("prlimit", "--pid", str(pid), "--nproc=%d:" % soft)
    if status != 0:
        raise OSError("prlimit: " + said)


def starve(c, what, limit):
    """While nobody who supervises may have more than limit(pid), a program is killed."""
    pids = two(c)
    before = resource.getrlimit(what)[0]
    for p in c.w.supervising():
        set_limit(c, p, what, limit(p))
    n = len(c.w.runs("a"))
    os.kill(pids["a"], 9)
    until = time.monotonic() + LASTS
    c.answers("b")  # or not: it asks for room
    c.w.pause(until - time.monotonic())
    again = len(c.w.runs("a")) > n and c.w.copies("a")
    n = len(c.w.runs("a"))
    for p in c.w.supervising():
        set_limit(c, p, what, before)
    relief = time.monotonic()
    if not again and not c.w.up("a", n + 1, 10):
        raise Failed("not restarted within 10 s of relief")
    took = time.monotonic() - relief
    if took > 1:
        raise Late("restarted %.1f s after relief" % took)
    pids["a"] = c.w.runs("a")[-1]
    once(c, pids)
    if c.w.restarted("b", 2) is None:
        raise Failed("the next program that is killed is not restarted")


@fault("no-process", "fork fails with EAGAIN (RLIMIT_NPROC) for %d s: a killed program is back < 1 s after relief" % LASTS,
       **PLAIN)
def no_process(c):
    starve(c, resource.RLIMIT_NPROC, lambda pid: 1)


@fault("no-descriptor", "the same with no descriptor left (EMFILE)")
def no_descriptor(c):
    starve(c, resource.RLIMIT_NOFILE, lowest_free)


@fault("no-memory", "the same with no more memory than each has (RLIMIT_AS)")
def no_memory(c):
    starve(c, resource.RLIMIT_AS, vm_size)
