/*
 * Ending a supervisor. See halt.h.
 */
#include "mpsup/halt.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "sup/rundir.h"
#include "sup/client.h"
#include "sup/fault.h"

/* The instance's lock, opened before the shutdown is asked for: the keeper lets go of it when all is done. -1 = none. */
static int open_lock(const json_t *info)
{
	const char *dir = json_string_value(json_object_get(info, "runtime_dir"));
	AUTO_FREE char *path = xasprintf("%s/lock", dir != NULL ? dir : "");

	return open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
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
	AUTO_CLOSE int lock = -1;
	json_t *result;
	int r = ask(client, ctx, "info", &result, &err);

	if (r != 0)
		return cmd_fail(connect_exit_code(r), &err);
	lock = open_lock(result);
	json_decref(result);
	result = NULL;
	r = ask(client, ctx, "shutdown", &result, &err);
	json_decref(result);
	/* Somebody else asked first, or it was faster than its answer: then it goes all the same. */
	if (r != 0 && r != FAULT_SHUTDOWN_STATE && r != -ECONNRESET)
		return cmd_fail(connect_exit_code(r), &err);
	if (wait && client_wait_closed(*client) == 0 && lock >= 0)
		rundir_wait_unlocked(lock);
	if (ctx->json)
		printf("{\"shutdown\":true}\n");
	else
		printf("Shut down\n");
	return EXIT_OK;
}
