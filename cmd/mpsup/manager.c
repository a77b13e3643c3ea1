/*
 * mpsup manager: a server of shared objects, in the foreground; and what one has.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/mtime.h"
#include "base/table.h"
#include "base/xalloc.h"
#include "manager/client.h"
#include "manager/value.h"
#include "mpsup.h"
#include "mpsup/cmd.h"
#include "mpsup/front.h"
#include "mpsup/packed.h"
#include "mpsup/reach.h"
#include "mpsup/terminal.h"
#include "mpsup/verbs.h"
#include "sup/tell.h"

#define ASK_NS (10 * MPS_NS_PER_S)

static struct reach reach;
static const char *address, *snapshot;
/* The last option that is of the server, and of questions to it. */
static const char *of_server, *of_client;

static const struct cmd_option options[] = {
	{ 'a', "address", "ADDRESS", "be a server at unix:PATH, tcp:HOST:PORT .." },
	{ 0, "authkey-file", "FILE", "the key that clients have to show" },
	{ 0, "snapshot", "FILE", "keep dictionaries, lists, queues over a restart" },
	{ 'm', "manager", "MANAGER", "ask this (NAME or address; default: the only one)" },
	{ 0 },
};

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	(void)err;
	if (strcmp(o->name, "authkey-file") == 0)
		reach.key_file = value;
	else if (strcmp(o->name, "manager") == 0)
		reach.manager = of_client = value;
	else if (strcmp(o->name, "address") == 0)
		address = of_server = value;
	else
		snapshot = of_server = value;
	return 0;
}

/* -------------------------------------------------------------------------------------------------------------- serving */

static void say(const char *text)
{
	fprintf(stderr, "mpsup: manager: %s\n", text);
}

/* The server has told where it is: that is for who has started us. At its end there is no line. */
static void *tell(void *user)
{
	FILE *f = user;
	struct err err = ERR_INIT;
	char line[4096];

	if (fgets(line, sizeof(line), f) != NULL) {
		printf("%s", strchr(line, ' ') != NULL ? strchr(line, ' ') + 1 : line);
		fflush(stdout);
		if (getenv("NOTIFY_SOCKET") != NULL || getenv("MPSUP_CONTROL_FD") != NULL)
			if (tell_supervisor("READY=1", &err) < 0)
				say(err.text);
	}
	fclose(f);
	return NULL;
}

