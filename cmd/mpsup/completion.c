/*
 * mpsup completion: prints a script for a shell (shells.c), or what such a script asks for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "mpsup/cmd.h"
#include "mpsup/connect.h"
#include "mpsup/listing.h"
#include "mpsup/shells.h"
#include "mpsup/verbs.h"
#include "sup/client.h"

/* Somebody waits at a prompt. */
#define ANSWER_MS 500

/* The group before its first process: sent in order, a group's processes stand together. */
static void on_row(json_t *row, void *user)
{
	const char *name = listing_text(row, "name"), *colon = strchr(name, ':');
	char **group = user;

	if (colon != NULL && strcmp(*group, listing_text(row, "group")) != 0) {
		free(*group);
		*group = xstrdup(listing_text(row, "group"));
		printf("%s\n%s:*\n", *group, *group);
	}
	printf("%s\n", name);
}

/* Says nothing where there is nobody to ask: an error message would stand in the line that is being typed. */
static int print_names(const struct cmd_context *ctx)
{
	AUTO_FREE char *group = xstrdup("");
	const struct connect_on on = { .row = on_row, .user = &group };
	struct err err = ERR_INIT;
	struct client *client = NULL;
	int r = connect_open(ctx, &client, &err);

	if (r == 0)
		r = client_set_timeout(client, ANSWER_MS);
	if (r == 0)
		r = connect_rows(client, "status",
				 json_pack("{s:[s, s]}", "fields", "name", "group"), &on, &err);
	client_close(client);
	if (r != 0)
		return connect_exit_code(r);
	printf("all\n");
	return EXIT_OK;
}

static int run(struct cmd_context *ctx)
{
	static const struct {
		const char *name, *title;
		void (*add)(struct buf *out);
	} shells[] = {
		{ "bash", "# bash", shells_add_bash },
		{ "zsh", "#compdef mpsup\n# zsh", shells_add_zsh },
		{ "fish", "# fish", shells_add_fish },
	};
	const char *what = ctx->argc == 1 ? ctx->argv[0] : "";
	AUTO_BUF out = BUF_INIT;
	struct err err;

	if (strcmp(what, "names") == 0)
		return print_names(ctx);
	for (size_t i = 0; i < ARRAY_SIZE(shells); i++) {
		if (strcmp(shells[i].name, what) != 0)
			continue;
		buf_addf(&out, "%s completion for mpsup(1), made by 'mpsup completion %s'.\n",
			 shells[i].title, what);
		shells[i].add(&out);
		fwrite(out.p, 1, out.len, stdout);
		return EXIT_OK;
	}
	err_set(&err, 0, "completion needs one word: bash, zsh, fish or names");
	return cmd_fail(EXIT_USAGE, &err);
}

const struct cmd cmd_completion = {
	.name = "completion",
	.args = "bash|zsh|fish|names",
	.summary = "print what a shell needs to complete mpsup's command line",
	.help = "names prints what a NAME can be, one a line, and nothing where no supervisor\n"
		"runs.",
	.flags = CMD_CONFIG | CMD_SOCKET | CMD_HIDDEN,
	.run = run,
};
