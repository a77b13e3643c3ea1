/*
 * mpsup start: starts programs, and first the supervisor when there is none.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "mpsup/change.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/join.h"
#include "mpsup/launch.h"
#include "mpsup/terminal.h"
#include "mpsup/verbs.h"
#include "sup/client.h"

static bool is_same_path(const char *a, const char *b)
{
	AUTO_FREE char *real_a = realpath(a, NULL), *real_b = realpath(b, NULL);

	return strcmp(real_a != NULL ? real_a : a, real_b != NULL ? real_b : b) == 0;
}

/* Two files may give their supervisors one name. */
static void tell_other_config(const struct cmd_context *ctx, json_t *info)
{
	const char *theirs = json_string_value(json_object_get(info, "config"));
	AUTO_FREE char *ours = NULL;
	struct err err = ERR_INIT;

	if (ctx->socket == NULL && theirs != NULL && cmd_config_path(ctx, &ours, &err) == 0 &&
	    !is_same_path(ours, theirs))
		fprintf(stderr,
			"mpsup: the supervisor of this name is that of %s, not of %s; set another "
			"identifier in one of them, or use -c %s\n",
			theirs, ours, theirs);
}

/*
 * Connects to a supervisor that answers: one that was just killed may still have its socket open when it is no process
 * any more, and what is said to it is lost. 0 or as client_connect().
 */
static int open_living(struct cmd_context *ctx, struct client **ret_client, struct err *err)
{
	AUTO_FREE char *path = NULL;
	json_t *info = NULL;
	int r = connect_socket_path(ctx, &path, err);

	if (r < 0)
		return r == -ENOENT ? -EINVAL : r;
	r = connect_ask(path, 0, "info", NULL, ret_client, &info, err);
	if (r == 0)
		tell_other_config(ctx, info);
	json_decref(info);
	return r;
}

/* A supervisor to talk to, started if need be; 0 or an exit code after saying why. */
static int reach(struct cmd_context *ctx, struct client **ret_client, bool *ret_started)
{
	AUTO_FREE char *config = NULL;
	AUTO_JOIN struct join join = JOIN_INIT;
	struct err err = ERR_INIT;
	pid_t pid;
	int r;

	for (;;) {
		AUTO_FREE char *dir = NULL;

		r = open_living(ctx, ret_client, &err);
		if (r == 0)
			return 0;
		if ((r == -ENOENT || r == -ECONNREFUSED) && ctx->socket != NULL)
			err_set(&err, r, "no supervisor at %s; with -s none is started",
				ctx->socket);
		if ((r != -ENOENT && r != -ECONNREFUSED) || ctx->socket != NULL)
			return cmd_fail(connect_exit_code(r), &err);
		r = config != NULL ? 0 : cmd_config_path(ctx, &config, &err);
		if (r < 0)
			return cmd_fail(EXIT_GENERIC, &err);
		r = daemon_start(config, ctx->insecure, &pid, &dir);
		if (r != LAUNCH_HELD)
			break;
		r = join_wait(&join, dir, &err);
		if (r < 0)
			return cmd_fail(EXIT_GENERIC, &err);
	}
	if (r != 0)
		return r;
	*ret_started = true;
	if (terminal_is_tty() && !ctx->json)
		printf("supervisor started (keeper pid %d)\n", (int)pid);
	fflush(stdout);
	r = connect_open(ctx, ret_client, &err);
	return r == 0 ? 0 : cmd_fail(EXIT_GENERIC, &err);
}

static int run(struct cmd_context *ctx)
{
	struct change change = {
		.method = "start",
		.no_wait = change_no_wait(),
		.outcome = { .done = change_no_wait() ? "starting" : "started",
			     .harmless = FAULT_ALREADY_STARTED,
			     .no_group = EXIT_USAGE,
			     .json = ctx->json },
	};
	struct client *client;
	bool started = false;
	json_t *targets;
	int r = reach(ctx, &client, &started);

	if (r != 0)
		return r;
	targets = connect_names(ctx);
	/* Nothing named: a new supervisor is starting what has autostart, an old one is to start what is down. */
	if (ctx->argc == 0 && !started)
		json_array_append_new(targets, json_string("all"));
	r = change_run(&client, ctx, &change, targets, NULL);
	client_close(client);
	return r;
}

const struct cmd cmd_start = {
	.name = "start",
	.args = "[NAME...]",
	.summary = "start programs, and the supervisor if there is none",
	.help = "Waits until each program runs or has failed. Without a NAME it starts the\n"
		"supervisor with the programs that have autostart, or, where one is running,\n"
		"all programs that are down. A NAME is a program, GROUP:PROGRAM, GROUP:* or\n"
		"all. Of several starts at once one starts the supervisor, the others wait for\n"
		"it, at most 10 s.",
	.flags = CMD_CONFIG | CMD_SOCKET | CMD_JSON,
	.options = change_options,
	.on_option = change_on_option,
	.run = run,
};
