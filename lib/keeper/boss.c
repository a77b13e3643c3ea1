/*
 * The supervisor as the keeper sees it: a child that is started like any other, watched, and replaced.
 *
 * When it dies without having said EXIT, another is started at once. What the dead one knew is in descriptors that it gave
 * us to keep for instance 0, which the new one finds open: its state, which it wrote down before it did anything, and the
 * socket that clients connect to. What happened to the programs meanwhile is in our slots: after its HELLO the new one is
 * told of every instance as it is now (INSTANCE), in place of all reports that the dead one may or may not have read. It
 * compares and goes on. Messages that the dead one still had sent are read first, so a START is either in the slot, or
 * was never sent and can be sent again.
 *
 * For an upgrade the next one is started beside the first. When it says HELLO it has read the state and can go on; the
 * first is told to RETIRE, and its end is what a crash would be.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "keeper/internal.h"
#include "proc/pidfd.h"

enum { NEXT_PATIENCE_S = 5, RETIRE_PATIENCE_S = 2 };
enum { STATUS_MAX = 1 << 20 }; /* bytes of /proc/PID/status; a user may be in many groups */

/* ------------------------------------------------------------------------------------------------------- start */

/* The rows of its table; stderr_fd >= 0: that is its standard error for now. */
static size_t fill_table(const struct keeper *k, struct mps_fd fds[KEEPER_KEPT_FD + 1], int sock,
			 int stderr_fd)
{
	const struct slot *own = k->n_slots > 0 ? &k->slots[0] : NULL;
	size_t n = 0;

	fds[n++] = (struct mps_fd){ 0, 0, 0 };
	fds[n++] = (struct mps_fd){ 1, 1, 0 };
	fds[n++] = (struct mps_fd){ 2, stderr_fd >= 0 ? stderr_fd : 2, 0 };
	fds[n++] = (struct mps_fd){ KEEPER_SUPERVISOR_FD, sock, 0 };
	if (k->ready_fd >= 0)
		fds[n++] = (struct mps_fd){ KEEPER_READY_FD, k->ready_fd, 0 };
	if (stderr_fd >= 0)
		fds[n++] = (struct mps_fd){ KEEPER_STDERR_FD, 2, 0 };
	if (own != NULL && own->n_kept > 0)
		fds[n++] = (struct mps_fd){ KEEPER_KEPT_FD, own->kept[0], 0 };
	return n;
}

/* Started like any worker; it finds its end of the socketpair on KEEPER_SUPERVISOR_FD. */
static int start(struct keeper *k, struct boss *b, int stderr_fd, enum mps_step *ret_step)
{
	struct mps_fd fds[KEEPER_KEPT_FD + 1];
	struct mps_spawn spawn = {
		.path = k->options->argv[0],
		.argv = k->options->argv,
		.envp = environ,
		.fds = fds,
		.session = MPS_SESSION_NEW,
		.umask = -1,
		.nofile = k->nofile, /* workers shall see what we were given, not what we need */
		.signals_are_default = true,
	};
	struct mps_child child;
	int ends[2], r;

	*ret_step = MPS_STEP_PIPE;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	spawn.n_fds = fill_table(k, fds, ends[1], stderr_fd);
	r = keeper_spawn(&spawn, ends, &child, ret_step);
	if (r < 0)
		return r;
	*b = (struct boss){
		.pid = child.pid,
		.pidfd = child.pidfd,
		.exec_fd = child.exec_fd, /* read when it exits at once */
		.sock = ends[0],
	};
	return 0;
}

static void watch(struct keeper *k, struct boss *b)
{
	bool is_next = b == &k->next;

	keeper_watch(k, b->sock, EPOLLIN, is_next ? WATCH_NEXT_SOCK : WATCH_SOCK, NO_SLOT, 0);
	if (b->pidfd < 0 ||
	    keeper_watch(k, b->pidfd, EPOLLIN, is_next ? WATCH_NEXT : WATCH_BOSS, NO_SLOT, 0) < 0)
		k->have_pidfd = false;
}

int boss_start(struct keeper *k, enum mps_step *ret_step)
{
	int r = start(k, &k->boss, -1, ret_step);

	if (r == 0)
		watch(k, &k->boss);
	return r;
}

void boss_close_ready(struct keeper *k)
{
	/* Who waits for it must see it closed when no supervisor will come up any more. */
	fd_close(&k->ready_fd);
}

/*
 * For whom mpsup is a daemon standard error is nowhere: there is the log, in the form of its other lines. Under mpsup exec
 * it is the command's, for which only what is wrong is worth a line.
 */
void boss_say(const struct keeper *k, const char *level, const char *text)
{
	struct timespec ts;
	char second[32];
	struct tm tm;

	if (k->options->front == NULL || strcmp(level, "INFO") != 0)
		k->options->note(text);
	clock_gettime(CLOCK_REALTIME, &ts);
	if (k->log_fd < 0 || localtime_r(&ts.tv_sec, &tm) == NULL)
		return;
	strftime(second, sizeof(second), "%Y-%m-%d %H:%M:%S", &tm);
	dprintf(k->log_fd, "%s,%03ld %s keeper: %s\n", second, ts.tv_nsec / 1000000, level, text);
}

