/*
 * Locks and semaphores by name, and the run of a command that holds one. A lock is the flock(2) of
 * a file, so it is free when the last copy of the descriptor is closed, whoever is killed; the
 * keeper of the command has one, too. A semaphore lies in a file that is mapped (mps_semaphore: the
 * kernel gives back what the dead had); the flock of that file only tells that somebody uses it.
 * Who is the last one removes the file: so who has waited for a lock looks whether the file is
 * still the one of that name.
 */
#include "mpsup/hold.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mtime.h"
#include "conf/types.h"
#include "base/xalloc.h"
#include "manager/client.h"
#include "manager/value.h"
#include "mpsup.h"
#include "mpsup/cmd.h"
#include "mpsup/command.h"
#include "mpsup/packed.h"
#include "sup/client.h"
#include "sup/rundir.h"

struct named_semaphore {
	_Atomic uint32_t units; /* of the whole; 0 = it is not set up */
	struct mps_semaphore s;
};

struct hold {
	const struct hold_verb *verb;
	char *path;
	/* Its lock (flock(2)) is held as long as a copy of it is open: close-on-exec; -1 = none. */
	int fd;
	struct named_semaphore *semaphore; /* NULL: it is a lock */
	uint64_t inode;
	struct mps_manager *manager; /* whose object it is: then fd is the connection to it */
	struct mps_object *object;
};

enum { NAME_LONGEST = 200, SHOWN_LONGEST = 100 };

/* ------------------------------------------------------------------------------------------------------- files */

static bool is_name(const char *name)
{
	return name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL &&
	       strlen(name) <= NAME_LONGEST;
}

/* BASE/locks, made. NULL with err. */
static char *make_folder(struct err *err)
{
	AUTO_FREE char *base = client_runtime_base();
	AUTO_FREE char *spare = client_runtime_spare();
	const char *const bases[] = { base, spare };

	for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
		AUTO_FREE char *dir = xasprintf("%s/locks", bases[i]);
		struct err unused = ERR_INIT;

		if (rundir_make(dir, geteuid(), getegid(), i == 0 ? err : &unused) == 0)
			return TAKE_PTR(dir);
	}
	return NULL;
}

static int set_path(struct hold *c, const char *name, const char *kind, struct err *err)
{
	AUTO_FREE char *dir = NULL;

	if (!is_name(name))
		return err_set(err, -EINVAL,
			       "'%s' is no name: up to %d bytes without '/', not '.' first", name,
			       NAME_LONGEST);
	dir = make_folder(err);
	if (dir == NULL)
		return -EACCES;
	c->path = xasprintf("%s/%s.%s", dir, name, kind);
	return 0;
}

static int open_file(struct hold *c, struct err *err)
{
	struct stat st;

	c->fd = open(c->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (c->fd < 0 || fstat(c->fd, &st) < 0)
		return err_set(err, -errno, "%s: %s", c->path, strerror(errno));
	c->inode = st.st_ino;
	return 0;
}

/* Somebody may have removed it before we had its lock. */
static bool is_current(const struct hold *c)
{
	struct stat st;

	return lstat(c->path, &st) == 0 && st.st_ino == c->inode;
}

/* ------------------------------------------------------------------------------------------------------ people */

/* Of the first one that /proc/locks shows to have it; 0 = none. */
static int holder_of(uint64_t inode, int *ret_n)
{
	FILE *f = fopen("/proc/locks", "re");
	char line[256];
	int first = 0;

	*ret_n = 0;
	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		unsigned long long found;
		int pid;

		if (sscanf(line, "%*d: FLOCK %*s %*s %d %*x:%*x:%llu", &pid, &found) != 2 ||
		    found != inode || pid <= 0)
			continue;
		first = first != 0 ? first : pid;
		++*ret_n;
	}
	if (f != NULL)
		fclose(f);
	return first;
}

