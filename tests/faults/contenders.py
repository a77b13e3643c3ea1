"""mpsup and its peers: how each is told of programs, started, and asked. All start in the foreground but mpsup, whose
own way is to go into the background; all run the same programs."""

import os
import shlex
import shutil

from world import Failed, be_subreaper, living, stat_of, title

LOG_BYTES, LOG_FILES = 1000000, 20


class Program:
    """What is to be run. keys: settings that only mpsup has; log: its output is kept."""

    def __init__(self, name, *argv, wait=10, directory=None, log=False, crashes=False, keys=None):
        self.name, self.argv, self.wait, self.directory = name, list(argv), wait, directory
        self.log, self.crashes, self.keys = log, crashes, keys or {}


class Contender:
    name = None
    needs = ()  # programs that must be there

    def __init__(self, world, user=None, keys=None, first=False):
        """user: the number of a plain user that it runs as; keys: settings of mpsup's; first: orphans are
        its own, as for process 1."""
        self.w, self.user, self.keys, self.first = world, user, keys or {}, first
        self.names = []
        if user:
            world.env["XDG_RUNTIME_DIR"] = world.path("run")
            os.mkdir(world.path("run"), 0o700)

    @classmethod
    def missing(cls, world):
        return [n for n in cls.needs if not shutil.which(n, path=world.env["PATH"])]

    def worker(self, name, *script, **kw):
        """A program that puts down its pid at each start and then does what the script says (tests/e2e/worker.c)."""
        return Program(name, self.w.worker, "--pidfile", self.w.pidfile(name), *script, **kw)

    def program(self, name, script, **kw):
        """A script for sh, which puts down its pid by itself."""
        return Program(name, self.w.copy("/bin/sh"), "-c", script, **kw)

    def prepare_all(self, programs):
        self.names = [p.name for p in programs]
        self.prepare(programs)

    def start(self, *programs, seconds=20):
        """Returns when all are up; those that crash are not waited for."""
        self.prepare_all(programs)
        if self.user:
            for folder, _, files in os.walk(self.w.dir):
                for path in [folder] + [os.path.join(folder, f) for f in files]:
                    os.chown(path, self.user, self.user)
        self.launch()
        for p in programs:
            if not p.crashes and not self.w.up(p.name, 1, seconds):
                raise Failed("%s does not come up" % p.name)

    def foreground(self, *argv):
        out = open(self.w.path("out"), "ab")
        # exec keeps that one is a subreaper.
        self.process = self.w.spawn(list(argv), user=self.user, stdout=out, stderr=out,
                                    preexec_fn=be_subreaper if self.first else None)
        out.close()

    def ctl(self, *argv, seconds=10):
        return self.w.run(list(argv), seconds, user=self.user)

    def answers_soon(self, name):
        """It may know of a restart a little later than we do."""
        return self.w.until(lambda: self.answers(name), 1)

    def root(self):
        """The process at the root, whose end nobody of the contender outlives if all is well."""
        return self.process.pid

    def decider(self, name):
        """The process that would start the program again."""
        return stat_of(self.w.copies(name)[-1])[1]

    def deciders(self):
        return sorted({self.decider(n) for n in self.names})

    def clean(self):
        """What is to be done by hand when everything was killed."""

    def logger(self, name):
        """The process through which the output of the program goes, if it does nothing else."""
        return None


# ---------------------------------------------------------------------------------------------------- one file for all


