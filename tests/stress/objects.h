/*
 * Objects of each kind that stays when its maker ends: made, ended, looked for. Header only.
 */
#ifndef TESTS_STRESS_OBJECTS_H
#define TESTS_STRESS_OBJECTS_H

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <unistd.h>

enum object_kind {
	SEMAPHORE,
	MEMORY,
	FILE_IN_SHM,
	QUEUE,
	SYSV_MEMORY,
	SYSV_SEMAPHORES,
	SYSV_QUEUE,
	N_KINDS
};

struct object {
	enum object_kind kind;
	char name[64]; /* or SysV's id */
	int id;
};

/* False where there is no room for another: the kernel has limits. */
static inline bool object_make(struct object *o, int mode)
{
	sem_t *sem;
	int fd = -1;

	switch (o->kind) {
	case SEMAPHORE:
		sem = sem_open(o->name, O_CREAT | O_EXCL, 0600, 1);
		return sem != SEM_FAILED && sem_close(sem) == 0;
	case MEMORY:
		fd = shm_open(o->name, O_CREAT | O_EXCL | O_RDWR, 0600);
		break;
	case FILE_IN_SHM: {
		char path[128];

		snprintf(path, sizeof(path), "/dev/shm%s", o->name);
		fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
		break;
	}
	case QUEUE:
		fd = mq_open(o->name, O_CREAT | O_EXCL | O_RDWR, 0600,
			     &(struct mq_attr){ .mq_maxmsg = 1, .mq_msgsize = 8 });
		break;
	case SYSV_MEMORY:
		return (o->id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | mode)) >= 0;
	case SYSV_SEMAPHORES:
		return (o->id = semget(IPC_PRIVATE, 1, IPC_CREAT | mode)) >= 0;
	case SYSV_QUEUE:
		return (o->id = msgget(IPC_PRIVATE, IPC_CREAT | mode)) >= 0;
	case N_KINDS:
		break;
	}
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static inline void object_end(const struct object *o)
{
	char path[128];

	switch (o->kind) {
	case SEMAPHORE:
		sem_unlink(o->name);
		break;
	case MEMORY:
		shm_unlink(o->name);
		break;
	case FILE_IN_SHM:
		snprintf(path, sizeof(path), "/dev/shm%s", o->name);
		unlink(path);
		break;
	case QUEUE:
		mq_unlink(o->name);
		break;
	case SYSV_MEMORY:
		shmctl(o->id, IPC_RMID, NULL);
		break;
	case SYSV_SEMAPHORES:
		semctl(o->id, 0, IPC_RMID);
		break;
	case SYSV_QUEUE:
		msgctl(o->id, IPC_RMID, NULL);
		break;
	case N_KINDS:
		break;
	}
}

/* Those of mq_open(3) have a folder only where somebody has mounted it. */
static inline bool queue_is_there(const char *name)
{
	mqd_t q = mq_open(name, O_RDONLY | O_NONBLOCK);

	if (q < 0)
		return errno != ENOENT;
	mq_close(q);
	return true;
}

static inline bool object_is_there(const struct object *o)
{
	char path[128];
	struct shmid_ds memory;
	struct msqid_ds queue;

	switch (o->kind) {
	case SEMAPHORE:
		snprintf(path, sizeof(path), "/dev/shm/sem.%s", o->name + 1);
		return access(path, F_OK) == 0;
	case MEMORY:
	case FILE_IN_SHM:
		snprintf(path, sizeof(path), "/dev/shm%s", o->name);
		return access(path, F_OK) == 0;
	case QUEUE:
		return queue_is_there(o->name);
	case SYSV_MEMORY:
		return shmctl(o->id, IPC_STAT, &memory) == 0;
	case SYSV_SEMAPHORES:
		return semctl(o->id, 0, GETVAL) >= 0;
	case SYSV_QUEUE:
		return msgctl(o->id, IPC_STAT, &queue) == 0;
	case N_KINDS:
		break;
	}
	return false;
}

#endif
