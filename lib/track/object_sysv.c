/*
 * SysV IPC by the calls themselves. That another process takes one up between the question and its removal cannot be
 * ruled out: the kernel has no call for both. What is attached then stays so.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "base/mtime.h"
#include "proc/tree.h"
#include "track/look.h"

union semun {
	int val;
	struct semid_ds *buf;
};

/* What the three kinds say of themselves. */
struct sysv {
	struct ipc_perm perm;
	time_t changed;
	uint64_t size; /* bytes, semaphores; of a queue it may change */
	pid_t creator;
	pid_t users[2]; /* last ones of a queue */
	uint64_t attached;
};

static int stat_sem(int id, struct sysv *ret)
{
	struct semid_ds ds;

	if (semctl(id, 0, IPC_STAT, (union semun){ .buf = &ds }) < 0)
		return -errno;
	*ret = (struct sysv){ .perm = ds.sem_perm, .changed = ds.sem_ctime, .size = ds.sem_nsems };
	return 0;
}

static int stat_shm(int id, struct sysv *ret)
{
	struct shmid_ds ds;

	if (shmctl(id, IPC_STAT, &ds) < 0)
		return -errno;
	*ret = (struct sysv){ .perm = ds.shm_perm,
			      .changed = ds.shm_ctime,
			      .size = ds.shm_segsz,
			      .creator = ds.shm_cpid,
			      .attached = ds.shm_nattch };
	return 0;
}

static int stat_msg(int id, struct sysv *ret)
{
	struct msqid_ds ds;

	if (msgctl(id, IPC_STAT, &ds) < 0)
		return -errno;
	*ret = (struct sysv){ .perm = ds.msg_perm,
			      .changed = ds.msg_ctime,
			      .users = { ds.msg_lspid, ds.msg_lrpid } };
	return 0;
}

/* "?" is no object yet. */
static bool parse_id(const char *name, int *ret)
{
	char *end;
	long id = strtol(name, &end, 10);

	if (end == name || *end != '\0' || id < 0 || id > INT_MAX)
		return false;
	*ret = (int)id;
	return true;
}

static int stat_any(enum track_type type, const char *name, struct sysv *ret)
{
	int id, r;

	if (!parse_id(name, &id))
		return -ENOENT;
	r = type == TRACK_SYSV_SEM   ? stat_sem(id, ret)
	    : type == TRACK_SYSV_SHM ? stat_shm(id, ret)
				     : stat_msg(id, ret);
	return r == -EINVAL || r == -EIDRM ? -ENOENT : r;
}

/* Their times are whole seconds of a clock that moves on with the timer's tick, of 10 ms at most (CONFIG_HZ=100). */
#define SECOND_NS (MPS_NS_PER_S + 10 * MPS_NS_PER_MS)

int sysv_look(enum track_type type, const char *name, struct look *ret)
{
	struct sysv s;
	int r = stat_any(type, name, &s);

	if (r < 0)
		return r;
	ret->not_before_ns = s.changed * MPS_NS_PER_S;
	ret->tick_ns = SECOND_NS;
	/* One that was given to another user is theirs. */
	ret->uid = s.perm.uid;
	ret->identity.born_ns = ret->not_before_ns;
	ret->identity.ino = (uint64_t)(uint32_t)s.perm.__key << 32 ^ (uint64_t)s.creator << 40 ^
			    s.size << 8 ^ (uint64_t)s.perm.cuid ^ (uint64_t)s.perm.cgid << 16;
	return 0;
}

/* Its number may have been given to another since: then it is taken for one that lives, which does no harm. */
static bool lives(pid_t pid, uint64_t start)
{
	struct proc_stat st;

	return pid > 0 && proc_stat_read(pid, &st) == 0 && st.state != 'Z' && st.state != 'X' &&
	       (start == 0 || st.start_ticks == start);
}

/* 1 in use, 0, or -errno. Each semaphore knows who changed it last, and how many wait. */
static int set_in_use(int id, unsigned n)
{
	static const int waiters[] = { GETNCNT, GETZCNT };

	for (unsigned i = 0; i < n; i++) {
		int pid = semctl(id, (int)i, GETPID);

		if (pid < 0)
			return -errno;
		if (lives(pid, 0))
			return 1;
		for (size_t w = 0; w < sizeof(waiters) / sizeof(waiters[0]); w++)
			if (semctl(id, (int)i, waiters[w]) > 0)
				return 1;
	}
	return 0;
}

