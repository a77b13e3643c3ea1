/*
 * mpsup pid: the keeper's process number, or those of programs.
 */
#include <stdio.h>
#include <string.h>

#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/verbs.h"
#include "sup/client.h"
#include "sup/fault.h"

static int keeper(struct client *client, bool json)
{
	struct err err = ERR_INIT;
	json_t *info, *pid;
	int r = client_call(client, "info", NULL, NULL, NULL, &info, &err);

	if (r != 0)
		return cmd_fail(connect_exit_code(r), &err);
	pid = json_object_get(info, "keeper_pid");
	if (json)
		connect_print_json(json_pack("{s:O?}", "keeper_pid", pid));
	else
		printf("%lld\n", (long long)json_integer_value(pid));
	json_decref(info);
	return EXIT_OK;
}

struct pids {
	json_t *list; /* with --json */
	bool all;
	int exit_code;
};

static void on_row(json_t *row, void *user)
{
	struct pids *pids = user;
	long long pid = (long long)json_integer_value(json_object_get(row, "pid"));

	if (pids->list != NULL)
		json_array_append_new(pids->list,
				      json_pack("{s:O?, s:I}", "name", json_object_get(row, "name"),
						"pid", (json_int_t)pid));
	else
		printf("%lld\n", pid);
	if (pid == 0 && !pids->all)
		pids->exit_code = EXIT_NOT_RUNNING;
}

static void on_error(json_t *error, void *user)
{
	struct pids *pids = user;
	const char *message = json_string_value(json_object_get(error, "message"));

	if (pids->list != NULL)
		json_array_append(pids->list, error);
	else
		fprintf(stderr, "mpsup: %s\n", message != NULL ? message : "?");
	pids->exit_code = EXIT_GENERIC;
}

/* One call a name: the lines come in the order of the names, as scripts expect. */
static int one(struct client *client, const char *name, struct pids *pids)
{
	const struct connect_on on = { .row = on_row, .error = on_error, .user = pids };
	struct err err = ERR_INIT;
	int r = connect_rows(client, "status", json_pack("{s:[o]}", "targets", connect_name(name)),
			     &on, &err);

	return r == 0 ? EXIT_OK : cmd_fail(connect_exit_code(r), &err);
}

static int programs(struct client *client, struct cmd_context *ctx)
{
	struct pids pids = { .list = ctx->json ? json_array() : NULL };
	int r = EXIT_OK;

	for (int i = 0; i < ctx->argc; i++)
		pids.all = pids.all || strcmp(ctx->argv[i], "all") == 0;
	if (pids.all)
		r = one(client, "all", &pids);
	for (int i = 0; i < ctx->argc && !pids.all && r == EXIT_OK; i++)
		r = one(client, ctx->argv[i], &pids);
	if (ctx->json)
		connect_print_json(json_pack("{s:o}", "processes", pids.list));
	return r != EXIT_OK ? r : pids.exit_code;
}

static int run(struct cmd_context *ctx)
{
	struct err err = ERR_INIT;
	struct client *client;
	int r = connect_open(ctx, &client, &err);

	if (r < 0)
		return cmd_fail(connect_exit_code(r), &err);
	r = ctx->argc == 0 ? keeper(client, ctx->json) : programs(client, ctx);
	client_close(client);
	return r;
}

const struct cmd cmd_pid = {
	.name = "pid",
	.args = "[NAME...|all]",
	.summary = "print process numbers",
	.help = "Without a name that of the keeper, which is the parent of all. A program that\n"
		"is down has 0.",
	.flags = CMD_CONFIG | CMD_SOCKET | CMD_JSON,
	.run = run,
};