/* Who has a lock: ", held by pid 7 (make -j4)" and so on; "" = cannot be told. */
static void add_holder(const struct hold *c, char *text, size_t size)
{
	int n, pid = holder_of(c->inode, &n);
	AUTO_FREE char *command = NULL;
	char path[32];
	size_t len = 0;

	text[0] = '\0';
	if (pid == 0 || c->object != NULL)
		return;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	fd_read_file(path, 65536, &command, &len);
	while (len > 0 && command[len - 1] == '\0') /* also what a title has left */
		len--;
	for (size_t i = 0; i < len; i++)
		command[i] = (unsigned char)command[i] < ' ' ? ' ' : command[i];
	snprintf(text, size, ", held by pid %d (%.*s%s)%s", pid, SHOWN_LONGEST,
		 command != NULL ? command : "?", len > SHOWN_LONGEST ? "..." : "",
		 n > 1 ? " and others" : "");
}

static void say_waiting(const struct hold *c)
{
	char holder[256];

	if (!isatty(STDERR_FILENO))
		return;
	if (c->verb->units > 0) {
		fprintf(stderr, "mpsup: %s: waiting, all %u units are held\n", c->verb->name,
			c->verb->units);
		return;
	}
	add_holder(c, holder, sizeof(holder));
	fprintf(stderr, "mpsup: %s: waiting%s\n", c->verb->name, holder);
}

/* ----------------------------------------------------------------------------------------------------- waiting */

struct waiter {
	int fd, how, error;
	sem_t done;
};

static void *wait_for_lock(void *user)
{
	struct waiter *w = user;

	do
		w->error = flock(w->fd, w->how) < 0 ? errno : 0;
	while (w->error == EINTR);
	sem_post(&w->done);
	return NULL;
}

/* flock(2) knows no time: a thread waits, and is left to the end of this process when the time is over. 0 or -errno. */
static int lock_until(int fd, int how, struct mps_time until)
{
	struct waiter *w = calloc(1, sizeof(*w));
	struct timespec ts = { until.ns / MPS_NS_PER_S, until.ns % MPS_NS_PER_S };
	pthread_t thread;
	int r;

	if (w == NULL)
		return -ENOMEM;
	*w = (struct waiter){ .fd = fd, .how = how };
	sem_init(&w->done, 0, 0);
	r = pthread_create(&thread, NULL, wait_for_lock, w);
	if (r != 0) {
		free(w);
		return -r;
	}
	do
		r = sem_clockwait(&w->done, CLOCK_MONOTONIC, &ts);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -ETIMEDOUT; /* it may still write there */
	pthread_join(thread, NULL);
	r = -w->error;
	sem_destroy(&w->done);
	free(w);
	return r;
}

static struct mps_time until_of(int64_t timeout)
{
	int64_t now = mps_now().ns;

	return (struct mps_time){ timeout < INT64_MAX - now ? now + timeout : INT64_MAX };
}

