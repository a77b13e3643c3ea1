/*
 * A real keeper, with the test as its supervisor (keeper_peer.h): what is started is reported, and whatever a program
 * does, and whoever is killed, nothing is left.
 */
#include <criterion/criterion.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "../keeper_peer.h"
#include "keeper/internal.h"

/* ------------------------------------------------------------------------------- what this program is made to be */

/* Each generation forks the next and exits: none lives long enough to be looked at twice. */
static void be_chain(void)
{
	if (write(1, "up", 2) != 2)
		_exit(1);
	for (;;) {
		pid_t pid = fork();

		if (pid != 0)
			_exit(pid < 0);
		for (volatile int i = 0; i < 2000; i++)
			;
	}
}

/* fork(), but the child is its parent's sibling: it hangs on the keeper's thread that forks, and falls to nobody. */
static pid_t fork_sibling(void)
{
	return (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
}

/* One that ends at once, and one that stays; told of that, the main process ends too. */
static void be_sibling(void)
{
	int told[2];
	char c;
	pid_t pid;

	setsid();
	if (pipe(told) < 0 || fork_sibling() == 0)
		_exit(1);
	pid = fork_sibling();
	if (pid != 0)
		_exit(pid < 0 || read(told[0], &c, 1) != 1);
	if (write(1, "up", 2) != 2 || write(told[1], "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* A set-user-ID copy of this program: the keeper may not signal it any more. */
static void be_another_user(void)
{
	if (setresuid(0, 0, 0) < 0 || write(1, "up", 2) != 2)
		_exit(1);
	for (;;)
		pause();
}

__attribute__((constructor)) static void play_role(void)
{
	const char *role = getenv(PEER_ROLE);

	if (role == NULL)
		return;
	if (strcmp(role, "supervisor") == 0)
		peer_be_supervisor();
	else if (strcmp(role, "chain") == 0)
		be_chain();
	else if (strcmp(role, "sibling") == 0)
		be_sibling();
	else if (strcmp(role, "another user") == 0)
		be_another_user();
	_exit(97);
}

/* ------------------------------------------------------------------------------------------------------- helpers */

struct scene {
	struct peer p;
	int out[2]; /* what workers write; its end of file: none is left */
};

static void open_scene_with(struct scene *s, const struct peer_options *o)
{
	cr_assert(peer_open(&s->p, o), "no keeper at %s", peer_host());
	cr_assert_eq(pipe2(s->out, O_CLOEXEC), 0);
}

static void open_scene(struct scene *s)
{
	open_scene_with(s, NULL);
}

/* Starts argv as instance `i`. */
static void start(struct scene *s, uint32_t i, uint32_t gen, enum keeper_leftovers left,
		  int64_t grace_ms, char **argv, char **envp)
{
	struct peer_worker w = { i, gen, left, grace_ms * MPS_NS_PER_MS, argv, envp, s->out[1] };

	cr_assert_eq(peer_start(&s->p, &w), 0);
}

static void start_shell(struct scene *s, uint32_t i, enum keeper_leftovers left, int64_t grace_ms,
			const char *script)
{
	char *argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)script, NULL };
	char *envp[] = { (char *)"PATH=/usr/local/bin:/usr/bin:/bin", NULL };

	start(s, i, 1, left, grace_ms, argv, envp);
}

static void start_role(struct scene *s, uint32_t i, const char *role)
{
	char *argv[] = { (char *)peer_self(), NULL };
	char variable[64];
	char *envp[] = { variable, NULL };

	snprintf(variable, sizeof(variable), PEER_ROLE "=%s", role);
	start(s, i, 1, KEEPER_LEFT_END, 0, argv, envp);
}

/* The next message, which must be of this type. */
static struct keeper_message expect(struct scene *s, enum keeper_type type)
{
	struct keeper_message m = { 0 };
	int r = peer_recv(&s->p, &m);

	cr_assert_eq(r, 0, "no message (%s), but %d was due", strerror(-r), type);
	cr_assert_eq(m.type, type, "message %d where %d was due", m.type, type);
	return m;
}

/* Waits for the text, byte by byte so that nothing more is taken. */
static void expect_output(struct scene *s, const char *text)
{
	for (; *text != '\0'; text++) {
		char c = '\0';

		cr_assert(peer_wait_readable(s->out[0], PEER_PATIENCE), "waits for '%s'", text);
		cr_assert_eq(read(s->out[0], &c, 1), 1);
		cr_assert_eq(c, *text);
	}
}

/* Every process that had the output is gone. */
static void expect_nobody(struct scene *s)
{
	char text[4096];
	ssize_t n;

	fd_close(&s->out[1]);
	do {
		cr_assert(peer_wait_readable(s->out[0], PEER_PATIENCE),
			  "somebody still has the output");
		n = read(s->out[0], text, sizeof(text));
	} while (n > 0);
	cr_assert_eq(n, 0);
	fd_close(&s->out[0]);
	cr_expect(peer_wait_untagged(&s->p));
}

static void finish(struct scene *s)
{
	cr_expect_eq(peer_finish(&s->p, 7), 7);
	expect_nobody(s);
}

/* --------------------------------------------------------------------------------------------------------- tests */

static const struct {
	const char *name, *no;
} kernels[] = {
	{ "all features", NULL },
	{ "no shared memory", "clone_vm" },
	{ "no close_range", "close_range" },
	{ "no list of children", "children" },
	{ "no pidfd", "pidfd" },
	{ "none of them", "pidfd,close_range,children,clone_vm" },
};

Test(keeper, reports_a_life_from_start_to_exit_on_every_kernel)
{
	for (size_t i = 0; i < ARRAY_SIZE(kernels); i++) {
		const struct peer_options o = { .no = kernels[i].no };
		struct keeper_message m;
		struct scene s;
		pid_t pid;

		open_scene_with(&s, &o);
		for (uint32_t n = 0; n < 40; n++) {
			start_shell(&s, n, KEEPER_LEFT_END, 1000, "exit 3");
			m = expect(&s, KEEPER_STARTED);
			pid = m.pid;
			cr_expect_eq(m.instance, n);
			m = expect(&s, KEEPER_EXITED);
			cr_expect_eq(m.pid, pid);
			cr_expect_eq(m.code, CLD_EXITED, "%s", kernels[i].name);
			cr_expect_eq(m.status, 3);
			cr_expect_not(m.tree_left);
		}
		finish(&s);
	}
}

/* Whatever it does to get away; %s of the table is what runs beside the main process, which exits at once. */
static const struct {
	const char *name, *script;
} runaways[] = {
	{ "a child", "sleep 1000 & echo up" },
	{ "a session of its own", "setsid sleep 1000 & echo up" },
	{ "double fork", "(setsid sh -c 'sleep 1000 & echo up' &)" },
	{ "double fork, no environment", "(env -i setsid sh -c 'sleep 1000 & echo up' &)" },
	{ "ignores TERM",
	  "setsid sh -c 'trap \"\" TERM; echo up; while :; do sleep 1000; done' &" },
	{ "stopped", "setsid sh -c 'echo up; kill -STOP $$; sleep 1000' &" },
	{ "a tree", "for i in 1 2 3; do setsid sh -c 'sleep 1000 & sleep 1000 & wait' & done; "
		    "echo up" },
};

Test(keeper, ends_the_rest_of_a_tree_on_every_kernel, .timeout = 120)
{
	for (size_t k = 0; k < ARRAY_SIZE(kernels); k++)
		for (size_t i = 0; i < ARRAY_SIZE(runaways); i++) {
			const struct peer_options o = { .no = kernels[k].no };
			struct keeper_message m;
			char script[512];
			struct scene s;

			open_scene_with(&s, &o);
			/* The main process waits to be killed, so that what it left is there by then. */
			snprintf(script, sizeof(script), "%s\nsleep 1000", runaways[i].script);
			start_shell(&s, 0, KEEPER_LEFT_END, 50, script);
			expect_output(&s, "up\n");
			expect(&s, KEEPER_STARTED);
			peer_signal(&s.p, 0, 1, SIGTERM, KEEPER_SCOPE_MAIN);
			m = expect(&s, KEEPER_EXITED);
			cr_expect_eq(m.status, SIGTERM);
			if (m.tree_left)
				expect(&s, KEEPER_GONE);
			expect_nobody(&s);
			cr_expect_eq(peer_finish(&s.p, 7), 7, "%s, %s", kernels[k].name,
				     runaways[i].name);
		}
}

Test(keeper, kills_a_whole_tree_at_once)
{
	struct scene s;

	open_scene(&s);
	start_shell(
		&s, 5, KEEPER_LEFT_END, 1000000,
		"trap '' TERM; setsid sh -c 'trap \"\" TERM; echo up; sleep 1000' & sleep 1000");
	expect(&s, KEEPER_STARTED);
	expect_output(&s, "up\n");
	peer_signal(&s.p, 5, 1, SIGKILL, KEEPER_SCOPE_TREE);
	if (expect(&s, KEEPER_EXITED).tree_left)
		expect(&s, KEEPER_GONE);
	expect_nobody(&s);
	cr_expect_eq(peer_finish(&s.p, 0), 0);
}

Test(keeper, ends_a_chain_that_forks_faster_than_one_looks)
{
	struct scene s;

	open_scene(&s);
	for (uint32_t i = 0; i < 3; i++) {
		start_role(&s, i, "chain");
		expect_output(&s, "up");
	}
	for (unsigned gone = 0; gone < 3;) {
		struct keeper_message m = { 0 };

		cr_assert_eq(peer_recv(&s.p, &m), 0);
		gone += m.type == KEEPER_GONE || (m.type == KEEPER_EXITED && !m.tree_left);
	}
	expect_nobody(&s);
	cr_expect_eq(peer_finish(&s.p, 0), 0);
}

Test(keeper, leaves_not_even_a_sibling_behind)
{
	for (size_t i = 0; i < ARRAY_SIZE(kernels); i++) {
		const struct peer_options o = { .no = kernels[i].no };
		struct scene s;

		open_scene_with(&s, &o);
		start_role(&s, 0, "sibling");
		expect_output(&s, "up");
		expect(&s, KEEPER_STARTED);
		if (expect(&s, KEEPER_EXITED).tree_left)
			expect(&s, KEEPER_GONE); /* who reads all of /proc sees it in time */
		/* A dead sibling is nobody's and hides nobody. */
		for (uint32_t n = 1; n < 20; n++) {
			start_shell(&s, n, KEEPER_LEFT_END, 0, "exit 3");
			expect(&s, KEEPER_STARTED);
			cr_expect_eq(expect(&s, KEEPER_EXITED).status, 3);
		}
		finish(&s);
	}
}

Test(keeper, leaves_alone_what_is_to_be_left_alone)
{
	struct scene s;
	struct pids list = { 0 };

	open_scene(&s);
	start_shell(&s, 0, KEEPER_LEFT_KEEP, 0, "setsid sleep 1000 & echo up; exit 0");
	expect_output(&s, "up\n");
	expect(&s, KEEPER_STARTED);
	cr_expect_not(expect(&s, KEEPER_EXITED).tree_left);
	cr_expect_eq(peer_finish(&s.p, 0), 0);
	tagged_processes(s.p.id, &list);
	cr_expect_eq(list.n, 1);
	for (size_t i = 0; i < list.n; i++)
		kill(list.p[i], SIGKILL);
	pids_fini(&list);
	expect_nobody(&s);
}

Test(keeper, reports_a_start_that_fails)
{
	static const struct {
		const char *path;
		int error;
	} rows[] = { { "/nonexistent", ENOENT }, { "/etc/passwd", EACCES }, { "/", EACCES } };
	struct scene s;

	open_scene(&s);
	for (uint32_t i = 0; i < 30; i++) {
		char *argv[] = { (char *)rows[i % 3].path, NULL };
		struct keeper_message m;

		start(&s, 0, i + 1, KEEPER_LEFT_END, 0, argv, NULL);
		m = expect(&s, KEEPER_FAILED);
		cr_expect_eq(m.gen, i + 1);
		cr_expect_eq(m.code, MPS_STEP_EXEC);
		cr_expect_eq(m.status, (uint32_t)rows[i % 3].error);
	}
	finish(&s);
}

Test(keeper, refuses_a_second_start_in_a_busy_slot)
{
	struct scene s;
	struct keeper_message m;

	open_scene(&s);
	start_shell(&s, 2, KEEPER_LEFT_END, 100, "exec sleep 1000");
	cr_expect_eq(expect(&s, KEEPER_STARTED).gen, 1);
	start_shell(&s, 2, KEEPER_LEFT_END, 100, "exec sleep 1000");
	m = expect(&s, KEEPER_FAILED);
	cr_expect_eq(m.status, EBUSY);
	finish(&s);
}

Test(keeper, hears_signals_for_the_present_start_only)
{
	struct scene s;

	open_scene(&s);
	start_shell(&s, 2, KEEPER_LEFT_END, 100, "exec sleep 1000");
	expect(&s, KEEPER_STARTED);
	peer_signal(&s.p, 2, 9, SIGKILL, KEEPER_SCOPE_TREE);
	peer_signal(&s.p, 99999, 1, SIGKILL, KEEPER_SCOPE_TREE);
	peer_signal(&s.p, 2, 1, SIGUSR1, KEEPER_SCOPE_GROUP);
	cr_expect_eq(expect(&s, KEEPER_EXITED).status, SIGUSR1);
	finish(&s);
}

Test(keeper, ignores_what_is_no_message)
{
	char noise[4096];
	struct iovec iov = { noise, 0 };
	struct keeper_message m = { 0 };
	struct scene s;

	open_scene(&s);
	memset(noise, 0xa5, sizeof(noise));
	for (uint32_t type = 0; type < 80; type++)
		for (size_t n = 4; n < 64; n += 7) {
			/* No EXIT: 0xa5a5a5a5 is as good a status as any. */
			memcpy(noise, &type, sizeof(type));
			iov.iov_len = n;
			while (type != KEEPER_EXIT &&
			       fd_send(s.p.sock, &iov, 1, NULL, 0) == -EAGAIN)
				poll(&(struct pollfd){ s.p.sock, POLLOUT, 0 }, 1, -1);
		}
	start_shell(&s, 7, KEEPER_LEFT_END, 100, "exit 4");
	do /* a WELCOME and refusals are among the answers */
		cr_assert_eq(peer_recv(&s.p, &m), 0);
	while (m.instance != 7 || m.type != KEEPER_EXITED);
	cr_expect_eq(m.status, 4);
	finish(&s);
}

Test(keeper, ends_all_when_the_supervisor_is_killed)
{
	struct scene s;

	open_scene(&s);
	start_shell(&s, 0, KEEPER_LEFT_END, 10, "trap '' TERM; echo up; while :; do sleep 1; done");
	start_shell(&s, 1, KEEPER_LEFT_END, 10, "setsid sh -c 'echo up; sleep 1000'; sleep 1000");
	expect_output(&s, "up\nup\n");
	kill(s.p.supervisor, SIGKILL);
	cr_expect_eq(peer_wait_keeper(&s.p), 1);
	expect_nobody(&s);
}

Test(keeper, takes_its_workers_along_when_it_is_killed)
{
	struct scene s;

	open_scene(&s);
	for (uint32_t i = 0; i < 8; i++)
		start_shell(&s, i, KEEPER_LEFT_END, 10, "echo up; read x");
	for (uint32_t i = 0; i < 8; i++)
		expect_output(&s, "up\n");
	kill(s.p.keeper, SIGKILL);
	cr_expect_eq(peer_wait_keeper(&s.p), 1000 + SIGKILL);
	expect_nobody(&s);
}

/* The spawn in a memfd with these seals. */
static void start_long(struct scene *s, unsigned seals, bool regular_file)
{
	struct peer_worker w = { .gen = 1, .out = s->out[1] };
	char *argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)"echo long", NULL };
	char file[] = "/tmp/mpsup-test.XXXXXX";
	struct keeper_message m;
	AUTO_BUF rest = BUF_INIT;
	AUTO_CLOSE int fd = -1;

	w.argv = argv;
	peer_describe(&w, &m, &rest);
	m.type = KEEPER_START_LONG;
	fd = regular_file ? mkostemp(file, O_CLOEXEC)
			  : memfd_create("start", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (regular_file)
		unlink(file);
	cr_assert_eq(fd_write_all(fd, rest.p, rest.len), 0);
	if (seals != 0)
		cr_assert_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	cr_assert_eq(peer_send(&s->p, &m, NULL, (int[]){ s->out[1], fd }, 2), 0);
}

Test(keeper, takes_a_long_start_from_a_sealed_memfd_only)
{
	static const struct {
		unsigned seals;
		bool regular_file, good;
	} rows[] = {
		{ F_SEAL_SHRINK | F_SEAL_WRITE, false, true },
		{ F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE, false, true },
		{ 0, false, false },
		{ F_SEAL_SHRINK, false, false }, /* could be written while it is read */
		{ F_SEAL_WRITE, false, false },
		{ 0, true, false },
	};
	struct scene s;

	open_scene(&s);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct keeper_message m = { 0 };

		start_long(&s, rows[i].seals, rows[i].regular_file);
		cr_assert_eq(peer_recv(&s.p, &m), 0);
		if (rows[i].good) {
			cr_assert_eq(m.type, KEEPER_STARTED, "row %zu", i);
			expect(&s, KEEPER_EXITED);
			expect_output(&s, "long\n");
		} else {
			cr_assert_eq(m.type, KEEPER_FAILED, "row %zu", i);
			cr_expect_eq(m.code, MPS_STEP_RECEIVE);
			cr_expect_eq(m.status, EBADMSG);
		}
	}
	finish(&s);
}

