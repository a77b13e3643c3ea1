/*
 * Thousands of trees of processes that try to get away, started, signalled and killed at random points through a real
 * keeper, and with it the supervisor and the keeper itself. In the end nobody bears the mark any more, every start
 * has been answered once, and the keeper holds as many descriptors as in the beginning.
 * STRESS_SEED and STRESS_ROUNDS repeat a run.
 */
#include "../count_fds.h"
#include "../keeper_peer.h"
#include "stress.h"

enum { SLOTS = 24, STEPS = 300 };

/* ------------------------------------------------------------------------------------------------------ the tree */

static void linger(void)
{
	if (dice(4) == 0)
		_exit((int)dice(3));
	if (dice(8) == 0)
		raise(SIGSTOP);
	for (;;)
		pause();
}

/* True in a child, which then is to grow in its turn. */
static bool grow(unsigned depth)
{
	if (dice(3) == 0)
		setsid();
	if (dice(4) == 0)
		signal(SIGTERM, SIG_IGN);
	for (unsigned n = depth > 0 ? dice(4) : 0; n > 0; n--) {
		uint64_t mine = chance + n;

		if (fork() == 0) {
			chance = mine;
			dice(2);
			return true;
		}
		dice(2);
	}
	return false;
}

static void be_tree(unsigned depth)
{
	while (grow(depth))
		depth--;
	/* A chain: the child goes on as us. */
	for (unsigned n = dice(5) == 0 ? dice(200) : 0; n > 0; n--)
		if (fork() != 0)
			_exit(0);
	linger();
}

/* ----------------------------------------------------------------------------------------------- the supervisor's */

struct slot {
	uint32_t gen;
	bool asked, alive, ended; /* ended: EXITED has come, GONE is due */
};

struct play {
	struct peer p;
	struct slot slots[SLOTS];
	int null;
	unsigned starts, exits, fails;
};

static void on_message(struct play *y, const struct keeper_message *m)
{
	struct slot *s = &y->slots[m->instance];

	if (m->instance >= SLOTS || m->gen != s->gen)
		fail("a report of no start of ours");
	switch (m->type) {
	case KEEPER_STARTED:
		if (!s->asked || s->alive)
			fail("STARTED twice");
		s->alive = true;
		return;
	case KEEPER_FAILED:
		if (!s->asked || s->alive)
			fail("FAILED after STARTED");
		y->fails++;
		*s = (struct slot){ .gen = s->gen };
		return;
	case KEEPER_EXITED:
		if (!s->alive || s->ended)
			fail("EXITED of what does not live");
		y->exits++;
		s->ended = true;
		if (m->tree_left)
			return;
		break;
	case KEEPER_GONE:
		if (!s->ended)
			fail("GONE before EXITED");
		break;
	default:
		fail("a message that nobody asked for");
	}
	*s = (struct slot){ .gen = s->gen };
}

static void take_reports(struct play *y)
{
	struct keeper_message m;

	while (peer_wait_readable(y->p.sock, 0)) {
		if (peer_recv(&y->p, &m) < 0)
			fail("the keeper is gone");
		on_message(y, &m);
	}
}

static void start(struct play *y, uint32_t i)
{
	char role[64];
	char *argv[] = { (char *)peer_self(), NULL };
	char *wrong[] = { (char *)"/nonexistent", NULL };
	char *envp[] = { role, NULL };
	struct slot *s = &y->slots[i];
	struct peer_worker w = {
		.instance = i,
		.gen = ++s->gen,
		.leftovers = KEEPER_LEFT_END,
		.grace_ns = dice(20) * MPS_NS_PER_MS,
		.argv = dice(16) == 0 ? wrong : argv,
		.envp = envp,
		.out = y->null,
	};

	snprintf(role, sizeof(role), PEER_ROLE "=%u", dice(1u << 30));
	if (peer_start(&y->p, &w) < 0)
		fail("cannot start");
	s->asked = true;
	y->starts++;
}

/* Whoever it is, from outside and at any moment. */
static void kill_somebody(struct play *y)
{
	static const int signals[] = { SIGKILL, SIGTERM, SIGSTOP, SIGSEGV };
	struct pids list = { 0 };

	tagged_processes(y->p.id, &list);
	if (list.n > 0)
		kill(list.p[dice((unsigned)list.n)], signals[dice(4)]);
	pids_fini(&list);
}

static void step(struct play *y)
{
	uint32_t i = dice(SLOTS);
	struct slot *s = &y->slots[i];

	take_reports(y);
	if (!s->asked)
		start(y, i);
	else if (dice(6) == 0)
		kill_somebody(y);
	else if (dice(3) == 0)
		peer_signal(&y->p, i, s->gen, SIGKILL, KEEPER_SCOPE_TREE);
	else if (dice(3) == 0)
		peer_signal(&y->p, i, s->gen, dice(2) ? SIGTERM : SIGQUIT,
			    (enum keeper_scope)dice(3));
}

