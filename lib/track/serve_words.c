/*
 * What processes tell a tracker without a supervisor of, and what becomes of it when they are dead: in parts, so that many
 * objects, or a folder with many files, hold nobody up.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "track/serving.h"

/* For what the dead have left, before others are heard. */
#define TURN_NS MPS_NS_PER_MS

/* ------------------------------------------------------------------------------------------------------ records */

void serve_write_down(struct serve *s)
{
	s->journal_more = track_journal_flush(&s->journal, &s->registry) == 1;
}

static void forget(struct serve *s, struct track_record *r)
{
	const struct track_identity was = r->identity;
	struct track_record *heir = r->waiting;

	if (!r->waits)
		track_journal_remove(&s->journal, (enum track_type)r->type, r->name,
				     r->name_length);
	track_remove(&s->registry, r);
	if (heir == NULL)
		return;
	if (object_succeeds(heir, &was))
		track_journal_add(&s->journal, heir);
	else
		forget(s, heir);
}

/* Asks and unlinks it; what stays is in `rest`. False: a folder, of which the time was too short for all. */
static bool end_one(struct serve *s, struct track_record *r, struct mps_time until)
{
	enum object_state state = OBJECT_FOREIGN;

	/* Before it has another name for a moment: who comes after us looks for it by what it is. */
	if (!r->waits && object_learn(r)) {
		track_journal_add(&s->journal, r);
		serve_write_down(s);
	}
	if (r->waiting != NULL) /* somebody else may have made it; he says so soon if he has not */
		state = OBJECT_USED;
	else if (!r->waits && !object_unlink_some(r, &s->walk, until, &state))
		return false;
	if (state == OBJECT_USED || state == OBJECT_UNKNOWN)
		track_give(r, &s->rest);
	else
		forget(s, r);
	return true;
}

static void give_all(struct track_owner *from, struct track_owner *to)
{
	while (from->first != NULL)
		track_give(from->first, to);
}

void serve_bury_records(struct serve *s, struct track_owner *dead)
{
	give_all(dead, &s->due);
	s->rest_due = s->rest.first != NULL || s->due.first != NULL;
}

void serve_ask_rest(struct serve *s)
{
	s->rest_due = false;
	give_all(&s->rest, &s->due);
}

void serve_work(struct serve *s)
{
	struct mps_time began = mps_now(), now = began, until = { began.ns + TURN_NS };

	while (s->due.first != NULL && now.ns < until.ns && end_one(s, s->due.first, until))
		now = mps_now();
	s->took += mps_now().ns - began.ns;
	serve_write_down(s);
	if (s->due.first != NULL)
		return;
	/* With many of them, asking at each death would cost more than all else. */
	s->rest_not_before.ns = mps_now().ns + 10 * s->took;
	s->took = 0;
}

/* -------------------------------------------------------------------------------------------------------- words */

static bool may_change(const struct ucred *who, struct track_record *r)
{
	enum object_state state;

	if (who->uid == r->creator.uid || who->uid == 0)
		return true;
	state = object_ask(r);
	return state == OBJECT_ABSENT || state == OBJECT_FOREIGN;
}

/* It is the same object that he has told of before, or that was not there yet then. */
static bool is_known(const struct process *p, struct track_record *r)
{
	struct track_identity now;

	if (p == NULL || r->owner != &p->owner)
		return false;
	if (r->identity.ino == 0 && r->identity.born_ns == 0)
		return object_settle(r);
	return object_identify((enum track_type)r->type, r->name, &now) &&
	       now.ino == r->identity.ino && now.born_ns == r->identity.born_ns;
}

static struct track_record *find(const struct serve *s, const struct track_word *w)
{
	return track_find(&s->registry, w->type, w->name, w->name_length);
}

/* `p`: NULL where he is dead. `behind`: NULL, or what the new one waits behind. */
static struct track_record *add(struct serve *s, const struct ucred *who, struct process *p,
				const struct track_word *w, struct track_record *behind)
{
	const struct track_creator creator = { who->pid, who->uid, p != NULL ? p->start : 0 };
	struct track_owner *owner = p != NULL ? &p->owner : &s->rest;

	if (p == NULL)
		s->rest_due = true;
	else if (w->type == TRACK_SEMAPHORE)
		p->has_semaphores = true;
	return behind != NULL
		       ? track_wait(&s->registry, behind, owner, &creator)
		       : track_add(&s->registry, owner, w->type, w->name, w->name_length, &creator);
}

static void begin_record(struct serve *s, const struct ucred *who, struct process *p,
			 const struct track_word *w)
{
	struct track_record *r = add(s, who, p, w, NULL);

	if (r == NULL)
		return;
	r->attempt = w->verb == TRACK_ATTEMPT;
	if (object_begin(r))
		track_journal_add(&s->journal, r);
	else
		forget(s, r);
}

static void on_register(struct serve *s, const struct ucred *who, const struct track_word *w)
{
	struct process *p = serve_process(s, who->pid);
	struct track_record *r = find(s, w);

	if (r != NULL && !may_change(who, r))
		return;
	if (r != NULL && is_known(p, r)) {
		track_journal_add(&s->journal, r);
		return;
	}
	for (; r != NULL; r = find(s, w))
		forget(s, r);
	begin_record(s, who, p, w);
}

/* What is on record and stands stays as it is: who fails says so, and who does not is there when it goes. */
static void on_attempt(struct serve *s, const struct ucred *who, const struct track_word *w)
{
	struct process *p = serve_process(s, who->pid);
	struct track_record *r;

	while ((r = find(s, w)) != NULL && !object_stands(r))
		forget(s, r);
	if (r != NULL)
		add(s, who, p, w, r);
	else
		begin_record(s, who, p, w);
}

/* Whoever else has told of that name may have made it. */
static void on_retract(struct serve *s, const struct ucred *who, const struct track_word *w)
{
	struct track_record *r = find(s, w), *a = r != NULL ? track_attempt_of(r, who->pid) : NULL;

	if (a == NULL)
		return;
	s->rest_due = s->rest_due || s->rest.first != NULL;
	a->identity = (struct track_identity){ 0 };
	forget(s, a);
}

static void on_unregister(struct serve *s, const struct ucred *who, const struct track_word *w)
{
	struct track_record *r = find(s, w);

	if (r != NULL && may_change(who, r))
		forget(s, r);
}

static void answer(struct serve *s, int fd)
{
	static const char text[] = "PROBE:0:noop\n";

	serve_write_down(s);
	send(fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void serve_datagram(struct serve *s, int fd, const struct ucred *who, size_t n)
{
	char *p = s->text;
	struct track_word w;
	size_t n_words = 0;
	int r;

	while ((r = track_word_next(&p, &n, &w)) != 0) {
		if (r < 0 || w.name_length > TRACK_NAME_MAX)
			continue;
		n_words++;
		switch (w.verb) {
		case TRACK_REGISTER:
			on_register(s, who, &w);
			break;
		case TRACK_UNREGISTER:
			on_unregister(s, who, &w);
			break;
		case TRACK_ATTEMPT:
			on_attempt(s, who, &w);
			break;
		case TRACK_RETRACT:
			on_retract(s, who, &w);
			break;
		case TRACK_PROBE:
			if (n_words == 1 && n == 0)
				answer(s, fd);
			break;
		case TRACK_SLATE:
			break;
		}
	}
}
