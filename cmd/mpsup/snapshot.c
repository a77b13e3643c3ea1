/*
 * Reads /proc and finds out whose each process is. See snapshot.h.
 */
#include "mpsup/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "proc/tag.h"
#include "proc/raw.h"
#include "proc/tree.h"

enum {
	BATCH = 32,
	SECOND_THREAD = 4 * BATCH, /* with fewer processes it would come too late */
	FEW = 64, /* programs; to look for a child costs what it costs to read it */
};

/* Whose a process is: the index of a main process, or one of these. */
enum { NOBODYS = -1, UNKNOWN = -2 };

struct process {
	pid_t pid, ppid;
	pid_t pgrp, session;
	unsigned threads;
	int owner;
	uint64_t start, ticks, rss;
	struct process *next; /* of the same owner, by pid */
};

struct main_process {
	pid_t pid;
	int index; /* in the caller's list */
	uint64_t tag;
};

struct snapshot {
	pthread_t thread;
	bool threaded, is_read;
	struct process *list; /* by pid */
	size_t n, cap;
	atomic_size_t taken;	    /* list[0..taken) is read, or being read by some thread */
	double when;		    /* seconds since boot */
	struct main_process *mains; /* by pid */
	size_t n_mains;
	struct process **of; /* the processes of each of the caller's list */
	size_t n_of;
};

/* -------------------------------------------------------------------------------------------------- reading */

static int read_one(struct process *p)
{
	struct proc_stat st;
	int r = proc_stat_read(p->pid, &st);

	if (r < 0)
		return r == -ESRCH
			       ? 0
			       : r; /* gone meanwhile: it has no parent and nothing of its own */
	p->ppid = st.ppid;
	p->pgrp = st.pgrp;
	p->session = st.session;
	p->threads = st.threads;
	p->start = st.start_ticks;
	p->ticks = st.utime_ticks + st.stime_ticks;
	p->rss = st.rss_pages;
	return 0;
}

static void *read_batches(void *user)
{
	struct snapshot *s = user;
	size_t from;

	/*
	 * Descriptors of its own: in a table that threads share, each open and close takes a lock. ThreadSanitizer takes
	 * the same number in two tables for the same descriptor.
	 */
	if (!RAW_IS_WATCHED)
		unshare(CLONE_FILES);
	while ((from = atomic_fetch_add(&s->taken, BATCH)) < s->n)
		for (size_t i = from; i < s->n && i < from + BATCH; i++)
			read_one(&s->list[i]);
	return NULL;
}

static struct process *add(struct snapshot *s, pid_t pid)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 256;
		s->list = xrealloc(s->list, s->cap * sizeof(*s->list));
	}
	s->list[s->n] = (struct process){ .pid = pid, .owner = UNKNOWN };
	return &s->list[s->n++];
}

