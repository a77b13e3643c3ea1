/*
 * Whose words they are, and what becomes of them: records. Whose a process is its tag tells.
 *
 * A process may be dead and reaped before its words are read: they count as those of who has made the connection. A
 * client that probes first is known before it can die.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keeper/tracker.h"
#include "proc/tag.h"
#include "proc/tree.h"
#include "track/slate.h"

/* A number means the same process for so long; then it is looked at again. */
#define START_NS MPS_NS_PER_S

/* ------------------------------------------------------------------------------------------------- who is it? */

struct holding *track_whose(struct keeper *k, pid_t pid, bool *ret_over)
{
	uint32_t keeper, index, gen;
	const struct slot *s;

	if (pid <= 1 || !tag_parse(tag_get(pid), &keeper, &index, &gen) || keeper != k->id ||
	    index >= k->n_slots)
		return NULL;
	s = &k->slots[index];
	*ret_over = s->state == SLOT_IDLE || (s->gen & 0x3fff) != gen;
	return holding_of_slot(k, index);
}

static bool is_gone(pid_t pid)
{
	return kill(pid, 0) < 0 && errno == ESRCH;
}

static uint64_t start_of(struct keeper *k, struct client *c, const struct sender *s)
{
	int64_t now = mps_now().ns;
	pid_t pid = s->pid;
	struct proc_stat st;

	if (c->pid == pid && now - c->start_read < START_NS)
		return c->start;
	c->pid = pid;
	c->start_read = now;
	c->start = proc_stat_read(pid, &st) == 0 ? st.start_ticks : 0;
	if (!s->over && s->holding->slot != NO_SLOT)
		sysv_seen(k, s->holding->slot, pid, c->start);
	return c->start;
}

struct holding *track_unclaimed(struct tracker *t)
{
	if (t->unclaimed == NULL && (t->unclaimed = holding_new(NO_SLOT, "")) != NULL)
		t->unclaimed->cleanup = KEEPER_CLEAN_SHUTDOWN;
	return t->unclaimed;
}

bool track_identify(struct keeper *k, struct client *c, const struct ucred *who, struct sender *s)
{
	s->pid = who->pid;
	s->uid = who->uid;
	s->over = false;
	s->holding = track_whose(k, who->pid, &s->over);
	if (s->holding == NULL && is_gone(who->pid)) {
		s->holding = c->holding != NULL ? c->holding : track_unclaimed(k->tracker);
		s->over = s->holding != NULL && s->holding->slot == NO_SLOT;
	}
	if (s->holding == NULL)
		return false;
	s->start = start_of(k, c, s);
	if (c->holding == NULL && s->holding->slot != NO_SLOT)
		track_client_belongs(c, s->holding);
	return true;
}

/* ------------------------------------------------------------------------------------------------------- words */

void track_drop(struct tracker *t)
{
	t->n_dropped++;
	t->dropped_news = true;
}

struct track_record *track_record(struct tracker *t, const struct sender *s, enum track_type type,
				  const char *name, size_t n)
{
	const struct track_creator creator = { s->pid, s->uid, s->start };
	struct track_owner *owner =
		s->over ? holding_rest(t, s->holding) : &s->holding->lists[LIVE].owner;
	struct track_record *r;

	if (t->registry.n + t->n_news >= TRACK_RECORDS_MAX ||
	    owner->n >= TRACK_RECORDS_INSTANCE_MAX)
		return NULL;
	r = track_add(&t->registry, owner, type, name, n, &creator);
	if (r == NULL)
		return NULL;
	track_told(&t->registry, r, s->sent_ns);
	r->over = s->over;
	s->holding->has_semaphores = s->holding->has_semaphores || type == TRACK_SEMAPHORE;
	holding_changed(t, s->holding);
	return r;
}

static struct stake_name name_of(const struct track_word *w)
{
	return (struct stake_name){ w->type, w->name, w->name_length };
}

static void begin_record(struct tracker *t, const struct sender *s, const struct track_word *w)
{
	struct track_record *r = track_record(t, s, w->type, w->name, w->name_length);

	if (r != NULL)
		stake_begin(&t->stakes, r, w->verb == TRACK_ATTEMPT);
	else
		track_drop(t);
}

/* What an attempt was thought to have made, this may have, should that fail. */
static bool may_fail(const struct sender *s, const struct track_record *r)
{
	return r->attempt && r->young && r->creator.pid != s->pid;
}

/*
 * Where it is there and on record already nothing is new: whoever has told of it last has not made it. Files and folders
 * are his who has told last.
 */
