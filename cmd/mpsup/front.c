/*
 * The front of one command. It is what the command would be to whoever has started it: it shares its terminal and its
 * process group, passes signals on, stops when the command stops, and exits as it does. It makes the keeper, which is the
 * command's parent and ends its tree, also when the front is no more. The keeper is this image and needs no exec.
 */
#include "mpsup/front.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/sig.h"
#include "base/strv.h"
#include "base/title.h"
#include "base/wire.h"
#include "keeper/keeper.h"
#include "keeper/message.h"
#include "proc/close.h"
#include "proc/elf.h"
#include "proc/find.h"
#include "proc/shim.h"
#include "proc/spawn.h"
#include "proc/tag.h"
#include "proc/tree.h"
#include "track/sweep.h"

/* How long what bears our mark may take to die when the keeper is gone. */
enum { KILL_PATIENCE_S = 5 };

struct front {
	const struct front_options *options;
	struct mps_spawn spawn;
	pid_t keeper;
	int sock, signals;
	struct mps_time deadline; /* ns 0 = none */
	bool timed_out, keeper_killed, has_shim, interrupted;

	pid_t command;	/* 0 = not started, or over */
	int stopped;	/* the signal that has stopped it, 0 = it runs */
	uint32_t conts; /* SIGCONT that we have passed on */
	bool woken;	/* the next SIGCONT is what has let us go on */
	bool failed, exited;
	uint32_t code, status; /* FAILED's step and errno, EXITED's si_code and si_status */
};

static int complain(const struct front *f, int status, const char *what)
{
	fprintf(stderr, "mpsup: %s: %s: %s\n", f->options->verb, f->options->argv[0], what);
	return status;
}

/* ------------------------------------------------------------------------------------------------- command */

