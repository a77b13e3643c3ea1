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
	track_journal_remove(&s->journal, r);
	track_remove(&s->registry, r);
}

static void forget_record(struct track_record *r, void *user)
{
	forget(user, r);
}

static struct stakes stakes_of(struct serve *s)
{
	return (struct stakes){ &s->registry, &s->journal, forget_record, s };
}

/*
 * Asks and unlinks it; what stays is in `rest`, or is next to be asked. False: a folder, of which the time was too short
 * for all.
 */
static bool end_one(struct serve *s, struct track_record *r, struct mps_time until)
{
	const struct stakes c = stakes_of(s);
	enum object_state state = OBJECT_ABSENT;

	switch (stake_end(&c, r)) {
	case STAKE_HEAR: /* it may go by what is said */
		serve_hear_all(s);
		return true;
	case STAKE_UNLINK:
		/* Before it has another name for a moment: who comes after us looks for it by what it is. */
		serve_write_down(s);
		if (!object_unlink_some(r, &s->walk, until, &state))
			return false;
		break;
	case STAKE_WAIT:
		state = OBJECT_USED;
		break;
	case STAKE_UNKNOWN:
		state = OBJECT_UNKNOWN;
		break;
	case STAKE_NOTHING:
		break;
	}
	if (state == OBJECT_USED || state == OBJECT_UNKNOWN)
		track_give(r, &s->rest);
	else
		forget(s, r);
	return true;
}

static void give_all(struct track_owner *from, struct track_owner *to)
{
	while (from->first != NULL) {
		from->first->over = true;
		track_give(from->first, to);
	}
}

void serve_bury_records(struct serve *s, struct track_owner *dead)
{
	give_all(dead, &s->due);
	s->rest_due = s->rest.first != NULL || s->due.first != NULL;
}

/* What has waited for those that have gone is asked again. */
void serve_expire(struct serve *s)
{
	const struct stakes c = stakes_of(s);

	if (stake_expire(&c, mps_now()))
		s->rest_due = s->rest.first != NULL;
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

static struct stake_name name_of(const struct track_word *w)
{
	return (struct stake_name){ w->type, w->name, w->name_length };
}

/* `p`: NULL where he is dead. */
static void begin_record(struct serve *s, const struct ucred *who, struct process *p,
			 const struct track_word *w)
{
	const struct track_creator creator = { who->pid, who->uid, p != NULL ? p->start : 0 };
	const struct stakes c = stakes_of(s);
	struct track_record *r = track_add(&s->registry, p != NULL ? &p->owner : &s->rest, w->type,
					   w->name, w->name_length, &creator);

	if (p == NULL)
		s->rest_due = true;
	else if (w->type == TRACK_SEMAPHORE)
		p->has_semaphores = true;
	if (r == NULL)
		return;
	r->over = p == NULL;
	stake_begin(&c, r, w->verb == TRACK_ATTEMPT);
}

/* What an attempt was thought to have made, this may have, should that fail. */
static bool may_fail(const struct ucred *who, const struct track_record *r)
{
	return r->attempt && r->young && r->creator.pid != who->pid;
}

/* Files and folders are his who has told last. */
static void on_register(struct serve *s, const struct ucred *who, const struct track_word *w)
{
	bool is_given = w->type == TRACK_FILE || w->type == TRACK_FOLDER;
	struct process *p = serve_process(s, who->pid);
	const struct stakes c = stakes_of(s);
	struct stake_name name = name_of(w);
	struct track_record *r = stake_standing(&c, &name);

	if (r != NULL && is_given && (p == NULL || r->owner != &p->owner)) {
		if (!stake_may_change(r, who->uid))
			return;
		forget(s, r);
	} else if (r != NULL && !may_fail(who, r)) {
		return;
	}
	begin_record(s, who, p, w);
}

static void on_end(struct serve *s, const struct ucred *who, const struct track_word *w)
{
	const struct stakes c = stakes_of(s);
	struct stake_name name = name_of(w);

	if (w->verb == TRACK_RETRACT)
		stake_retract(&c, &name, who->pid);
	else if (w->verb == TRACK_REMOVED)
		stake_removed(&c, &name, who->pid);
	else
		stake_hand_over(&c, &name, who->pid, who->uid);
	s->rest_due = s->rest_due || s->rest.first != NULL;
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
		case TRACK_ATTEMPT:
			begin_record(s, who, serve_process(s, who->pid), &w);
			break;
		case TRACK_UNREGISTER:
		case TRACK_RETRACT:
		case TRACK_REMOVED:
			on_end(s, who, &w);
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
