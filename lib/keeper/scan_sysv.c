/*
 * SysV objects that nobody has told of, when an instance has ended: shared memory names the process that has made it,
 * a message queue those that have sent and received last. What is taken for the instance's was made since its start, by
 * a process that was known as one of it at that time; so which those are is remembered with the time for which their
 * numbers meant them. A semaphore set names nobody.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/shm.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "keeper/tracker.h"
#include "proc/tag.h"
#include "proc/tree.h"

/* Their times are whole seconds. */
#define SECOND_NS (MPS_NS_PER_S + MPS_COARSE_LAG_NS)

enum { SEEN_MAX = 32, GIVEN_MAX = 1024 };

/* The newest ones. */
struct seen {
	size_t n; /* ever */
	struct known {
		pid_t pid;
		bool reaped;
		uint64_t start;
		int64_t from, until; /* wall clock */
	} all[SEEN_MAX];
};

void sysv_forget(struct slot *s)
{
	free(s->seen);
	s->seen = NULL;
}

static int64_t ns_of(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * MPS_NS_PER_S + ts.tv_nsec;
}

static int64_t wall_of(uint64_t ticks)
{
	int64_t since_boot = (int64_t)(ticks * (uint64_t)(MPS_NS_PER_S / sysconf(_SC_CLK_TCK)));

	return ns_of(CLOCK_REALTIME) - ns_of(CLOCK_BOOTTIME) + since_boot;
}

static struct known *find(const struct slot *s, pid_t pid)
{
	size_t n = s->seen == NULL ? 0 : s->seen->n < SEEN_MAX ? s->seen->n : SEEN_MAX;

	for (size_t i = 0; i < n; i++)
		if (s->seen->all[i].pid == pid && !s->seen->all[i].reaped)
			return &s->seen->all[i];
	return NULL;
}

void sysv_seen(struct keeper *k, uint32_t index, pid_t pid, uint64_t start)
{
	struct slot *s = &k->slots[index];
	struct proc_stat st;
	struct known *p;

	if (!s->scan || pid == s->pid)
		return;
	if (start == 0 && proc_stat_read(pid, &st) == 0)
		start = st.start_ticks;
	p = find(s, pid);
	if (start == 0 || (s->seen == NULL && (s->seen = calloc(1, sizeof(*s->seen))) == NULL))
		return;
	if (p == NULL || p->start != start)
		p = &s->seen->all[s->seen->n++ % SEEN_MAX];
	*p = (struct known){ pid, false, start, wall_of(start), ns_of(CLOCK_REALTIME) };
}

void sysv_reaped(struct keeper *k, uint32_t index, pid_t pid)
{
	struct known *p = find(&k->slots[index], pid);

	if (p == NULL)
		return;
	p->reaped = true;
	p->until = ns_of(CLOCK_REALTIME);
}

/* ----------------------------------------------------------------------------------------------- handed over */

static bool is_given(const struct tracker *t, enum track_type type, const char *name)
{
	struct track_identity id;

	for (size_t i = 0; i < t->n_given; i++)
		if (t->given[i].type == type && strcmp(t->given[i].name, name) == 0)
			return object_identify(type, name, &id) &&
			       id.ino == t->given[i].identity.ino;
	return false;
}

static void drop_gone(struct tracker *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n_given; i++)
		if (is_given(t, t->given[i].type, t->given[i].name))
			t->given[n++] = t->given[i];
	t->n_given = n;
}

void sysv_given(struct tracker *t, enum track_type type, const char *name)
{
	struct given g = { .type = type };

	if (name[0] == 'k' || strlen(name) >= sizeof(g.name) ||
	    !object_identify(type, name, &g.identity) || is_given(t, type, name))
		return;
	strcpy(g.name, name);
	if (t->given == NULL)
		t->given = malloc(GIVEN_MAX * sizeof(*t->given));
	if (t->given != NULL && t->n_given == GIVEN_MAX)
		drop_gone(t);
	if (t->given != NULL && t->n_given < GIVEN_MAX)
		t->given[t->n_given++] = g;
	else
		t->too_many_given = true;
}

/* -------------------------------------------------------------------------------------------------------- scan */

struct found {
	enum track_type type;
	int id;
	struct ipc_perm perm;
	time_t changed;
	pid_t maker;
	time_t at; /* he was it then */
	/* Of a queue: who has received last. */
	pid_t receiver;
	time_t received;
};

/* Its number is another's by now. */
static bool is_stranger(struct keeper *k, pid_t pid)
{
	uint32_t keeper, index, gen;
	struct proc_stat st;

	return proc_stat_read(pid, &st) == 0 &&
	       !(tag_parse(tag_get(pid), &keeper, &index, &gen) && keeper == k->id);
}