class Ini(Contender):
    def prepare(self, programs):
        lines = ["[supervisord]", "identifier=faults", "logfile=%s" % self.w.path("sup.log"), "logfile_maxbytes=0",
                 "pidfile=%s" % self.w.path("sup.pid"), "childlogdir=%s" % self.w.dir]
        lines += ["%s=%s" % kv for kv in self.keys.items()] if self.name == "mpsup" else []
        lines += ["[unix_http_server]", "file=%s" % self.w.path("control"),
                  "[rpcinterface:supervisor]",
                  "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
                  "[supervisorctl]", "serverurl=unix://%s" % self.w.path("control")]
        for p in programs:
            lines += ["[program:%s]" % p.name, "command=" + shlex.join(p.argv).replace("%", "%%"),
                      "stopwaitsecs=%d" % p.wait, "autorestart=true", "redirect_stderr=true"]
            lines += ["startretries=1000000"] if p.crashes else ["startsecs=0"]
            if p.directory:
                lines += ["directory=%s" % p.directory]
            if p.log:
                lines += ["stdout_logfile=%s" % self.log(p.name), "stdout_logfile_maxbytes=%d" % LOG_BYTES,
                          "stdout_logfile_backups=%d" % LOG_FILES]
            else:
                lines += ["stdout_logfile=NONE"]
            if self.name == "mpsup":
                lines += ["%s=%s" % kv for kv in p.keys.items()]
        self.conf = self.w.write("sup.conf", "\n".join(lines) + "\n")
        if any(p.log for p in programs):
            os.makedirs(self.w.path("logs"), exist_ok=True)

    def log(self, name):
        return self.w.path("logs", name)

    def logged(self, name):
        """All of the output that was kept, in order."""
        text = b""
        for n in range(LOG_FILES, -1, -1):
            path = self.log(name) + (".%d" % n if n else "")
            if os.path.exists(path):
                with open(path, "rb") as f:
                    text += f.read()
        return text

    def breaks(self):
        with open(self.conf, "a") as f:
            f.write("[program:broken]\ncommand=%s\nstopwaitsecs=5 min\n" % self.w.worker)


class Mpsup(Ini):
    name = "mpsup"
    needs = ("mpsup", "mpsup-host")

    def launch(self):
        status, out = self.mps("start", "--no-wait")
        if status != 0:
            raise Failed("mpsup start: %s" % out.strip())

    def mps(self, verb, *argv, seconds=10):
        return self.ctl("mpsup", verb, "-c", self.conf, *argv, seconds=seconds)

    def clean(self):
        self.ctl("mpsup", "ipc", "clean")

    def role(self, what):
        return next((p for p in living() if title(p).startswith("mpsup: " + what)), None)

    def root(self):
        return self.role("keeper")

    def decider(self, name):
        return self.role("supervisor")

    def stop(self, name):
        return self.w.spawn(["mpsup", "stop", "-c", self.conf, name], user=self.user)

    def again(self, name):
        return self.mps("start", name)

    def answers(self, name):
        status, out = self.mps("pid", name)
        return status == 0 and out.strip() == str(self.w.runs(name)[-1])

    def reload(self):
        return self.mps("reload")

    def runtime(self):
        """What it keeps its control in."""
        if os.getuid() == 0 and not self.user:
            return "/run/mpsup/faults"
        return self.w.path("run", "mpsup", "faults")

    def control(self, name):
        return self.runtime() + "/control.sock"


class Supervisord(Ini):
    name = "supervisord"
    needs = ("/usr/bin/supervisord", "/usr/bin/supervisorctl")

    def launch(self):
        self.foreground("/usr/bin/supervisord", "-n", "-c", self.conf)

    def sup(self, *argv, **kw):
        return self.ctl("/usr/bin/supervisorctl", "-c", self.conf, *argv, **kw)

    def root(self):
        return next((p for p in self.w.supervising() if "supervisord" in title(p)), None)

    def stop(self, name):
        return self.w.spawn(["/usr/bin/supervisorctl", "-c", self.conf, "stop", name], user=self.user)

    def again(self, name):
        return self.sup("start", name)

    def answers(self, name):
        status, out = self.sup("pid", name)
        return status == 0 and out.strip() == str(self.w.runs(name)[-1])

    def reload(self):
        return self.sup("update")

    def runtime(self):
        return self.w.path("control")

    def control(self, name):
        return self.w.path("control")


# ---------------------------------------------------------------------------------------------------- a folder each


