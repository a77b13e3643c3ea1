/*
 * mpsup exec: one command under a keeper of its own. mpsup-host does it, in the place of this process: here are the options.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "conf/types.h"
#include "mpsup/cmd.h"
#include "mpsup/host.h"
#include "mpsup/verbs.h"
#include "sup/client.h"
#include "sup/rundir.h"
#include "track/sweep.h"

/* Where mpsup itself fails: not an exit status that the command would have. */
enum { EXIT_OURS = 125 };
enum { HEAD_MAX = 12 }; /* words before the command */

static int64_t timeout_ns, grace_ns = 500 * 1000000;
static const char *track = "preload";

static const struct cmd_option options[] = {
	{ 't', "timeout", "SECONDS", "end it after this time, and exit with 124; 0 = never" },
	{ 'g', "grace", "SECONDS",
	  "between TERM and KILL of what is left of it or is out of time (default: 0.5)" },
	{ 0, "track", "HOW",
	  "how its IPC objects are found: preload, scan or off (default: preload)" },
	{ 0 },
};

static int set_track(const char *value, struct err *err)
{
	static const char *const words[] = { "preload", "scan", "off" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcmp(value, words[i]) == 0) {
			track = words[i];
			return 0;
		}
	return err_set(err, EXIT_USAGE, "--track '%s' is none of preload, scan, off", value);
}

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	int r;

	if (strcmp(o->name, "track") == 0)
		return set_track(value, err);
	r = type_time(value, strcmp(o->name, "grace") == 0 ? &grace_ns : &timeout_ns, err);
	return r < 0 ? err_prefix(err, EXIT_USAGE, "--%s: ", o->name) : 0;
}

/*
 * The tracker's, which has its number in its name until it is over, as we keep ours. First goes what others have left that
 * are no more. NULL: the command runs without.
 */
static char *make_dir(void)
{
	AUTO_FREE char *base = client_runtime_base();
	AUTO_FREE char *name = xasprintf("exec-%d", (int)getpid());
	AUTO_FREE char *dir = client_runtime_dir(name);
	struct err err = ERR_INIT;

	track_sweep_all(base, &(struct track_sweep){ 0 });
	if (rundir_make(dir, geteuid(), getegid(), &err) == 0)
		return TAKE_PTR(dir);
	fprintf(stderr,
		"mpsup: exec: what the command leaves in shared memory will stay there: %s\n",
		err.text);
	return NULL;
}

static int run(struct cmd_context *ctx)
{
	AUTO_FREE char *self = NULL, *host = NULL;
	AUTO_FREE char *timeout = xasprintf("%lld", (long long)timeout_ns);
	AUTO_FREE char *grace = xasprintf("%lld", (long long)grace_ns);
	AUTO_FREE char *dir = NULL;
	const char *head[HEAD_MAX] = { "mpsup", "exec", "--timeout", timeout, "--grace", grace };
	AUTO_FREE const char **argv = xcalloc(HEAD_MAX + (size_t)ctx->argc + 1, sizeof(*argv));
	struct err err = ERR_INIT;
	size_t n = 6;

	if (ctx->argc == 0) {
		err_set(&err, 0, "exec needs a command (such as: mpsup exec -- make test)");
		return cmd_fail(EXIT_USAGE, &err);
	}
	if (host_find(&self, &host, &err) < 0)
		return cmd_fail(EXIT_OURS, &err);
	if (strcmp(track, "off") != 0 && (dir = make_dir()) != NULL) {
		head[n++] = "--dir";
		head[n++] = dir;
		if (strcmp(track, "preload") == 0)
			head[n++] = "--preload";
	}
	head[n++] = "--";
	memcpy(argv, head, n * sizeof(*argv));
	memcpy(argv + n, ctx->argv, (size_t)ctx->argc * sizeof(*argv));
	execv(host, (char *const *)argv);
	err_set(&err, 0, "cannot start %s: %s", host, strerror(errno));
	return cmd_fail(EXIT_OURS, &err);
}

const struct cmd cmd_exec = {
	.name = "exec",
	.args = "[--] COMMAND [ARGUMENT...]",
	.summary = "run one command, and leave nothing of it behind",
	.help = "For CI jobs, entry points of containers and scripts: no configuration and no "
		"daemon. "
		"The command has this\n"
		"terminal, these signals and these descriptors; its exit status is the result "
		"(128 + N for signal N). When it\n"
		"is over, whatever it has started ends too. Exits with 127 when the command is "
		"not found, 126 when it cannot be\n"
		"executed, 124 when it was ended by --timeout (137 when it took a KILL), 125 when "
		"mpsup fails.",
	.flags = CMD_COMMAND,
	.options = options,
	.on_option = on_option,
	.run = run,
};
