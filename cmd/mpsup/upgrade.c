/*
 * mpsup upgrade: replaces the supervisor by the program that is now where it was started from.
 */
#include <errno.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/verbs.h"
#include "sup/client.h"

struct supervisor {
	json_int_t pid;
	char version[32];
};

static int ask(const char *path, struct client **ret_client, struct supervisor *ret,
	       struct err *err)
{
	const char *version;
	json_t *info;
	int r = connect_ask(path, 0, "info", NULL, ret_client, &info, err);

	if (r != 0)
		return r;
	version = json_string_value(json_object_get(info, "version"));
	ret->pid = json_integer_value(json_object_get(info, "supervisor_pid"));
	snprintf(ret->version, sizeof(ret->version), "%s", version != NULL ? version : "");
	json_decref(info);
	return 0;
}

/* The old one goes without an answer; who is there then tells whether it was replaced. */
static int look_again(struct cmd_context *ctx, const char *path, const struct supervisor *old)
{
	struct supervisor now = { 0 };
	struct err err = ERR_INIT;
	struct client *client;
	int r = ask(path, &client, &now, &err);

	if (r != 0)
		return cmd_fail(connect_exit_code(r), &err);
	client_close(client);
	if (now.pid == old->pid) {
		err_set(&err, 0,
			"the connection was lost; the supervisor is still the old one (pid %lld)",
			(long long)old->pid);
		return cmd_fail(EXIT_GENERIC, &err);
	}
	if (ctx->json)
		connect_print_json(json_pack("{s:I, s:I, s:s, s:s}", "supervisor_pid", now.pid,
					     "before", old->pid, "version", now.version,
					     "version_before", old->version));
	else
		printf("Upgraded from %s (pid %lld) to %s (pid %lld)\n", old->version,
		       (long long)old->pid, now.version, (long long)now.pid);
	return EXIT_OK;
}

static int run(struct cmd_context *ctx)
{
	AUTO_FREE char *path = NULL;
	struct supervisor old = { 0 };
	struct err err = ERR_INIT;
	struct client *client;
	json_t *result = NULL;
	int r;

	if (ctx->argc > 0) {
		err_set(&err, 0,
			"upgrade takes no names; it replaces the supervisor, and the programs go "
			"on");
		return cmd_fail(EXIT_USAGE, &err);
	}
	r = connect_socket_path(ctx, &path, &err);
	if (r < 0)
		return cmd_fail(EXIT_GENERIC, &err);
	r = ask(path, &client, &old, &err);
	if (r != 0)
		return cmd_fail(connect_exit_code(r), &err);
	r = client_call(client, "upgrade", NULL, NULL, NULL, &result, &err);
	client_close(client);
	json_decref(result);
	return r == -ECONNRESET ? look_again(ctx, path, &old)
				: cmd_fail(connect_exit_code(r), &err);
}

const struct cmd cmd_upgrade = {
	.name = "upgrade",
	.args = "",
	.summary = "replace the supervisor by the mpsup that is now installed",
	.help = "The programs go on and notice nothing. A new one that does not come up leaves\n"
		"the old one in charge.",
	.flags = CMD_CONFIG | CMD_SOCKET | CMD_JSON,
	.run = run,
};
