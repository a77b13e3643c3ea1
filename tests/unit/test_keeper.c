/*
 * A real keeper, with the test as its supervisor (keeper_scene.h): what is started is reported.
 */
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "../keeper_scene.h"
#include "keeper/internal.h"

__attribute__((constructor)) static void play_role(void)
{
	const char *role = getenv(PEER_ROLE);

	if (role != NULL && strcmp(role, "supervisor") == 0)
		peer_be_supervisor();
}

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
		struct peer_worker w = { .instance = i, .gen = 1, .argv = argv, .out = s.out[1] };

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

/* One slot without a keeper around it: the child has said why it cannot go on, but somebody has stopped it. */
Test(slot, is_not_held_up_by_a_child_that_was_stopped_before_its_exit, .timeout = 20)
{
	static const struct keeper_options options;
	static struct keeper k;
	struct mps_failure failure = { .step = MPS_STEP_CHDIR, .error = ENOTDIR };
	struct slot *s;
	siginfo_t si;
	int ends[2];

	k = (struct keeper){ .options = &options, .epoll = -1, .boss = BOSS_INIT };
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