/* Signals are the server's. */
static int start_telling(pthread_t *thread, int fd)
{
	FILE *f = fdopen(fd, "r");
	sigset_t all, old;
	int r;

	if (f == NULL)
		return -errno;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(thread, NULL, tell, f);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

static int serve(void)
{
	struct mps_manager_options o = { .address = address, .snapshot = snapshot, .say = say };
	AUTO_FREE char *key = NULL;
	struct err err = ERR_INIT;
	const char *why = "";
	pthread_t thread;
	int ends[2], r = 0;

	if (reach.key_file != NULL &&
	    reach_read_key(reach.key_file, &key, &o.authkey_size, &err) < 0)
		return cmd_fail(EXIT_GENERIC, &err);
	o.authkey = key;
	if (pipe2(ends, O_CLOEXEC) < 0)
		r = -errno;
	if (r == 0)
		r = start_telling(&thread, ends[0]);
	if (r < 0) {
		err_set(&err, 0, "manager: cannot start: %s", strerror(-r));
		return cmd_fail(EXIT_GENERIC, &err);
	}
	/*
	 * One client's request is not the end of all. Its coming can be, where libuv cannot make
	 * its table of descriptors longer: then what has changed since the last snapshot is lost,
	 * as by a SIGKILL.
	 */
	buf_on_failure(NULL);
	r = mps_manager_serve(&o, ends[1], &why);
	close(ends[1]);
	pthread_join(thread, NULL);
	if (r == 0)
		return EXIT_OK;
	err_set(&err, 0, "manager: %s%s", why,
		r == -EINVAL && key == NULL && address != NULL && strncmp(address, "tcp:", 4) == 0
			? " (is --authkey-file missing?)"
			: "");
	return cmd_fail(r == -EINVAL ? EXIT_USAGE : EXIT_GENERIC, &err);
}

/* --------------------------------------------------------------------------------------------------------------- asking */

struct row {
	struct value name, type;
	int64_t references, bytes;
};

static bool next_row(struct values *v, struct row *row)
{
	struct value head, number;

	if (value_next(v, &head) < 0 || head.kind != VALUE_ARRAY || head.n != 4)
		return false;
	if (value_next(v, &row->name) < 0 || value_next(v, &row->type) < 0)
		return false;
	if (value_next(v, &number) < 0)
		return false;
	row->references = number.i;
	if (value_next(v, &number) < 0)
		return false;
	row->bytes = number.i;
	return true;
}

static void add_rows(struct table *t, struct values v)
{
	struct row row;

	while (next_row(&v, &row)) {
		if (row.name.kind == VALUE_STR)
			table_addf(t, NULL, "%.*s", (int)row.name.n, row.name.p);
		else
			table_add(t, "\xe2\x80\x93", "2");
		table_addf(t, NULL, "%.*s", (int)row.type.n, row.type.p);
		table_addf(t, NULL, "%lld", (long long)row.references);
		table_addf(t, NULL, "%lld", (long long)row.bytes);
	}
}

/* Of each a map in place of an array. */
static void name_rows(struct values v, struct buf *out)
{
	struct row row;
	bool more = false;

	buf_addc(out, '[');
	while (next_row(&v, &row)) {
		buf_adds(out, more ? ", {\"name\": " : "{\"name\": ");
		packed_add_json_text(out, row.name.kind == VALUE_STR ? row.name.p : NULL,
				     row.name.n);
		buf_adds(out, ", \"type\": ");
		packed_add_json_text(out, row.type.p, row.type.n);
		buf_addf(out, ", \"references\": %lld, \"bytes\": %lld}", (long long)row.references,
			 (long long)row.bytes);
		more = true;
	}
	buf_adds(out, "]\n");
}

static void show_objects(const void *p, size_t n, bool json, struct buf *out)
{
	static const struct table_column columns[] = {
		{ "NAME", false, 0 },
		{ "TYPE", false, 0 },
		{ "USED", true, 0 },
		{ "BYTES", true, 1 },
	};
	struct values v;
	struct table t;

	if (values_of_array(p, n, &v) < 0)
		return;
	if (json) {
		name_rows(v, out);
		return;
	}
	table_init(&t, columns, ARRAY_SIZE(columns));
	add_rows(&t, v);
	table_render(&t, out, terminal_width(), terminal_has_colours());
	table_fini(&t);
}

/* Of the local clock; for programs seconds since the epoch, as in all that we print. */
static void add_since(int64_t ns, bool json, struct buf *out)
{
	time_t t = (time_t)(ns / MPS_NS_PER_S);
	char text[64];
	struct tm tm;

	if (json || localtime_r(&t, &tm) == NULL ||
	    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm) == 0)
		buf_addf(out, "%lld.%03d", (long long)t, (int)(ns % MPS_NS_PER_S / MPS_NS_PER_MS));
	else
		buf_adds(out, text);
}

static void show_info(const void *p, size_t n, bool json, struct buf *out)
{
	struct values v = { p, n };
	struct value map, name, number;

	if (value_next(&v, &map) < 0 || map.kind != VALUE_MAP)
		return;
	for (size_t i = 0; i < map.n && value_next(&v, &name) == 0 && value_next(&v, &number) == 0;
	     i++) {
		buf_addf(out, json ? "%s\"%.*s\": " : "%s%.*s\t",
			 !json	 ? ""
			 : i > 0 ? ", "
				 : "{",
			 (int)name.n, name.p);
		if (name.n == 5 && memcmp(name.p, "since", 5) == 0)
			add_since(number.i, json, out);
		else
			buf_addf(out, "%lld", (long long)number.i);
		if (!json)
			buf_addc(out, '\n');
	}
	if (json)
		buf_adds(out, "}\n");
}

