/*
 * A real keeper whose supervisor is killed or replaced (keeper_scene.h): the next one is told of everything.
 */
#include <sys/stat.h>

#include "../keeper_scene.h"
#include "keeper/internal.h"

/* What was kept for instance 0 is open in the one that takes over, and in no other. */
static bool finds_kept(void)
{
	struct stat st;

	return fstat(KEEPER_KEPT_FD, &st) == 0 && S_ISCHR(st.st_mode);
}

__attribute__((constructor)) static void play_role(void)
{
	const char *role = getenv(PEER_ROLE);

	if (role == NULL || strcmp(role, "supervisor") != 0)
		return;
	if (getenv("FINDS_KEPT") != NULL && finds_kept())
		_exit(96);
	peer_be_supervisor();
}

static const struct peer_options restart = { .on_crash = KEEPER_CRASH_RESTART };

static void greet(struct scene *s, pid_t before, uint32_t count)
{
	struct keeper_message m;

	cr_assert_eq(peer_hello(&s->p, KEEPER_CRASH_RESTART), 0);
	m = expect(s, KEEPER_WELCOME);
	cr_expect_eq(m.pid, s->p.keeper);
	cr_expect_eq(m.before, before);
	cr_expect_eq(m.count, count, "%u instances", m.count);
}

static void take_over(struct scene *s, uint32_t count)
{
	pid_t before = s->p.supervisor;

	kill(before, SIGKILL);
	cr_assert(peer_next(&s->p), "no second supervisor");
	cr_expect_neq(s->p.supervisor, before);
	greet(s, before, count);
}

static void wait_dead(pid_t pid)
{
	AUTO_CLOSE int fd = pidfd_open_checked(pid);

	cr_assert(fd < 0 || peer_wait_readable(fd, PEER_PATIENCE));
}

Test(boss, is_followed_by_one_that_hears_of_every_instance)
{
	char *wrong[] = { (char *)"/nonexistent", NULL };
	struct keeper_message m;
	struct scene s;
	pid_t lives, dies;

	open_scene_with(&s, &restart);
	start_shell(&s, 1, KEEPER_LEFT_END, 100, "exec sleep 1000");
	lives = expect(&s, KEEPER_STARTED).pid;
	start_shell(&s, 2, KEEPER_LEFT_END, 100, "read x; exit 5");
	dies = expect(&s, KEEPER_STARTED).pid;
	start(&s, 3, 7, KEEPER_LEFT_END, 0, wrong, NULL);
	expect(&s, KEEPER_FAILED);
	start_shell(&s, 4, KEEPER_LEFT_END, 1000000,
		    "trap '' TERM; (echo up; exec sleep 1000) & exit 0");
	expect(&s, KEEPER_STARTED);
	expect(&s, KEEPER_EXITED);
	peer_signal(&s.p, 1, 1, SIGCONT, KEEPER_SCOPE_MAIN);
	kill(dies, SIGUSR1);
	wait_dead(dies);
	take_over(&s, 4);
	m = expect(&s, KEEPER_INSTANCE);
	cr_expect_eq(m.instance, 1);
	cr_expect_eq(m.state, KEEPER_IS_ALIVE);
	cr_expect_eq(m.pid, lives);
	cr_expect_eq(m.sent, UINT64_C(1) << (SIGCONT - 1));
	cr_expect_gt(m.started.ns, 0);
	m = expect(&s, KEEPER_INSTANCE);
	cr_expect_eq(m.instance, 2);
	cr_expect_eq(m.state, KEEPER_IS_ENDED);
	cr_expect_eq(m.pid, dies);
	cr_expect_eq(m.code, CLD_KILLED);
	cr_expect_eq(m.status, SIGUSR1);
	m = expect(&s, KEEPER_INSTANCE);
	cr_expect_eq(m.instance, 3);
	cr_expect_eq(m.gen, 7);
	cr_expect_eq(m.state, KEEPER_IS_FAILED);
	cr_expect_eq(m.code, MPS_STEP_EXEC);
	cr_expect_eq(m.status, ENOENT);
	m = expect(&s, KEEPER_INSTANCE);
	cr_expect_eq(m.instance, 4);
	cr_expect_eq(m.state, KEEPER_IS_ENDING);
	/* And the new one is in charge. */
	peer_signal(&s.p, 1, 1, SIGKILL, KEEPER_SCOPE_TREE);
	cr_expect_eq(expect(&s, KEEPER_EXITED).pid, lives);
	peer_signal(&s.p, 4, 1, SIGKILL, KEEPER_SCOPE_TREE);
	expect(&s, KEEPER_GONE);
	finish(&s);
}

