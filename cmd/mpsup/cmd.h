/*
 * A verb: one file, one struct cmd at its end, one line in cmd.c's list. Options are a table, from which parsing, --help
 * and the man page test come.
 */
#ifndef CMD_MPSUP_CMD_H
#define CMD_MPSUP_CMD_H

#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"

/* Exit codes (LSB, as supervisorctl). */
enum {
	EXIT_OK = 0,
	EXIT_GENERIC = 1,
	EXIT_USAGE = 2,
	EXIT_DOWN = 3,	      /* status: something is down */
	EXIT_UNREACHABLE = 4, /* status: unknown name or no supervisor */
	EXIT_NOT_RUNNING = 7,
	EXIT_TIMEOUT = 124, /* wait: not in time; as timeout(1) */
};

struct cmd_option {
	char letter;	  /* 0 = long form only */
	const char *name; /* without -- */
	const char *arg;  /* "FILE" when it takes one, else NULL */
	const char *doc;
};

/* What the common options said; a verb declares which of them it takes with CMD_* flags. */
struct cmd_context {
	const char *config; /* -c, NULL = search */
	const char *socket; /* -s, NULL = from the configuration */
	bool json;	    /* --json */
	bool insecure;	    /* --insecure: conf_options */
	int argc;	    /* what is left after the options: names */
	char **argv;
};

enum {
	CMD_CONFIG = 1 << 0,  /* -c FILE */
	CMD_SOCKET = 1 << 1,  /* -s SOCKET */
	CMD_JSON = 1 << 2,    /* --json */
	CMD_HIDDEN = 1 << 3,  /* not in help: for mpsup itself */
	CMD_COMMAND = 1 << 4, /* a command line follows: options end at its first word */
	CMD_VALUES = 1 << 6,  /* words such as -1 are no options */
	CMD_NAMED = 1 << 5,   /* the same after a name, which options may stand before and behind */
};

struct cmd {
	const char *name;
	const char *args;    /* "[NAME...]" for the usage line */
	const char *summary; /* one line, lower case, no full stop */
	const char *help;    /* further paragraphs of --help, or NULL */
	unsigned flags;
	const struct cmd_option *options; /* own ones, ended by { 0 } ; or NULL */
	/* Called for each own option in order of appearance; returns 0 or EXIT_USAGE with err set. NULL without options. */
	int (*on_option)(const struct cmd_option *o, const char *value, struct err *err);
	int (*run)(struct cmd_context *ctx);
};

extern const struct cmd *const cmds[]; /* NULL-terminated, in the order of help */

/* By name or unique prefix; NULL with err ("unknown verb ...", "ambiguous: ...") otherwise. */
const struct cmd *cmd_find(const char *name, struct err *err);

/* What the verb takes, NULL = what may stand before one; its own come first, and their letters count. How many. */
enum { CMD_OPTIONS_MAX = 40 };
size_t cmd_list_options(const struct cmd *cmd, const struct cmd_option **ret_all);

void cmd_usage(const struct cmd *cmd, FILE *to);

/* The list of verbs: what `mpsup help` and `mpsup --help` print. */
void cmd_overview(FILE *to);

/*
 * Reads the options of argv (argv[0] is the verb or the program) into ctx; cmd NULL = those before the verb. 0 with
 * ctx->argc and ctx->argv set to the rest, CMD_DONE when help or the version was asked for and printed, or EXIT_USAGE
 * with err set.
 */
#define CMD_DONE (-1)
int cmd_options(const struct cmd *cmd, int argc, char **argv, struct cmd_context *ctx,
		struct err *err);

/* 0, or for a verb without arguments that was given some: EXIT_USAGE, and that is said. */
int cmd_takes_nothing(const struct cmd_context *ctx, const char *verb);

/* "mpsup: MESSAGE" on standard error; returns `code`, so that a verb may say `return cmd_fail(EXIT_GENERIC, &err)`. */
int cmd_fail(int code, const struct err *err);

/* -c or the search, absolute, on the heap. 0 or -errno. */
int cmd_config_path(const struct cmd_context *ctx, char **ret_path, struct err *err);

#endif
