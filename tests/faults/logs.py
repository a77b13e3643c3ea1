"""Faults: what is done to the files that output goes to, and to the clock."""

import os
import subprocess

from table import fault
from world import Failed, alive

LINES = 60000


def lines(first, last):
    return b"".join(b"line %d\n" % n for n in range(first, last + 1))


def verdict(have, want):
    """What is wrong with these lines, if anything."""
    if have == want:
        return None
    wanted = set(want.split(b"\n"))
    lost = len(wanted - set(have.split(b"\n")))
    torn = len(set(have.split(b"\n")) - wanted)
    said = ["%d of %d lines lost" % (lost, len(wanted) - 1)] if lost else []
    said += ["%d torn" % torn] if torn else []
    return ", ".join(said) or "lines twice or in another order"


@fault("disk-full", "the disk of a log is full for 3 s: no line is lost, none is torn", root="needs root to mount a disk")
def disk_full(c):
    disk = c.w.path("logs")
    os.mkdir(disk)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", disk], check=True)
    try:
        fill(c, disk)
    finally:
        subprocess.run(["umount", "-l", disk])  # or the folder could not be removed


def fill(c, disk):
    c.start(c.worker("a", "--write", str(LINES), log=True))
    c.w.watch(os.path.dirname(c.log("a")))
    full = lambda: os.statvfs(disk).f_bavail == 0
    if not c.w.until(full, 10):
        raise Failed("the disk does not get full")
    c.w.pause(3)
    if c.w.copies("a") == []:
        raise Failed("the program has died")
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    want = lines(1, LINES)
    c.w.until(lambda: len(c.logged("a")) >= len(want), 20)
    wrong = verdict(c.logged("a"), want)
    if wrong:
        raise Failed(wrong)


@fault("log-removed", "a log is renamed, then deleted: what is written later is in a file of that name")
def log_removed(c):
    go = c.w.path("go")
    os.mkfifo(go)
    c.start(c.program("a", "exec 3<>%s; echo $$ >>%s; i=0; while read -r n <&3; do while [ $n -gt 0 ]; do "
                      "i=$((i + 1)); echo \"line $i\"; n=$((n - 1)); done; done" % (go, c.w.pidfile("a")), log=True))
    c.w.watch(os.path.dirname(c.log("a")))
    fd = os.open(go, os.O_RDWR)

    def talk():
        os.write(fd, b"100\n")

    talk()
    if not c.w.until(lambda: c.logged("a") == lines(1, 100), 5):
        raise Failed("nothing is logged to begin with")
    aside = c.w.path("aside")
    os.rename(c.log("a"), aside)
    talk()

    def renamed():
        with open(aside, "rb") as f:
            return os.path.exists(c.log("a")) and f.read() + c.logged("a") == lines(1, 200)

    if not c.w.until(renamed, 3):
        raise Failed("no file of that name after it was renamed" if not os.path.exists(c.log("a")) else "lines are lost")
    os.unlink(c.log("a"))
    talk()
    if not c.w.until(lambda: os.path.exists(c.log("a")) and c.logged("a") == lines(201, 300), 3):
        raise Failed("what is written after it was deleted is lost")


@fault("clock", "the clock jumps by a day, forth and back: restarts and tries come when they are due")
def clock(c):
    offset = c.w.path("offset")
    c.w.env.update(LD_PRELOAD=c.w.build + "/faults/clock.so", CLOCK_OFFSET=offset)

    def jump(seconds):
        c.w.write("offset.new", "%d\n" % seconds)
        os.rename(offset + ".new", offset)

    jump(0)
    c.start(c.worker("a"), c.worker("b"),
            c.worker("tried", "--exit", "1", crashes=True, keys={"restart_delay": 1, "restart_delay_max": 1}))
    c.w.aged(["a", "b"])
    pid = c.w.runs("b")[-1]
    for seconds in (-86400, 86400, 0):
        n = len(c.w.runs("tried"))
        jump(seconds)
        told = "by %+d s" % seconds if seconds else "back again"
        took = c.w.restarted("a", 2)
        if took is None:
            raise Failed("%s: a program is not restarted" % told)
        if not c.w.up("tried", n + 1, 10):
            raise Failed("%s: one that has failed is not tried again" % told)
        if not c.answers_soon("a"):
            raise Failed("%s: no answer" % told)
        c.w.aged(["a"])
        if len(c.w.runs("tried")) > n + 12:
            raise Failed("%s: one that fails is tried without a pause" % told)
    if not alive(pid):
        raise Failed("a program was ended")
