/*
 * What /proc tells of processes. Numbers are read into the caller's list; nothing is cached.
 */
#include "proc/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/feature.h"
#include "base/mtime.h"
#include "proc/pidfd.h"
#include "proc/tag.h"

void pids_fini(struct pids *list)
{
	free(list->p);
	*list = (struct pids){ 0 };
}

int pids_add(struct pids *list, pid_t pid)
{
	if (list->n == list->cap) {
		size_t cap = list->cap ? list->cap * 2 : 32;
		pid_t *p = realloc(list->p, cap * sizeof(*p));

		if (p == NULL)
			return -ENOMEM;
		list->p = p;
		list->cap = cap;
	}
	list->p[list->n++] = pid;
	return 0;
}

/* "PID (COMM) S ppid ...": the name may hold blanks and parentheses, so fields count from the last ')'. */
static int parse_stat(char *text, struct proc_stat *ret)
{
	char *open = strchr(text, '('), *close = strrchr(text, ')');
	unsigned long long f[22];
	char *at;

	if (open == NULL || close == NULL || close < open || strlen(close) < 4)
		return -EBADMSG;
	*close = '\0';
	snprintf(ret->comm, sizeof(ret->comm), "%s", open + 1);
	ret->state = close[2];
	at = close + 3;
	for (size_t i = 0; i < ARRAY_SIZE(f); i++) /* f[0] is field 4, ppid */
		f[i] = strtoull(at, &at, 10);
	ret->ppid = (pid_t)f[0];
	ret->pgrp = (pid_t)f[1];
	ret->session = (pid_t)f[2];
	ret->flags = f[5];
	ret->utime_ticks = f[10];
	ret->stime_ticks = f[11];
	ret->threads = (unsigned)f[16];
	ret->start_ticks = f[18];
	ret->rss_pages = f[20];
	return 0;
}

static int read_stat(const char *path, struct proc_stat *ret)
{
	char text[1024];
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -ESRCH;
	text[n] = '\0';
	return parse_stat(text, ret);
}

int proc_stat_read(pid_t pid, struct proc_stat *ret)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	return read_stat(path, ret);
}

bool process_is_ending(pid_t pid)
{
	enum { PF_EXITING = 4 };
	char path[64];
	struct dirent *d;
	struct proc_stat st;
	bool ending = true;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir != NULL && ending && (d = readdir(dir)) != NULL) {
		snprintf(path, sizeof(path), "/proc/%d/task/%.10s/stat", pid, d->d_name);
		ending = d->d_name[0] == '.' || read_stat(path, &st) < 0 || (st.flags & PF_EXITING);
	}
	if (dir != NULL)
		closedir(dir);
	return ending;
}

int children_open(pid_t pid, pid_t tid)
{
	char path[64];
	int fd;

	if (!feature_allowed(FEATURE_CHILDREN)) {
		errno = ENOENT; /* as where the kernel has no such list */
		return -1;
	}
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -1 : fd;
}

/* Calls f for each process; stops at its first error. -ENOENT where /proc is not mounted: not even we are in it. */
static int each_process(int (*f)(pid_t pid, void *user), void *user)
{
	DIR *dir = opendir("/proc");
	struct dirent *d;
	bool any = false;
	int r = 0;

	if (dir == NULL)
		return -errno;
	while (r == 0 && (d = readdir(dir)) != NULL)
		if (d->d_name[0] >= '1' && d->d_name[0] <= '9') {
			any = true;
			r = f((pid_t)atoi(d->d_name), user);
		}
	closedir(dir);
	return r < 0 || any ? r : -ENOENT;
}

struct search {
	pid_t parent;
	uint32_t keeper;
	struct pids *list;
};

static int add_if_child(pid_t pid, void *user)
{
	struct search *s = user;
	struct proc_stat st;

	if (proc_stat_read(pid, &st) < 0 || st.ppid != s->parent)
		return 0;
	return pids_add(s->list, pid);
}