Test(keeper, keeps_its_reports_while_nobody_reads_them)
{
	enum { N = 3000 };
	unsigned started = 0, exited = 0;
	struct scene s;

	open_scene(&s);
	for (uint32_t i = 0; i < N; i++) {
		char *argv[] = { (char *)"/bin/true", NULL };
		struct peer_worker w = { i, 1, KEEPER_LEFT_END, 0, argv, NULL, s.out[1] };

		while (peer_start(&s.p, &w) == -EAGAIN)
			poll(&(struct pollfd){ s.p.sock, POLLOUT, 0 }, 1, -1);
	}
	/* Not one was read until here, and the socket takes some hundred. */
	while (started < N || exited < N) {
		struct keeper_message m = { 0 };

		cr_assert_eq(peer_recv(&s.p, &m), 0, "%u started, %u exited", started, exited);
		started += m.type == KEEPER_STARTED;
		exited += m.type == KEEPER_EXITED;
	}
	finish(&s);
}

/* The keeper takes eight messages a turn: the end of the supervisor must not overtake its last words. */
Test(keeper, hears_the_last_words_of_a_supervisor_that_has_exited)
{
	for (int round = 0; round < 20; round++) {
		struct keeper_message m = { .type = KEEPER_EXIT, .status = 42 };
		int status = 0;
		struct scene s;

		open_scene(&s);
		kill(s.p.keeper, SIGSTOP);
		waitpid(s.p.keeper, NULL, WUNTRACED);
		for (int i = 0; i < 50; i++)
			peer_signal(&s.p, 1, 1, SIGTERM, KEEPER_SCOPE_MAIN);
		peer_send(&s.p, &m, NULL, NULL, 0);
		cr_assert_eq(write(s.p.control, &status, sizeof(status)), sizeof(status));
		{
			AUTO_CLOSE int fd = pidfd_open_checked(s.p.supervisor);

			cr_assert(peer_wait_readable(fd, PEER_PATIENCE));
		}
		kill(s.p.keeper, SIGCONT);
		cr_expect_eq(peer_wait_keeper(&s.p), 42, "round %d", round);
		expect_nobody(&s);
	}
}