/* What the command is to find as we have found it. From here on all signals wait until they are read. */
static void take_signals(struct front *f)
{
	sigset_t all, old;
	struct sigaction action;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	for (int sig = 1; sig <= 64; sig++) {
		if (sigismember(&old, sig) == 1)
			f->spawn.blocked |= UINT64_C(1) << (sig - 1);
		if (sigaction(sig, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
			f->spawn.ignored |= UINT64_C(1) << (sig - 1);
	}
	signal(SIGCHLD, SIG_DFL); /* ignored, it would make waitpid(2) deaf */
}

/* Whoever gives the command few descriptors has not counted ours. */
static void raise_nofile(struct front *f)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur == r.rlim_max)
		return;
	f->spawn.nofile = r.rlim_cur;
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

/* A text that names no interpreter is the shell's. 0 or -ENOMEM. */
static int give_to_shell(struct front *f)
{
	size_t n = strv_length(f->options->argv);
	char **argv = calloc(n + 2, sizeof(*argv));

	if (argv == NULL)
		return -ENOMEM;
	argv[0] = (char *)"/bin/sh";
	argv[1] = (char *)f->spawn.path;
	memcpy(argv + 2, f->options->argv + 1, n * sizeof(*argv));
	f->spawn.argv = argv;
	f->spawn.path = argv[0];
	return 0;
}

/* -------------------------------------------------------------------------------------------------- keeper */

static const char *noting; /* the verb, for who has nothing but a text */

static void note(const char *text)
{
	fprintf(stderr, "mpsup: %s: %s\n", noting, text);
}

static void be_keeper(const struct front *f, int sock, pid_t pid) __attribute__((noreturn));
static void be_keeper(const struct front *f, int sock, pid_t pid)
{
	const struct front_options *of = f->options;
	const char *command = of->function != NULL ? of->verb : of->argv[0];
	const char *slash = strrchr(command, '/');
	const struct keeper_front front = {
		.sock = sock,
		.pid = pid,
		.command = &f->spawn,
		.grace = f->options->grace,
		.dir = f->options->dir,
		.scan = f->options->dir != NULL && !f->has_shim,
	};
	const struct keeper_options o = {
		.name = slash != NULL ? slash + 1 : command,
		.lock_fd = -1,
		.ready_fd = -1,
		.front = &front,
		.note = note,
	};

	buf_on_failure(NULL); /* it goes on */
	_exit(keeper_run(&o));
}

/* 0 or -errno. */
static int start_keeper(struct front *f)
{
	pid_t pid = getpid();
	int ends[2];

	f->conts = 0;
	f->stopped = 0;
	f->woken = false;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	f->keeper = fork();
	if (f->keeper == 0) {
		close(ends[0]);
		be_keeper(f, ends[1], pid);
	}
	close(ends[1]);
	f->sock = ends[0];
	if (f->keeper < 0)
		return -errno;
	return 0;
}

/* False where it does not take it: a keeper that is gone is noticed otherwise. */
static bool send_message(struct front *f, const struct keeper_message *m)
{
	AUTO_BUF b = BUF_INIT;
	struct iovec iov;

	keeper_encode(m, &b);
	iov = (struct iovec){ b.p, b.len };
	return !b.failed && fd_send(f->sock, &iov, 1, NULL, 0) >= 0;
}

static void pass_on(struct front *f, int sig)
{
	const struct keeper_message m = {
		.type = KEEPER_SIGNAL,
		.instance = KEEPER_FRONT_INSTANCE,
		.gen = 1,
		.signal = (uint32_t)sig,
		/* A shell that was stopped as a group goes on as one. */
		.scope = sig == SIGCONT ? KEEPER_SCOPE_GROUP : KEEPER_SCOPE_MAIN,
	};

	f->conts += send_message(f, &m) && sig == SIGCONT;
}

/*
 * One that a SIGCONT of ours has yet to reach is not stopped for long. Who has let us go on would
 * see us stop again, and a shell would take back its terminal.
 */
static void on_stopped(struct front *f, const struct keeper_message *m)
{
	f->stopped = m->count == f->conts ? (int)m->signal : 0;
}

/* It has all descriptors now, and who waits for the end of a pipe waits for it alone. */
static void on_started(struct front *f, const struct keeper_message *m)
{
	/* In the order in which they were opened. */
	const int fds[] = { STDERR_FILENO, f->options->hold, f->options->dir_lock, f->signals,
			    f->sock };
	struct mps_fd keep[ARRAY_SIZE(fds)];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			keep[n++] = (struct mps_fd){ .child = fds[i] };
	f->command = m->pid;
	close_all_but(keep, n, -1);
}

static void on_message(struct front *f, const struct keeper_message *m)
{
	if (m->type == KEEPER_STARTED)
		on_started(f, m);
	else if (m->type == KEEPER_STOPPED)
		on_stopped(f, m);
	else if (m->type == KEEPER_SIGNALLED)
		pass_on(f, (int)m->signal);
	else if (m->type == KEEPER_FAILED)
		f->failed = true;
	else if (m->type == KEEPER_EXITED)
		f->exited = true;
	if (m->type == KEEPER_FAILED || m->type == KEEPER_EXITED) {
		f->command = 0;
		f->code = m->code;
		f->status = m->status;
	}
}

/* All that is there; false at its end. */
static bool read_messages(struct front *f)
{
	char in[4096];
	bool cut;
	size_t n_fds;
	ssize_t n;

	for (;;) {
		struct wire w = { in, 0, false };
		struct keeper_message m;

		n = fd_recv(f->sock, in, sizeof(in), NULL, 0, &n_fds, &cut);
		if (n == -ECONNRESET) /* it has not read our last word; its own are behind this */
			continue;
		if (n <= 0)
			return n == -EAGAIN;
		w.n = (size_t)n;
		while (w.n > 0 && keeper_decode_next(&w, false, &m) == 0)
			on_message(f, &m);
	}
}

/* ------------------------------------------------------------------------------------------------- signals */

/*
 * Has it heard, too, what the terminal's driver has sent to our group? Before the keeper has told
 * of it we cannot know: it is better interrupted twice than never, and better not stopped than
 * twice.
 */
static bool is_in_job(const struct front *f, int sig)
{
	if (f->command == 0)
		return sig == SIGTSTP;
	return getpgid(f->command) == getpgrp();
}

/* Sent by what we have started: to its whole group then, of which we are. */
static bool is_of_command(const struct front *f, const struct signalfd_siginfo *si)
{
	uint32_t keeper, instance, gen;

	return si->ssi_code <= 0 && si->ssi_pid > 0 &&
	       tag_parse(tag_get((pid_t)si->ssi_pid), &keeper, &instance, &gen) &&
	       keeper == tag_keeper_id(f->keeper);
}

/* The terminal's driver signals groups; but a session's leader, which we may be, by itself. */
static bool is_of_terminal(const struct signalfd_siginfo *si)
{
	static const int sigs[] = { SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH };

	if (si->ssi_code != SI_KERNEL)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(sigs); i++)
		if ((int)si->ssi_signo == sigs[i])
			return true;
	return (si->ssi_signo == SIGHUP || si->ssi_signo == SIGCONT) && getsid(0) != getpid();
}

