/*
 * mps_manager_start(): a server with a type of the program's own, and why there is none. In a process without other threads,
 * so that the server may be a fork of it; other start methods, and how they end: tests/stress.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../count_fds.h"
#include "../find_host.h"
#include "../must.h"
#include "base/cleanup.h"
#include "mpsup.h"

#define LIMIT (60 * MPS_SECOND)

/* Its methods are known by their names. */
static int own_create(struct mps_call *call, void **ret_self)
{
	(void)call;
	*ret_self = malloc(1);
	return 0;
}

static int own_pid(void *self, struct mps_call *call)
{
	void *p;
	size_t n;
	int r = mps_pack(&p, &n, "i", (int64_t)getpid());

	(void)self;
	if (r == 0)
		r = mps_call_reply(call, p, n);
	free(p);
	return r;
}

static int own_fail(void *self, struct mps_call *call)
{
	(void)self;
	(void)call;
	return -EDOM;
}

static const struct mps_method methods[] = { { "fail", own_fail }, { "pid", own_pid } };
static struct mps_type type = {
	.name = "own", .create = own_create, .destroy = free, .methods = methods, .n_methods = 2
};

__attribute__((constructor)) static void begin(int argc, char **argv)
{
	find_host();
	mps_type_add(&type);
	mps_init(&argc, &argv);
	mps_set_start_method(MPS_START_FORK, true);
}

static void in_a_process(void (*fn)(void))
{
	int status;
	pid_t pid;

	alarm(120);
	pid = fork();
	if (pid == 0) {
		fn();
		_exit(0);
	}
	cr_expect(waitpid(pid, &status, 0) == pid && status == 0);
}

static void use_own(void)
{
	struct mps_object *o, *again;
	struct mps_manager *m;
	int64_t pid;
	void *p;
	size_t n;

	MUST(mps_manager_start(NULL, &m) == 0);
	MUST(mps_object_create(m, "own", "o", 0, NULL, 0, &o, LIMIT) == 0);
	MUST(mps_object_attach(m, NULL, "o", &again, LIMIT) == 0);
	MUST(mps_object_call(again, "pid", NULL, 0, &p, &n, LIMIT) == 0);
	MUST(mps_unpack(p, n, "i", &pid) == 0 && pid != getpid());
	free(p);
	MUST(mps_object_call(o, "fail", NULL, 0, &p, &n, LIMIT) == -EDOM);
	MUST(mps_object_call(o, "other", NULL, 0, &p, &n, LIMIT) == -ENOSYS);
	mps_object_close(o);
	mps_object_close(again);
	mps_manager_close(m);
	MUST(mps_active_children(NULL, 0) == 0);
}

Test(manager_start, a_type_of_the_program_s_own)
{
	in_a_process(use_own);
}

static const struct {
	struct mps_manager_options o;
	int error;
} rows[] = {
	{ { .address = "unix:/nonexistent/socket" }, -ENOENT },
	{ { .address = "nothing" }, -EINVAL },
	{ { .address = "tcp:127.0.0.1:0" }, -EINVAL }, /* without a key */
	{ { .snapshot = "/" }, -EISDIR },
};

static void start_none(void)
{
	unsigned before = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct mps_manager *m;
		int r = mps_manager_start(&rows[i].o, &m);

		if (r != rows[i].error)
			fprintf(stderr, "row %zu: %s\n", i, strerror(-r));
		MUST(r == rows[i].error);
		MUST(mps_active_children(NULL, 0) == 0);
		if (i == 0)
			before = count_fds(getpid()); /* with the tracker's */
	}
	MUST(count_fds(getpid()) == before);
}

Test(manager_start, says_why_there_is_none)
{
	in_a_process(start_none);
}