/* Kills all trees and waits until every one is gone. */
static void calm(struct play *y)
{
	struct keeper_message m;

	for (uint32_t i = 0; i < SLOTS; i++)
		if (y->slots[i].asked)
			peer_signal(&y->p, i, y->slots[i].gen, SIGKILL, KEEPER_SCOPE_TREE);
	for (uint32_t i = 0; i < SLOTS; i++)
		while (y->slots[i].asked) {
			if (peer_recv(&y->p, &m) < 0)
				fail("a slot does not come to rest");
			on_message(y, &m);
		}
	if (!peer_wait_untagged(&y->p))
		fail("all slots are empty, but a process bears the mark");
	if (peer_n_tagged(&y->p) != 0)
		fail("all slots are empty, but a process bears the mark still");
}

/* The end of the test, with who is left and whose it is. */
static void fail_with_list(const struct play *y, const char *what)
{
	struct pids list = { 0 };

	tagged_processes(y->p.id, &list);
	for (size_t i = 0; i < list.n; i++) {
		struct proc_stat st = { 0 };
		uint32_t instance = 0, gen = 0;
		uint32_t keeper;

		tag_parse(tag_get(list.p[i]), &keeper, &instance, &gen);
		proc_stat_read(list.p[i], &st);
		fprintf(stderr, "%d (%c, parent %d, session %d): instance %u start %u\n", list.p[i],
			st.state, st.ppid, st.session, instance, gen);
	}
	pids_fini(&list);
	fail("%s", what);
}

/*
 * What loses the keeper falls to us, so this sees what no look into /proc can miss. Those that are on their way down may
 * take a moment; false when one lives on.
 */
static bool all_reaped(void)
{
	const struct timespec patience = { PEER_PATIENCE / 1000, 0 };
	sigset_t set;
	pid_t pid;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (;;) {
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		if (pid < 0)
			return true;
		if (sigtimedwait(&set, NULL, &patience) < 0)
			return false;
	}
}

/* How it ends: in order, without a supervisor, without a keeper. */
static void end(struct play *y)
{
	unsigned how = dice(3);
	size_t killed;

	switch (how) {
	case 0:
		if (peer_finish(&y->p, 3) != 3)
			fail("the keeper's exit status is not what it was told");
		break;
	case 1:
		kill(y->p.supervisor, SIGKILL);
		if (peer_wait_keeper(&y->p) != 1)
			fail("the keeper without a supervisor did not end by itself");
		break;
	default:
		kill(y->p.keeper, SIGKILL);
		peer_wait_keeper(&y->p);
		tagged_kill(y->p.id, NULL, NULL, 10 * MPS_NS_PER_S,
			    &killed); /* the supervisor's part */
		break;
	}
	if (!all_reaped())
		fail_with_list(y, how == 0   ? "somebody is left"
				  : how == 1 ? "somebody is left without a supervisor"
					     : "somebody is left without a keeper");
}

static void play(unsigned round)
{
	static const char *const without[] = { NULL, "clone_vm", "pidfd", "children",
					       "close_range" };
	const struct peer_options o = { .no = without[round % ARRAY_SIZE(without)] };
	static struct play y;
	unsigned before;

	y = (struct play){ .null = open("/dev/null", O_RDWR | O_CLOEXEC) };
	if (!peer_open(&y.p, &o))
		fail("no keeper");
	for (unsigned i = 0; i < 50; i++)
		step(&y);
	calm(&y);
	before = count_fds(y.p.keeper);
	for (unsigned i = 0; i < STEPS; i++)
		step(&y);
	calm(&y);
	if (count_fds(y.p.keeper) != before)
		fail("the keeper's descriptors have grown");
	for (unsigned i = 0; i < dice(100); i++)
		step(&y);
	end(&y);
	close(y.null);
	printf("round %u (without %s): %u starts, %u exits, %u failed\n", round,
	       o.no != NULL ? o.no : "nothing", y.starts, y.exits, y.fails);
}

int main(void)
{
	sigset_t set;
	const char *role = getenv(PEER_ROLE);

	if (role != NULL && strcmp(role, "supervisor") == 0)
		peer_be_supervisor();
	if (role != NULL) {
		chance = strtoull(role, NULL, 10);
		be_tree(3);
	}
	/* Orphans of a killed keeper come to us: so none is missed, and none is anybody else's. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	take_seed();
	for (unsigned i = 0; i < (unsigned)number_of("STRESS_ROUNDS", 15); i++) {
		play(i);
		fflush(stdout);
	}
	return 0;
}
