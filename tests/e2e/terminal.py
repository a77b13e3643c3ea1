"""A terminal for tests: Terminal(argv) runs a program in front of a session of its own, as a shell does.

Nothing sleeps: see() waits for output, ended() and stopped() for the program.
"""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

LIMIT = 20


class Terminal:
    def __init__(self, argv, columns=80, rows=24):
        self.master, self.slave = pty.openpty()
        self.size(columns, rows)
        self.before = termios.tcgetattr(self.slave)
        self.text = ""  # since the last see()
        self.all = ""
        reports, to = os.pipe()
        orders, self.order = os.pipe()
        self.reports = reports
        self.shell = os.fork()
        if self.shell == 0:
            os.close(self.order)  # else its end would never be read
            os.close(reports)
            self._shell(argv, to, orders)
        os.close(to)
        os.close(orders)
        self.pid = int(self._report())

    def _shell(self, argv, to, orders):
        """The leader of the session: starts the program, tells when it stops or ends; "fg" lets it go on."""
        os.setsid()
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            os.tcsetpgrp(self.slave, os.getpid())
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            for fd in 0, 1, 2:
                os.dup2(self.slave, fd)
            os.closerange(3, 256)
            os.execv(argv[0], argv)
        os.write(to, b"%d\n" % pid)
        while True:
            status = os.waitpid(pid, os.WUNTRACED)[1]
            if not os.WIFSTOPPED(status):
                break
            os.tcsetpgrp(self.slave, os.getpid())
            os.write(to, b"stopped\n")
            if not os.read(orders, 3):
                os._exit(1)
            os.tcsetpgrp(self.slave, pid)
            os.kill(pid, signal.SIGCONT)
        os.write(to, b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)

    def _report(self):
        line = b""
        while not line.endswith(b"\n"):
            self._wait([self.reports], "the program")
            line += os.read(self.reports, 1)
        return line.decode().strip()

    def _wait(self, fds, what):
        """Until one of fds is readable; what the program writes meanwhile is kept."""
        end = time.monotonic() + LIMIT
        while True:
            ready = select.select(fds + [self.master], [], [], max(0, end - time.monotonic()))[0]
            if self.master in ready:
                got = os.read(self.master, 65536).decode(errors="replace")
                self.text += got
                self.all += got
                if not fds:
                    return
            if any(fd in ready for fd in fds):
                return
            if time.monotonic() >= end:
                sys.exit("not in time: %s; there is %r" % (what, self.text[-3000:]))

    def see(self, pattern):
        """Waits until output since the last see() has the pattern; the match."""
        while True:
            found = re.search(pattern, self.text, re.S)
            if found:
                self.text = self.text[found.end():]
                return found
            self._wait([], pattern)

    def type(self, text):
        os.write(self.master, text.encode())

    def size(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def kill(self, sig):
        os.kill(self.pid, sig)

    def stopped(self):
        got = self._report()
        assert got == "stopped", got

    def go_on(self):
        os.write(self.order, b"fg\n")

    def end_of_program(self):
        """The exit status, -N after signal N."""
        got = int(self._report())
        os.waitpid(self.shell, 0)
        return got

    def ended(self):
        """end_of_program(); the terminal must be as it was."""
        got = self.end_of_program()
        self.check_restored()
        return got

    def check_restored(self):
        while select.select([self.master], [], [], 0)[0]:
            self._wait([], "the rest")
        assert termios.tcgetattr(self.slave) == self.before, "the terminal's settings"
        for on, off in ("\x1b[?1049h", "\x1b[?1049l"), ("\x1b[?25l", "\x1b[?25h"), ("\x1b[?7l", "\x1b[?7h"):
            assert self.all.rfind(off) > self.all.rfind(on) >= 0, (on, off, self.all[-200:])