static void on_register(struct keeper *k, const struct sender *s, const struct track_word *w)
{
	bool is_given = w->type == TRACK_FILE || w->type == TRACK_FOLDER;
	struct tracker *t = k->tracker;
	struct stake_name name = name_of(w);
	struct track_record *r = stake_standing(&t->stakes, &name);

	walk_forget(t, w->type, w->name);
	if (r != NULL && is_given && holding_of(r) != s->holding) {
		if (!stake_may_change(r, s->uid)) {
			track_drop(t);
			return;
		}
		leak_forget(t, r);
	} else if (r != NULL && !may_fail(s, r)) {
		return;
	}
	begin_record(t, s, w);
}

/* It was found before he was heard, who is about to have made it. */
static bool is_found(const struct sender *s, const struct track_record *r)
{
	return r->found && holding_of(r) == s->holding &&
	       r->identity.born_ns >= s->sent_ns - MPS_COARSE_LAG_NS;
}

static void on_attempt(struct keeper *k, const struct sender *s, const struct track_word *w)
{
	struct tracker *t = k->tracker;
	const struct track_record *r = track_find(&t->registry, w->type, w->name, w->name_length);

	walk_forget(t, w->type, w->name);
	for (; r != NULL; r = track_next(r))
		if (is_found(s, r))
			return;
	begin_record(t, s, w);
}

/* What waits for somebody else is to be asked again. */
static void ask_kept(struct tracker *t)
{
	t->pass_due = t->pass_due || t->kept != NULL;
}

static void on_retract(struct keeper *k, const struct sender *s, const struct track_word *w)
{
	struct tracker *t = k->tracker;
	struct stake_name name = name_of(w);

	if (stake_retract(&t->stakes, &name, s->pid))
		ask_kept(t);
}

static void on_removed(struct keeper *k, const struct sender *s, const struct track_word *w)
{
	struct tracker *t = k->tracker;
	struct stake_name name = name_of(w);

	walk_forget(t, w->type, w->name);
	stake_removed(&t->stakes, &name, s->pid);
	ask_kept(t);
}

static void on_unregister(struct keeper *k, const struct sender *s, const struct track_word *w)
{
	struct tracker *t = k->tracker;
	struct stake_name name = name_of(w);

	walk_forget(t, w->type, w->name);
	if (!stake_hand_over(&t->stakes, &name, s->pid, s->uid))
		track_drop(t);
	else if (track_type_is_sysv(w->type))
		sysv_given(t, w->type, w->name);
}

/* -1: there is none. */
static int slate_of(const struct tracker *t, uid_t uid)
{
	for (size_t i = 0; i < t->n_slates; i++)
		if (t->slates[i].uid == uid)
			return t->slates[i].fd;
	return -1;
}

/* Once a datagram: the sender has noted it before he said it. */
static void wipe_later(struct tracker *t, uid_t uid, const char *place)
{
	int fd = slate_of(t, uid);

	if (fd >= 0 && t->n_wipes < TRACK_BATCH)
		t->wipes[t->n_wipes++] = (struct wipe){ fd, (unsigned)strtoul(place, NULL, 10) };
}

void track_write_down(struct tracker *t)
{
	int r = 0;

	if (t->journal.out.len > 0 || t->n_wipes > 0)
		r = track_journal_flush(&t->journal, &t->registry);
	t->journal_more = r == 1;
	for (size_t i = 0; i < t->n_wipes && r >= 0; i++)
		slate_wipe(t->wipes[i].fd, t->wipes[i].place);
	t->n_wipes = 0;
}

/* A lone probe: all that was said before it is recorded and written down. */
static void answer(struct keeper *k, const struct client *c)
{
	static const char text[] = "PROBE:0:noop\n";

	track_write_down(k->tracker);
	send(c->fd, text, sizeof(text) - 1,
	     MSG_DONTWAIT | MSG_NOSIGNAL); /* who does not read is not told */
}

void track_datagram(struct keeper *k, struct client *c, const struct sender *s, char *p, size_t n)
{
	struct track_word w;
	size_t n_words = 0;
	int r;

	while ((r = track_word_next(&p, &n, &w)) != 0) {
		if (r < 0 || w.name_length > TRACK_NAME_MAX) {
			track_drop(k->tracker);
			continue;
		}
		n_words++;
		switch (w.verb) {
		case TRACK_REGISTER:
			on_register(k, s, &w);
			break;
		case TRACK_UNREGISTER:
			on_unregister(k, s, &w);
			break;
		case TRACK_ATTEMPT:
			on_attempt(k, s, &w);
			break;
		case TRACK_RETRACT:
			on_retract(k, s, &w);
			break;
		case TRACK_REMOVED:
			on_removed(k, s, &w);
			break;
		case TRACK_PROBE:
			if (n_words == 1 && n == 0)
				answer(k, c);
			break;
		case TRACK_SLATE:
			wipe_later(k->tracker, s->uid, w.name);
			break;
		}
	}
}