static int in_use(const struct track_record *record, int id, const struct sysv *s)
{
	if (record->type == TRACK_SYSV_SHM)
		return s->attached > 0;
	if (lives(record->creator.pid, record->creator.start))
		return 1;
	if (record->type == TRACK_SYSV_SEM)
		return set_in_use(id, (unsigned)s->size);
	return lives(s->users[0], 0) || lives(s->users[1], 0);
}

static int remove_it(enum track_type type, int id)
{
	if (type == TRACK_SYSV_SEM)
		return semctl(id, 0, IPC_RMID);
	return type == TRACK_SYSV_SHM ? shmctl(id, IPC_RMID, NULL) : msgctl(id, IPC_RMID, NULL);
}

enum object_state sysv_ask(const struct track_record *record, bool unlink)
{
	struct sysv s;
	int id = -1, r = stat_any(record->type, record->name, &s);

	if (r == 0 && parse_id(record->name, &id))
		r = in_use(record, id, &s);
	if (r > 0)
		return OBJECT_USED;
	if (r == 0 && unlink && remove_it(record->type, id) < 0)
		r = -errno;
	if (r == -ENOENT || r == -EINVAL || r == -EIDRM)
		return OBJECT_ABSENT;
	errno = -r;
	return r < 0 ? OBJECT_UNKNOWN : OBJECT_FREE;
}

/* ------------------------------------------------------------------------------------------------- pending */

/* The highest index in use, or -errno. */
static int highest(enum track_type type)
{
	union {
		struct shm_info shm;
		struct seminfo sem;
		struct msginfo msg;
	} info;
	int n;

	if (type == TRACK_SYSV_SHM)
		n = shmctl(0, SHM_INFO, (struct shmid_ds *)&info.shm);
	else if (type == TRACK_SYSV_SEM)
		n = semctl(0, 0, SEM_INFO, (union semun){ .buf = (struct semid_ds *)&info.sem });
	else
		n = msgctl(0, MSG_INFO, (struct msqid_ds *)&info.msg);
	return n < 0 ? -errno : n;
}

/* The id of what has that index, or -1. */
static int id_at(enum track_type type, int index)
{
	union {
		struct shmid_ds shm;
		struct semid_ds sem;
		struct msqid_ds msg;
	} ds;

	if (type == TRACK_SYSV_SHM)
		return shmctl(index, SHM_STAT, &ds.shm);
	if (type == TRACK_SYSV_SEM)
		return semctl(index, 0, SEM_STAT, (union semun){ .buf = &ds.sem });
	return msgctl(index, MSG_STAT, &ds.msg);
}

static bool can_be(const struct track_registry *r, const struct track_record *pending, int id)
{
	AUTO_LOOK now = LOOK_INIT;
	struct sysv s;
	char name[16];
	int n = snprintf(name, sizeof(name), "%d", id);

	if (id < 0 || track_find(r, pending->type, name, (size_t)n) != NULL ||
	    stat_any(pending->type, name, &s) < 0 || sysv_look(pending->type, name, &now) < 0)
		return false;
	return now.uid == pending->creator.uid &&
	       now.not_before_ns >= pending->told_ns - now.tick_ns &&
	       (pending->type != TRACK_SYSV_SHM || s.creator == pending->creator.pid);
}

/* Of how many of that user it is said that they are about to be. */
static int count_pending(const struct track_registry *r, const struct track_record *like)
{
	int n = 0;

	for (size_t i = 0; i < r->n_buckets; i++)
		for (const struct track_record *at = r->buckets[i]; at != NULL;
		     at = at->next_in_bucket)
			n += at->type == like->type && at->name[0] == '?' &&
			     at->creator.uid == like->creator.uid;
	return n;
}

/* As many as may be, or fewer: then each is somebody's of whom it was said. More: some are strangers'. */
int object_find_pending(const struct track_registry *r, const struct track_record *pending)
{
	int last = highest(pending->type), found = -ENOENT, n = 0;

	for (int i = 0; i <= last; i++) {
		int id = id_at(pending->type, i);

		if (!can_be(r, pending, id))
			continue;
		n++;
		if (found < 0)
			found = id;
	}
	return n > 1 && n > count_pending(r, pending) ? -ENOENT : found;
}
