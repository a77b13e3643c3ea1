/*
 * Who descends from whom, and the end of all of it. Each child bears a mark (proc/tag.h) which it passes on, so that its
 * descendants are found whatever they have done with their sessions and parents. What starts children through this
 * library gives them marks of its own: who is killed is remembered, and those who bear its marks are meant, too.
 *
 * A process that is killed by SIGKILL can do nothing for its children any more. So it has a guard: a fresh image of the
 * same program, which is nobody's child, waits for the end of that process, kills what bears its marks, and ends. A
 * guard bears the mark of the process that it is for, is spared for it, and waited for.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "ipc/family.h"
#include "proc/pidfd.h"
#include "proc/spawn.h"
#include "proc/tag.h"
#include "proc/tree.h"

/* In the low bits of a mark's "gen"; above them the high bits of the child's number. */
enum { MARK_OUTLIVES = 1 << 0, MARK_GUARD = 1 << 1, MARK_BITS = 2, INSTANCE_BITS = 18 };

/* Where a guard finds the socket by which it is dismissed. */
enum { GUARD_FD = 3 };

const char guard_role[] = "--mpsup-guard";

static struct {
	pid_t owner; /* the process whose the rest is */
	uint32_t id;
	int sock; /* -1 = there is none */
} guard = { .sock = -1 };

static uint32_t own_id(void)
{
	if (guard.owner != getpid()) {
		guard.id = tag_keeper_id(getpid());
		guard.owner = getpid();
	}
	return guard.id;
}

uint64_t lineage_mark(uint32_t n, bool outlives)
{
	return tag_make(own_id(), n,
			n >> INSTANCE_BITS << MARK_BITS | (outlives ? MARK_OUTLIVES : 0));
}

/* ------------------------------------------------------------------------------------------------ the killing */

struct killing {
	uint64_t mark;	 /* of one child .. */
	uint32_t family; /* .. or, if that is 0, of all children of this one */
	bool spares_outliving;
	bool wants_guards; /* those are looked for, in place of the others */
	bool kills_guards;
	uint32_t *families; /* of those that were killed */
	size_t n, cap;
};

static bool holds(const struct killing *k, uint32_t family)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->families[i] == family)
			return true;
	return false;
}

/* Without memory what its children have started is left to its own guard. */
static void remember(struct killing *k, uint32_t family)
{
	uint32_t *bigger;

	if (holds(k, family))
		return;
	if (k->n == k->cap) {
		bigger = reallocarray(k->families, k->cap * 2 + 8, sizeof(*bigger));
		if (bigger == NULL)
			return;
		k->families = bigger;
		k->cap = k->cap * 2 + 8;
	}
	k->families[k->n++] = family;
}

static bool is_meant(pid_t pid, void *user)
{
	struct killing *k = user;
	uint32_t family, instance, flags;
	uint64_t mark = mark_get(pid);

	if (!tag_parse(mark, &family, &instance, &flags))
		return false;
	if ((k->mark != 0 ? (mark & ~(uint64_t)MARK_GUARD) != k->mark : family != k->family) &&
	    !holds(k, family))
		return false;
	if (!k->kills_guards && (bool)(flags & MARK_GUARD) != k->wants_guards)
		return false;
	if (k->spares_outliving && (flags & MARK_OUTLIVES))
		return false;
	if (!k->wants_guards)
		remember(k, tag_keeper_id(pid));
	return true;
}

static int64_t bounded(struct mps_time until)
{
	int64_t left = time_left(until);

	return left < 0 ? 0 : left < MPS_NS_PER_S * 3600 ? left : MPS_NS_PER_S * 3600;
}

/* Waits for the guards among them, which are at the same work. False: there were none. */
static bool await_guards(struct killing *k, struct mps_time until)
{
	struct pids guards = { 0 };
	bool any;

	k->wants_guards = true;
	processes_list(is_meant, k, &guards);
	k->wants_guards = false;
	any = guards.n > 0;
	for (size_t i = 0; i < guards.n; i++) {
		AUTO_CLOSE int fd = pidfd_open_checked(guards.p[i]);

		if (fd >= 0)
			wait_readable(fd, until);
	}
	pids_fini(&guards);
	return any;
}

/* What calls itself a guard and does not end is none. */
static void kill_all(struct killing *k, struct mps_time until)
{
	enum { GUARDS_PATIENCE_S = 5 };
	struct mps_time patience = until_of(GUARDS_PATIENCE_S * MPS_NS_PER_S);
	size_t n;

	do {
		processes_kill(is_meant, k, bounded(until), &n);
		k->kills_guards = mps_now().ns > patience.ns;
	} while (await_guards(k, until.ns < patience.ns ? until : patience) &&
		 time_left(until) > 0);
	free(k->families);
}

int lineage_kill(uint64_t mark, struct mps_time until)
{
	struct killing k = { .mark = mark };
	struct pids left = { 0 };

	kill_all(&k, until);
	if (time_left(until) > 0)
		return 0;
	k = (struct killing){ .mark = mark };
	processes_list(is_meant, &k, &left);
	pids_fini(&left);
	free(k.families);
	return left.n > 0 ? -ETIMEDOUT : 0;
}

