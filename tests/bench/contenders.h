/*
 * Who supervises programs, and how each is told to: one row each. $DIR is a folder of its own, $N the number of programs,
 * $NOP the program (tests/e2e/nop.c), $B the build folder; commands are split as by a shell (wordexp(3)), without one.
 * The programs are the same static binary everywhere, `run` of a service folder too, where a script is usual and slower.
 */
#ifndef TESTS_BENCH_CONTENDERS_H
#define TESTS_BENCH_CONTENDERS_H

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "bench.h"

struct contender {
	const char *name;
	const char *needs; /* this in $PATH; NULL = it is ours */
	void (*prepare)(const char *dir, unsigned n);
	const char *start;     /* stays in the foreground, or is_daemon */
	const char *stop;      /* NULL = a signal alone */
	int signal;	       /* for what `start` is, before `stop`; 0 = none */
	const char *all, *one; /* commands for the state of all and of one program; NULL = none */
	unsigned most;	       /* programs that it can have; 0 = no limit known */
	unsigned slow; /* so many times fewer kills: it takes a second for each; 0 = not slow */
	bool is_daemon;
};

static inline FILE *config_open(const char *dir, const char *name)
{
	AUTO_FREE char *path = xasprintf("%s/%s", dir, name);
	FILE *f = fopen(path, "we");

	if (f == NULL)
		die(path);
	return f;
}

/* What mpsup and supervisord read alike. */
static inline void config_programs(FILE *f, const char *dir, unsigned n)
{
	fprintf(f, "pidfile=%s/pid\nchildlogdir=%s\n\n", dir, dir);
	fprintf(f, "[program:nop]\ncommand=%s %s/slots %%(process_num)d\n", getenv("NOP"), dir);
	fprintf(f, "numprocs=%u\nprocess_name=%%(program_name)s_%%(process_num)d\n", n);
	fprintf(f, "startsecs=0\nautorestart=true\nstdout_logfile=NONE\nstderr_logfile=NONE\n");
}

static inline void prepare_mpsup(const char *dir, unsigned n)
{
	FILE *f = config_open(dir, "conf");

	fprintf(f, "[supervisord]\nidentifier=bench-%d\nlogfile=/dev/null\n", getpid());
	config_programs(f, dir, n);
	fprintf(f, "restart_delay=0\n");
	fclose(f);
}

static inline void prepare_supervisord(const char *dir, unsigned n)
{
	FILE *f = config_open(dir, "conf");

	fprintf(f, "[unix_http_server]\nfile=%s/sock\n", dir);
	fprintf(f, "[supervisorctl]\nserverurl=unix://%s/sock\n", dir);
	fprintf(f, "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory="
		   "supervisor.rpcinterface:make_main_rpcinterface\n");
	fprintf(f, "[supervisord]\nlogfile=/dev/null\nlogfile_maxbytes=0\n");
	config_programs(f, dir, n);
	fclose(f);
}

static inline void prepare_folders(const char *dir, unsigned n)
{
	AUTO_FREE char *all = xasprintf("%s/svc", dir);

	if (mkdir(all, 0700) < 0)
		die(all);
	for (unsigned i = 0; i < n; i++) {
		AUTO_FREE char *one = xasprintf("%s/%u", all, i), *run = xasprintf("%s/run", one);

		if (mkdir(one, 0700) < 0 || symlink(getenv("NOP"), run) < 0)
			die(run);
	}
}

static const struct contender contenders[] = {
	{ .name = LIMIT, .start = "$B/bench/bare $NOP $DIR/slots $N", .signal = SIGTERM },
	{ .name = "mpsup",
	  .prepare = prepare_mpsup,
	  .start = "$B/mpsup start -c $DIR/conf",
	  .stop = "$B/mpsup shutdown -c $DIR/conf",
	  .all = "$B/mpsup status -c $DIR/conf",
	  .one = "$B/mpsup status -c $DIR/conf nop:nop_0",
	  .is_daemon = true },
	{ .name = "s6",
	  .needs = "s6-svscan",
	  .prepare = prepare_folders,
	  .start = "s6-svscan -t 0 -c 20000 $DIR/svc",
	  .stop = "s6-svscanctl -t $DIR/svc",
	  .all = "sh -c 'for d in $DIR/svc/*; do s6-svstat $d; done'",
	  .one = "s6-svstat $DIR/svc/0",
	  .slow = 10 },
	{ .name = "runit",
	  .needs = "runsvdir",
	  .prepare = prepare_folders,
	  .start = "runsvdir $DIR/svc",
	  .signal = SIGHUP,
	  .all = "sv status $DIR/svc/*",
	  .one = "sv status $DIR/svc/0",
	  .most = 1000 },
	{ .name = "daemontools",
	  .needs = "svscan",
	  .prepare = prepare_folders,
	  .start = "svscan $DIR/svc",
	  .signal = SIGTERM,
	  .stop = "sh -c 'svc -dx $DIR/svc/*'",
	  .all = "svstat $DIR/svc/*",
	  .one = "svstat $DIR/svc/0",
	  .most = 1000 },
	{ .name = "supervisord",
	  .needs = "supervisord",
	  .prepare = prepare_supervisord,
	  .start = "supervisord -n -c $DIR/conf",
	  .signal = SIGTERM,
	  .all = "supervisorctl -c $DIR/conf status",
	  .one = "supervisorctl -c $DIR/conf status nop:nop_0",
	  .slow = 10,
	  .most = 1000 },
};

#endif