int boss_fail(const struct keeper *k, const char *what, int error)
{
	struct err err;

	err_set(&err, 0, "the keeper cannot start: %s: %s", what, strerror(error));
	boss_say(k, "CRIT", err.text);
	return 1;
}

/* --------------------------------------------------------------------------------------------------- messages */

static bool tell(struct keeper *k, const struct keeper_message *m)
{
	buf_reset(&k->out);
	keeper_encode(m, &k->out);
	return keeper_send(k, NULL, 0);
}

void boss_on_hello(struct keeper *k, const struct keeper_message *m)
{
	(void)m;
	if (k->boss.greeted)
		return; /* its settings have changed */
	k->boss.greeted = k->greeted = true;
	k->welcome.type = KEEPER_WELCOME;
	k->welcome.protocol = KEEPER_PROTOCOL;
	k->welcome.pid = k->pid;
	k->welcome.count = slot_report_all(k);
	k->welcome_due = true;
	for (int sig = 1; sig < KEEPER_SIGNALS; sig++)
		if (k->signalled[sig] > 0)
			k->signal_news |= UINT32_C(1) << sig;
}

bool boss_welcome(struct keeper *k)
{
	if (!k->welcome_due)
		return true;
	/* The first one has sent it all itself. */
	if ((k->welcome.before != 0 && k->n_slots > 0 && !slot_send_kept(k, 0, 1)) ||
	    !tell(k, &k->welcome))
		return false;
	k->welcome_due = false;
	k->kept_sent = 0;
	return true;
}

/* ----------------------------------------------------------------------------------------------------- signals */

static void count_signal(struct keeper *k, int sig)
{
	k->signalled[sig]++;
	k->signal_news |= UINT32_C(1) << sig;
}

/* Who says it twice to a supervisor that cannot hear yet means that it shall die of it, if need be. */
void boss_signal(struct keeper *k, int sig)
{
	bool again = k->signal_news & UINT32_C(1) << sig;

	if (k->finishing && (sig == SIGTERM || sig == SIGINT || sig == SIGQUIT) && k->boss.pid == 0)
		end_hard(k);
	if (again && k->boss.pid > 0 && !k->boss.greeted)
		pidfd_signal(k->boss.pidfd, k->boss.pid, sig);
	count_signal(k, sig);
}

void boss_encode_signals(struct keeper *k)
{
	for (int sig = 1; k->signal_news != 0 && sig < KEEPER_SIGNALS; sig++) {
		const struct keeper_message m = {
			.type = KEEPER_SIGNALLED,
			.signal = (uint32_t)sig,
			.count = k->signalled[sig],
		};

		if (k->signal_news & UINT32_C(1) << sig)
			keeper_encode(&m, &k->out);
	}
}

void boss_signals_told(struct keeper *k)
{
	k->signal_news = 0;
}

/* The kernel keeps them with the zombie. What has ended one that had no handlers yet is heard by the next one too. */
void boss_take_unheard(struct keeper *k)
{
	char path[64];
	AUTO_FREE char *text = NULL;
	const char *line;
	siginfo_t si = { 0 };
	uint32_t bits = 0;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)k->boss.pid);
	if (fd_read_file(path, STATUS_MAX, &text, &n) == 0 &&
	    (line = strstr(text, "\nShdPnd:")) != NULL)
		bits = (uint32_t)strtoull(line + strlen("\nShdPnd:"), NULL, 16) << 1;
	if (waitid(P_PID, (id_t)k->boss.pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	    si.si_code != CLD_EXITED && si.si_status < KEEPER_SIGNALS)
		bits |= UINT32_C(1) << si.si_status;
	bits &= keeper_forwarded();
	for (int sig = 1; sig < KEEPER_SIGNALS; sig++)
		if (bits & UINT32_C(1) << sig)
			count_signal(k, sig);
}

static void kill_one(struct boss *b)
{
	if (b->pid > 0)
		pidfd_signal(b->pidfd, b->pid, SIGKILL);
}

void boss_kill(struct keeper *k)
{
	kill_one(&k->boss);
	kill_one(&k->next);
}

/* ----------------------------------------------------------------------------------------------------- upgrade */

static void refuse(struct keeper *k, uint32_t code, uint32_t status)
{
	const struct keeper_message m = { .type = KEEPER_REFUSED, .code = code, .status = status };

	k->next_deadline.ns = 0;
	tell(k, &m);
}

void boss_upgrade(struct keeper *k, int stderr_fd)
{
	AUTO_CLOSE int fd = stderr_fd;
	enum mps_step step;
	int r = k->next.pid != 0 || k->finishing || fd < 0 ? -EBUSY : start(k, &k->next, fd, &step);

	if (r < 0) {
		refuse(k, 0, (uint32_t)-r);
		return;
	}
	watch(k, &k->next);
	k->next_deadline.ns = mps_now().ns + NEXT_PATIENCE_S * MPS_NS_PER_S;
}

