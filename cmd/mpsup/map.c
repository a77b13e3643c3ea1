/*
 * mpsup map: tasks from standard input, each to a process or to one of a few that live on. What it does is lib/map's: here
 * are the options, and what people see. The engine is the one command of a private keeper, so that nothing of it is left
 * whoever is killed.
 */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "base/limits.h"
#include "base/sig.h"
#include "conf/types.h"
#include "map/map.h"
#include "mpsup/bar.h"
#include "mpsup/cmd.h"
#include "mpsup/command.h"
#include "mpsup/front.h"
#include "mpsup/map_worker.h"
#include "mpsup/verbs.h"
#include "proc/close.h"
#include "proc/spawn.h"

static struct map_options map = { .grace = { MPS_NS_PER_S / 2 } };
static enum { BAR_AUTO, BAR_ALWAYS, BAR_NEVER } bar_when;
static struct bar bar;
/* TRACK_AUTO: workers are few and get the shim; to tasks it would cost a part of each start. */
static enum { TRACK_AUTO, TRACK_PRELOAD, TRACK_SCAN, TRACK_OFF } track;

static const struct cmd_option options[] = {
	{ 'j', "jobs", "N", "tasks at a time; 0 = as there are CPUs (default)" },
	{ 'o', "ordered", NULL, "results in the order of the input (default)" },
	{ 'u', "unordered", NULL, "results as they come" },
	{ 'n', "chunk", "N", "tasks that a worker gets at a time (default: by pace)" },
	{ 'r', "retries", "N", "how often a failed task is tried again (default: 0)" },
	{ 't', "timeout", "SECONDS", "for one task; 0 = none (default)" },
	{ 'g', "grace", "SECONDS", "between TERM and KILL (default: 0.5)" },
	{ 'm', "max-tasks", "N", "a worker is replaced after so many" },
	{ 'f', "fail-fast", NULL, "the first task that fails ends all" },
	{ 'k', "keep-going", NULL, "go on when a task has failed (default)" },
	{ '0', "null", NULL, "tasks and answers end with a NUL" },
	{ 0, "frame", "FRAME", "line, or len: 4 bytes of length before each" },
	{ 'p', "progress", NULL, "a bar at once, also without a terminal" },
	{ 0, "no-progress", NULL, "no bar, also on a terminal" },
	{ 'l', "joblog", "FILE", "write a line for each task, as GNU parallel" },
	{ 0, "resume", NULL, "leave out what the joblog lists, and go on" },
	{ 0, "resume-failed", NULL, "the same, but do again what has failed" },
	{ 0, "start-method", "M", "command (default), or how FILE:FUNCTION starts" },
	{ 0, "track", "HOW", "find their IPC objects by preload, scan or off" },
	{ 0 },
};

/* ------------------------------------------------------------------------------------------------- options */

static int set_number(const struct cmd_option *o, const char *value, struct err *err)
{
	static const struct {
		const char *name;
		unsigned *to;
		unsigned max;
	} numbers[] = {
		{ "jobs", &map.jobs, MAP_JOBS_MAX },
		{ "chunk", &map.chunk, MAP_BATCH_TASKS },
		{ "retries", &map.retries, 1000000 },
	};
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0)
		return err_set(err, EXIT_USAGE, "--%s '%s' is not a number (such as 4)", o->name,
			       value);
	if (strcmp(o->name, "max-tasks") == 0)
		map.max_tasks = n;
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		if (strcmp(numbers[i].name, o->name) != 0)
			continue;
		if (n > numbers[i].max)
			return err_set(err, EXIT_USAGE, "--%s %s is more than %u", o->name, value,
				       numbers[i].max);
		*numbers[i].to = (unsigned)n;
	}
	return 0;
}