Test(keeper, starts_more_than_a_worker_may_have_open)
{
	enum { N = 300 };
	struct scene s;
	struct rlimit nofile = { 64, 1 << 16 };

	open_scene(&s);
	for (uint32_t i = 0; i < N; i++) {
		char *argv[] = { (char *)"/bin/sleep", (char *)"1000", NULL };
		static char *none[] = { NULL };
		const struct mps_fd rows[] = { { 0, MPS_FD_IDLE, MPS_FD_ROLE },
					       { 1, 0, 0 },
					       { 2, 0, 0 } };
		const struct mps_spawn spawn = { .path = argv[0],
						 .argv = argv,
						 .envp = none,
						 .fds = rows,
						 .n_fds = 3,
						 .umask = -1,
						 .nofile = nofile.rlim_cur,
						 .pdeathsig = SIGKILL };
		struct keeper_message m = { .type = KEEPER_START, .instance = i, .gen = 1 };
		AUTO_BUF rest = BUF_INIT;

		mps_spawn_encode(&spawn, &rest);
		cr_assert_eq(peer_send(&s.p, &m, &rest, &s.out[1], 1), 0);
		m = (struct keeper_message){ 0 };
		cr_assert_eq(peer_recv(&s.p, &m), 0);
		cr_assert_eq(m.type, KEEPER_STARTED, "number %u: %s: %s", i,
			     mps_step_word((enum mps_step)m.code), strerror((int)m.status));
	}
	finish(&s);
}

