/*
 * Programs without a supervisor, which do a step of what they are told at a time, and the tracker that they get.
 */
#ifndef TESTS_TRACKER_SCENE_H
#define TESTS_TRACKER_SCENE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "find_host.h"
#include "base/cleanup.h"
#include "base/runtime.h"
#include "ipc/tracker.h"
#include "mpsup.h"
#include "proc/pidfd.h"
#include "track/journal.h"
#include "track/sweep.h"

static inline void set_up(void)
{
	find_host();
	unsetenv("MPSUP_TRACKER");
	alarm(120);
}

/* --------------------------------------------------------------------------------------------------- a program */

enum { PATIENCE_MS = 20000 };

struct program {
	pid_t pid;
	int from, to;
	char socket[256]; /* of its tracker */
};

typedef void body(int step, const char *mark);

static inline const char *own(char room[128], const char *mark, const char *what)
{
	snprintf(room, 128, "/t-ipc-tracker-%s-%s", mark, what);
	return room;
}

static inline bool is_there(const char *mark, const char *what)
{
	char room[128], path[256];
	struct stat st;

	snprintf(path, sizeof(path), "/dev/shm%s", own(room, mark, what));
	return lstat(path, &st) == 0;
}

static inline void make(const char *mark, const char *what)
{
	char room[128];
	struct mps_shm *shm;

	if (mps_shm_create(own(room, mark, what), 4096, &shm) != 0)
		_exit(9);
	mps_shm_close(shm);
}

/* Does a step of its body at each word, and says where its tracker is. */
static inline void begin(struct program *p, body *fn, const char *mark)
{
	int in[2], out[2];

	cr_assert(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
	p->pid = fork();
	if (p->pid == 0) {
		char c;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(in[1]);
		close(out[0]);
		for (int step = 0; read(in[0], &c, 1) == 1; step++) {
			char text[256] = "";

			fn(step, mark);
			if (tracker_socket() != NULL)
				snprintf(text, sizeof(text), "%s", tracker_socket());
			if (write(out[1], text, sizeof(text)) < 0)
				_exit(1);
		}
		_exit(0);
	}
	close(in[0]);
	close(out[1]);
	p->to = in[1];
	p->from = out[0];
}

static inline void step(struct program *p)
{
	cr_assert_eq(write(p->to, "x", 1), 1);
	cr_assert_eq(read(p->from, p->socket, sizeof(p->socket)), sizeof(p->socket));
}

static inline void reap(struct program *p, int sig)
{
	if (sig != 0)
		kill(p->pid, sig);
	close(p->to);
	close(p->from);
	waitpid(p->pid, NULL, 0);
}

static inline pid_t tracker_of(const struct program *p)
{
	struct track_registry r = { 0 };
	struct track_heir heir;
	char path[300];
	pid_t pid;

	snprintf(path, sizeof(path), "%.*sjournal", (int)strlen(p->socket) - 4, p->socket);
	cr_assert_eq(track_journal_read(path, &r, &heir), 0, "%s", path);
	pid = heir.keeper;
	track_registry_fini(&r);
	track_heir_fini(&heir);
	return pid;
}

/* It is nobody's child, and ends by itself. */
static inline bool has_ended(const struct program *p)
{
	char dir[256];

	snprintf(dir, sizeof(dir), "%s", p->socket);
	*strrchr(dir, '/') = '\0';
	return access(dir, F_OK) != 0;
}

/* Told of what goes there, and of what folders of trackers lose. */
static inline int watch_names(void)
{
	AUTO_FREE char *base = runtime_base();
	int fd = inotify_init1(IN_CLOEXEC);

	cr_assert_geq(inotify_add_watch(fd, "/dev/shm", IN_DELETE), 0);
	cr_assert_geq(inotify_add_watch(fd, "/tmp", IN_DELETE), 0);
	cr_assert_geq(inotify_add_watch(fd, base, IN_DELETE), 0);
	return fd;
}

static inline bool wait_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, PATIENCE_MS) == 1;
}

static inline bool wait_change(int fd)
{
	char events[4096];

	return wait_readable(fd) && read(fd, events, sizeof(events)) > 0;
}

/* Looked at again whenever something has gone. */
#define EVENTUALLY(what)                                                                           \
	do {                                                                                       \
		AUTO_CLOSE int names_ = watch_names();                                             \
		while (!(what))                                                                    \
			cr_assert(wait_change(names_), "%s", #what);                               \
	} while (0)

/* It may be nobody's child that we know. */
static inline void await_death(pid_t pid)
{
	AUTO_CLOSE int fd = pidfd_open_checked(pid);

	cr_assert(fd == -ESRCH || wait_readable(fd));
}

static inline const char *mark_of(char mark[64], const char *test)
{
	snprintf(mark, 64, "%d-%s", (int)getpid(), test);
	return mark;
}

#endif