Test(boss, hands_on_what_it_kept)
{
	enum { N = KEEPER_FDS_MAX + 6 };
	struct keeper_message keep = { .type = KEEPER_KEEP, .instance = 1 }, m;
	uint32_t got = 0;
	int fds[N];
	struct scene s;

	open_scene_with(&s, &restart);
	start_shell(&s, 1, KEEPER_LEFT_END, 100, "exec sleep 1000");
	expect(&s, KEEPER_STARTED);
	for (int i = 0; i < N; i++)
		fds[i] = s.out[1];
	cr_assert_eq(peer_send(&s.p, &keep, NULL, fds, KEEPER_FDS_MAX), 0);
	keep.first = KEEPER_FDS_MAX - 1; /* the last is replaced */
	cr_assert_eq(peer_send(&s.p, &keep, NULL, fds, 7), 0);
	take_over(&s, 1);
	while ((m = (struct keeper_message){ 0 }, peer_recv(&s.p, &m)) == 0 &&
	       m.type == KEEPER_KEPT) {
		cr_expect_eq(m.instance, 1);
		cr_expect_eq(m.first, got);
		got = m.first + (m.first == 0 ? KEEPER_FDS_MAX : N - KEEPER_FDS_MAX);
	}
	cr_expect_eq(got, N);
	cr_expect_eq(m.type, KEEPER_INSTANCE);
	finish(&s);
}

Test(boss, finds_its_own_open)
{
	struct keeper_message keep = { .type = KEEPER_KEEP };
	AUTO_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct scene s;

	setenv("FINDS_KEPT", "1", 1);
	open_scene_with(&s, &restart);
	cr_assert_eq(peer_send(&s.p, &keep, NULL, &null, 1), 0);
	kill(s.p.supervisor, SIGKILL);
	/* Each of those that follow exits at once, so they are given up. */
	cr_expect_eq(peer_wait_keeper(&s.p), 1);
	expect_nobody(&s);
}

Test(boss, is_given_up_after_so_many_in_a_row)
{
	struct scene s;

	open_scene_with(&s, &restart);
	start_shell(&s, 1, KEEPER_LEFT_END, 100, "exec sleep 1000");
	expect(&s, KEEPER_STARTED);
	for (int i = 1; i < BOSS_CRASHES; i++) {
		take_over(&s, 1);
		expect(&s, KEEPER_INSTANCE);
	}
	kill(s.p.supervisor, SIGKILL);
	cr_expect_eq(peer_wait_keeper(&s.p), 1);
	expect_nobody(&s);
}

Test(boss, is_not_followed_where_the_programs_are_to_stop)
{
	struct scene s;

	open_scene(&s);
	start_shell(&s, 1, KEEPER_LEFT_END, 100, "exec sleep 1000");
	expect(&s, KEEPER_STARTED);
	kill(s.p.supervisor, SIGKILL);
	cr_expect_eq(peer_wait_keeper(&s.p), 1);
	expect_nobody(&s);
}

Test(boss, makes_room_for_the_next)
{
	struct keeper_message upgrade = { .type = KEEPER_UPGRADE };
	AUTO_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC), old = -1;
	struct keeper_message m;
	struct scene s;
	pid_t before;

	open_scene_with(&s, &restart);
	before = s.p.supervisor;
	start_shell(&s, 1, KEEPER_LEFT_END, 100, "exec sleep 1000");
	expect(&s, KEEPER_STARTED);
	cr_assert_eq(peer_send(&s.p, &upgrade, NULL, &null, 1), 0);
	old = TAKE_FD(s.p.sock);
	cr_assert(peer_next(&s.p));
	cr_assert_eq(peer_hello(&s.p, KEEPER_CRASH_RESTART), 0);
	cr_assert(peer_wait_readable(old, PEER_PATIENCE));
	{
		uint32_t type = 0;

		cr_assert_geq(recv(old, &type, sizeof(type), MSG_TRUNC), (ssize_t)sizeof(type));
		cr_expect_eq(type, KEEPER_RETIRE);
	}
	cr_expect_not(peer_wait_readable(s.p.sock, 0), "it is welcome before the other has gone");
	kill(before, SIGKILL);
	m = expect(&s, KEEPER_WELCOME);
	cr_expect_eq(m.before, before);
	cr_expect_eq(m.status, 0);
	expect(&s, KEEPER_INSTANCE);
	finish(&s);
}

Test(boss, stays_when_the_next_does_not_come_up)
{
	struct keeper_message upgrade = { .type = KEEPER_UPGRADE }, keep = { .type = KEEPER_KEEP };
	AUTO_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct keeper_message m;
	struct scene s;

	setenv("FINDS_KEPT", "1", 1);
	open_scene_with(&s, &restart);
	cr_assert_eq(peer_send(&s.p, &keep, NULL, &null, 1), 0);
	for (int i = 0; i < 10; i++) { /* they are no crashes */
		cr_assert_eq(peer_send(&s.p, &upgrade, NULL, &null, 1), 0);
		m = expect(&s, KEEPER_REFUSED);
		cr_expect_eq(m.code, CLD_EXITED);
		cr_expect_eq(m.status, 96);
	}
	start_shell(&s, 1, KEEPER_LEFT_END, 100, "exit 3");
	expect(&s, KEEPER_STARTED);
	expect(&s, KEEPER_EXITED);
	finish(&s);
}
