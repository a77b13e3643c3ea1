/*
 * Starting a process, seen from inside the child: this very program, executed again, tells how it finds itself. Each way
 * down (shared memory, fork, without pidfds, without close_range) in a process of its own, since answers are cached.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "proc/pidfd.h"
#include "proc/spawn.h"
#include "proc/tag.h"

#define ROLE "PROC_TEST_ROLE"

/* In processes that criterion does not know of, whose asserts wait for an answer that never comes. */
#define MUST(what)                                                                                 \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #what);  \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

/* -------------------------------------------------------------------------------------------------- in the child */

static void tell_signals(struct buf *b)
{
	struct sigaction sa;
	sigset_t mask;

	sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int sig = 1; sig < NSIG; sig++) {
		if (sigismember(&mask, sig) == 1)
			buf_addf(b, " blocked:%d", sig);
		if (sigaction(sig, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN)
			buf_addf(b, " ignored:%d", sig);
	}
}

static void tell_ids(struct buf *b)
{
	gid_t groups[64];
	int n = getgroups(64, groups);

	buf_addf(b, " uid:%d/%d gid:%d/%d groups:", getuid(), geteuid(), getgid(), getegid());
	for (int i = 0; i < n; i++)
		buf_addf(b, "%d,", groups[i]);
}

/* "fds:0,1,2, session:1 ..." to standard output. */
__attribute__((constructor)) static void tell(void)
{
	const char *role = getenv(ROLE);
	struct buf b = BUF_INIT;
	struct rlimit r;
	char cwd[4096];
	mode_t mask;
	int sig = 0;

	if (role == NULL)
		return;
	buf_adds(&b, "fds:");
	for (int fd = 0; fd < 4096; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			buf_addf(&b, "%d%s,", fd, fcntl(fd, F_GETFD) & FD_CLOEXEC ? "!" : "");
	buf_addf(&b, " session:%d group:%d", getsid(0) == getpid(), getpgrp() == getpid());
	mask = umask(0);
	buf_addf(&b, " umask:%03o cwd:%s", (unsigned)mask, getcwd(cwd, sizeof(cwd)));
	getrlimit(RLIMIT_NOFILE, &r);
	prctl(PR_GET_PDEATHSIG, &sig);
	buf_addf(&b, " nofile:%llu pdeathsig:%d", (unsigned long long)r.rlim_cur, sig);
	buf_addf(&b, " tag:%d nonblock:%d", tag_get(getpid()) == tag_make(1, 2, 3),
		 (fcntl(0, F_GETFL) & O_NONBLOCK) != 0);
	tell_ids(&b);
	tell_signals(&b);
	buf_addf(&b, " role:%s", role);
	fd_write_all(STDOUT_FILENO, b.p, b.len);
	_exit(0);
}

/* ------------------------------------------------------------------------------------------------- the ways down */

static const struct way {
	const char *no;
	bool shared;
} ways[] = {
	{ "", true },
	{ "", false },
	{ "clone_vm", true },
	{ "pidfd", false },
	{ "close_range", true },
	{ "close_range", false },
	{ "pidfd,close_range", false },
};

static _Alignas(16) char stack[MPS_STACK_SIZE];

/* The outcome of the exec: 1, or -1 with *ret. */
static int outcome(struct mps_child *child, struct mps_failure *ret)
{
	struct pollfd p = { .fd = child->exec_fd, .events = POLLIN };
	int r;

	fd_close(&child->error_fd); /* for the test: after the child has its own table */
	do
		poll(&p, 1, 20000);
	while ((r = mps_spawn_result(child->exec_fd, ret)) == 0);
	fd_close(&child->exec_fd);
	return r;
}

static void wait_for_own_files(struct mps_child *child)
{
	struct pollfd p = { .fd = child->exec_fd, .events = POLLIN };

	if (child->error_fd >= 0)
		while (!mps_child_has_files(stack, true) && poll(&p, 1, 20000) > 0)
			if (mps_child_has_files(stack, false))
				break;
}

static int start(const struct mps_spawn *s, const struct way *way, struct mps_child *child,
		 struct mps_failure *ret)
{
	enum mps_step step = MPS_STEP_NONE;
	int r = mps_spawn_start(s, way->shared ? stack : NULL, child, &step);

	if (r < 0) {
		*ret = (struct mps_failure){ .step = (int32_t)step, .error = -r };
		return -1;
	}
	MUST(child->pidfd >= 0 || strstr(way->no, "pidfd") != NULL);
	wait_for_own_files(child);
	return outcome(child, ret);
}

static void reap(struct mps_child *child, int status)
{
	int s;

	MUST(waitpid(child->pid, &s, 0) == child->pid);
	MUST(WIFEXITED(s) && WEXITSTATUS(s) == status);
	fd_close(&child->pidfd);
}

/* Starts it and reads what the child tells. */
static void tells(struct mps_spawn *s, const struct way *way, struct buf *ret)
{
	struct mps_child child = MPS_CHILD_INIT;
	struct mps_failure failure = { 0 };
	char text[4096];
	int out[2], r;
	struct mps_fd rows[8];
	ssize_t n;

	MUST(pipe2(out, O_CLOEXEC) == 0);
	memcpy(rows, s->fds, s->n_fds * sizeof(*rows));
	for (size_t i = 0; i < s->n_fds; i++)
		if (rows[i].child == 1)
			rows[i].fd = out[1];
	s->fds = rows;
	s->signals_are_default = way->shared;
	r = start(s, way, &child, &failure);
	if (r != 1)
		fprintf(stderr, "%s: %s\n", mps_step_word((enum mps_step)failure.step),
			strerror(failure.error));
	MUST(r == 1);
	close(out[1]);
	while ((n = read(out[0], text, sizeof(text))) > 0)
		buf_add(ret, text, (size_t)n);
	close(out[0]);
	reap(&child, 0);
}

static void has(const struct buf *b, const char *way, const char *text)
{
	if (strstr(b->p, text) == NULL)
		fprintf(stderr, "way '%s': '%s' has no '%s'\n", way, b->p, text);
	MUST(strstr(b->p, text) != NULL);
}

static void has_not(const struct buf *b, const char *text)
{
	if (strstr(b->p, text) != NULL)
		fprintf(stderr, "'%s' has '%s'\n", b->p, text);
	MUST(strstr(b->p, text) == NULL);
}

static char self[4096];
static char *argv_[] = { self, NULL };
static char *envp_[] = { (char *)ROLE "=it", NULL };

static struct mps_spawn description(void)
{
	static const struct mps_fd rows[] = { { 0, 0, 0 }, { 1, -1, 0 }, { 2, 2, 0 } };
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	MUST(n > 0);
	return (struct mps_spawn){ .path = self,
				   .argv = argv_,
				   .envp = envp_,
				   .fds = rows,
				   .n_fds = 3,
				   .umask = -1,
				   .session = MPS_SESSION_NEW };
}

/* Runs f for each way in a process of its own, which criterion's own process waits for. */
static void on_each_way(void (*f)(const struct way *way))
{
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		int status;
		pid_t pid = fork();

		if (pid == 0) {
			setenv("MPSUP_NO", ways[i].no, 1);
			f(&ways[i]);
			_exit(0);
		}
		waitpid(pid, &status, 0);
		cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "way %zu (%s)", i,
			  ways[i].no);
	}
}