/* At that time the number meant a process of the instance; *ret_start its start if it is known. */
static bool was_of(struct keeper *k, uint32_t index, pid_t pid, time_t at, uint64_t *ret_start)
{
	const struct slot *s = &k->slots[index];
	int64_t ns = at * MPS_NS_PER_S;
	size_t n = s->seen == NULL ? 0 : s->seen->n < SEEN_MAX ? s->seen->n : SEEN_MAX;

	*ret_start = 0;
	if (pid <= 1 || is_stranger(k, pid))
		return false;
	if (pid == s->pid && ns + SECOND_NS >= s->began && ns <= s->ended_wall.ns)
		return true;
	for (size_t i = 0; i < n; i++) {
		const struct known *p = &s->seen->all[i];

		*ret_start = p->start;
		if (p->pid == pid && ns + SECOND_NS >= p->from && ns <= p->until)
			return true;
	}
	return false;
}

static bool has_record(const struct tracker *t, enum track_type type, const char *id, key_t key)
{
	char name[16];

	snprintf(name, sizeof(name), "k%08x", (unsigned)key);
	return track_find(&t->registry, type, id, strlen(id)) != NULL ||
	       (key != IPC_PRIVATE && track_find(&t->registry, type, name, strlen(name)) != NULL);
}

/*
 * Who has sent last need not have made it. So nobody else may have received, and either somebody of the instance has, or
 * it has no key by which a stranger would find it.
 */
static bool is_own_queue(struct keeper *k, uint32_t index, const struct found *f)
{
	uint64_t start;

	if (f->receiver == 0)
		return f->perm.__key == IPC_PRIVATE;
	return was_of(k, index, f->receiver, f->received, &start);
}

static void take(struct keeper *k, uint32_t index, const struct found *f)
{
	struct tracker *t = k->tracker;
	struct sender s = { .pid = f->maker, .uid = f->perm.uid };
	struct track_record *r;
	char name[16];

	snprintf(name, sizeof(name), "%d", f->id);
	if (f->id < 0 || f->perm.uid != f->perm.cuid ||
	    f->changed * MPS_NS_PER_S + SECOND_NS < k->slots[index].began ||
	    !was_of(k, index, f->maker, f->at, &s.start) || is_given(t, f->type, name) ||
	    has_record(t, f->type, name, f->perm.__key) ||
	    (f->type == TRACK_SYSV_MSG && !is_own_queue(k, index, f)))
		return;
	s.holding = holding_of_slot(k, index);
	s.sent_ns = f->changed * MPS_NS_PER_S;
	r = s.holding != NULL ? track_record(t, &s, f->type, name, strlen(name)) : NULL;
	if (r == NULL)
		return;
	if (object_settle(r) && track_knows(r))
		track_journal_add(&t->journal, r);
	else
		leak_forget(t, r);
}

/* How many pieces of shared memory there are; *ret_last is the last index that one may have. */
static int count_memory(int *ret_last)
{
	struct shm_info info;

	*ret_last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&info);
	return *ret_last < 0 ? -1 : info.used_ids;
}

/* False: there is none. One without an id is nobody's business: it goes by itself. */
static bool memory_at(int index, struct found *ret)
{
	struct shmid_ds ds = { 0 };
	int id = shmctl(index, SHM_STAT, &ds);

	if (id < 0)
		return false;
	*ret = (struct found){ .type = TRACK_SYSV_SHM,
			       .id = ds.shm_perm.mode & SHM_DEST ? -1 : id,
			       .perm = ds.shm_perm,
			       .changed = ds.shm_ctime,
			       .maker = ds.shm_cpid,
			       .at = ds.shm_ctime };
	return true;
}

static int count_queues(int *ret_last)
{
	struct msginfo info;

	*ret_last = msgctl(0, MSG_INFO, (struct msqid_ds *)(void *)&info);
	return *ret_last < 0 ? -1 : info.msgpool;
}

static bool queue_at(int index, struct found *ret)
{
	struct msqid_ds ds = { 0 };
	int id = msgctl(index, MSG_STAT, &ds);

	if (id < 0)
		return false;
	*ret = (struct found){ .type = TRACK_SYSV_MSG,
			       .id = id,
			       .perm = ds.msg_perm,
			       .changed = ds.msg_ctime,
			       .maker = ds.msg_lspid,
			       .at = ds.msg_stime,
			       .receiver = ds.msg_lrpid,
			       .received = ds.msg_rtime };
	return true;
}

static const struct {
	int (*count)(int *ret_last);
	bool (*at)(int index, struct found *ret);
} kinds[] = { { count_memory, memory_at }, { count_queues, queue_at } };

bool sysv_is_none(void)
{
	int last;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].count(&last) != 0)
			return false;
	return true;
}

void sysv_scan(struct keeper *k, uint32_t index)
{
	if (k->tracker->too_many_given)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		int last, left = kinds[i].count(&last);
		struct found f;

		for (int at = 0; at <= last && left > 0; at++)
			if (kinds[i].at(at, &f)) {
				left--;
				take(k, index, &f);
			}
	}
}
