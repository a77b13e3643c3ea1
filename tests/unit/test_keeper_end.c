/*
 * The ends that a real keeper brings about (keeper_scene.h): whatever a program does, and whoever is killed, nothing is
 * left.
 */
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "../keeper_scene.h"

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

/* One that ends at once, and is reaped; one that stays; told of that, the main process ends too. */
static void be_sibling(void)
{
	int told[2];
	char c;
	pid_t pid;

	setsid();
	if (pipe(told) < 0 || (pid = fork_sibling()) == 0)
		_exit(1);
	for (int i = 0; i < 2000 && kill(pid, 0) == 0; i++)
		poll(NULL, 0, 5);
	if (kill(pid, 0) == 0)
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

Test(keeper_end, ends_the_rest_of_a_tree_on_every_kernel, .timeout = 120)
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

Test(keeper_end, kills_a_whole_tree_at_once)
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

Test(keeper_end, ends_a_chain_that_forks_faster_than_one_looks)
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

Test(keeper_end, leaves_not_even_a_sibling_behind)
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

/* The one that was to stay. */
static void kill_tagged(const struct scene *s)
{
	struct pids list = { 0 };

	tagged_processes(s->p.id, &list);
	cr_expect_eq(list.n, 1);
	for (size_t i = 0; i < list.n; i++)
		kill(list.p[i], SIGKILL);
	pids_fini(&list);
}

Test(keeper_end, leaves_alone_what_is_to_be_left_alone)
{
	struct scene s;

	open_scene(&s);
	start_shell(&s, 0, KEEPER_LEFT_KEEP, 0, "setsid sleep 1000 & echo up; exit 0");
	expect_output(&s, "up\n");
	expect(&s, KEEPER_STARTED);
	cr_expect_not(expect(&s, KEEPER_EXITED).tree_left);
	cr_expect_eq(peer_finish(&s.p, 0), 0);
	kill_tagged(&s);
	expect_nobody(&s);
}

/* The sanitizer reads /proc itself, and where there is none says so on the output that is tested. */
#ifndef __SANITIZE_ADDRESS__
static void without_proc(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    umount2("/proc", MNT_DETACH) < 0)
		_exit(96);
}

Test(keeper_end, ends_groups_even_where_there_is_no_proc)
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
Test(keeper_end, does_not_wait_for_what_it_may_not_kill)
{
	const struct peer_options o = { .before = as_nobody };
	char folder[] = "/tmp/mpsup-test.XXXXXX", script[8192];
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
	kill_tagged(&s);
	snprintf(script, sizeof(script), "rm -r %s", folder);
	cr_expect_eq(system(script), 0);
	expect_nobody(&s);
}

Test(keeper_end, ends_all_when_the_supervisor_is_killed)
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

Test(keeper_end, takes_its_workers_along_when_it_is_killed)
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
