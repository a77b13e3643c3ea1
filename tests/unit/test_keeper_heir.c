/*
 * A program names another of its processes as its main one, to a real keeper (keeper_scene.h).
 */
#include "../keeper_scene.h"

__attribute__((constructor)) static void play_role(void)
{
	if (getenv(PEER_ROLE) != NULL)
		peer_be_supervisor();
}

/* A line with a pid, of what the workers write. */
static pid_t read_pid(struct scene *s)
{
	pid_t pid = 0;
	char c = '0';

	for (; c != '\n'; pid = c != '\n' ? pid * 10 + (c - '0') : pid) {
		cr_assert(peer_wait_readable(s->out[0], PEER_PATIENCE), "no pid is written");
		cr_assert_eq(read(s->out[0], &c, 1), 1);
	}
	return pid;
}

static void name_main(struct scene *s, uint32_t gen, pid_t pid)
{
	const struct keeper_message m = {
		.type = KEEPER_NAME_MAIN,
		.instance = 0,
		.gen = gen,
		.pid = pid,
	};

	cr_assert_eq(peer_send(&s->p, &m, NULL, NULL, 0), 0);
}

/* The script writes the heir's pid. *ret_first: who was started. */
static pid_t with_heir(struct scene *s, enum keeper_leftovers left, const char *script,
		       pid_t *ret_first)
{
	pid_t heir;

	open_scene(s);
	start_shell(s, 0, left, 2000, script);
	*ret_first = expect(s, KEEPER_STARTED).pid;
	heir = read_pid(s);
	name_main(s, 1, heir);
	cr_assert_eq(expect(s, KEEPER_MAIN).pid, heir);
	return heir;
}

/* Ends who was started, and returns when it is dead. */
static void end_first(pid_t first)
{
	AUTO_CLOSE int fd = pidfd_open_checked(first);

	cr_assert(fd >= 0);
	kill(first, SIGKILL);
	cr_assert(peer_wait_readable(fd, PEER_PATIENCE));
}

#define WAITS                                                                                      \
	"setsid sh -c 'echo $$; exec sleep 1000' & wait; trap 'exit 4' TERM; echo back; "          \
	"while :; do sleep 0.05; done"

Test(heir, takes_the_place_of_who_was_started, .timeout = 60)
{
	static const enum keeper_leftovers left[] = { KEEPER_LEFT_END, KEEPER_LEFT_GROUP,
						      KEEPER_LEFT_KEEP };

	for (size_t i = 0; i < ARRAY_SIZE(left); i++) {
		struct keeper_message m;
		struct scene s;
		pid_t first, heir = with_heir(&s, left[i], WAITS, &first);

		end_first(first);
		/* No word of its end: the next is that of the heir, which gets the signal. */
		peer_signal(&s.p, 0, 1, SIGUSR1, KEEPER_SCOPE_MAIN);
		m = expect(&s, KEEPER_EXITED);
		cr_expect_eq(m.pid, heir);
		cr_expect_eq(m.code, CLD_KILLED);
		cr_expect_eq(m.status, SIGUSR1);
		cr_expect_not(m.tree_left);
		finish(&s);
	}
}

Test(heir, is_no_more_when_it_ends_first, .timeout = 60)
{
	struct keeper_message m;
	struct scene s;
	pid_t first, heir = with_heir(&s, KEEPER_LEFT_END, WAITS, &first);

	kill(heir, SIGKILL);
	cr_expect_eq(expect(&s, KEEPER_MAIN).pid, first);
	expect_output(&s, "back\n");
	peer_signal(&s.p, 0, 1, SIGTERM, KEEPER_SCOPE_MAIN);
	m = expect(&s, KEEPER_EXITED);
	cr_expect_eq(m.pid, first);
	cr_expect_eq(m.status, 4);
	finish(&s);
}

/* A grandchild whose parent lives on is not ours: nobody could tell how it ends. */
Test(heir, that_has_a_parent_goes_with_who_was_started, .timeout = 60)
{
	struct keeper_message m;
	struct scene s;
	pid_t first;

	with_heir(&s, KEEPER_LEFT_END, "setsid sh -c 'sleep 1000 & echo $!; wait' & wait", &first);
	end_first(first);
	m = expect(&s, KEEPER_EXITED);
	cr_expect_eq(m.pid, first);
	if (m.tree_left)
		expect(&s, KEEPER_GONE);
	finish(&s);
}

Test(heir, goes_with_the_tree, .timeout = 60)
{
	struct keeper_message m;
	struct scene s;
	pid_t first;

	with_heir(&s, KEEPER_LEFT_END, WAITS, &first);
	peer_signal(&s.p, 0, 1, SIGKILL, KEEPER_SCOPE_TREE);
	m = expect(&s, KEEPER_EXITED);
	cr_expect_eq(m.pid, first);
	if (m.tree_left)
		expect(&s, KEEPER_GONE);
	finish(&s);
	/* As it is, and after it has taken the place. */
	with_heir(&s, KEEPER_LEFT_END, WAITS, &first);
	finish(&s);
	with_heir(&s, KEEPER_LEFT_END, WAITS, &first);
	end_first(first);
	finish(&s);
}

Test(heir, is_told_to_the_next_supervisor, .timeout = 60)
{
	const struct peer_options o = { .on_crash = KEEPER_CRASH_RESTART };
	struct keeper_message m;
	struct scene s;
	pid_t heir;

	open_scene_with(&s, &o);
	start_shell(&s, 0, KEEPER_LEFT_END, 2000, WAITS);
	expect(&s, KEEPER_STARTED);
	heir = read_pid(&s);
	name_main(&s, 1, heir);
	expect(&s, KEEPER_MAIN);
	kill(s.p.supervisor, SIGKILL);
	cr_assert(peer_next(&s.p));
	peer_hello(&s.p, KEEPER_CRASH_RESTART);
	expect(&s, KEEPER_WELCOME);
	m = expect(&s, KEEPER_INSTANCE);
	cr_expect_eq(m.pid, heir);
	cr_expect_eq(m.state, KEEPER_IS_ALIVE);
	finish(&s);
}

/* Whoever is none of the instance, or is not there, is not taken; nor anybody without pidfds. */
Test(heir, is_one_of_its_own, .timeout = 60)
{
	static const char *const without[] = { NULL, "pidfd" };

	for (size_t i = 0; i < ARRAY_SIZE(without); i++) {
		const struct peer_options o = { .no = without[i] };
		struct keeper_message m;
		struct scene s;
		pid_t first;

		open_scene_with(&s, &o);
		start_shell(&s, 0, KEEPER_LEFT_END, 2000, WAITS);
		first = expect(&s, KEEPER_STARTED).pid;
		if (without[i] != NULL)
			name_main(&s, 1, read_pid(&s));
		name_main(&s, 1, getpid());
		name_main(&s, 1, s.p.keeper);
		name_main(&s, 1, 0);
		name_main(&s, 1, -1);
		name_main(&s, 1, 1);
		name_main(&s, 1, first);
		name_main(&s, 2, getpid());
		peer_signal(&s.p, 0, 1, SIGKILL, KEEPER_SCOPE_MAIN);
		m = expect(&s, KEEPER_EXITED);
		cr_expect_eq(m.pid, first);
		finish(&s);
	}
}