static int parse_children(char *text, size_t n, size_t *ret_used, struct pids *list)
{
	size_t at = 0;

	*ret_used = 0;
	while (at < n) {
		char *end = memchr(text + at, ' ', n - at);
		int r;

		if (end == NULL)
			break;
		r = pids_add(list, (pid_t)strtol(text + at, NULL, 10));
		if (r < 0)
			return r;
		at = (size_t)(end - text) + 1;
		*ret_used = at;
	}
	return 0;
}

static int add_children(int fd, struct pids *list)
{
	char text[4096];
	size_t have = 0, used;
	off_t offset = 0;
	ssize_t n;

	while ((n = pread(fd, text + have, sizeof(text) - 1 - have, offset)) > 0) {
		int r;

		offset += n;
		have += (size_t)n;
		text[have] = '\0';
		r = parse_children(text, have, &used, list);
		if (r < 0)
			return r;
		have -= used;
		memmove(text, text + used, have);
	}
	return n < 0 ? -errno : 0;
}

int children_read(int fd, pid_t pid, struct pids *list)
{
	struct search s = { .parent = pid, .list = list };

	list->n = 0;
	return fd < 0 ? each_process(add_if_child, &s) : add_children(fd, list);
}

bool children_are_told(void)
{
	AUTO_CLOSE int fd = children_open(getpid(), getpid());

	return fd >= 0;
}

static int add_children_of(pid_t pid, pid_t tid, struct pids *list)
{
	AUTO_CLOSE int fd = children_open(pid, tid);
	int r = fd < 0 ? -errno : add_children(fd, list);

	return r == -ESRCH || r == -ENOENT ? 0 : r;
}

int children_of(pid_t pid, unsigned threads, struct pids *list)
{
	struct dirent *d;
	char path[32];
	DIR *dir;
	int r = 0;

	if (threads <= 1)
		return add_children_of(pid, pid, list);
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (dir == NULL)
		return errno == ENOENT ? 0 : -errno;
	while (r == 0 && (d = readdir(dir)) != NULL)
		if (d->d_name[0] != '.')
			r = add_children_of(pid, (pid_t)atoi(d->d_name), list);
	closedir(dir);
	return r;
}

static int add_if_tagged(pid_t pid, void *user)
{
	struct search *s = user;
	uint32_t instance, gen;
	uint32_t keeper;
	struct proc_stat st;

	if (!tag_parse(tag_get(pid), &keeper, &instance, &gen) || keeper != s->keeper)
		return 0;
	if (pid == getpid() || proc_stat_read(pid, &st) < 0 || !process_runs(pid, &st))
		return 0;
	return pids_add(s->list, pid);
}

int tagged_processes(uint32_t keeper, struct pids *list)
{
	struct search s = { .keeper = keeper, .list = list };

	list->n = 0;
	return each_process(add_if_tagged, &s);
}

/*
 * Who is listed in /proc, but dead when it is looked at, may have made a child behind the list's end: so it is listed again.
 * But not for ever, where strangers come and go, or nobody reaps ours. Who is to be killed may run from us, child by
 * child; who is only looked for does not.
 */
enum { KILLS_IN_VAIN = 50, LOOKS_IN_VAIN = 3 };

static bool is_gone(pid_t pid)
{
	return kill(pid, 0) < 0 && errno == ESRCH;
}

struct listing {
	bool (*is_meant)(pid_t pid, void *user);
	void *user;
	struct pids *list;
	size_t vanished;
};

static int add_if_meant(pid_t pid, void *user)
{
	struct listing *l = user;
	struct proc_stat st;

	if (pid == getpid())
		return 0;
	if (!l->is_meant(pid, l->user)) {
		l->vanished += is_gone(pid);
		return 0;
	}
	if (proc_stat_read(pid, &st) < 0 || !process_runs(pid, &st)) {
		l->vanished++;
		return 0;
	}
	return pids_add(l->list, pid);
}