/* The sanitizer reads /proc itself, and where there is none says so on the output that is tested. */
#ifndef __SANITIZE_ADDRESS__
static void without_proc(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    umount2("/proc", MNT_DETACH) < 0)
		_exit(96);
}

Test(keeper, ends_groups_even_where_there_is_no_proc)
{
	const struct peer_options o = { .before = without_proc };
	struct scene s;

	if (geteuid() != 0)
		return; /* who is not root keeps /proc */
	open_scene_with(&s, &o);
	start_shell(&s, 0, KEEPER_LEFT_END, 10, "sleep 1000 & echo up; read x");
	expect_output(&s, "up\n");
	expect(&s, KEEPER_STARTED);
	peer_signal(&s.p, 0, 1, SIGTERM, KEEPER_SCOPE_MAIN);
	cr_expect(expect(&s, KEEPER_EXITED).tree_left);
	expect(&s, KEEPER_GONE);
	expect_nobody(&s);
	cr_expect_eq(peer_finish(&s.p, 0), 0);
}
#endif

static void as_nobody(void)
{
	if (setgid(65534) < 0 || setuid(65534) < 0)
		_exit(96);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* Another user's process, by a set-user-ID program, cannot be killed and must not be waited for. */
Test(keeper, does_not_wait_for_what_it_may_not_kill)
{
	const struct peer_options o = { .before = as_nobody };
	char folder[] = "/tmp/mpsup-test.XXXXXX", script[8192];
	struct pids list = { 0 };
	struct scene s;

	if (geteuid() != 0)
		return; /* needs a second user */
	cr_assert_not_null(mkdtemp(folder));
	snprintf(script, sizeof(script), "cp %s %s/p && chmod 4755 %s/p && chmod 755 %s",
		 peer_self(), folder, folder, folder);
	cr_assert_eq(system(script), 0);
	open_scene_with(&s, &o);
	snprintf(script, sizeof(script), PEER_ROLE "='another user' %s/p & read x", folder);
	start_shell(&s, 0, KEEPER_LEFT_END, 10, script);
	expect_output(&s, "up");
	expect(&s, KEEPER_STARTED);
	peer_signal(&s.p, 0, 1, SIGTERM, KEEPER_SCOPE_MAIN);
	cr_expect(expect(&s, KEEPER_EXITED).tree_left);
	expect(&s, KEEPER_GONE);
	cr_expect_eq(peer_finish(&s.p, 0), 0);
	tagged_processes(s.p.id, &list);
	cr_expect_eq(list.n, 1);
	for (size_t i = 0; i < list.n; i++)
		kill(list.p[i], SIGKILL);
	pids_fini(&list);
	snprintf(script, sizeof(script), "rm -r %s", folder);
	cr_expect_eq(system(script), 0);
	expect_nobody(&s);
}

/* One slot without a keeper around it: the child has said why it cannot go on, but somebody has stopped it. */
Test(slot, is_not_held_up_by_a_child_that_was_stopped_before_its_exit, .timeout = 20)
{
	static struct keeper k;
	struct mps_failure failure = { MPS_STEP_CHDIR, ENOTDIR };
	struct slot *s;
	siginfo_t si;
	int ends[2];

	k = (struct keeper){ .epoll = -1, .sock = -1 };
	k.first_ending = k.first_report = NO_SLOT;
	cr_assert_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	s = slot_at(&k, 0);
	s->state = SLOT_EXEC;
	k.n_live = 1;
	s->exec_fd = ends[0];
	s->pid = fork();
	if (s->pid == 0) {
		if (write(ends[1], &failure, sizeof(failure)) < 0)
			_exit(1);
		raise(SIGSTOP);
		_exit(127);
	}
	waitid(P_PID, (id_t)s->pid, &si, WSTOPPED | WNOWAIT);
	slot_on_exec(&k, 0);
	cr_expect_eq(s->state, SLOT_EXEC);
	cr_expect_eq(s->reports, 0);
	kill(s->pid, SIGCONT);
	waitid(P_PID, (id_t)s->pid, &si, WEXITED | WNOWAIT);
	slot_on_exit(&k, 0);
	cr_expect_eq(s->state, SLOT_IDLE);
	cr_expect_eq(s->reports, REPORT_FAILED);
	cr_expect_eq(s->fail_step, MPS_STEP_CHDIR);
	cr_expect_eq(k.n_live, 0);
	free(k.slots);
	close(ends[1]);
}
