/*
 * How a verb reaches its supervisor. See connect.h.
 */
#include "mpsup/connect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "mpsup/cmd.h"
#include "sup/client.h"

int connect_socket_path(const struct cmd_context *ctx, char **ret_path, struct err *err)
{
	AUTO_FREE char *config = NULL, *identifier = NULL, *name = NULL, *dir = NULL;
	int r;

	if (ctx->socket != NULL) {
		*ret_path = xstrdup(ctx->socket);
		return 0;
	}
	r = cmd_config_path(ctx, &config, err);
	if (r < 0)
		return r;
	r = conf_peek_identifier(config, ctx->insecure, &identifier, err);
	if (r < 0)
		return r;
	name = client_instance_name(config, identifier);
	dir = client_runtime_dir(name);
	*ret_path = xasprintf("%s/control.sock", dir);
	return 0;
}

int connect_open(const struct cmd_context *ctx, struct client **ret_client, struct err *err)
{
	AUTO_FREE char *path = NULL;
	int r = connect_socket_path(ctx, &path, err);

	if (r < 0)
		return r == -ENOENT ? -EINVAL : r;
	return client_connect(path, ret_client, err);
}

bool connect_again(struct client **client, const struct cmd_context *ctx)
{
	struct err err = ERR_INIT;
	struct client *next;

	if (connect_open(ctx, &next, &err) < 0)
		return false;
	client_close(*client);
	*client = next;
	return true;
}

static int ask_once(const char *path, int timeout_ms, const char *method, json_t *params,
		    struct client **ret_client, json_t **ret_result, struct err *err)
{
	struct client *client;
	int r = client_connect(path, &client, err);

	if (r < 0)
		return r;
	r = client_set_timeout(client, timeout_ms);
	if (r < 0)
		err_set(err, r, "the connection's timeout: %s", strerror(-r));
	else
		r = client_call(client, method, json_incref(params), NULL, NULL, ret_result, err);
	if (r == 0)
		*ret_client = client;
	else
		client_close(client);
	return r;
}

enum { ATTEMPTS = 32 }; /* of which each found somebody who went away */

int connect_ask(const char *path, int timeout_ms, const char *method, json_t *params,
		struct client **ret_client, json_t **ret_result, struct err *err)
{
	int r = -ECONNRESET;

	for (int i = 0; i < ATTEMPTS && r == -ECONNRESET; i++)
		r = ask_once(path, timeout_ms, method, params, ret_client, ret_result, err);
	json_decref(params);
	return r;
}

int connect_exit_code(int r)
{
	if (r == -ENOENT)
		return EXIT_NOT_RUNNING;
	if (r == -ECONNREFUSED || r == -EACCES || r == -EPERM)
		return EXIT_UNREACHABLE;
	return EXIT_GENERIC;
}

static void each(const json_t *result, const char *key, void (*on)(json_t *, void *), void *user)
{
	json_t *list = json_object_get(result, key), *item;
	size_t i;

	if (on == NULL)
		return;
	json_array_foreach (list, i, item)
		on(item, user);
}

static void take_result(const json_t *result, const struct connect_on *on)
{
	each(result, "processes", on->row, on->user);
	each(result, "errors", on->error, on->user);
}

static void on_part(json_t *message, void *user)
{
	const struct connect_on *on = user;

	if (json_object_get(message, "event") == NULL)
		take_result(json_object_get(message, "result"), on);
	else if (on->event != NULL)
		on->event(message, on->user);
}

int connect_rows(struct client *client, const char *method, json_t *params,
		 const struct connect_on *on, struct err *err)
{
	json_t *result;
	int r = client_call(client, method, params, on_part, (void *)on, &result, err);

	if (r != 0)
		return r;
	take_result(result, on);
	json_decref(result);
	return 0;
}

void connect_tell_empty(const struct cmd_context *ctx)
{
	struct client *client = NULL;
	struct err err = ERR_INIT;
	json_t *info = NULL;

	if (connect_open(ctx, &client, &err) == 0 &&
	    client_call(client, "info", NULL, NULL, NULL, &info, &err) == 0 &&
	    json_integer_value(json_object_get(info, "programs")) == 0)
		fprintf(stderr,
			"mpsup: %s: no programs (such as [program:web]); mpsup reload reads it "
			"again\n",
			json_string_value(json_object_get(info, "config")));
	json_decref(info);
	client_close(client);
}

json_t *connect_name(const char *name)
{
	json_t *json = json_string(name);
	AUTO_BUF clean = BUF_INIT;

	if (json != NULL)
		return json;
	/* Not UTF-8, and so no name of a program; left out, the others or all would be meant. */
	utf8_add_clean(&clean, name, strlen(name));
	return json_string(clean.p);
}

json_t *connect_names(const struct cmd_context *ctx)
{
	json_t *names = json_array();

	for (int i = 0; i < ctx->argc; i++)
		json_array_append_new(names, connect_name(ctx->argv[i]));
	return names;
}

void connect_print_json(json_t *value)
{
	json_dumpf(value, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
	putchar('\n');
	json_decref(value);
}
