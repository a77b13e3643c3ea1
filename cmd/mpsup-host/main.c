/*
 * mpsup-host: the small image that plays the roles which must stay small: the keeper, a forkserver, a tracker without a
 * supervisor, and the worker that is an entry of a shared object.
 * It is started by mpsup, not by people; it links neither an event loop nor a JSON library.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/buf.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/title.h"
#include "keeper/keeper.h"
#include "proc/entry.h"
#include "proc/forkserver.h"
#include "track/serve.h"

static void note(const char *text)
{
	fprintf(stderr, "mpsup: keeper: %s\n", text);
}

static int usage(void)
{
	fputs("usage: mpsup-host keeper --name NAME [--lock-fd FD] [--ready-fd FD] -- SUPERVISOR "
	      "[ARG...]\n"
	      "This is the inner part of mpsup, which starts it; see mpsup(1).\n",
	      stderr);
	return 2;
}

/* A descriptor that is open, or -1. */
static int parse_fd(const char *text)
{
	char *end;
	long fd = strtol(text, &end, 10);

	if (end == text || *end != '\0' || fd < 0 || fd > 1 << 20 || fcntl((int)fd, F_GETFD) < 0)
		return -1;
	return (int)fd;
}

static int run_keeper(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "name", required_argument, NULL, 'n' },
		{ "lock-fd", required_argument, NULL, 'l' },
		{ "ready-fd", required_argument, NULL, 'r' },
		{ NULL, 0, NULL, 0 },
	};
	struct keeper_options o = { .lock_fd = -1, .ready_fd = -1, .note = note };
	int c;

	while ((c = getopt_long(argc, argv, "+", longs, NULL)) != -1) {
		if (c == 'n')
			o.name = optarg;
		else if (c == 'l')
			o.lock_fd = parse_fd(optarg);
		else if (c == 'r')
			o.ready_fd = parse_fd(optarg);
		else
			return usage();
	}
	o.argv = argv + optind;
	if (o.name == NULL || o.argv[0] == NULL)
		return usage();
	return keeper_run(&o);
}

/* entry FD OBJECT SYMBOL ARGV0 [ARG...]: see MPS_ENTRY_ROOM. */
static int run_entry(int argc, char **argv)
{
	int fd = argc >= 5 ? parse_fd(argv[1]) : -1;

	if (fd < 0)
		return usage();
	mps_entry_run(argv[2], argv[3], argv + 4, fd);
}

/* forkserver NAME [OBJECT...] */
static int run_forkserver(int argc, char **argv)
{
	if (argc < 2 || parse_fd("3") != FORKSERVER_FD)
		return usage();
	return forkserver_run(argv + 1, FORKSERVER_FD);
}

/*
 * tracker DIR PID FD: of a tree of processes without a supervisor. Whoever ends these as a group means them; we end when
 * they have.
 */
static int run_tracker(int argc, char **argv)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE };
	int fd = argc == 4 ? parse_fd(argv[3]) : -1;
	pid_t program = fd >= 0 ? (pid_t)strtol(argv[2], NULL, 10) : 0;

	if (program <= 0)
		return usage();
	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
	fd_raise_limit(TRACK_CLIENTS_MAX);
	fd_set_cloexec(fd, true);
	title_set("mpsup: tracker of pid %d", (int)program);
	return track_serve(argv[1], program, fd) < 0;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} roles[] = {
	{ "keeper", run_keeper },
	{ "entry", run_entry },
	{ "forkserver", run_forkserver },
	{ "tracker", run_tracker },
};

int main(int argc, char **argv)
{
	int fd;

	/* Descriptors 0 to 2 are always open, so that nothing else ever gets their numbers. */
	while ((fd = open("/dev/null", O_RDWR)) >= 0)
		if (fd > 2) {
			close(fd);
			break;
		}
	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(roles); i++)
		if (strcmp(argv[1], roles[i].name) == 0) {
			title_init(argc, argv);
			return roles[i].run(argc - 1, argv + 1);
		}
	return usage();
}