static const struct question {
	const char *name;
	enum wire_server method;
	void (*show)(const void *p, size_t n, bool json, struct buf *out);
} questions[] = {
	{ "ls", WIRE_LIST, show_objects },
	{ "info", WIRE_INFO, show_info },
};

static int ask(struct cmd_context *ctx, const struct question *q, struct err *err)
{
	struct mps_manager *m;
	AUTO_FREE void *p = NULL;
	AUTO_BUF out = BUF_INIT;
	size_t n = 0;
	int r = reach_manager(&reach, ctx, ASK_NS, &m, err);

	if (r != 0)
		return r;
	r = manager_ask(m, q->method, NULL, 0, &p, &n, ASK_NS);
	mps_manager_close(m);
	if (r < 0)
		return err_set(err, r == -ETIMEDOUT ? EXIT_TIMEOUT : EXIT_UNREACHABLE, "%s",
			       strerror(-r));
	q->show(p, n, ctx->json, &out);
	fwrite(out.p, 1, out.len, stdout);
	return EXIT_OK;
}

static int forget(struct cmd_context *ctx, struct err *err)
{
	struct mps_manager *m;
	int r = reach_manager(&reach, ctx, ASK_NS, &m, err);

	if (r != 0)
		return r;
	for (int i = 1; i < ctx->argc && r == 0; i++) {
		r = mps_object_remove(m, ctx->argv[i], ASK_NS);
		if (r < 0)
			r = err_set(err, EXIT_GENERIC, "%s: %s", ctx->argv[i],
				    r == -ENOENT ? "there is no such object" : strerror(-r));
	}
	mps_manager_close(m);
	return r;
}

static int run_question(struct cmd_context *ctx, struct err *err)
{
	if (of_server != NULL)
		return err_set(err, EXIT_USAGE,
			       "a server takes no words ('%s'): ls, info and rm ask one, which "
			       "--manager names",
			       ctx->argv[0]);
	if (strcmp(ctx->argv[0], "rm") == 0)
		return ctx->argc > 1 ? forget(ctx, err)
				     : err_set(err, EXIT_USAGE,
					       "rm needs the names of objects, which ls lists");
	for (size_t i = 0; i < ARRAY_SIZE(questions) && ctx->argc == 1; i++)
		if (strcmp(questions[i].name, ctx->argv[0]) == 0)
			return ask(ctx, &questions[i], err);
	return err_set(err, EXIT_USAGE, "'%s': one of ls, info, rm OBJECT...", ctx->argv[0]);
}

static int run(struct cmd_context *ctx)
{
	struct err err = ERR_INIT;
	int r;

	front_open_standard();
	if (ctx->argc == 0 && of_client == NULL && !ctx->json)
		return serve();
	r = ctx->argc > 0 ? run_question(ctx, &err)
			  : err_set(&err, EXIT_USAGE, "what of it? ls, info or rm OBJECT...");
	if (r == 0)
		return EXIT_OK;
	err_prefix(&err, 0, "manager: ");
	return cmd_fail(r, &err);
}

const struct cmd cmd_manager = {
	.name = "manager",
	.args = "[ls|info|rm OBJECT...]",
	.summary = "hold objects for everyone: dictionaries, queues, counters ...",
	.help = "Without a word a server in the foreground, which prints its address when\n"
		"clients can come, and ends by TERM or INT. Without --address it is a unix\n"
		"socket in a folder of its own. ls lists what a server has, rm takes names\n"
		"away. See mpsup-manager(7), and mpsup.conf(5) for [manager:NAME].",
	.flags = CMD_CONFIG | CMD_SOCKET | CMD_JSON,
	.options = options,
	.on_option = on_option,
	.run = run,
};
