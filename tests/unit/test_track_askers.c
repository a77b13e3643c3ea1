/*
 * Two who ask for one object at a time: the tracker that a program was about to start when it was killed, and a sweep.
 * While one of them looks whether it is free it has another name, and gets its own back where it is not. The other one is
 * played by our statx(2), which is what the tracker calls.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "track/object.h"

static struct track_registry registry;
static struct track_owner owner;
static char *path, hidden[64];
static bool is_due; /* it is shown once a look has found nothing */

int statx(int dir, const char *restrict base, int flags, unsigned mask, struct statx *restrict ret)
{
	int r = (int)syscall(SYS_statx, dir, base, flags, mask, ret), error = errno;

	if (r < 0 && is_due)
		is_due = rename(hidden, path) < 0;
	errno = error;
	return r;
}

static void fini(void)
{
	track_registry_fini(&registry);
	free(path);
}

static struct track_record *make(const char *name)
{
	struct track_creator me = { .pid = getpid(), .uid = getuid(), .start = 1 };
	struct track_record *r =
		track_add(&registry, &owner, TRACK_SHARED_MEMORY, name, strlen(name), &me);
	AUTO_CLOSE int fd = -1;

	path = object_path(r->type, r->name);
	fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	cr_assert(fd >= 0 && object_settle(r));
	snprintf(hidden, sizeof(hidden), "/dev/shm/" OBJECT_HIDDEN "%llx",
		 (unsigned long long)r->identity.ino);
	return r;
}

Test(track_askers, what_one_hides_is_not_gone_for_the_other, .fini = fini)
{
	struct track_record *r;
	char name[64];

	snprintf(name, sizeof(name), "/mpsup-test-%d-askers", getpid());
	r = make(name);
	cr_assert_eq(rename(path, hidden), 0);
	is_due = true;
	cr_expect_eq(object_ask(r), OBJECT_FREE);
	cr_expect_not(is_due);
	cr_expect_eq(object_unlink(r), OBJECT_FREE);
	cr_expect_eq(object_ask(r), OBJECT_ABSENT);
}
