/*
 * Orphans. The keeper is a subreaper, so whatever loses its parent falls to it, and to its first thread, which forks
 * nothing: that thread's list of children holds strays alone, so looking for them costs nothing that grows with the
 * number of programs. Ending a tree needs no walk: when a parent dies its children fall to us and are found in turn.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/internal.h"
#include "keeper/tracker.h"
#include "proc/tag.h"

void stray_reaped(struct keeper *k, const siginfo_t *si)
{
	struct keeper_message m = {
		.type = KEEPER_REAPED,
		.pid = si->si_pid,
		.code = (uint32_t)si->si_code,
		.status = (uint32_t)si->si_status,
	};

	if (k->sock_full || !k->boss.greeted)
		return;
	buf_reset(&k->out);
	keeper_encode(&m, &k->out);
	keeper_send(k, NULL, 0);
}

/*
 * When it died between the reading of the list and now, its children have fallen to us and are not in that list: the
 * list has to be read once more before anybody may be called gone.
 */
static bool reap_stray(struct keeper *k, const struct stray *s)
{
	siginfo_t si = { 0 };

	track_on_connect(k);
	if (waitid(P_PID, (id_t)s->pid, &si, WEXITED | WNOHANG) < 0)
		return errno == ECHILD;
	if (si.si_pid != s->pid)
		return false;
	k->reaped = true;
	if (s->slot != NO_SLOT) {
		k->slots[s->slot].reaped = true;
		sysv_reaped(k, s->slot, s->pid);
	} else {
		stray_reaped(k, &si);
	}
	return true;
}

/* By the tag; without one (it set its limits anew) by the session or group that the main process made. */
static void attribute(struct keeper *k, struct stray *s)
{
	uint32_t index = NO_SLOT, gen = 0;
	pid_t group = getpgid(s->pid);
	uint32_t keeper;

	if (!tag_parse(tag_get(s->pid), &keeper, &index, &gen) || keeper != k->id ||
	    index >= k->n_slots) {
		index = slot_of_pid(k, getsid(s->pid));
		if (index == NO_SLOT)
			index = slot_of_pid(k, group);
		gen = index != NO_SLOT ? k->slots[index].gen : 0;
	}
	s->slot = index;
	if (index == NO_SLOT)
		return;
	s->leave = k->slots[index].leftovers == KEEPER_LEFT_KEEP;
	s->in_group = group == slot_group(&k->slots[index]);
	/* The tag holds the low bits of gen: an earlier run's orphan is nobody's any more. */
	if ((k->slots[index].gen & 0x3fff) != (gen & 0x3fff))
		s->slot = NO_SLOT;
	s->gen = k->slots[index].gen;
	if (s->slot != NO_SLOT && k->slots[index].scan)
		sysv_seen(k, index, s->pid, 0);
}

/* An orphan that has become a main process: no stray any more, but it stands among them. */
static bool is_main(const struct keeper *k, const struct stray *s)
{
	const struct slot *slot = s->slot != NO_SLOT ? &k->slots[s->slot] : NULL;

	return slot != NULL && slot->first != 0 && slot->pid == s->pid && slot->state == SLOT_ALIVE;
}

static bool owned_by_ending(const struct keeper *k, const struct stray *s)
{
	const struct slot *slot;

	if (s->slot == NO_SLOT)
		return false;
	slot = &k->slots[s->slot];
	if (slot->gen != s->gen || slot->state == SLOT_IDLE)
		return false;
	if (slot->state != SLOT_ENDING && !slot->kill)
		return false;
	return slot->leftovers == KEEPER_LEFT_END ||
	       (slot->leftovers == KEEPER_LEFT_GROUP && s->in_group);
}

static void give_up(struct keeper *k, struct stray *s, bool counted)
{
	if (counted)
		k->slots[s->slot].n_left--;
	s->slot = NO_SLOT;
	s->leave = true;
}