/*
 * A shell lets the whole group go on, us last, and what comes from us later could undo the next stop. The command is
 * still stopped where somebody means us alone.
 */
static bool was_for_all(struct front *f, const struct signalfd_siginfo *si)
{
	struct proc_stat st;

	if (si->ssi_signo != SIGCONT || !f->woken)
		return false;
	f->woken = false;
	if (f->stopped != 0)
		return true; /* it has gone on, too, and is stopped again */
	return is_in_job(f, SIGCONT) && proc_stat_read(f->command, &st) == 0 && st.state != 'T';
}

static void on_signal(struct front *f, const struct signalfd_siginfo *si)
{
	f->interrupted |= si->ssi_signo == SIGINT && si->ssi_code == SI_KERNEL;
	/* As process 1 of a container all orphans are ours. */
	if (si->ssi_signo == SIGCHLD) {
		siginfo_t dead = { 0 };

		while (waitid(P_ALL, 0, &dead, WEXITED | WNOHANG | WNOWAIT) == 0 &&
		       dead.si_pid != 0 && dead.si_pid != f->keeper) {
			waitpid(dead.si_pid, NULL, WNOHANG);
			dead.si_pid = 0;
		}
		return;
	}
	if (si->ssi_code <= 0 &&
	    ((pid_t)si->ssi_pid == getpid() || (pid_t)si->ssi_pid == f->keeper)) {
		f->woken &= si->ssi_signo != SIGCONT;
		return; /* see stop_too() */
	}
	if (was_for_all(f, si))
		return;
	if (si->ssi_signo == SIGCONT)
		f->stopped = 0; /* it goes on, or will by this */
	if (is_in_job(f, (int)si->ssi_signo) && (is_of_terminal(si) || is_of_command(f, si)))
		return;
	pass_on(f, (int)si->ssi_signo);
}

static void read_signals(struct front *f)
{
	struct signalfd_siginfo si[8];
	ssize_t n;

	while ((n = read(f->signals, si, sizeof(si))) > 0)
		for (size_t i = 0; i < (size_t)n / sizeof(si[0]); i++)
			on_signal(f, &si[i]);
}

/*
 * Whoever started us sees us stopped as the command is. If that goes on meanwhile, the keeper says so before it sends us a
 * SIGCONT: so what is not read after our signal waits is still to come, and the SIGCONT takes back that signal.
 */
