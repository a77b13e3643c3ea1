/*
 * Trees of processes are killed by SIGKILL at moments that nobody chooses: their root, any of their members, forkservers; or
 * ended by mps_process_kill() and mps_process_terminate(). Whatever it was, nothing of the tree stays, no child becomes a
 * zombie for good, and the next start works. What belongs to a tree is known by a resource limit that only it has.
 * STRESS_KILLS=1500, STRESS_SEED.
 */
#include <fcntl.h>
#include <sys/wait.h>

#include "base/mtime.h"
#include "limit.h"
#include "mpsup.h"
#include "proc/pidfd.h"
#include "proc/tree.h"
#include "stress.h"

enum { PATIENCE_S = 30, LIFE_US = 12000, TREE_DEPTH = 2, CHILDREN = 4 };

static uint64_t base; /* of the limits of trees */

/* --------------------------------------------------------------------------------------------------- a tree */

static void leave_orphan(void)
{
	pid_t pid = fork();

	if (pid != 0) {
		waitpid(pid, NULL, 0);
		return;
	}
	setsid();
	if (fork() != 0)
		_exit(0);
	for (;;)
		pause();
}

/* Does what programs do: sleeps, ends, becomes something else, has descendants that nobody is told of. */
static int leaf(struct mps_args *args)
{
	switch (mps_args_int(args, 0) % 4) {
	case 0:
		return 0;
	case 1:
		leave_orphan();
		break;
	case 2:
		execlp("sleep", "sleep", "1000", NULL);
		return 1;
	default:
		signal(SIGTERM, SIG_IGN);
	}
	for (;;)
		pause();
}
MPS_TARGET(leaf);

static int start_with(mps_target *target, enum mps_start_method method, const int64_t *numbers,
		      size_t n, struct mps_process **ret)
{
	struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
	struct mps_args *args;
	int r;

	if (mps_args_new(&args) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		mps_args_add_int(args, numbers[i]);
	o.target = target;
	o.method = method;
	o.args = args;
	o.daemon = dice(2);
	o.grace = MPS_MILLISECOND;
	r = mps_process_start(&o, ret);
	mps_args_free(args);
	return r;
}

static enum mps_start_method any_method(void)
{
	return (enum mps_start_method)(MPS_START_SPAWN + dice(3));
}

static void change(struct mps_process **child)
{
	if (dice(2))
		mps_process_kill(*child, PATIENCE_S * MPS_SECOND);
	else
		mps_process_join(*child, (int64_t)dice(3) * MPS_MILLISECOND);
	if (mps_process_free(*child) == 0)
		*child = NULL;
}

/* The limit, a seed, the depth. Starts and ends children until it is killed itself. */
static int node(struct mps_args *args)
{
	struct mps_process *children[CHILDREN] = { NULL };
	int64_t depth = mps_args_int(args, 2);

	set_limit((uint64_t)mps_args_int(args, 0));
	chance = (uint64_t)mps_args_int(args, 1);
	for (;;) {
		struct mps_process **child = &children[dice(CHILDREN)];
		int64_t numbers[] = { mps_args_int(args, 0), (int64_t)dice(INT32_MAX), depth + 1 };

		if (*child != NULL)
			change(child);
		else if (depth < TREE_DEPTH && dice(3) == 0)
			start_with(mps_args_count(args) ? node : leaf, any_method(), numbers, 3,
				   child);
		else
			start_with(leaf, any_method(), numbers + 1, 1, child);
	}
	return 0;
}
MPS_TARGET(node);

/* ------------------------------------------------------------------------------------------------- looking */

static bool is_guard(pid_t pid)
{
	char path[40], text[4096];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd >= 0 ? read(fd, text, sizeof(text)) : -1;
	if (fd >= 0)
		close(fd);
	return n <= 0 || memmem(text, (size_t)n, "--mpsup-guard", 13) != NULL;
}

/* One of the tree, but no guard. False: there is none. */
static bool kill_any(uint64_t limit)
{
	struct pids list = { 0 };
	bool killed = false;

	processes_list(is_of, &limit, &list);
	if (list.n > 0) {
		pid_t pid = list.p[dice((unsigned)list.n)];

		killed = !is_guard(pid) && is_of(pid, &limit) && kill(pid, SIGKILL) == 0;
	}
	pids_fini(&list);
	return killed;
}

static void expect_none(uint64_t limit, const char *after)
{
	struct pids list = { 0 };

	processes_list(is_of, &limit, &list);
	if (list.n > 0) {
		show(list.p[0]);
		fail("%s has returned with %zu left", after, list.n);
	}
	pids_fini(&list);
}

/* Our own children: at most the forkserver, and none of them a zombie. */
static void expect_no_zombies(void)
{
	struct pids list = { 0 };
	struct proc_stat st;

	mps_active_children(NULL, 0);
	children_read(-1, getpid(), &list);
	for (size_t i = 0; i < list.n; i++)
		if (proc_stat_read(list.p[i], &st) == 0 && st.state == 'Z' &&
		    !is_guard(list.p[i])) {
			show(list.p[i]);
			fail("a zombie is left");
		}
	pids_fini(&list);
}

/* -------------------------------------------------------------------------------------------------- killing */

static unsigned play(uint64_t limit)
{
	int64_t numbers[] = { (int64_t)limit, (int64_t)dice(INT32_MAX), 0 };
	struct mps_process *p;
	unsigned kills = 0, how = dice(8);
	int r = start_with(node, any_method(), numbers, 3, &p);

	if (r < 0) {
		fail("%s", mps_process_failure());
	}
	pause_us(dice(LIFE_US));
	for (uint64_t n = dice(4); n > 0; n--) {
		kills += kill_any(limit);
		pause_us(dice(LIFE_US));
	}
	kills++;
	if (how == 0) {
		mps_process_terminate(p, PATIENCE_S * MPS_SECOND);
	} else if (how == 1) {
		mps_process_kill(p, PATIENCE_S * MPS_SECOND);
	} else {
		mps_process_signal(p, SIGKILL);
		if (mps_process_join(p, PATIENCE_S * MPS_SECOND) < 0)
			fail("join: %s", strerror(errno));
	}
	if (how < 2)
		expect_none(limit, how == 0 ? "terminate" : "kill");
	else
		await_end(limit, PATIENCE_S, "SIGKILL of the root");
	if (mps_process_free(p) < 0)
		fail("free: %s", strerror(errno));
	return kills;
}

/* What is our child and nobody's in the list is the forkserver, or on its way to be a guard. */
static unsigned kill_own_server(void)
{
	struct pids list = { 0 };
	unsigned kills = 0;

	children_read(-1, getpid(), &list);
	for (size_t i = 0; i < list.n; i++)
		if (!is_guard(list.p[i]))
			kills += kill(list.p[i], SIGKILL) == 0;
	pids_fini(&list);
	return kills;
}

static int body(int argc, char **argv)
{
	unsigned wanted = (unsigned)number_of("STRESS_KILLS", 1500), kills = 0;

	(void)argc;
	(void)argv;
	take_seed();
	base = (UINT64_C(1) << 40) + (uint64_t)getpid() * 20;
	for (unsigned n = 0; kills < wanted; n++) {
		kills += play(base + n % 20);
		expect_no_zombies();
		if (dice(10) == 0)
			kills += kill_own_server();
	}
	printf("%u kills\n", kills);
	return 0;
}

int main(int argc, char **argv)
{
	return mps_main(argc, argv, body);
}
