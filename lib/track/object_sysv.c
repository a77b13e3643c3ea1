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

/* Of a key: what has it now, if anything. */
static int id_of_key(enum track_type type, key_t key)
{
	int id = type == TRACK_SYSV_SEM	  ? semget(key, 0, 0)
		 : type == TRACK_SYSV_SHM ? shmget(key, 0, 0)
					  : msgget(key, 0);

	return id < 0 ? -errno : id;
}

/* -ENOENT where there is none. */
static int id_of(enum track_type type, const char *name)
{
	char *end;
	long id;

	if (name[0] == 'k')
		return id_of_key(type, (key_t)strtoul(name + 1, NULL, 16));
	id = strtol(name, &end, 10);
	return end == name || *end != '\0' || id < 0 || id > INT_MAX ? -ENOENT : (int)id;
}

static int stat_any(enum track_type type, int id, struct sysv *ret)
{
	int r;

	if (id < 0)
		return id;
	r = type == TRACK_SYSV_SEM   ? stat_sem(id, ret)
	    : type == TRACK_SYSV_SHM ? stat_shm(id, ret)
				     : stat_msg(id, ret);
	return r == -EINVAL || r == -EIDRM ? -ENOENT : r;
}

int sysv_look(enum track_type type, const char *name, struct look *ret)
{
	struct sysv s = { 0 };
	int r = stat_any(type, id_of(type, name), &s);

	if (r < 0)
		return r;
	ret->not_before_ns = s.changed * MPS_NS_PER_S;
	ret->tick_ns = MPS_NS_PER_S + MPS_COARSE_LAG_NS; /* whole seconds */
	/* One that was given to another user is theirs. */
	ret->uid = s.perm.uid;
	ret->identity.born_ns = ret->not_before_ns;
	ret->identity.ino = (uint64_t)(uint32_t)s.perm.__key << 32 ^ (uint64_t)s.creator << 40 ^
			    s.size << 8 ^ (uint64_t)s.perm.cuid ^ (uint64_t)s.perm.cgid << 16;
	return 0;
}

/*
 * Its number may have been given to another since: then it is taken for one that lives, which does no harm. One that is dying
 * may have told us so already, by the end of its connection.
 */
static bool lives(pid_t pid, uint64_t start)
{
	struct proc_stat st;

	return pid > 0 && proc_stat_read(pid, &st) == 0 &&
	       (start == 0 || st.start_ticks == start) && !process_is_ending(pid);
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
	struct sysv s = { 0 };
	int id = id_of(record->type, record->name), r = stat_any(record->type, id, &s);

	if (r == 0)
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