static void stop_too(struct front *f)
{
	int sig = f->stopped == SIGSTOP ? SIGTSTP : f->stopped; /* that one does not wait */
	sigset_t set;

	kill(getpid(), sig);
	sigemptyset(&set);
	sigaddset(&set, sig);
	read_messages(f);
	if (f->stopped == 0)
		kill(getpid(), SIGCONT);
	f->stopped = 0;
	f->woken = true;
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* ---------------------------------------------------------------------------------------------------- loop */

static void on_timeout(struct front *f)
{
	const struct keeper_message m = { .type = KEEPER_EXIT };

	f->timed_out = true;
	f->deadline.ns = 0;
	send_message(f, &m);
}

static int next_timeout(const struct front *f)
{
	int64_t ms = (f->deadline.ns - mps_now().ns) / MPS_NS_PER_MS + 1;

	if (f->deadline.ns == 0)
		return -1;
	return ms < 0 ? 0 : ms < 1 << 30 ? (int)ms : 1 << 30;
}

/* Until the keeper is gone. */
static void watch(struct front *f)
{
	struct pollfd p[] = { { .fd = f->sock, .events = POLLIN },
			      { .fd = f->signals, .events = POLLIN } };
	bool more;

	for (;;) {
		poll(p, ARRAY_SIZE(p), next_timeout(f));
		if (f->deadline.ns != 0 && mps_now().ns >= f->deadline.ns)
			on_timeout(f);
		more = read_messages(f);
		read_signals(
			f); /* at the end, too: what has ended the command may have come to us as well */
		if (!more)
			return;
		if (f->stopped != 0)
			stop_too(f);
	}
}

/* 0, or the signal that has ended it: then its tree is ours to end. */
static int bury_keeper(struct front *f)
{
	siginfo_t si = { 0 };
	size_t n;

	while (waitid(P_PID, (id_t)f->keeper, &si, WEXITED | WNOWAIT) < 0 && errno == EINTR)
		;
	/* While its number can be no other's. */
	if (si.si_code != CLD_EXITED)
		tagged_kill(tag_keeper_id(f->keeper), NULL, NULL, KILL_PATIENCE_S * MPS_NS_PER_S,
			    &n);
	waitpid(f->keeper, NULL, 0);
	return si.si_code != CLD_EXITED ? si.si_status : 0;
}

/* As timeout(1), which tells apart what took a KILL. */
static int say_late(const struct front *f)
{
	bool killed = f->code != CLD_EXITED && f->status == SIGKILL;

	fprintf(stderr, "mpsup: %s: %s: not over after %g s; %s\n", f->options->verb,
		f->options->argv[0], (double)f->options->timeout.ns / MPS_NS_PER_S,
		killed ? "killed" : "ended");
	return killed ? 128 + SIGKILL : EXEC_TIMEOUT;
}

/* One keeper's life. The exit status, or -ENOEXEC. */
static int run(struct front *f)
{
	int r = start_keeper(f), ended_by;

	if (r < 0)
		return complain(f, EXEC_FAILED, strerror(-r));
	watch(f);
	fd_close(&f->sock);
	ended_by = bury_keeper(f);
	f->keeper_killed = ended_by != 0;
	if (f->failed && f->code == MPS_STEP_EXEC && f->status == ENOEXEC)
		return -ENOEXEC;
	if (f->failed)
		return complain(f,
				f->code != MPS_STEP_EXEC ? EXEC_FAILED
				: f->status == ENOENT	 ? EXEC_NOT_FOUND
							 : EXEC_CANNOT,
				strerror((int)f->status));
	if (!f->exited && ended_by != 0) {
		fprintf(stderr,
			"mpsup: %s: %s: its keeper was ended by SIG%s; all of it is ended\n",
			f->options->verb, f->options->argv[0], sig_name(ended_by));
		return 128 + ended_by;
	}
	if (!f->exited) /* it has said why */
		return EXEC_FAILED;
	if (f->timed_out)
		return say_late(f);
	return (int)(f->code == CLD_EXITED ? f->status : 128 + f->status);
}

/* ----------------------------------------------------------------------------------------------- beginning */

void front_open_standard(void)
{
	int fd;

	while ((fd = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0)
		if (fd > STDERR_FILENO) {
			close(fd);
			return;
		}
}

void front_show(const char *verb, char *const *argv)
{
	AUTO_BUF b = BUF_INIT;

	buf_addf(&b, "mpsup: %s", verb);
	for (size_t i = 0; argv[i] != NULL && b.len < 256; i++)
		buf_addf(&b, " %s", argv[i]);
	if (!b.failed)
		title_put(b.p);
}

/* ------------------------------------------------------------------------------------------------- tracker */

/* The command's environment: with the way to the tracker, and the shim where its loader can load it. No path: a function. */
static char **make_environment(const struct front_options *o, const char *path, bool *ret_has_shim)
{
	static struct elf_cache elves;
	AUTO_FREE char *shim = o->preload && path != NULL ? shim_find() : NULL;
	AUTO_FREE char *entry = NULL;
	char **packed, **with_shim = NULL;

	if (asprintf(&entry, "MPSUP_TRACKER=%s/ipc.sock", o->dir) < 0)
		return NULL;
	packed = strv_with(environ, entry);
	if (packed != NULL && shim != NULL && elf_can_preload(&elves, path, getenv("PATH")))
		with_shim = shim_add(packed, shim);
	*ret_has_shim = path != NULL ? with_shim != NULL : o->preload;
	if (with_shim == NULL)
		return packed;
	free(packed);
	return with_shim;
}

/* What a keeper that was killed has left there. */
static void sweep_dir(const char *dir)
{
	const struct track_sweep all = { 0 };
	AUTO_FREE char *journal = NULL, *sock = NULL;

	if (asprintf(&journal, "%s/ipc.journal", dir) < 0 ||
	    asprintf(&sock, "%s/ipc.sock", dir) < 0)
		return;
	track_sweep_journal(journal, &all);
	unlink(sock);
}

/*
 * A shell ends its script, and a loop at its prompt, for a command that Ctrl-C has ended, but not for one that exits with
 * 130. Returns where that does not end us: as process 1.
 */
static void die_of_interrupt(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	signal(SIGINT, SIG_DFL);
	raise(SIGINT);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* The exit status. */
static int run_command(struct front *f)
{
	const struct front_options *options = f->options;
	AUTO_FREE char *path = NULL;
	AUTO_FREE char **envp = NULL;
	sigset_t all;
	int r;

	if (options->function != NULL) {
		f->spawn.path = f->spawn.symbol = options->verb;
		f->spawn.function = options->function;
		f->spawn.method = MPS_METHOD_FORK;
	} else if ((r = proc_find_command(options->argv[0], &path)) < 0) {
		return complain(f, r == -ENOENT ? EXEC_NOT_FOUND : EXEC_CANNOT, strerror(-r));
	} else {
		f->spawn.path = path;
	}
	if (options->dir != NULL)
		envp = make_environment(options, path, &f->has_shim);
	if (envp != NULL)
		f->spawn.envp = envp;
	sigfillset(&all);
	f->signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (f->signals < 0)
		return complain(f, EXEC_FAILED, strerror(errno));
	if (options->timeout.ns != 0)
		f->deadline.ns = mps_now().ns + options->timeout.ns;
	r = run(f);
	if (r == -ENOEXEC) {
		f->failed = false;
		r = give_to_shell(f);
		r = r == 0 ? run(f) : complain(f, EXEC_FAILED, strerror(-r));
		if (f->spawn.argv != options->argv)
			free(f->spawn.argv);
	}
	close(f->signals);
	return r < 0 ? complain(f, EXEC_CANNOT, strerror(-r)) : r;
}

int front_run(const struct front_options *options)
{
	struct front f = {
		.options = options,
		.spawn = {
			.argv = options->argv,
			.envp = environ,
			.session = MPS_SESSION_KEEP,
			.umask = -1,
			.keep_fds = true,
			.pdeathsig = SIGKILL,
			.signals_are_default = true,
		},
		.sock = -1,
	};
	int r;

	noting = options->verb;
	close_prepare();
	take_signals(&f);
	raise_nofile(&f);
	r = run_command(&f);
	if (f.keeper_killed && options->dir != NULL)
		sweep_dir(options->dir);
	/* The keeper has left nothing there but what is still in use. */
	if (options->dir != NULL)
		rmdir(options->dir);
	if (f.interrupted && f.exited && f.code != CLD_EXITED && f.status == SIGINT)
		die_of_interrupt();
	return r;
}