class Scan(Contender):
    """A folder of folders, a supervisor for each, above them one that scans: the family of daemontools."""

    scanner = logs = None

    def prepare(self, programs):
        self.loggers = {}
        self.w.write("scan/.x", "")
        for p in programs:
            cd = "cd %s || exit 1\n" % shlex.quote(p.directory) if p.directory else ""
            self.w.write("scan/%s/run" % p.name, "#!/bin/sh\nexec 2>&1\n%sexec %s\n" % (cd, shlex.join(p.argv)), 0o755)
            if p.log:
                os.makedirs(self.log_folder(p.name))
                self.w.write("scan/%s/log/run" % p.name, "#!/bin/sh\nexec %s\n" % shlex.join(self.logs_to(p.name)), 0o755)
            self.special(p)

    def special(self, program):
        pass

    def launch(self):
        self.foreground(*self.scanner, self.w.path("scan"))

    def folder(self, name):
        return self.w.path("scan", name)

    def log_folder(self, name):
        return self.w.path("logs", name)

    def log(self, name):
        return self.log_folder(name) + "/current"

    def logged(self, name):
        folder, text = self.log_folder(name), b""
        files = sorted(f for f in os.listdir(folder) if f.startswith("@"))
        for f in files + [f for f in ("previous", "current") if os.path.exists(os.path.join(folder, f))]:
            with open(os.path.join(folder, f), "rb") as g:
                text += g.read()
        return text

    def logger(self, name):
        return next((p for p in self.w.supervising() if self.log_folder(name) in title(p)), None)

    def root(self):
        return next((p for p in self.w.supervising() if title(p).startswith(self.scanner[0])), None)

    def answers(self, name):
        status, out = self.status(name)
        return status == 0 and str(self.w.runs(name)[-1]) in out

    def runtime(self):
        return [self.folder(n) + "/supervise" for n in self.names]

    def control(self, name):
        return self.folder(name) + "/supervise/control"

    def breaks(self):
        """A change that cannot be run."""
        self.w.write("scan/%s/run" % self.names[0], "#!/nowhere\nif\n", 0o755)


class S6(Scan):
    name = "s6"
    needs = ("s6-svscan", "s6-supervise", "s6-svc", "s6-svstat", "s6-log")
    scanner = ("s6-svscan",)

    def logs_to(self, name):
        return ["s6-log", "n%d" % LOG_FILES, "s%d" % LOG_BYTES, self.log_folder(name)]

    def special(self, program):
        self.w.write("scan/%s/timeout-kill" % program.name, "%d\n" % (program.wait * 1000))

    def stop(self, name):
        return self.w.spawn(["s6-svc", "-d", self.folder(name)], user=self.user)

    def again(self, name):
        return self.ctl("s6-svc", "-u", self.folder(name))

    def status(self, name):
        return self.ctl("s6-svstat", self.folder(name))

    def runtime(self):
        return super().runtime() + [self.w.path("scan", ".s6-svscan")]

    def reload(self):
        return self.ctl("s6-svscanctl", "-a", self.w.path("scan"))


class Runit(Scan):
    name = "runit"
    needs = ("runsvdir", "runsv", "sv", "svlogd")
    scanner = ("runsvdir",)

    def special(self, program):
        self.waits = dict(getattr(self, "waits", {}), **{program.name: program.wait})
        if program.log:
            self.w.write("logs/%s/config" % program.name, "s%d\nn%d\n" % (LOG_BYTES, LOG_FILES))

    def logs_to(self, name):
        return ["svlogd", self.log_folder(name)]

    def stop(self, name):
        return self.w.spawn(["sv", "-w", str(self.waits[name]), "force-stop", self.folder(name)], user=self.user)

    def again(self, name):
        return self.ctl("sv", "up", self.folder(name))

    def status(self, name):
        return self.ctl("sv", "status", self.folder(name))

    def reload(self):
        return 0, ""  # it scans by itself


class Daemontools(Scan):
    name = "daemontools"
    needs = ("svscan", "supervise", "svc", "svstat", "multilog")
    scanner = ("svscan",)

    def logs_to(self, name):
        return ["multilog", "s%d" % LOG_BYTES, "n%d" % LOG_FILES, self.log_folder(name)]

    def stop(self, name):
        return self.w.spawn(["svc", "-d", self.folder(name)], user=self.user)

    def again(self, name):
        return self.ctl("svc", "-u", self.folder(name))

    def status(self, name):
        return self.ctl("svstat", self.folder(name))

    def reload(self):
        return 0, ""  # it scans by itself


CONTENDERS = [Mpsup, S6, Runit, Daemontools, Supervisord]
