/*
 * Targets: functions that a process can be made for, by their names; what an image of this program does in place of its
 * main(), and what it then is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "ipc/args.h"
#include "ipc/family.h"
#include "proc/close.h"
#include "proc/entry.h"
#include "proc/pidfd.h"
#include "proc/spawn.h"

/* What a child ends with when it has not come so far that its target runs. */
enum { STATUS_FAILED = 127 };

static struct mps_target_row *rows;
static bool ready;
static enum mps_start_method method;
static struct {
	const char *name;
	pid_t pid, parent;    /* 0 = nobody has started it */
	_Atomic int sentinel; /* -1 = not asked for */
} self = { .name = "main", .sentinel = -1 };

const char target_role[] = "--mpsup-target";

/* --------------------------------------------------------------------------------------------------- the table */

void mps_target_add(struct mps_target_row *row)
{
	row->next = rows;
	rows = row;
}

mps_target *target_find(const char *name)
{
	for (const struct mps_target_row *row = rows; row != NULL; row = row->next)
		if (strcmp(row->name, name) == 0)
			return row->function;
	return NULL;
}

const char *target_name(mps_target *function)
{
	for (const struct mps_target_row *row = rows; row != NULL; row = row->next)
		if (row->function == function)
			return target_find(row->name) == function ? row->name : NULL;
	return NULL;
}

/* ------------------------------------------------------------------------------------------------ the process */

const char *mps_current_name(void)
{
	return self.name;
}

pid_t mps_parent_pid(void)
{
	return self.parent;
}

/*
 * Who is our parent after its pidfd was opened was so before, and no other of its number is. If it is not any more it has ended,
 * which this then tells.
 */
static int open_parent(void)
{
	int fd = pidfd_open_checked(self.parent);

	if (fd >= 0 && getppid() == self.parent) {
		lift_fd(&fd);
		return fd;
	}
	if (fd < 0 && fd != -ESRCH)
		return fd;
	fd_close(&fd);
	fd = eventfd(1, EFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int mps_parent_sentinel(void)
{
	int fd = self.sentinel, none = -1;

	if (fd >= 0)
		return fd;
	if (self.parent == 0 || getpid() != self.pid)
		return -ECHILD;
	fd = open_parent();
	if (fd < 0 || atomic_compare_exchange_strong(&self.sentinel, &none, fd))
		return fd;
	close(fd); /* another thread was faster */
	return none;
}

int mps_set_start_method(enum mps_start_method m, bool force)
{
	if (m <= MPS_START_DEFAULT || m > MPS_START_FORKSERVER)
		return -EINVAL;
	if (method != MPS_START_DEFAULT && !force)
		return -EALREADY;
	method = m;
	return 0;
}

enum mps_start_method mps_get_start_method(void)
{
	return method != MPS_START_DEFAULT ? method : MPS_START_SPAWN;
}

bool target_is_ready(void)
{
	return ready;
}

char *target_program(void)
{
	return program_invocation_name != NULL ? program_invocation_name : (char *)"mpsup";
}

/* It stays, as the one that is mapped. */
static int read_text(const char *text, struct note *ret, struct mps_args **ret_args)
{
	size_t n = strlen(text) / 2;
	uint8_t *p = malloc(n);
	int r = p == NULL ? -ENOMEM : note_from_text(text, p) ? 0 : -EBADMSG;

	if (r == 0)
		r = note_decode(p, n, ret, ret_args);
	if (r < 0)
		free(p);
	return r;
}

/* The note, or that behind the descriptor of that number. 0 or -errno. */
static int read_note(const char *number, struct note *ret, struct mps_args **ret_args)
{
	int fd = atoi(number), r;
	void *p;
	size_t n;

	if (number[0] >= 'a')
		return read_text(number, ret, ret_args);
	r = mps_unseal(fd, SIZE_MAX / 2, &p, &n);
	if (r < 0)
		return r;
	close(fd);
	r = note_decode(p, n, ret, ret_args);
	if (r < 0) {
		munmap(p, n);
		return r;
	}
	return 0; /* it stays mapped: the name of the process lies there, too */
}

/* As mps_child_run() does where nothing comes between it and the target. False: the parent is gone. */
static bool bear(const struct note *note)
{
	struct rlimit r;

	if (note->mark != 0 && getrlimit(RLIMIT_RSS, &r) == 0) {
		r.rlim_cur = note->mark < r.rlim_max ? note->mark : r.rlim_max;
		setrlimit(RLIMIT_RSS, &r);
	}
	return !note->needs_parent || getppid() == note->parent;
}

static int call(const struct note *note, mps_target *function, struct mps_args *args)
{
	cloexec_from(3);
	family_set_identity(note->identity);
	self.name = note->name;
	self.parent = note->parent;
	self.pid = getpid();
	self.sentinel = -1; /* of who was copied */
	return function != NULL ? function(args) : STATUS_FAILED;
}

int target_run(int argc, char **argv)
{
	static struct mps_args *args; /* stays, with its segments */
	struct note note;
	int r;

	if (argc < 3 || read_note(argv[2], &note, &args) < 0 || !bear(&note))
		return STATUS_FAILED;
	r = call(&note, target_find(note.target), args);
	args_end(args);
	return r;
}

/* Its memory is the parent's still: to give that back would only copy it. */
int target_run_copy(int argc, char **argv)
{
	const struct copy *c = (const void *)argv;
	int r = call(c->note, c->function, c->args);

	(void)argc;
	args_end(c->args);
	return r;
}

/* ------------------------------------------------------------------------------------------------------ main() */

static const struct role {
	const char *name;
	int (*run)(int argc, char **argv);
} roles[] = {
	{ target_role, target_run },
	{ forker_role, forker_run },
	{ guard_role, guard_run },
};

/* ps(1) shall not say "exe". */
static void take_name(void)
{
	prctl(PR_SET_NAME, program_invocation_short_name);
}

int mps_init(int *argc, char ***argv)
{
	ready = true;
	for (size_t i = 0; *argc > 2 && i < ARRAY_SIZE(roles); i++)
		if (strcmp((*argv)[1], roles[i].name) == 0) {
			/* Who may start it could make it run any of its targets with the rights that it has got. */
			if (getauxval(AT_SECURE) != 0)
				return -EPERM;
			take_name();
			mps_entry_call(roles[i].run, *argv, -1);
		}
	return 0;
}

int mps_main(int argc, char **argv, int (*body)(int argc, char **argv))
{
	int r = mps_init(&argc, &argv);

	if (r < 0)
		return STATUS_FAILED;
	r = body(argc, argv);
	family_end();
	return r;
}
