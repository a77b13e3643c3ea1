"""Faults: programs that misbehave, or whose folder goes."""

import os
import signal
import time

from table import fault
from world import Failed, Late, alive, descendants, kill, wait_gone

CRASHERS, WINDOW, PATIENCE = 100, 10, 10


def stopped(c, pids, limit, patience=12):
    """Stops the program "a"; none of the processes may be there after so many seconds."""
    start = time.monotonic()
    c.stop("a")
    left = wait_gone(pids, patience)
    took = time.monotonic() - start
    if left:
        raise Failed("%d of %d processes alive after %g s" % (len(left), len(pids), patience))
    if took > limit:
        raise Late("gone after %.2f s" % took)


@fault("deaf", "a program ignores SIGTERM: it is gone within the set 1 s + 0.2 s of a stop")
def deaf(c):
    c.start(c.worker("a", "--ignore", "TERM", wait=1))
    c.w.aged(["a"])
    stopped(c, c.w.copies("a"), 1.2, 5)


@fault("suspended", "a program was SIGSTOPped: gone within 0.5 s of a stop")
def suspended(c):
    c.start(c.worker("a"))
    c.w.aged(["a"])
    kill(c.w.runs("a")[-1], signal.SIGSTOP)
    stopped(c, c.w.copies("a"), 0.5)


@fault("escaped", "a program has double-forked a child into a session of its own: a stop ends both")
def escaped(c):
    c.start(c.worker("a", "--daemonize", "{", "--clear-env", "--pidfile", c.w.pidfile("a"), "}"))
    if not c.w.up("a", 2):
        raise Failed("the child does not come up")
    stopped(c, c.w.copies("a"), 2, 3)


def cpu_ns(pids):
    total = 0
    for p in pids:
        try:
            for t in os.listdir("/proc/%d/task" % p):
                with open("/proc/%d/task/%s/schedstat" % (p, t)) as f:
                    total += int(f.read().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total


@fault("crash-loop", "%d programs crash at once, each time: less than 1 %% of a CPU goes into it" % CRASHERS)
def crash_loop(c):
    names = ["w%d" % n for n in range(CRASHERS)]
    c.start(*[c.worker(n, "--exit", "1", crashes=True) for n in names])
    if not c.w.until(lambda: all(c.w.runs(n) for n in names), 20):
        raise Failed("not all are started")
    pids = c.w.supervising()
    before, start = cpu_ns(pids), time.monotonic()
    c.w.pause(WINDOW)
    percent = (cpu_ns(pids) - before) / (time.monotonic() - start) / 1e7
    if percent >= 1:
        raise Late("%.1f %% of a CPU" % percent)


@fault("orphans", "20,000 orphans are left by programs: all are reaped, programs are still restarted", first=True)
def orphans(c):
    c.w.orphans = c.w.copy(c.w.build + "/faults/orphans")
    done = c.w.pidfile("done")
    c.start(c.worker("b"), c.program("a", "echo $$ >>%s; %s 20000; echo $$ >>%s; exec %s" % (
        c.w.pidfile("a"), c.w.orphans, done, c.w.worker)))
    if not c.w.up("done", 1, 60):
        raise Failed("making them takes more than 60 s")
    if c.w.restarted("b", 5) is None:
        raise Failed("a program is not restarted within 5 s")
    root = c.root()
    zombies = [p for p, state in descendants(root).items() if state == "Z"]
    # Where the kernel tells of it, as soon as they are reaped.
    fds = [os.pidfd_open(p) for p in zombies[:500] if os.path.exists("/proc/%d" % p)]
    c.w.until(lambda: not [p for p, state in descendants(root).items() if state == "Z"], PATIENCE, *fds)
    zombies = [p for p, state in descendants(root).items() if state == "Z"]
    if zombies:
        raise Failed("%d zombies after %d s" % (len(zombies), PATIENCE))


@fault("directory-removed", "a program's directory is removed: it goes on, the others too; made again, it can be started")
def directory_removed(c):
    home = c.w.path("home")
    os.mkdir(home)
    c.start(c.worker("a", directory=home), c.worker("b"))
    c.w.aged(["a", "b"])
    pid = c.w.runs("b")[-1]
    os.rmdir(home)
    if not alive(c.w.runs("a")[-1]):
        raise Failed("it does not go on")
    if c.w.restarted("a", 3) is not None:
        raise Failed("it is started somewhere else")
    if not alive(pid) or c.w.restarted("b", 3) is None:
        raise Failed("another one suffers")
    n = len(c.w.runs("a"))
    os.mkdir(home)
    os.chmod(home, 0o755)
    c.again("a")
    if not c.w.up("a", n + 1, 3):
        raise Failed("it is not started afterwards")


@fault("broken-reload", "a reload, or what comes nearest, with a mistake in the file: nothing changes")
def broken_reload(c):
    c.start(c.worker("a"), c.worker("b"))
    c.w.aged(["a", "b"])
    pids = [c.w.runs(n)[-1] for n in ("a", "b")]
    processes = sorted(c.w.programs())
    c.breaks()
    c.reload()
    if c.w.pause(2, pids):
        raise Failed("programs have ended")
    if sorted(c.w.programs()) != processes:
        raise Failed("programs were started")
    if c.w.restarted("b", 3) is None:
        raise Failed("a program is not restarted afterwards")
    if not c.answers_soon("b"):
        raise Failed("it does not answer afterwards")