static int compare_pids(const void *a, const void *b)
{
	const struct process *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

static double since_boot(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void sort_by_pid(struct snapshot *s)
{
	if (s->n > 0)
		qsort(s->list, s->n, sizeof(*s->list), compare_pids);
}

static void *read_all(void *user)
{
	struct snapshot *s = user;
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	pthread_t second;
	bool helped;

	while (proc != NULL && (entry = readdir(proc)) != NULL)
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			add(s, (pid_t)strtol(entry->d_name, NULL, 10));
	if (proc != NULL)
		closedir(proc);
	sort_by_pid(s);
	helped = s->n >= SECOND_THREAD && pthread_create(&second, NULL, read_batches, s) == 0;
	read_batches(s);
	if (helped)
		pthread_join(second, NULL);
	s->when = since_boot();
	s->is_read = true;
	return NULL;
}

static struct process *find(const struct snapshot *s, pid_t pid)
{
	struct process key = { .pid = pid };

	return s->n > 0 ? bsearch(&key, s->list, s->n, sizeof(*s->list), compare_pids) : NULL;
}

struct snapshot *snapshot_new(void)
{
	return xcalloc(1, sizeof(struct snapshot));
}

void snapshot_expect(struct snapshot *s, size_t n)
{
	if (n == FEW + 1 && !s->threaded)
		s->threaded = pthread_create(&s->thread, NULL, read_all, s) == 0;
}

static void join(struct snapshot *s)
{
	if (s->threaded)
		pthread_join(s->thread, NULL);
	s->threaded = false;
}

void snapshot_free(struct snapshot *s)
{
	if (s == NULL)
		return;
	join(s);
	free(s->list);
	free(s->mains);
	free(s->of);
	free(s);
}

/* ---------------------------------------------------------------------------------------------------- whose */

static int compare_mains(const void *a, const void *b)
{
	const struct main_process *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

static struct main_process *find_main(const struct snapshot *s, pid_t pid)
{
	struct main_process key = { .pid = pid };

	return bsearch(&key, s->mains, s->n_mains, sizeof(*s->mains), compare_mains);
}

static void set_mains(struct snapshot *s, const pid_t *mains, size_t n)
{
	s->mains = xcalloc(n + 1, sizeof(*s->mains));
	for (size_t i = 0; i < n; i++)
		if (mains[i] > 0)
			s->mains[s->n_mains++] =
				(struct main_process){ .pid = mains[i], .index = (int)i };
	qsort(s->mains, s->n_mains, sizeof(*s->mains), compare_mains);
}

/* One that was started after the list was read. */
static void add_new_mains(struct snapshot *s)
{
	size_t n = s->n;

	for (size_t i = 0; i < s->n_mains; i++) {
		struct process key = { .pid = s->mains[i].pid };

		if (n == 0 || !bsearch(&key, s->list, n, sizeof(*s->list), compare_pids))
			read_one(add(s, key.pid));
	}
	if (s->n > n)
		sort_by_pid(s);
}

/* The process that was started: a main process that its program has named (MAINPID) may be a descendant of it. */
static struct process *top_of(const struct snapshot *s, struct process *p)
{
	uint64_t tag = tag_get(p->pid);
	struct process *parent;

	for (size_t n = 0; n < s->n && tag != 0; n++, p = parent) {
		parent = find(s, p->ppid);
		if (parent == NULL || tag_get(parent->pid) != tag)
			break;
	}
	return p;
}

/* The keeper, which is the parent of all that were started; 0 = none of them is there. */
static pid_t own_mains(struct snapshot *s)
{
	pid_t keeper = 0;

	for (size_t i = 0; i < s->n_mains; i++) {
		struct process *p = find(s, s->mains[i].pid), *top = p;

		p->owner = p->ppid > 0 ? s->mains[i].index : NOBODYS;
		if (p->ppid > 0 && p->ppid != keeper) {
			top = top_of(s, p);
			top->owner = s->mains[i].index;
			keeper = top->ppid;
		}
	}
	return keeper;
}

static int owner_by_tag(struct snapshot *s, uint64_t tag)
{
	for (size_t i = 0; i < s->n_mains; i++) {
		if (s->mains[i].tag == 0)
			s->mains[i].tag = tag_get(s->mains[i].pid);
		if (s->mains[i].tag == tag)
			return s->mains[i].index;
	}
	return NOBODYS;
}

/* As the keeper finds it: by the tag; without one by the session or group that the main process made. */
static int owner_of_orphan(struct snapshot *s, const struct process *p)
{
	uint64_t tag = tag_get(p->pid);
	const struct main_process *m;

	if (tag != 0)
		return owner_by_tag(s, tag);
	m = find_main(s, p->session);
	if (m == NULL)
		m = find_main(s, p->pgrp);
	return m != NULL ? m->index : NOBODYS;
}

/* Up to somebody whose owner is known. Numbers are reused while we read, so that parents may form a circle. */
static void own(struct snapshot *s, struct process *p)
{
	struct process *at = p;
	int owner;
	size_t n;

	for (n = 0; at != NULL && at->owner == UNKNOWN; n++) {
		at->owner = NOBODYS;
		at = find(s, at->ppid);
	}
	owner = at != NULL ? at->owner : NOBODYS;
	for (at = p; n > 0; n--, at = find(s, at->ppid))
		at->owner = owner;
}

/* -------------------------------------------------------------------------------------------- what is of few */

/* The main process and what is above it of the same program, as top_of(). The keeper, or 0. */
static pid_t add_main(struct snapshot *s, const struct main_process *m)
{
	uint64_t tag = tag_get(m->pid);
	struct proc_stat st;
	pid_t pid = m->pid;

	add(s, pid);
	while (proc_stat_read(pid, &st) == 0) {
		pid = st.ppid;
		if (tag == 0 || pid <= 0 || tag_get(pid) != tag)
			return pid;
		add(s, pid);
	}
	return 0;
}

static bool may_own(struct snapshot *s, uint64_t tag)
{
	return tag == 0 || owner_by_tag(s, tag) != NOBODYS;
}

/* What the keeper has adopted, and what has made itself its child: CLONE_PARENT. */
static int add_orphans(struct snapshot *s, pid_t keeper, struct pids *list)
{
	struct proc_stat st;
	int r = keeper > 0 ? proc_stat_read(keeper, &st) : -ESRCH;

	if (r < 0)
		return r == -ESRCH ? 0 : r;
	list->n = 0;
	r = children_of(keeper, st.threads, list);
	for (size_t i = 0; i < list->n; i++)
		if (may_own(s, tag_get(list->p[i])))
			add(s, list->p[i]);
	return r;
}

static void sort_and_drop_doubles(struct snapshot *s)
{
	size_t n = 0;

	sort_by_pid(s);
	for (size_t i = 0; i < s->n; i++)
		if (i == 0 || s->list[i].pid != s->list[n - 1].pid)
			s->list[n++] = s->list[i];
	s->n = n;
}

/* What could not be looked at is looked for where all are. */
static void read_few(struct snapshot *s)
{
	struct pids list = { 0 };
	pid_t keeper = 0;
	int r;

	for (size_t i = 0; i < s->n_mains; i++) {
		pid_t above = add_main(s, &s->mains[i]);

		keeper = above > 0 ? above : keeper;
	}
	r = add_orphans(s, keeper, &list);
	sort_and_drop_doubles(s); /* one main may be above another, or be an orphan */
	for (size_t i = 0; r == 0 && i < s->n; i++) {
		r = read_one(&s->list[i]);
		list.n = 0;
		if (r == 0 && s->list[i].ppid > 0)
			r = children_of(s->list[i].pid, s->list[i].threads, &list);
		for (size_t j = 0; j < list.n; j++)
			add(s, list.p[j]);
	}
	pids_fini(&list);
	if (r == -ENOMEM)
		xalloc_failed();
	if (r < 0) {
		s->n = 0;
		return;
	}
	sort_and_drop_doubles(s);
	s->when = since_boot();
	s->is_read = true;
}

void snapshot_finish(struct snapshot *s, const pid_t *mains, size_t n)
{
	pid_t keeper;

	join(s);
	set_mains(s, mains, n);
	if (!s->is_read && s->n_mains <= FEW && children_are_told())
		read_few(s);
	if (!s->is_read)
		read_all(s);
	add_new_mains(s);
	keeper = own_mains(s);
	for (size_t i = 0; keeper != 0 && i < s->n; i++)
		if (s->list[i].ppid == keeper && s->list[i].owner == UNKNOWN)
			s->list[i].owner = owner_of_orphan(s, &s->list[i]);
	s->of = xcalloc(n + 1, sizeof(struct process *));
	s->n_of = n;
	for (size_t i = s->n; i-- > 0;) {
		struct process *p = &s->list[i];

		own(s, p);
		if (p->owner == NOBODYS)
			continue;
		p->next = s->of[p->owner];
		s->of[p->owner] = p;
	}
}

/* --------------------------------------------------------------------------------------------------- result */

static double cpu_of(const struct process *p, double when)
{
	double hz = (double)sysconf(_SC_CLK_TCK);
	double age = when - (double)p->start / hz;

	return age > 0.01 ? 100 * (double)p->ticks / hz / age : 0;
}

static double cpu_since(const struct process *p, double when, const struct snapshot *before)
{
	double hz = (double)sysconf(_SC_CLK_TCK), span = when - before->when;
	const struct process *old = find(before, p->pid);
	bool known = old != NULL && old->start == p->start;
	uint64_t had = known ? old->ticks : 0;

	/* Not read then, as it was of no program yet: all of its life is more than since then. */
	if (!known && (double)p->start / hz < before->when)
		return cpu_of(p, when);
	return span > 0 && p->ticks > had ? 100 * (double)(p->ticks - had) / hz / span : 0;
}

bool snapshot_usage(const struct snapshot *s, size_t i, const struct snapshot *before,
		    struct usage *ret_usage)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct usage u = { 0 };

	if (i >= s->n_of || s->of[i] == NULL)
		return false;
	for (const struct process *p = s->of[i]; p != NULL; p = p->next) {
		u.cpu += before != NULL ? cpu_since(p, s->when, before) : cpu_of(p, s->when);
		u.rss += p->rss * page;
	}
	*ret_usage = u;
	return true;
}

static void walk(const struct process *all, pid_t pid, unsigned depth,
		 void (*on)(pid_t pid, unsigned depth, void *user), void *user)
{
	on(pid, depth, user);
	for (const struct process *p = all; p != NULL; p = p->next)
		if (p->ppid == pid && p->pid != pid)
			walk(all, p->pid, depth + 1, on, user);
}

/* Its parent is not of the program: the main process, or an orphan. */
static bool is_root(const struct snapshot *s, const struct process *p)
{
	const struct process *parent = find(s, p->ppid);

	return parent == NULL || parent->owner != p->owner;
}

void snapshot_walk(const struct snapshot *s, size_t i,
		   void (*on)(pid_t pid, unsigned depth, void *user), void *user)
{
	const struct process *all = i < s->n_of ? s->of[i] : NULL;

	for (int orphans = 0; orphans <= 1; orphans++)
		for (const struct process *p = all; p != NULL; p = p->next)
			if (is_root(s, p) && (find_main(s, p->pid) == NULL) == orphans)
				walk(all, p->pid, 0, on, user);
}