int processes_list(bool (*is_meant)(pid_t pid, void *user), void *user, struct pids *list)
{
	struct listing l = { is_meant, user, list, 0 };
	int r = 0, looks = 0;

	do {
		list->n = l.vanished = 0;
		r = each_process(add_if_meant, &l);
	} while (r == 0 && list->n == 0 && l.vanished > 0 && ++looks < LOOKS_IN_VAIN);
	return r;
}

/* A killing. */
struct cull {
	bool (*is_meant)(pid_t pid, void *user);
	void *user;
	struct pids killed;
	struct pids
		dead; /* and not reaped, as found so far: what they have left is seen by the next look */
	size_t vanished;
};

/* True where it is dead for longer than since the look before. */
static bool is_known_dead(struct cull *c, pid_t pid)
{
	for (size_t i = 0; i < c->dead.n; i++)
		if (c->dead.p[i] == pid)
			return true;
	pids_add(&c->dead, pid);
	return false;
}

/* At once, not when all are listed: until then it could have forked and gone. */
static int kill_if_meant(pid_t pid, void *user)
{
	struct cull *c = user;
	AUTO_CLOSE int fd = -1;
	struct proc_stat st;
	int r;

	if (!c->is_meant(pid, c->user)) {
		c->vanished += is_gone(pid);
		return 0;
	}
	fd = pidfd_open_checked(pid);
	/* Still the one that bore the tag, now that the pidfd holds it. */
	if (pid == getpid())
		return 0;
	if (!c->is_meant(pid, c->user) || proc_stat_read(pid, &st) < 0 || !process_runs(pid, &st)) {
		c->vanished += !is_known_dead(c, pid);
		return 0;
	}
	r = pidfd_signal(fd, pid, SIGKILL);
	if (r < 0) {
		c->vanished += r == -ESRCH;
		return 0;
	}
	return pids_add(&c->killed, pid);
}

/* A pidfd is readable when its process is dead. */
static void wait_for_death(const struct cull *c, pid_t pid, struct mps_time deadline)
{
	AUTO_CLOSE int fd = pidfd_open_checked(pid);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int64_t left = (deadline.ns - mps_now().ns) / MPS_NS_PER_MS;

	if (fd >= 0 && c->is_meant(pid, c->user))
		poll(&p, 1, left > 0 ? (int)left : 0);
}

int processes_kill(bool (*is_meant)(pid_t pid, void *user), void *user, int64_t ns, size_t *ret_n)
{
	struct cull c = { .is_meant = is_meant, .user = user };
	struct mps_time deadline = { mps_now().ns + ns };
	int r = 0, in_vain = 0;
	bool again;

	*ret_n = 0;
	do {
		c.killed.n = c.vanished = 0;
		r = each_process(kill_if_meant, &c);
		for (size_t i = 0; i < c.killed.n; i++)
			wait_for_death(&c, c.killed.p[i], deadline);
		*ret_n += c.killed.n;
		/* What was killed may have forked meanwhile, and so may what went before it could be looked at. */
		in_vain = c.killed.n > 0 ? 0 : in_vain + 1;
		again = c.killed.n > 0 || (c.vanished > 0 && in_vain < KILLS_IN_VAIN);
	} while (r == 0 && again && mps_now().ns < deadline.ns);
	pids_fini(&c.killed);
	pids_fini(&c.dead);
	return r;
}

/* All of a keeper's but the instances that are spared. */
struct tagged {
	uint32_t keeper;
	bool (*spare)(uint32_t instance, void *user);
	void *user;
};

static bool is_tagged(pid_t pid, void *user)
{
	const struct tagged *t = user;
	uint32_t owner, instance, gen;

	return tag_parse(tag_get(pid), &owner, &instance, &gen) && owner == t->keeper &&
	       (t->spare == NULL || !t->spare(instance, t->user));
}

int tagged_kill(uint32_t keeper, bool (*spare)(uint32_t instance, void *user), void *user,
		int64_t ns, size_t *ret_n)
{
	struct tagged t = { keeper, spare, user };

	return processes_kill(is_tagged, &t, ns, ret_n);
}
