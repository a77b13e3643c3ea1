/*
 * mpsup exec: one command under a keeper of its own. What it does is front.c's: here are the options.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/title.h"
#include "base/xalloc.h"
#include "conf/types.h"
#include "mpsup/cmd.h"
#include "mpsup/front.h"
#include "mpsup/verbs.h"
#include "sup/client.h"
#include "sup/rundir.h"
#include "track/sweep.h"

enum { DIR_TRIES = 100 };

static struct front_options front = {
	.verb = "exec", .grace = { MPS_NS_PER_S / 2 }, .preload = true, .dir_lock = -1
};
static bool tracks = true;

static const struct cmd_option options[] = {
	{ 't', "timeout", "SECONDS", "end it after this time, and exit with 124; 0 = never" },
	{ 'g', "grace", "SECONDS", "between TERM and KILL of what is left (default: 0.5)" },
	{ 0, "track", "HOW", "find its IPC objects by preload (default), scan or off" },
	{ 0 },
};

static int set_track(const char *value, struct err *err)
{
	static const char *const words[] = { "preload", "scan", "off" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcmp(value, words[i]) == 0) {
			tracks = i < 2;
			front.preload = i == 0;
			return 0;
		}
	return err_set(err, EXIT_USAGE, "--track '%s' is none of preload, scan, off", value);
}

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	int r;

	if (strcmp(o->name, "track") == 0)
		return set_track(value, err);
	r = type_time(value, strcmp(o->name, "grace") == 0 ? &front.grace.ns : &front.timeout.ns,
		      err);
	return r < 0 ? err_prefix(err, EXIT_USAGE, "--%s: ", o->name) : 0;
}

/*
 * The tracker's, locked: so it is told from what is left of one that was killed, and from that of a command in another PID
 * namespace, which may have the same number. First goes what others have left that are no more.
 */
static char *make_dir_in(const char *base, int *ret_lock, struct err *err)
{
	int r = -EWOULDBLOCK;

	track_sweep_all(base, &(struct track_sweep){ 0 });
	for (int i = 0; i < DIR_TRIES && (r == -ENOENT || r == -EWOULDBLOCK); i++) {
		AUTO_FREE char *dir = xasprintf("%s/exec-%d-%d", base, (int)getpid(), i);

		r = rundir_make(dir, geteuid(), getegid(), err);
		if (r == 0 && (r = rundir_lock_itself(dir, ret_lock, err)) == 0)
			return TAKE_PTR(dir);
	}
	return NULL;
}

/* NULL: the command runs without. */
static char *make_dir(int *ret_lock)
{
	AUTO_FREE char *base = client_runtime_base();
	AUTO_FREE char *spare = client_runtime_spare();
	struct err err = ERR_INIT, unused = ERR_INIT;
	char *dir = make_dir_in(base, ret_lock, &err);

	if (dir == NULL)
		dir = make_dir_in(spare, ret_lock, &unused);
	if (dir == NULL)
		fprintf(stderr,
			"mpsup: exec: what the command leaves in shared memory will stay there: "
			"%s\n",
			err.text);
	return dir;
}

static int run(struct cmd_context *ctx)
{
	AUTO_FREE char *dir = NULL;
	struct err err = ERR_INIT;

	if (ctx->argc == 0) {
		err_set(&err, 0, "exec needs a command (such as: mpsup exec -- make test)");
		return cmd_fail(EXIT_USAGE, &err);
	}
	front_open_standard();
	if (tracks)
		dir = make_dir(&front.dir_lock);
	front_show("exec", ctx->argv);
	front.dir = dir;
	front.argv = ctx->argv;
	return front_run(&front);
}

const struct cmd cmd_exec = {
	.name = "exec",
	.args = "[--] COMMAND [ARGUMENT...]",
	.summary = "run one command, and leave nothing of it behind",
	.help = "For CI jobs, entry points of containers and scripts: no configuration and no\n"
		"daemon. The command has this terminal, these signals and these descriptors;\n"
		"its exit status is the result (128 + N for signal N). When it is over,\n"
		"whatever it has started ends too. Exits with 127 when the command is not\n"
		"found, 126 when it cannot be executed, 124 when it was ended by --timeout (137\n"
		"when it took a KILL), 125 when mpsup fails.",
	.flags = CMD_COMMAND,
	.options = options,
	.on_option = on_option,
	.run = run,
};