/* Its HELLO stays in the socket until it is the boss. */
void boss_on_next(struct keeper *k)
{
	const struct keeper_message retire = { .type = KEEPER_RETIRE };
	uint32_t type = 0;

	epoll_ctl(k->epoll, EPOLL_CTL_DEL, k->next.sock, NULL);
	if (recv(k->next.sock, &type, sizeof(type), MSG_PEEK | MSG_DONTWAIT) != sizeof(type) ||
	    type != KEEPER_HELLO) {
		kill_one(&k->next);
		return;
	}
	k->retiring = true;
	k->next_deadline.ns = mps_now().ns + RETIRE_PATIENCE_S * MPS_NS_PER_S;
	tell(k, &retire);
}

void boss_check_deadline(struct keeper *k, struct mps_time now)
{
	if (k->next_deadline.ns == 0 || now.ns < k->next_deadline.ns)
		return;
	k->next_deadline.ns = 0;
	kill_one(k->retiring ? &k->boss : &k->next);
}

static void promote(struct keeper *k)
{
	k->boss = k->next;
	k->next = (struct boss)BOSS_INIT;
	k->retiring = false;
	k->next_deadline.ns = 0;
	watch(k, &k->boss);
}

/* --------------------------------------------------------------------------------------------------------- end */

static void give_up(struct keeper *k, const struct boss *b, int status, const char *what)
{
	struct err err;

	err_set(&err, 0,
		b->code == CLD_EXITED
			? "the supervisor has exited with status %u%s; ending all its programs"
			: "the supervisor was ended by signal %u%s; ending all its programs",
		b->status, what);
	boss_say(k, "CRIT", err.text);
	end_begin(k, status);
}

static bool crashes_too_often(struct keeper *k)
{
	struct mps_time *oldest = &k->crashes[k->n_crashes % BOSS_CRASHES], now = mps_now(), was;

	if (k->no_crash_limit)
		return false;
	*oldest = now;
	k->n_crashes++;
	was = k->crashes[k->n_crashes % BOSS_CRASHES];
	return k->n_crashes >= BOSS_CRASHES && now.ns - was.ns < BOSS_CRASHES_NS;
}

static void on_crash(struct keeper *k, const struct boss *b)
{
	enum mps_step step;
	int r;

	if (!k->greeted && b->code == CLD_EXITED) /* it has said why */
		end_begin(k, b->status ? (int)b->status : 1);
	else if (!k->greeted || k->on_crash == KEEPER_CRASH_STOP)
		give_up(k, b, 1, "");
	else if (crashes_too_often(k))
		give_up(k, b, 1, ", and so were those before it");
	else if ((r = boss_start(k, &step)) < 0) {
		boss_fail(k, mps_step_word(step), -r);
		give_up(k, b, 1, "");
	}
}

static void on_boss_gone(struct keeper *k, struct boss gone, pid_t pid)
{
	k->sock_full = k->welcome_due = false;
	k->send_again.ns = 0;
	k->welcome.before = pid;
	k->welcome.code = gone.code;
	k->welcome.status = gone.status;
	if (k->retiring && k->next.pid > 0) {
		k->welcome.code = k->welcome.status = 0;
		promote(k);
		return;
	}
	/* One that is only half there may have read what the dead one wrote later. */
	kill_one(&k->next);
	on_crash(k, &gone);
}

void boss_on_gone(struct keeper *k, struct boss *b)
{
	struct mps_failure failure = { 0 };
	bool is_boss = b == &k->boss;
	struct boss gone = *b;

	b->pid = 0;
	keeper_unwatch(k, &b->pidfd);
	/* Its last words, EXIT among them, may still lie in the socket. */
	for (int i = 0; is_boss && i < 1000 && b->sock >= 0 && dispatch_read(k); i++)
		;
	keeper_unwatch(k, &b->sock);
	if (mps_spawn_result(b->exec_fd, &failure) < 0 && is_boss)
		boss_fail(k, k->options->argv[0], failure.error);
	fd_close(&b->exec_fd);
	*b = (struct boss)BOSS_INIT;
	if (k->finishing)
		return;
	if (is_boss)
		on_boss_gone(k, gone, k->gone_pid);
	else if (k->boss.pid > 0 && failure.error != 0)
		refuse(k, 0, (uint32_t)failure.error);
	else if (k->boss.pid > 0)
		refuse(k, gone.code, gone.status);
}

void boss_on_exit(struct keeper *k, struct boss *b)
{
	siginfo_t si = { 0 };

	if (b->pid <= 0 || waitid(P_PID, (id_t)b->pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0 ||
	    si.si_pid == 0)
		return;
	if (b == &k->boss)
		boss_take_unheard(k);
	waitid(P_PID, (id_t)b->pid, &si, WEXITED | WNOHANG);
	b->code = (uint32_t)si.si_code;
	b->status = (uint32_t)si.si_status;
	k->gone_pid = b->pid;
	boss_on_gone(k, b);
}
