/*
 * Holding something by its name, for this user on this machine: a lock, or a unit of a semaphore. They are files in the
 * runtime directory, that last as long as somebody holds them or waits for them.
 */
#ifndef CMD_MPSUP_HOLD_H
#define CMD_MPSUP_HOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cmd_context;
struct err;
struct mps_manager;
struct mps_object;
struct named_semaphore;
struct reach;

struct hold {
	char *path;
	int fd; /* its lock (flock(2)) is held as long as a copy of it is open: close-on-exec; -1 = none */
	struct named_semaphore *semaphore; /* NULL: it is a lock */
	uint64_t inode;
	struct mps_manager *manager; /* whose object it is: then fd is the connection to it */
	struct mps_object *object;
};
#define HOLD_INIT                                                                                  \
	{                                                                                          \
		NULL, -1, NULL, 0, NULL, NULL                                                      \
	}

/*
 * Waits for it until the time is over (ns from now; INT64_MAX = for ever), and calls on_wait (may be NULL) before waiting. 0,
 * -ETIMEDOUT with err (who has it), -EINVAL: no such name, or a semaphore of another number of units; other -errno. The
 * calling thread holds the unit of a semaphore. In a failed state another thread may be left: exit.
 */
int hold_lock(struct hold *c, const char *name, bool shared, int64_t timeout,
	      void (*on_wait)(const struct hold *c), struct err *err);
int hold_unit(struct hold *c, const char *name, uint32_t units, int64_t timeout,
	      void (*on_wait)(const struct hold *c), struct err *err);

/*
 * The same of a manager: a lock (units 0), or one of so many units. What it holds is the connection's: it ends with its last copy.
 * 0, or an exit code with err.
 */
int hold_object(struct hold *c, const struct reach *reach, const struct cmd_context *ctx,
		const char *name, uint32_t units, int64_t timeout,
		void (*on_wait)(const struct hold *c), struct err *err);

/* Lets go, and removes the file if nobody else wants it. */
void hold_end(struct hold *c);

/* Who has a lock, for people: ", held by pid 7 (make -j4)" and so on; "" = cannot be told. */
void hold_holder(const struct hold *c, char *text, size_t size);

#endif