/* -------------------------------------------------------------------------------------------------- the guard */

static bool is_there(void)
{
	struct pollfd p = { .fd = guard.sock };

	return guard.sock >= 0 && (poll(&p, 1, 0) == 0 || !(p.revents & (POLLERR | POLLHUP)));
}

/* It ends when there is a guard, which is not our child, or can be none. */
static void await_maker(const struct mps_child *child)
{
	enum { PATIENCE_S = 10 };
	AUTO_CLOSE int pidfd = child->pidfd;

	if (!wait_readable(pidfd, until_of(PATIENCE_S * MPS_NS_PER_S)))
		pidfd_signal(pidfd, child->pid, SIGKILL);
	reap_hidden(child->pid, pidfd);
}

static void start_guard(int sock, int null)
{
	const struct mps_fd fds[] = {
		{ 0, null, 0 }, { 1, null, 0 }, { 2, null, 0 }, { GUARD_FD, sock, 0 }
	};
	char pid[16], start[24], id[16];
	uint64_t own = mark_get(getpid());
	char *argv[] = { target_program(), (char *)guard_role, pid, start, id, NULL };
	struct mps_spawn s = {
		.path = MPS_HOST_PATH,
		.argv = argv,
		.envp = environ,
		.cwd = "/",
		.fds = fds,
		.n_fds = ARRAY_SIZE(fds),
		.session = MPS_SESSION_NEW,
		.umask = -1,
		/* From the beginning: who ends this process shall not take it for a process of its tree. */
		.mark = own != 0 ? own | MARK_GUARD : 0,
	};
	struct mps_child child;
	struct mps_failure failure;
	struct proc_stat st;

	if (proc_stat_read(getpid(), &st) < 0)
		return;
	snprintf(pid, sizeof(pid), "%d", getpid());
	snprintf(start, sizeof(start), "%llu", (unsigned long long)st.start_ticks);
	snprintf(id, sizeof(id), "%u", own_id());
	if (launch(&s, &child, &failure) == 0)
		await_maker(&child);
}

/*
 * Whether there is one is told by its end of the socket. Not by the exit status of who has made it, which nobody gets to know
 * where SIGCHLD is ignored.
 */
static bool make_guard(int null)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return false;
	start_guard(ends[0], null);
	close(ends[0]);
	guard.sock = ends[1];
	lift_fd(&guard.sock);
	if (!is_there())
		fd_close(&guard.sock);
	return guard.sock >= 0;
}

/* What cannot be done is left: the children that the main thread starts die with it all the same. */
void guard_ensure(void)
{
	enum { TRIES = 3 };
	AUTO_CLOSE int null = -1;

	if (is_there() || !target_is_ready())
		return;
	fd_close(&guard.sock);
	null = pidfd_open_checked(getpid()); /* a guard is nothing without */
	if (null < 0)
		return;
	close(null);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; null >= 0 && i < TRIES && !make_guard(null); i++)
		;
}

void guard_dismiss(void)
{
	if (guard.sock >= 0)
		send(guard.sock, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	fd_close(&guard.sock);
}

void guard_forget(bool closes)
{
	if (closes)
		fd_close(&guard.sock);
	guard.sock = -1;
}

static void await_end(int pidfd, bool *ret_dismissed)
{
	struct pollfd p[] = { { .fd = pidfd, .events = POLLIN },
			      { .fd = GUARD_FD, .events = POLLIN } };
	char c;

	*ret_dismissed = false;
	while (p[0].revents == 0) {
		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents != 0 && read(GUARD_FD, &c, 1) == 1) {
			*ret_dismissed = true;
			return;
		}
		if (p[1].revents & POLLHUP) /* closed, but not by its end, or not only */
			p[1].fd = -1;
	}
}

int guard_run(int argc, char **argv)
{
	struct killing k = { .spares_outliving = true };
	pid_t pid = argc > 4 ? atoi(argv[2]) : 0;
	struct proc_stat st;
	bool dismissed = false;
	sigset_t all;
	int pidfd;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (pid <= 0)
		return 2;
	k.family = (uint32_t)strtoul(argv[4], NULL, 10);
	pidfd = pidfd_open_checked(pid);
	if (proc_stat_read(pid, &st) < 0 || st.start_ticks != strtoull(argv[3], NULL, 10))
		fd_close(&pidfd); /* it is gone, and the number perhaps another's */
	else if (pidfd < 0)
		return 1;
	/* Nobody's child from here on: who waits for all children of its process does not wait for us. */
	if (fork() != 0)
		_exit(0);
	prctl(PR_SET_NAME, "mpsup-guard");
	if (pidfd >= 0)
		await_end(pidfd, &dismissed);
	if (!dismissed)
		kill_all(&k, until_of(60 * MPS_NS_PER_S));
	_exit(0);
}
