"""The world of one cell: a folder, the processes that were started for it, and waiting for what happens to them.

Nothing here sleeps: until() looks again when a file of the folder changes or a process ends, and at its deadline.
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import time

libc = ctypes.CDLL(None, use_errno=True)
PR_SET_CHILD_SUBREAPER = 36
IN_EVENTS = 0x2 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400  # written, closed, moved, made, removed


class Failed(Exception):
    """What was seen; the cell says FAILS."""


class Late(Failed):
    """A figure was missed: it is measured again, as the machine may have been busy with something else."""


class Missing(Exception):
    """Why a cell cannot be tried; it says n/a."""


def be_subreaper():
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")


def stat_of(pid):
    """(state, parent) or None."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as f:
            rest = f.read().rpartition(b") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return rest[0].decode(), int(rest[1])


def alive(pid):
    s = stat_of(pid)
    return s is not None and s[0] not in "ZX"


def descendants(of=None):
    """All processes below this one (or another), zombies too: {pid: state}. Orphans are ours, as subreaper."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            s = stat_of(int(name))
            if s:
                children.setdefault(s[1], []).append((int(name), s[0]))
    found, todo = {}, [of or os.getpid()]
    while todo:
        for pid, state in children.get(todo.pop(), []):
            found[pid] = state
            todo.append(pid)
    return found


def living(of=None):
    return [p for p, state in descendants(of).items() if state not in "ZX"]


def image(pid):
    try:
        return os.readlink("/proc/%d/exe" % pid)
    except OSError:
        return ""


def title(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            return f.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def kill(pid, sig=signal.SIGKILL):
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


def pidfd(pid):
    """A descriptor that can be read when the process has ended, or None when it already has."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def wait_gone(pids, seconds):
    """Until all have ended, at most so long: those that have not."""
    end = time.monotonic() + seconds
    fds = {fd: p for p in pids if (fd := pidfd(p)) is not None}
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    while fds:
        left = end - time.monotonic()
        ready = poll.poll(max(0, left * 1000))
        for fd, _ in ready:
            poll.unregister(fd)
            os.close(fd)
            del fds[fd]
        if not ready and left <= 0:
            break
    rest = list(fds.values())
    for fd in fds:
        os.close(fd)
    return rest


def sweep():
    """Ends everything below this process."""
    for _ in range(200):
        left = living()
        for p in left:
            kill(p)
        if not wait_gone(left, 5):
            reap()
            if not living():
                return
    raise Failed("cannot end %s" % ", ".join(title(p) or str(p) for p in living()))


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0] > 0:
            pass
    except ChildProcessError:
        pass


class World:
    def __init__(self, build, folder):
        self.build = build
        self.dir = folder
        self.bin = folder + "/bin"
        self.pids = folder + "/pids"
        for d in (self.bin, self.pids):
            os.mkdir(d)
        os.chmod(self.pids, 0o1777)
        self.worker = self.copy(build + "/e2e/worker")
        self.inotify = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self.watch(self.pids)
        self.started = []  # Popen objects, so that nobody else waits for them
        self.env = dict(os.environ)
        for name in list(self.env):
            if name.startswith(("SUPERVISOR_", "MPSUP_", "NOTIFY_")):
                del self.env[name]
        self.env["PATH"] = self.installed() + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        if os.getuid() != 0:
            self.env["XDG_RUNTIME_DIR"] = folder + "/run"
            os.mkdir(self.env["XDG_RUNTIME_DIR"], 0o700)

    def installed(self):
        """Copies of ours, where a plain user gets at them, too: the tree may lie in root's own folder."""
        place = self.path("mpsup")
        os.mkdir(place)
        for name in ("mpsup", "mpsup-host", "libmpsup-preload.so", "libmpsup-preload.before-libasan.so"):
            if os.path.exists(os.path.join(self.build, name)):
                os.chmod(shutil.copy2(os.path.join(self.build, name), place), 0o755)
        return place

    def copy(self, path):
        """A copy in the folder: by that a program is known from those that supervise it."""
        return shutil.copy2(path, self.bin)

    def path(self, *names):
        return os.path.join(self.dir, *names)

    @staticmethod
    def remove(path):
        """What its owner makes again while it is being removed is removed again."""
        if not os.path.isdir(path):
            return os.unlink(path)
        for left in range(100, 0, -1):
            try:
                return shutil.rmtree(path)
            except OSError:
                if left == 1:
                    raise

    def write(self, name, text, mode=0o644):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    # ---------------------------------------------------------------------------------------- waiting

    def watch(self, path):
        if libc.inotify_add_watch(self.inotify, path.encode(), IN_EVENTS) < 0:
            raise OSError(ctypes.get_errno(), path)

    def until(self, condition, seconds, *fds):
        """True as soon as the condition holds, which is looked at again when something happens in the folders that are
        watched or at one of the descriptors; false when it does not after so many seconds."""
        end = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.inotify, select.POLLIN)
        for fd in fds:
            if fd is not None:
                poll.register(fd, select.POLLIN)
        while True:
            result = condition()
            left = end - time.monotonic()
            if result or left <= 0:
                return result
            for fd, _ in poll.poll(left * 1000):
                if fd == self.inotify:
                    os.read(fd, 65536)
                else:
                    poll.unregister(fd)

    def pause(self, seconds, pids=()):
        """Lets the time of a fault pass; which of the processes have ended in it."""
        left = wait_gone(pids, seconds) if pids else self.until(lambda: False, seconds) or pids
        return [p for p in pids if p not in left]

    # ---------------------------------------------------------------------------------------- processes

    def spawn(self, argv, user=None, **kw):
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.DEVNULL)
        kw.setdefault("stderr", subprocess.DEVNULL)
        kw.setdefault("env", self.env)
        kw.setdefault("cwd", self.dir)
        if user:
            kw.update(user=user, group=user, extra_groups=[])
        p = subprocess.Popen(argv, start_new_session=True, **kw)
        self.started.append(p)
        return p

    def run(self, argv, seconds=10, **kw):
        """(exit status, output); None as the status when it was not over in time."""
        p = self.spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw)
        try:
            out = p.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            p.kill()
            return None, p.communicate()[0].decode(errors="replace")
        return p.returncode, out.decode(errors="replace")

    def programs(self):
        """All living processes of programs: their image lies in our folder."""
        return [p for p in living() if image(p).startswith(self.bin + "/")]

    def supervising(self):
        """All other living processes below us."""
        return [p for p in living() if not image(p).startswith(self.bin + "/")]

    # ---------------------------------------------------------------------------------------- runs of a program

    def pidfile(self, name):
        return os.path.join(self.pids, name)

    def runs(self, name):
        """The pids that a program has had, one a run; with further processes in it one for each."""
        try:
            with open(self.pidfile(name)) as f:
                return [int(line) for line in f.read().split("\n")[:-1]]
        except FileNotFoundError:
            return []

    def copies(self, name):
        return [p for p in self.runs(name) if alive(p)]

    def up(self, name, n=1, seconds=10):
        """Until it has been started n times: its latest pid, or None."""
        return self.until(lambda: len(self.runs(name)) >= n, seconds) and self.runs(name)[-1]

    def aged(self, names, seconds=1.1):
        """Until all have been up for so long that no peer takes their end for a failed start."""
        self.pause(seconds, [self.runs(n)[-1] for n in names])

    def restarted(self, name, seconds=2):
        """Kills the program: after how many seconds the next run of it is there, or None."""
        n = len(self.runs(name))
        start = time.monotonic()
        kill(self.runs(name)[-1])
        return time.monotonic() - start if self.up(name, n + 1, seconds) else None
