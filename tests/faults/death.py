"""Faults: the processes that supervise are killed."""

import os
import random
import sys

from table import fault
from world import Failed, Missing, kill, living, reap, wait_gone

A_SECOND = 1.0
KILLS = int(os.environ.get("FAULTS_KILLS", 500))


def two(c, **kw):
    """Two programs that have been up for some time: their names and pids."""
    c.start(c.worker("a", **kw), c.worker("b", **kw))
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


def none_alive(pids, what="programs"):
    left = wait_gone(list(pids), A_SECOND)
    if left:
        raise Failed("%d of %d %s alive after %g s" % (len(left), len(pids), what, A_SECOND))


def tree(c):
    """A program with a child in its session and one that has left it; these tell their pids as "child"."""
    child = c.w.pidfile("child")
    return c.worker("tree", "--fork", "1", "{", "--pidfile", child, "}",
                    "--daemonize", "{", "--clear-env", "--pidfile", child, "}")


def family(c):
    """Such a one, and one alone, both up for some time: all pids."""
    c.start(c.worker("a"), tree(c))
    if not c.w.up("child", 2):
        raise Failed("the children do not come up")
    c.w.aged(["a", "tree"])
    return [*c.w.copies("a"), *c.w.copies("tree"), *c.w.copies("child")]


@fault("supervisor-killed", "the supervisor is SIGKILLed: programs go on, none twice, and are still restarted")
def supervisor_killed(c):
    pids = two(c)
    kill(c.decider("a"))
    c.w.until(lambda: len(c.w.runs("a")) > 1, A_SECOND)
    once(c, pids)
    if c.w.restarted("a", 10) is None:
        raise Failed("a program is not restarted afterwards")
    pids["a"] = c.w.runs("a")[-1]
    once(c, pids)


@fault("supervisor-killed-stop", "the same where it is set that all shall end: no process of a program is alive after 1 s",
       keys={"on_crash": "stop", "orphan_grace": "0.3"})
def supervisor_killed_stop(c):
    if c.name != "mpsup":
        raise Missing("no such setting")
    pids = family(c)
    kill(c.decider("a"))
    none_alive(pids, "processes")


@fault("keeper-killed", "the process at the root is SIGKILLed: no process of a program is alive after 1 s")
def keeper_killed(c):
    pids = family(c)
    kill(c.root())
    none_alive(pids, "processes")


@fault("both-killed", "both at once: no program is alive after 1 s, and the next start finds a clean place")
def both_killed(c):
    pids = two(c)
    supervising = [c.root(), *c.deciders()]
    for p in supervising:
        kill(p)
    none_alive(pids.values())
    wait_gone(supervising, A_SECOND)
    c.launch()
    for n in pids:
        if not c.w.up(n, 2, 5):
            raise Failed("the next start starts nothing")
    once(c, {n: c.w.runs(n)[-1] for n in pids})


@fault("helper-killed", "a helper of one program (forkserver, logger) is SIGKILLed: it goes on, and is still restarted")
def helper_killed(c):
    if c.name == "supervisord":
        raise Missing("it has none")
    if c.name == "mpsup":
        pids = two(c, keys={"start_method": "forkserver"})
        helper = c.role("forkserver")
    else:
        pids = two(c, log=True)
        helper = c.logger("a")
    if helper is None:
        raise Failed("there is none")
    kill(helper)
    wait_gone([helper], A_SECOND)
    once(c, pids)
    if c.w.restarted("a", 10) is None:
        raise Failed("the program is not restarted")
    pids["a"] = c.w.runs("a")[-1]
    once(c, pids)


# ---------------------------------------------------------------------------------------------------- again and again


def left_objects():
    """Names of shared memory and semaphores, numbers of System V objects. For root they are all ours (see run)."""
    left = ["/dev/shm/" + n for n in os.listdir("/dev/shm") if "faults" in n or os.getuid() == 0]
    for kind in ("shm", "sem", "msg"):
        with open("/proc/sysvipc/" + kind) as f:
            for line in f.readlines()[1:]:
                key = line.split()
                if os.getuid() == 0:
                    left.append("%s %s" % (kind, key[1]))
    return left


def kill_all(c, chance):
    """Every process that supervises, in random order, all at once or one after the other, until there is none."""
    while True:
        pids = c.w.supervising()
        if not pids:
            return
        chance.shuffle(pids)
        for p in pids:
            kill(p)
            if chance.randrange(2):
                wait_gone([p], A_SECOND)
        wait_gone(pids, A_SECOND)


@fault("all-killed-often", "every process that supervises is SIGKILLed in random order, %d times: no program is alive after 1 s, "
       "and after the next start nothing is left" % KILLS,
       seconds=1800)
def all_killed_often(c):
    seed = int(os.environ.get("FAULTS_SEED", 0)) or random.randrange(1, 10**6)
    print("FAULTS_SEED=%d repeats" % seed, file=sys.stderr)
    chance = random.Random(seed)
    c.w.ipc = c.w.copy(c.w.build + "/e2e/ipc")
    programs = [
        c.worker("a"),
        tree(c),
        c.worker("forked", keys={"start_method": "forkserver"}),
        c.program("objects", "%s shm:/faults-a sem:/faults-b sysvshm; echo $$ >>%s; exec %s" % (
            c.w.ipc, c.w.pidfile("objects"), c.w.worker)),
    ]
    c.prepare_all(programs)
    names, before = c.names, []
    for n in range(1, KILLS + 1):
        seen = "in round %d" % n
        c.launch()
        # What a program had started may be there until the next start, but not longer.
        left = wait_gone(before, A_SECOND)
        if left:
            raise Failed("%d processes left after the next start %s" % (len(left), seen))
        for name in names + ["child"]:
            # At random moments: not always are all up.
            if chance.randrange(3) and not c.w.up(name, len(c.w.runs(name)) if c.w.copies(name) else 1, 10):
                raise Failed("%s does not come up %s" % (name, seen))
        kill_all(c, chance)
        mains = [p for name in names for p in c.w.copies(name)]
        left = wait_gone(mains, A_SECOND)
        if left:
            raise Failed("%d of %d programs alive after 1 s %s" % (len(left), len(mains), seen))
        reap()
        before = living()
        for f in os.listdir(c.w.pids):
            os.unlink(c.w.pidfile(f))
    c.clean()
    left = wait_gone(before, A_SECOND)
    if left:
        raise Failed("%d processes left %s" % (len(left), seen))
    if left_objects():
        raise Failed("left of %d rounds: %s" % (KILLS, ", ".join(left_objects()[:5])))