static int set_flag(const char *name)
{
	static const struct {
		const char *name;
		bool *to;
		bool value;
	} flags[] = {
		{ "ordered", &map.unordered, false },
		{ "unordered", &map.unordered, true },
		{ "fail-fast", &map.fail_fast, true },
		{ "keep-going", &map.fail_fast, false },
		{ "null", &map.nul, true },
		{ "resume", &map.resume, true },
		{ "resume-failed", &map.resume_failed, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (strcmp(flags[i].name, name) == 0)
			*flags[i].to = flags[i].value;
	if (strcmp(name, "progress") == 0)
		bar_when = BAR_ALWAYS;
	if (strcmp(name, "no-progress") == 0)
		bar_when = BAR_NEVER;
	return 0;
}

static int set_track(const char *value, struct err *err)
{
	static const char *const words[] = {
		[TRACK_PRELOAD] = "preload", [TRACK_SCAN] = "scan", [TRACK_OFF] = "off"
	};

	for (unsigned i = TRACK_PRELOAD; i <= TRACK_OFF; i++)
		if (strcmp(words[i], value) == 0) {
			track = i;
			return 0;
		}
	return err_set(err, EXIT_USAGE, "--track '%s' is none of preload, scan, off", value);
}

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	struct mps_time *time = strcmp(o->name, "timeout") == 0 ? &map.timeout : &map.grace;
	int r;

	if (o->arg == NULL)
		return set_flag(o->name);
	if (strcmp(o->arg, "N") == 0)
		return set_number(o, value, err);
	if (strcmp(o->arg, "FILE") == 0) {
		map.joblog = value;
		return 0;
	}
	if (strcmp(o->name, "frame") == 0) {
		map.frame = strcmp(value, "len") == 0;
		if (map.frame || strcmp(value, "line") == 0)
			return 0;
		return err_set(err, EXIT_USAGE, "--frame '%s' is neither line nor len", value);
	}
	if (strcmp(o->name, "track") == 0)
		return set_track(value, err);
	if (strcmp(o->name, "start-method") == 0)
		return map_worker_set_method(value, err);
	r = type_time(value, &time->ns, err);
	return r < 0 ? err_prefix(err, EXIT_USAGE, "--%s: ", o->name) : 0;
}

static int check(const struct cmd_context *ctx, struct err *err)
{
	if (ctx->argc == 0)
		return err_set(err, EXIT_USAGE,
			       "map needs a command (such as: mpsup map -- gzip -9 {})");
	map.resume |= map.resume_failed;
	if (map.resume && map.joblog == NULL)
		return err_set(err, EXIT_USAGE, "map: --resume needs the --joblog to go by");
	if (map.frame && map.nul)
		return err_set(err, EXIT_USAGE, "map: --frame len and -0 exclude each other");
	if (map.frame && map_is_per_task(ctx->argv))
		return err_set(
			err, EXIT_USAGE,
			"map: --frame len is for workers that live on: without {} in the command");
	return 0;
}

static unsigned allowed_cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

/* -------------------------------------------------------------------------------------------------- people */

static void say(const char *text, void *user)
{
	(void)user;
	bar_wipe(&bar);
	fprintf(stderr, "mpsup: map: %s\n", text);
}

static void on_draw(const struct map_progress *p, void *user)
{
	bar_draw(user, p);
}

static void on_wipe(void *user)
{
	bar_wipe(user);
}

static void say_failure(const struct map_failure *f)
{
	fprintf(stderr, "  task %llu: ", (unsigned long long)f->seq);
	switch (f->why) {
	case MAP_FAILED_EXIT:
		if (f->status == 0)
			fprintf(stderr, "its worker exited before it answered");
		else
			fprintf(stderr, "exit status %d", f->status);
		break;
	case MAP_FAILED_SIGNAL:
		if (sig_name(f->status) != NULL)
			fprintf(stderr, "SIG%s", sig_name(f->status));
		else
			fprintf(stderr, "signal %d", f->status);
		break;
	case MAP_FAILED_TIMEOUT:
		fprintf(stderr, "not over after %g s", (double)map.timeout.ns / MPS_NS_PER_S);
		break;
	case MAP_FAILED_START:
		fprintf(stderr, "cannot start: %s", strerror(f->status));
		break;
	case MAP_FAILED_CLOSED:
		fprintf(stderr, "its worker closed its standard output before it answered");
		break;
	case MAP_FAILED_LONG:
		fprintf(stderr, "its answer is longer than %d MB", MAP_TASK_MAX >> 20);
		break;
	}
	fprintf(stderr, ": %s\n", f->text);
}

static int by_seq(const void *a, const void *b)
{
	const struct map_failure *x = a, *y = b;

	return (x->seq > y->seq) - (x->seq < y->seq);
}

static void say_failures(const struct map_outcome *o)
{
	if (o->failed == 0)
		return;
	fprintf(stderr, "mpsup: map: %llu of %llu tasks failed:\n", (unsigned long long)o->failed,
		(unsigned long long)o->done);
	qsort(o->failures, o->n_failures, sizeof(o->failures[0]), by_seq);
	for (size_t i = 0; i < o->n_failures; i++)
		say_failure(&o->failures[i]);
	if (o->failed > o->n_failures)
		fprintf(stderr, "  and %llu more (--joblog lists all)\n",
			(unsigned long long)(o->failed - o->n_failures));
}

/* -------------------------------------------------------------------------------------------------- engine */

/* As others end by it: the shell above sees that, and the loop of a script ends. */
static void die_of(int sig)
{
	sigset_t set;

	signal(sig, SIG_DFL);
	raise(sig);
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* As env(1) and xargs(1). */
static int status_of(int error)
{
	return error == ENOENT ? EXEC_NOT_FOUND : EXEC_CANNOT;
}

/* The command of the keeper. */
static int engine(int argc, char **argv)
{
	struct map_outcome outcome = { 0 };
	struct err err = ERR_INIT;
	int r;

	(void)argc;
	(void)argv;
	buf_on_failure(xalloc_failed); /* again: it is no keeper */
	map.envp = environ;	       /* with what the front has added */
	close_all_but((const struct mps_fd[]){ { .child = 0 }, { .child = 1 }, { .child = 2 } }, 3,
		      -1);
	r = map_run(&map, &outcome, &err);
	if (r < 0) {
		fprintf(stderr, "mpsup: map: %s\n", err.text);
		return EXIT_GENERIC;
	}
	if (outcome.signal == 0)
		say_failures(&outcome);
	free(outcome.failures);
	if (outcome.signal != 0)
		die_of(outcome.signal);
	if (outcome.start_error != 0)
		return status_of(outcome.start_error);
	return outcome.failed > 0 || outcome.trouble ? EXIT_GENERIC : EXIT_OK;
}

static int run(struct cmd_context *ctx)
{
	static char title[] = "mpsup: map engine";
	char *argv[] = { title, NULL };
	struct front_options front = {
		.verb = "map",
		.function = engine,
		.grace = map.grace,
		.dir_lock = -1,
		.hold = -1,
		.argv = argv,
	};
	AUTO_FREE char *dir = NULL;
	struct err err = ERR_INIT;
	int r = check(ctx, &err);

	map.argv = ctx->argv;
	if (r == 0)
		r = map_worker_find(&map, &err);
	if (r != 0)
		return cmd_fail(r, &err);
	map.json = ctx->json;
	if (map.jobs == 0)
		map.jobs = allowed_cpus();
	map.say = say;
	if (bar_when == BAR_ALWAYS || (bar_when == BAR_AUTO && isatty(STDERR_FILENO))) {
		map.draw = on_draw;
		map.wipe = on_wipe;
		map.eager = bar_when == BAR_ALWAYS;
		map.user = &bar;
	}
	front_open_standard();
	front.preload = map_worker_environment(&map, track == TRACK_PRELOAD ||
							     (track == TRACK_AUTO &&
							      !map_is_per_task(map.argv)));
	front_show("map", ctx->argv);
	if (track != TRACK_OFF)
		front.dir = dir = command_make_dir("map", &front.dir_lock);
	return front_run(&front);
}

const struct cmd cmd_map = {
	.name = "map",
	.args = "[--] COMMAND [ARGUMENT...]",
	.summary = "run a command for each line of the input, several at a time",
	.help = "With {} in COMMAND or an ARGUMENT each task is a process of its own, as with\n"
		"xargs: {} is the line, {.} without its suffix, {/} without its folders, {//}\n"
		"its folder, {/.} without both, {#} the number of the task, {%} of the place\n"
		"where it runs. Without, N workers are started that each read a task a line and\n"
		"answer a line. Results come in the order of the input, whole tasks at a time.\n"
		"Exits with 1 when a task has failed; those are listed.",
	.flags = CMD_COMMAND | CMD_JSON,
	.options = options,
	.on_option = on_option,
	.run = run,
};
