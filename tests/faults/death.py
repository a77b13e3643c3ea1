"""Faults: the processes that supervise are killed."""

from table import fault
from world import Failed, kill, wait_gone

A_SECOND = 1.0


def both(c):
    """Two programs that have been up for some time: their names and pids."""
    c.start(c.worker("a"), c.worker("b"))
    c.w.aged(["a", "b"])
    return {n: c.w.runs(n)[-1] for n in ("a", "b")}


def once(c, pids):
    """Each still runs as it did, and no second one was started."""
    for n, p in pids.items():
        copies = c.w.copies(n)
        if len(copies) > 1:
            raise Failed("%d copies of a program run" % len(copies))
        if p not in copies:
            raise Failed("the programs do not go on")


@fault("supervisor-killed", "the supervisor is SIGKILLed: programs go on, none twice, and are still restarted")
def supervisor_killed(c):
    pids = both(c)
    kill(c.decider("a"))
    c.w.until(lambda: len(c.w.runs("a")) > 1, A_SECOND)
    once(c, pids)
    if c.w.restarted("a", 2) is None:
        raise Failed("nobody restarts a program afterwards")
    pids["a"] = c.w.runs("a")[-1]
    once(c, pids)


@fault("keeper-killed", "the process at the root is SIGKILLed: no program is alive after 1 s")
def keeper_killed(c):
    pids = both(c)
    kill(c.root())
    left = wait_gone(pids.values(), A_SECOND)
    if left:
        raise Failed("%d of %d programs alive after 1 s" % (len(left), len(pids)))
