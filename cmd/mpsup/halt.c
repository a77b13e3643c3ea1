/*
 * Ending a supervisor. See halt.h.
 */
#include "mpsup/halt.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/feature.h"
#include "base/xalloc.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "sup/rundir.h"
#include "sup/client.h"
#include "sup/fault.h"

/* What tells that the keeper has gone, after the supervisor closed the connection. Opened before the shutdown is asked for. */
struct witness {
	int pidfd;
	int lock_fd;
};

static void witness_open(struct witness *w, const json_t *info)
{
	const char *dir = json_string_value(json_object_get(info, "runtime_dir"));
	pid_t pid = (pid_t)json_integer_value(json_object_get(info, "keeper_pid"));

	*w = (struct witness){ -1, -1 };
	if (pid > 0 && feature_allowed(FEATURE_PIDFD))
		w->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (w->pidfd < 0 && dir != NULL) {
		AUTO_FREE char *path = xasprintf("%s/lock", dir);

		w->lock_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	}
}

static void witness_wait(struct witness *w)
{
	struct pollfd poll_fd = { .fd = w->pidfd, .events = POLLIN };

	if (w->pidfd >= 0)
		while (poll(&poll_fd, 1, -1) < 0 && errno == EINTR)
			;
	else if (w->lock_fd >= 0)
		rundir_wait_unlocked(w->lock_fd);
	fd_close(&w->pidfd);
	fd_close(&w->lock_fd);
}

static int ask(struct client **client, const struct cmd_context *ctx, const char *method,
	       json_t **ret, struct err *err)
{
	int r;

	do
		r = client_call(*client, method, NULL, NULL, NULL, ret, err);
	while (r == -ECONNRESET && connect_again(client, ctx));
	return r;
}

int halt_supervisor(struct client **client, const struct cmd_context *ctx, bool wait)
{
	struct err err = ERR_INIT;
	struct witness witness;
	json_t *result;
	int r = ask(client, ctx, "info", &result, &err);

	if (r != 0)
		return cmd_fail(connect_exit_code(r), &err);
	witness_open(&witness, result);
	json_decref(result);
	result = NULL;
	r = ask(client, ctx, "shutdown", &result, &err);
	json_decref(result);
	/* Somebody else asked first, or it was faster than its answer: then it goes all the same. */
	if (r != 0 && r != FAULT_SHUTDOWN_STATE && r != -ECONNRESET)
		return cmd_fail(connect_exit_code(r), &err);
	if (wait && client_wait_closed(*client) == 0)
		witness_wait(&witness);
	if (ctx->json)
		printf("{\"shutdown\":true}\n");
	else
		printf("Shut down\n");
	return EXIT_OK;
}