/* --------------------------------------------------------------------------------------------------------- tests */

static void all_fields(const struct way *way)
{
	struct mps_spawn s = description();
	AUTO_BUF b = BUF_INIT;
	const char *no = way->no;

	s.cwd = "/usr";
	s.umask = 027;
	s.nofile = 100;
	s.pdeathsig = SIGUSR2;
	s.tag = tag_make(1, 2, 3);
	tells(&s, way, &b);
	has(&b, no, "fds:0,1,2, ");
	has(&b, no, " session:1 group:1 umask:027 cwd:/usr nofile:100 pdeathsig:12 tag:1 ");
	has(&b, no, " role:it");
	has_not(&b, "blocked:");
}

Test(proc, applies_every_field_on_every_way)
{
	on_each_way(all_fields);
}

static void odd_table(const struct way *way)
{
	/* Sources that are targets of others, a gap, one source twice. */
	const struct mps_fd rows[] = {
		{ 0, 2, 0 }, { 1, -1, 0 }, { 2, 0, 0 }, { 5, 0, 0 }, { 7, 7, 0 },
	};
	struct mps_spawn s = description();
	AUTO_BUF b = BUF_INIT;

	for (int fd = 20; fd < 300; fd++)
		dup2(2, fd); /* a careless parent: not close-on-exec */
	dup2(0, 7);
	s.fds = rows;
	s.n_fds = 5;
	s.session = MPS_SESSION_GROUP;
	tells(&s, way, &b);
	has(&b, way->no, "fds:0,1,2,5,7, session:0 group:1");
}

Test(proc, the_child_has_its_table_and_nothing_else)
{
	on_each_way(odd_table);
}

