/*
 * The ends of processes: by themselves, when their time is over, or when all is to end; and that of
 * what they leave.
 */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "map/internal.h"
#include "proc/tag.h"

static struct place *place_of(struct map *m, pid_t pid)
{
	for (unsigned i = 0; i < m->n_places; i++)
		if (m->places[i].state == PLACE_RUNNING && m->places[i].pid == pid)
			return &m->places[i];
	return NULL;
}

/* By its mark; where it has another by now, by its group or session. NULL = nobody's. */
static struct place *owner_of(struct map *m, pid_t pid)
{
	uint32_t id, number, gen;
	pid_t group = getpgid(pid), session = getsid(pid);

	if (tag_parse(mark_get(pid), &id, &number, &gen) && id == m->id && number >= 1 &&
	    number <= m->n_places) {
		struct place *s = &m->places[number - 1];

		return (s->gen & 0x3fff) == gen ? s : NULL;
	}
	for (unsigned i = 0; i < m->n_places; i++)
		if (m->places[i].state != PLACE_FREE &&
		    (m->places[i].pid == group || m->places[i].pid == session))
			return &m->places[i];
	return NULL;
}

static bool was_told(const struct place *s, pid_t pid)
{
	for (size_t i = 0; i < s->told.n; i++)
		if (s->told.p[i] == pid)
			return true;
	return false;
}

/* Its children fall to us when it is gone, and are ended then. */
static void end_orphan(struct map *m, struct place *s, pid_t pid)
{
	struct mps_time now = mps_now();
	int sig;

	if (s->kill_at.ns == 0)
		s->kill_at.ns = now.ns + m->o->grace.ns;
	s->killed |= m->hard || now.ns >= s->kill_at.ns;
	sig = s->killed ? SIGKILL : SIGTERM;
	s->orphans = true;
	if (!s->killed && was_told(s, pid))
		return;
	if (kill(pid, sig) < 0)
		s->orphans = errno != EPERM; /* it has become another user's */
	if (!s->killed) {
		pids_add(&s->told, pid);
		kill(pid, SIGCONT);
	}
}

/*
 * We are a subreaper: what a task leaves when it ends is our child then. Mostly there is nothing,
 * and our children are as many as run.
 */
static void sweep(struct map *m)
{
	struct pids *all = &m->orphans;

	if (m->n_left == 0)
		return;
	for (unsigned i = 0; i < m->n_places; i++)
		m->places[i].orphans = false;
	/* A forkserver and its spare are our children too, and are not always there. */
	if (children_read(m->children, getpid(), all) == 0 &&
	    (all->n != m->n_running || m->forker.pid != 0))
		for (size_t i = 0; i < all->n; i++) {
			struct place *s =
				place_of(m, all->p[i]) == NULL ? owner_of(m, all->p[i]) : NULL;

			if (s != NULL && s->state == PLACE_LEFT)
				end_orphan(m, s, all->p[i]);
		}
	for (unsigned i = 0; i < m->n_places; i++)
		if (m->places[i].state == PLACE_LEFT && !m->places[i].orphans)
			place_over(m, &m->places[i]);
}

void place_left(struct map *m, struct place *s)
{
	s->state = PLACE_LEFT;
	s->deadline.ns = 0;
	m->n_running--;
	m->n_left++;
}

void places_reap(struct map *m)
{
	siginfo_t si = { 0 };

	while (waitid(P_ALL, 0, &si, WEXITED | WNOHANG) == 0 && si.si_pid != 0) {
		struct place *s = place_of(m, si.si_pid);

		/* It has said its number before it could end. */
		if (s == NULL && !birth_on_exit(m, &si)) {
			births_read(m);
			s = place_of(m, si.si_pid);
		}
		if (s != NULL) {
			if (s->birth >= 0)
				birth_read(m, s);
			s->end = si;
			place_left(m, s);
		}
		si.si_pid = 0;
	}
	sweep(m);
}

static void signal_tree(const struct place *s, int sig)
{
	if (s->pid == 0)
		return; /* see place_born() */
	/* Before it has made its group it is alone. */
	if (kill(-s->pid, sig) < 0)
		kill(s->pid, sig);
}

void place_end(struct map *m, struct place *s, bool hard)
{
	if (s->state != PLACE_RUNNING)
		return;
	if (hard) {
		s->killed = true;
		signal_tree(s, SIGKILL);
		return;
	}
	if (s->kill_at.ns != 0)
		return;
	s->kill_at.ns = mps_now().ns + m->o->grace.ns;
	signal_tree(s, SIGTERM);
	signal_tree(s, SIGCONT);
}

void place_born(struct place *s, pid_t pid)
{
	s->pid = pid;
	if (s->kill_at.ns != 0)
		signal_tree(s, s->killed ? SIGKILL : SIGTERM);
	else if (s->killed)
		signal_tree(s, SIGKILL);
}

void places_signal(struct map *m, int sig)
{
	for (unsigned i = 0; i < m->n_places; i++)
		if (m->places[i].state == PLACE_RUNNING)
			signal_tree(&m->places[i], sig);
}

static void earliest(struct mps_time *at, struct mps_time t)
{
	if (t.ns != 0 && (at->ns == 0 || t.ns < at->ns))
		*at = t;
}

struct mps_time places_on_time(struct map *m, struct mps_time now)
{
	struct mps_time next = { 0 };
	bool again = false;

	if (m->n_running == 0 && m->n_left == 0)
		return next;
	for (unsigned i = 0; i < m->n_places; i++) {
		struct place *s = &m->places[i];

		if (s->state == PLACE_FREE)
			continue;
		if (s->deadline.ns != 0 && now.ns >= s->deadline.ns) {
			s->deadline.ns = 0;
			s->timed_out = true;
			place_end(m, s, false);
		}
		if (s->kill_at.ns != 0 && now.ns >= s->kill_at.ns && !s->killed) {
			again |= s->state == PLACE_LEFT;
			place_end(m, s, true);
		}
		earliest(&next, s->deadline);
		if (!s->killed)
			earliest(&next, s->kill_at);
	}
	if (again)
		sweep(m);
	return next;
}