static void end_stray(struct keeper *k, struct stray *s)
{
	bool owned = owned_by_ending(k, s) && !is_main(k, s);
	bool hard = owned && k->slots[s->slot].kill;

	if (owned)
		k->slots[s->slot].n_left++;
	if (k->finishing && !s->leave && !is_main(k, s)) {
		owned = true;
		hard = hard || k->finish_kill;
	}
	if (!owned)
		return;
	if (hard) {
		/* It has become another user's: whoever waited for its end would wait for ever. */
		if (kill(s->pid, SIGKILL) < 0 && errno == EPERM)
			give_up(k, s, owned_by_ending(k, s));
	} else if (!s->termed) {
		s->termed = true;
		kill(s->pid, SIGTERM);
		kill(s->pid, SIGCONT);
	}
}

static bool reserve(struct keeper *k, size_t n)
{
	struct stray *p;

	if (n <= k->cap_strays)
		return true;
	p = realloc(k->strays, n * 2 * sizeof(*p));
	if (p == NULL)
		return false;
	k->strays = p;
	k->cap_strays = n * 2;
	return true;
}

/*
 * A forkserver has made it, and it has not said its number yet; or it is a spare, which has the mark of its server and may
 * get another, run and end while we look. One that was dead before will not.
 */
static bool is_unborn(const struct keeper *k, pid_t pid)
{
	uint32_t keeper, index, gen;
	siginfo_t si = { 0 };

	if (k->n_servers == 0)
		return false;
	waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT);
	if (!tag_parse(tag_get(pid), &keeper, &index, &gen) || keeper != k->id)
		return false;
	if (index == 0)
		return si.si_pid == 0;
	return k->n_under_way > 0 && index < k->n_slots && k->slots[index].ask != NULL;
}

/* Without the leader's list we see all children: leaves out those that are no strays. */
static void drop_mains(struct keeper *k)
{
	size_t n = 0;

	for (size_t i = 0; i < k->children_now.n; i++) {
		pid_t pid = k->children_now.p[i];
		uint32_t index = slot_of_pid(k, pid), server;

		if (pid == k->boss.pid || pid == k->next.pid || server_has_pid(k, pid, &server) ||
		    (index != NO_SLOT && k->slots[index].state != SLOT_ENDING) || is_unborn(k, pid))
			continue;
		k->children_now.p[n++] = pid;
	}
	k->children_now.n = n;
}

/*
 * Merges the list of now into the table: both are in the order in which the orphans came, so one pass does; a number
 * that the old table does not have from here on is new.
 */
static void merge(struct keeper *k)
{
	size_t old_n = k->n_strays, from = 0, n = 0;
	struct stray *old = k->strays;

	/* The first time there may be no table at all. */
	if (old_n > 0)
		old = memmove(old + k->children_now.n, old, old_n * sizeof(*old));
	for (size_t i = 0; i < k->children_now.n; i++) {
		struct stray s = { .pid = k->children_now.p[i], .slot = NO_SLOT };
		size_t at = from;
		bool known;

		while (at < old_n && old[at].pid != s.pid)
			at++;
		known = at < old_n;
		if (known) {
			s = old[at];
			from = at + 1;
		} else {
			attribute(k, &s);
		}
		if (is_main(k, &s) || !reap_stray(k, &s))
			k->strays[n++] = s;
	}
	k->n_strays = n;
}

/* No /proc: strays cannot be listed, but the groups of the main processes can be reaped, asked for and signalled. */
static void sweep_groups(struct keeper *k)
{
	for (uint32_t i = k->first_ending; i != NO_SLOT; i = k->slots[i].next_ending) {
		struct slot *s = &k->slots[i];
		bool first = s->deadline.ns == 0;
		siginfo_t si;

		do
			si.si_pid = 0;
		while (waitid(P_PGID, (id_t)s->pid, &si, WEXITED | WNOHANG) == 0 && si.si_pid != 0);
		s->n_left = s->leftovers != KEEPER_LEFT_KEEP && kill(-s->pid, 0) == 0;
		if (s->n_left > 0 && s->kill)
			kill(-s->pid, SIGKILL);
		else if (s->n_left > 0 && first && kill(-s->pid, SIGTERM) == 0)
			kill(-s->pid, SIGCONT);
	}
}