static void reopens(const struct way *way)
{
	const struct mps_fd rows[] = { { 0, 30, MPS_FD_REOPEN }, { 1, -1, 0 }, { 2, 2, 0 } };
	struct mps_spawn s = description();
	AUTO_BUF b = BUF_INIT;
	int ends[2];

	MUST(pipe2(ends, O_CLOEXEC) == 0);
	dup2(ends[0], 30);
	fd_set_nonblock(30, true);
	s.fds = rows;
	tells(&s, way, &b);
	has(&b, way->no, "fds:0,1,2,");
	has(&b, way->no, " nonblock:0");
}

Test(proc, a_descriptor_that_is_opened_anew_has_flags_of_its_own)
{
	on_each_way(reopens);
}

static void quiet_signals(const struct way *way)
{
	struct mps_spawn s = description();
	AUTO_BUF b = BUF_INIT;
	sigset_t all;

	if (way->shared)
		return; /* there the starter promises that it ignores nothing */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	tells(&s, way, &b);
	has_not(&b, "blocked:");
	has_not(&b, "ignored:");
}

Test(proc, signals_are_default_and_none_is_blocked)
{
	on_each_way(quiet_signals);
}

static void other_user(const struct way *way)
{
	static const gid_t groups[] = { 100, 200 };
	struct mps_spawn s = description();
	AUTO_BUF b = BUF_INIT;

	s.set_user = true;
	s.uid = s.gid = 65534;
	s.groups = groups;
	s.n_groups = 2;
	s.pdeathsig = SIGKILL;
	tells(&s, way, &b);
	has(&b, way->no, " pdeathsig:9 ");
	has(&b, way->no, " uid:65534/65534 gid:65534/65534 groups:100,200,");
}

Test(proc, root_may_start_as_another_with_its_groups)
{
	if (geteuid() == 0)
		on_each_way(other_user);
}

static void failures(const struct way *way)
{
	static const struct {
		const char *path, *cwd;
		enum mps_step step;
		int error;
	} rows[] = {
		{ "/nonexistent", NULL, MPS_STEP_EXEC, ENOENT },
		{ "/etc/passwd", NULL, MPS_STEP_EXEC, EACCES },
		{ "/etc", NULL, MPS_STEP_EXEC, EACCES },
		{ "/etc/passwd/x", NULL, MPS_STEP_EXEC, ENOTDIR },
		{ "/bin/true", "/nonexistent", MPS_STEP_CHDIR, ENOENT },
		{ "/bin/true", "/etc/passwd", MPS_STEP_CHDIR, ENOTDIR },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		static const struct mps_fd fds[] = { { 0, 0, 0 }, { 1, 1, 0 }, { 2, 2, 0 } };
		struct mps_child child = MPS_CHILD_INIT;
		struct mps_spawn s = description();
		struct mps_failure f = { 0 };

		s.path = rows[i].path;
		s.cwd = rows[i].cwd;
		s.fds = fds;
		s.signals_are_default = way->shared;
		MUST(start(&s, way, &child, &f) == -1);
		MUST(f.step == (int32_t)rows[i].step);
		MUST(f.error == rows[i].error);
		reap(&child, 127);
	}
}

Test(proc, says_which_step_failed_and_why)
{
	on_each_way(failures);
}

static void no_descriptors(const struct way *way)
{
	struct rlimit r = { 3, 3 };
	struct mps_child child = MPS_CHILD_INIT;
	struct mps_spawn s = description();
	struct mps_failure f = { 0 };

	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	setrlimit(RLIMIT_NOFILE, &r);
	if (start(&s, way, &child, &f) != -1 || f.step != MPS_STEP_PIPE || f.error != EMFILE)
		_exit(1);
}

Test(proc, says_so_when_there_is_no_descriptor_left)
{
	on_each_way(no_descriptors);
	cr_expect(mps_error_passes(EMFILE));
	cr_expect_not(mps_error_passes(ENOENT));
}

static void bad_row(const struct way *way)
{
	const struct mps_fd rows[] = { { 0, 0, 0 }, { 1, 63, 0 } };
	struct mps_child child = MPS_CHILD_INIT;
	struct mps_spawn s = description();
	struct mps_failure f = { 0 };

	close(63);
	s.fds = rows;
	s.n_fds = 2;
	s.signals_are_default = way->shared;
	MUST(start(&s, way, &child, &f) == -1);
	MUST(f.step == MPS_STEP_FD);
	MUST(f.error == EBADF);
	reap(&child, 127);
}

Test(proc, a_row_of_a_closed_descriptor_is_a_failure)
{
	on_each_way(bad_row);
}

Test(proc, every_step_has_a_word)
{
	for (int i = 0; i < N_MPS_STEPS; i++)
		cr_expect(mps_step_word((enum mps_step)i)[0] != '\0');
	cr_expect_str_eq(mps_step_word((enum mps_step)99), "start");
}