static int take_flock(struct hold *c, int how, struct mps_time until, bool says)
{
	if (flock(c->fd, how | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK)
		return -errno;
	if (until.ns <= mps_now().ns)
		return -ETIMEDOUT;
	if (says)
		say_waiting(c);
	return lock_until(c->fd, how, until);
}

/* Opens the file and takes its lock; says that it waits, if it does. 0, or -errno with err. */
static int take_file(struct hold *c, int how, struct mps_time until, bool says, struct err *err)
{
	char holder[256];
	int r;

	for (;;) {
		r = open_file(c, err);
		if (r < 0)
			return r;
		r = take_flock(c, how, until, says);
		if (r == 0 && is_current(c))
			return 0;
		if (r < 0)
			break;
		fd_close(&c->fd);
		says = false;
	}
	if (r != -ETIMEDOUT)
		return err_set(err, r, "%s: %s", c->path, strerror(-r));
	add_holder(c, holder, sizeof(holder));
	return err_set(err, r, "not free in time%s", holder);
}

/* ------------------------------------------------------------------------------------------------------ the two */

/* In a failed state the thread of lock_until() may be left. */
static int take_lock(struct hold *c, const char *name, struct err *err)
{
	int how = c->verb->shared ? LOCK_SH : LOCK_EX;
	int r = set_path(c, name, "lock", err);

	return r == 0 ? take_file(c, how, until_of(c->verb->timeout), true, err) : r;
}

static int map_semaphore(struct hold *c, struct err *err)
{
	struct stat st;
	void *p;

	if (fstat(c->fd, &st) < 0 || (st.st_size < (off_t)sizeof(struct named_semaphore) &&
				      ftruncate(c->fd, sizeof(struct named_semaphore)) < 0))
		return err_set(err, -errno, "%s: %s", c->path, strerror(errno));
	p = mmap(NULL, sizeof(struct named_semaphore), PROT_READ | PROT_WRITE, MAP_SHARED, c->fd,
		 0);
	if (p == MAP_FAILED)
		return err_set(err, -errno, "%s: %s", c->path, strerror(errno));
	c->semaphore = p;
	return 0;
}

/*
 * Who is alone with the file sets it up, also where a killed one has left it; the others use it as it is. With the file's lock,
 * shared, in the end: that is taken anew, not changed, and who comes in between finds what we have set up, or sets it up
 * himself. 0, also if it is of another number of units.
 */
static int open_semaphore(struct hold *c, uint32_t units, struct err *err)
{
	const struct mps_time forever = { INT64_MAX };
	uint32_t there;
	int r;

	for (;;) {
		r = take_file(c, LOCK_SH, forever, false, err);
		if (r == 0)
			r = map_semaphore(c, err);
		there = r == 0 ? atomic_load(&c->semaphore->units) : 0;
		if (r < 0 || there == units)
			return r;
		if (flock(c->fd, LOCK_EX | (there != 0 ? LOCK_NB : 0)) < 0 && there != 0)
			return 0;
		if (is_current(c) && atomic_load(&c->semaphore->units) == there) {
			r = mps_semaphore_init(&c->semaphore->s, units, 0);
			if (r < 0)
				return err_set(err, r, "%s: %s", c->path, strerror(-r));
			atomic_store(&c->semaphore->units, units);
		}
		munmap(c->semaphore, sizeof(*c->semaphore));
		c->semaphore = NULL;
		fd_close(&c->fd);
	}
}

/* Then the calling thread holds the unit. */
static int take_unit(struct hold *c, const char *name, struct err *err)
{
	uint32_t units = c->verb->units, there;
	int r = set_path(c, name, "sem", err);

	if (r == 0)
		r = open_semaphore(c, units, err);
	if (r < 0)
		return r;
	there = atomic_load(&c->semaphore->units);
	if (there != units)
		return err_set(err, -EINVAL, "it has %u units as long as somebody uses it, not %u",
			       there, units);
	r = mps_semaphore_acquire(&c->semaphore->s, 0);
	if (r == -ETIMEDOUT && c->verb->timeout > 0) {
		say_waiting(c);
		r = mps_semaphore_acquire(&c->semaphore->s, c->verb->timeout);
	}
	return r == -ETIMEDOUT ? err_set(err, r, "no unit was free in time")
	       : r < 0	       ? err_set(err, r, "%s", strerror(-r))
			       : 0;
}

/* ------------------------------------------------------------------------------------------------- of a manager */

#define ANSWER_NS (10 * MPS_NS_PER_S)

/* It is there as long as somebody holds it or waits for it. */
static int take_object(struct hold *c, const char *name, uint32_t units)
{
	AUTO_BUF args = BUF_INIT;

	packed_add_array(&args, units > 0);
	if (units > 0)
		packed_add_int(&args, units);
	return mps_object_create(c->manager, units > 0 ? "semaphore" : "lock", name,
				 MPS_OBJECT_EXISTING, args.p, args.len, &c->object, ANSWER_NS);
}

/* Who is not the first finds it as it was made. 0, or an exit code with err. */
static int check_units(struct hold *c, uint32_t units, struct err *err)
{
	AUTO_BUF none = BUF_INIT;
	AUTO_FREE void *p = NULL;
	struct value there;
	size_t n;

	packed_add_array(&none, 0);
	if (mps_object_call(c->object, "units", none.p, none.len, &p, &n, ANSWER_NS) < 0 ||
	    value_next(&(struct values){ p, n }, &there) < 0 || there.i == units)
		return 0;
	return err_set(err, EXIT_USAGE, "it has %lld units as long as somebody uses it, not %u",
		       (long long)there.i, units);
}

/* 0, or an exit code with err. */
static int take_of_manager(struct hold *c, struct cmd_context *ctx, struct err *err)
{
	uint32_t units = c->verb->units;
	int r;

	if (c->verb->shared)
		return err_set(err, EXIT_USAGE, "a manager's locks are not --shared");
	r = reach_manager(&c->verb->reach, ctx, ANSWER_NS, &c->manager, err);
	if (r != 0)
		return r;
	r = take_object(c, ctx->argv[0], units);
	if (r == 0 && units > 0 && check_units(c, units, err) != 0)
		return EXIT_USAGE;
	if (r == 0)
		r = mps_object_acquire(c->object, 0);
	if (r == -ETIMEDOUT && c->verb->timeout > 0) {
		say_waiting(c);
		r = mps_object_acquire(c->object, c->verb->timeout);
	}
	if (r >= 0) {
		c->fd = c->manager->link->s.fd;
		return 0;
	}
	return r == -ETIMEDOUT ? err_set(err, EXIT_TIMEOUT, "not free in time")
	       : r == -EEXIST || r == -EPROTOTYPE
		       ? err_set(err, EXIT_USAGE,
				 "that is another kind of object (mpsup manager ls tells)")
	       : r == -EINVAL ? err_set(err, EXIT_USAGE, "that is no name of an object")
			      : err_set(err, EXIT_UNREACHABLE, "%s", strerror(-r));
}

/* At the end of the process: of what it has open, the front has left the connection. */
static void release_object(struct hold *c)
{
	mps_object_release(c->object);
	c->fd = -1;
}

/* Removes the file if nobody else wants it. */
static void let_go(struct hold *c)
{
	if (c->object != NULL) {
		release_object(c);
		return;
	}
	if (c->semaphore != NULL)
		mps_semaphore_release(&c->semaphore->s, 1);
	/* Nobody else has it then, and who waits looks for the name again. */
	if (c->fd >= 0 && flock(c->fd, LOCK_EX | LOCK_NB) == 0 && is_current(c))
		unlink(c->path);
	fd_close(&c->fd);
	free(c->path);
	c->path = NULL;
}

/* -------------------------------------------------------------------------------------------------- of the verbs */

int hold_on_option(struct hold_verb *v, const struct cmd_option *o, const char *value,
		   struct err *err)
{
	if (reach_on_option(&v->reach, o, value))
		return 0;
	return type_time(value, &v->timeout, err) < 0 ? err_prefix(err, EXIT_USAGE, "--timeout: ")
						      : 0;
}

/* 0, or an exit code with err. */
static int take(struct hold *c, struct cmd_context *ctx, struct err *err)
{
	int r;

	if (c->verb->reach.manager != NULL)
		return take_of_manager(c, ctx, err);
	r = (c->verb->units > 0 ? take_unit : take_lock)(c, ctx->argv[0], err);
	return r == -ETIMEDOUT ? EXIT_TIMEOUT : r == -EINVAL ? EXIT_USAGE : r < 0 ? EXEC_FAILED : 0;
}

int hold_run(const struct hold_verb *v, struct cmd_context *ctx)
{
	struct front_options front = COMMAND_OPTIONS(v->name);
	static struct hold hold; /* until the end, where it was not to be had */
	struct err err = ERR_INIT;
	int r;

	hold = (struct hold){ .verb = v, .fd = -1 };
	front_open_standard();
	r = take(&hold, ctx, &err);
	if (r != 0) {
		err_prefix(&err, 0, "%s %s: ", v->name, ctx->argv[0]);
		return cmd_fail(r, &err);
	}
	front.hold = hold.fd;
	front.argv = ctx->argv + 1;
	r = command_run(&front, true);
	let_go(&hold);
	return r;
}