static void settle_ending(struct keeper *k)
{
	uint32_t next;

	for (uint32_t i = k->first_ending; i != NO_SLOT; i = next) {
		next = k->slots[i].next_ending;
		slot_after_sweep(k, i);
	}
}

/* The children of now in k->children_now, with room for them in the table. 0, or -errno. */
static int list_children(struct keeper *k)
{
	int r = children_read(k->children, k->pid, &k->children_now);

	if (r < 0)
		return r;
	if (k->children < 0)
		drop_mains(k);
	return reserve(k, k->n_strays + k->children_now.n) ? 0 : -ENOMEM;
}

/*
 * A sweep looks at all strays, so with a crowd of them one at each death would cost more than the dying. Somebody may
 * wait for it, and then half of the time is for sweeps.
 */
struct mps_time stray_sweep_due(const struct keeper *k)
{
	bool waited_for = (k->first_ending != NO_SLOT || k->finishing) && !k->blind;

	return waited_for ? k->sweep_soon : k->sweep_not_before;
}

void stray_sweep(struct keeper *k, struct mps_time now)
{
	int64_t took;
	int r;

	if (now.ns < stray_sweep_due(k).ns)
		return;
	k->sweep = k->reaped = false;
	r = list_children(k);
	k->blind = r == -ENOMEM || r == -EMFILE || r == -ENFILE;
	if (k->blind) { /* what cannot be seen is not gone */
		k->sweep = true;
		k->sweep_not_before.ns = now.ns + 100 * MPS_NS_PER_MS;
		return;
	}
	if (r < 0) {
		sweep_groups(k);
		settle_ending(k);
		return;
	}
	for (uint32_t i = k->first_ending; i != NO_SLOT; i = k->slots[i].next_ending) {
		k->slots[i].n_left = 0;
		k->slots[i].reaped = false;
	}
	merge(k);
	for (size_t i = 0; i < k->n_strays; i++)
		end_stray(k, &k->strays[i]);
	settle_ending(k);
	k->sweep = k->sweep || (k->finishing && k->reaped);
	took = mps_now().ns - now.ns;
	k->sweep_not_before.ns = now.ns + 10 * took;
	k->sweep_soon.ns = took > MPS_NS_PER_MS ? now.ns + 2 * took : 0;
}

size_t stray_count(const struct keeper *k)
{
	size_t n = 0;

	for (size_t i = 0; i < k->n_strays; i++)
		n += !k->strays[i].leave;
	return n;
}

void stray_signal(struct keeper *k, uint32_t slot, int sig)
{
	for (size_t i = 0; i < k->n_strays; i++)
		if (k->strays[i].slot == slot && k->strays[i].gen == k->slots[slot].gen)
			kill(k->strays[i].pid, sig);
}

bool stray_any(const struct keeper *k, uint32_t slot)
{
	for (size_t i = 0; i < k->n_strays; i++)
		if (k->strays[i].slot == slot && k->strays[i].gen == k->slots[slot].gen)
			return true;
	return false;
}

static bool is_left_alone(uint32_t instance, void *user)
{
	const struct keeper *k = user;

	return instance < k->n_slots && k->slots[instance].leftovers == KEEPER_LEFT_KEEP;
}

void stray_last_look(struct keeper *k)
{
	siginfo_t si;
	size_t n;

	/* Whatever loses its parent falls to us: without children of any kind we have no descendants. */
	if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 && errno == ECHILD)
		return;
	tagged_kill(k->id, is_left_alone, k, 5 * MPS_NS_PER_S, &n);
}
