/*
 * See stake.h. A name is looked up once for all of its records.
 */
#include "track/stake.h"

#include <errno.h>

#include "base/limits.h"
#include "track/look.h"
#include "track/object.h"

enum { EXPIRE_MAX = 64 };

/* What there is now. */
struct sight {
	struct look look;
	bool stands;
	bool unknown; /* it cannot be told */
};

static struct stake_name name_of(const struct track_record *r)
{
	return (struct stake_name){ (enum track_type)r->type, r->name, r->name_length };
}

static struct track_record *first_of(const struct stakes *c, const struct stake_name *name)
{
	return track_find(c->registry, name->type, name->p, name->n);
}

static void see(struct sight *s, const struct stake_name *name)
{
	int r;

	*s = (struct sight){ .look = LOOK_INIT };
	r = object_look(name->type, name->p, &s->look);
	s->stands = r == 0;
	s->unknown = r < 0 && r != -ENOENT;
}

static bool is_of(const struct track_record *r, const struct sight *s)
{
	return track_knows(r) && s->stands && object_is_same(r, &s->look);
}

static void become(const struct stakes *c, struct track_record *r, struct track_identity identity,
		   bool gone)
{
	r->identity = identity;
	r->gone = gone;
	r->heard = false;
	track_journal_add(c->journal, r);
}

/* ------------------------------------------------------------------------------------------------- what has gone */

/* Somebody else may have made what the record was thought to be of. */
static bool is_contested(const struct stakes *c, const struct track_record *r)
{
	const struct stake_name name = name_of(r);
	const struct track_record *at = first_of(c, &name);

	for (; at != NULL; at = track_next(at))
		if (at != r && at->creator.pid != r->creator.pid && !at->gone &&
		    (!track_knows(at) || at->identity.ino == r->identity.ino))
			return true;
	return false;
}

static void lose(const struct stakes *c, struct track_record *r)
{
	const struct track_identity nothing = { 0 }, was = { .born_ns = mps_wall().ns };

	if (!r->young || r->found)
		c->forget(r, c->user);
	else if (is_contested(c, r))
		become(c, r, nothing, false);
	else
		become(c, r, was, true);
}

static void lose_gone(const struct stakes *c, const struct stake_name *name, const struct sight *s)
{
	for (struct track_record *r = first_of(c, name), *next; r != NULL && !s->unknown;
	     r = next) {
		next = track_next(r);
		if (track_knows(r) && !r->gone && !is_of(r, s))
			lose(c, r);
	}
}

/* ------------------------------------------------------------------------------------------------- what is there */

static bool is_taken(const struct stakes *c, const struct stake_name *name, const struct sight *s)
{
	const struct track_record *r = first_of(c, name);

	while (r != NULL && !is_of(r, s))
		r = track_next(r);
	return r != NULL;
}

/* The one that can be of what is there, or has been; NULL: none or several. */
static struct track_record *only_one(const struct stakes *c, const struct stake_name *name,
				     const struct sight *s)
{
	struct track_record *only = NULL;

	for (struct track_record *r = first_of(c, name); r != NULL; r = track_next(r)) {
		if (track_knows(r) || (s->stands && !object_may_be(r, &s->look)))
			continue;
		if (only != NULL)
			return NULL;
		only = r;
	}
	return only;
}

static void settle(const struct stakes *c, const struct stake_name *name, const struct sight *s)
{
	struct track_record *r;

	if (!s->stands || is_taken(c, name, s))
		return;
	r = only_one(c, name, s);
	if (r != NULL)
		become(c, r, s->look.identity, false);
}

/* It has made that, and it has gone: what is there now came later. */
static void settle_gone(const struct stakes *c, const struct stake_name *name)
{
	static const struct sight nothing;
	struct track_record *r = only_one(c, name, &nothing);

	if (r != NULL)
		become(c, r, (struct track_identity){ .born_ns = mps_wall().ns }, true);
}

void stake_made(const struct stakes *c, const struct stake_name *name, bool (*has_gone)(void *user),
		void *user)
{
	struct sight s;
	bool gone;

	if (first_of(c, name) == NULL)
		return;
	see(&s, name);
	gone = has_gone(user) || (!s.stands && !s.unknown);
	lose_gone(c, name, &s);
	if (gone)
		settle_gone(c, name);
	else
		settle(c, name, &s);
	look_fini(&s.look);
}

void stake_passed(const struct stakes *c, const struct stake_name *name)
{
	if (first_of(c, name) != NULL)
		settle_gone(c, name);
}

struct track_record *stake_standing(const struct stakes *c, const struct stake_name *name)
{
	struct track_record *r;
	struct sight s;

	if (first_of(c, name) == NULL)
		return NULL;
	see(&s, name);
	lose_gone(c, name, &s);
	settle(c, name, &s);
	r = first_of(c, name);
	while (r != NULL && !is_of(r, &s))
		r = track_next(r);
	look_fini(&s.look);
	return r;
}

/* ------------------------------------------------------------------------------------------------------ beginning */

/* Who has said this before what is gone had gone may have made that. */
static void contest(const struct stakes *c, const struct track_record *by)
{
	const struct stake_name name = name_of(by);

	for (struct track_record *r = first_of(c, &name); r != NULL; r = track_next(r))
		if (r->gone && r->young && r->creator.pid != by->creator.pid &&
		    by->told_ns <= r->identity.born_ns)
			become(c, r, (struct track_identity){ 0 }, false);
}

/* Whoever makes and another removes the same name again and again has one behind all those. */
static void limit_unsure(const struct stakes *c, const struct track_record *by)
{
	const struct stake_name name = name_of(by);
	struct track_record *oldest = NULL;
	size_t n = 0;

	for (struct track_record *r = first_of(c, &name); r != NULL; r = track_next(r)) {
		if (r->creator.pid != by->creator.pid || (track_knows(r) && !r->gone))
			continue;
		n++;
		if (oldest == NULL || r->told_ns < oldest->told_ns)
			oldest = r;
	}
	if (n > TRACK_UNSURE_MAX && oldest != by)
		c->forget(oldest, c->user);
}

/* Of these it is told by whoever wants them gone. */
static bool is_anybody_s(const struct track_record *r)
{
	return !r->attempt && (r->type == TRACK_FILE || r->type == TRACK_FOLDER);
}

static bool begin(const struct stakes *c, struct track_record *r)
{
	const struct stake_name name = name_of(r);
	bool was_there;
	struct sight s;

	see(&s, &name);
	lose_gone(c, &name, &s);
	if (s.stands && is_anybody_s(r))
		r->identity = s.look.identity;
	settle(c, &name, &s);
	was_there = s.stands && !track_knows(r) && !r->attempt && !object_may_be(r, &s.look);
	look_fini(&s.look);
	if (was_there)
		c->forget(r, c->user);
	return !was_there;
}

bool stake_begin(const struct stakes *c, struct track_record *r, bool attempt)
{
	const struct stake_name name = name_of(r);
	bool alone = first_of(c, &name) == r && track_next(r) == NULL;

	r->attempt = attempt;
	track_young_add(c->registry, r);
	if (!alone) {
		contest(c, r);
		limit_unsure(c, r);
	}
	if (!(alone && object_is_absent(name.type, name.p)) && !begin(c, r))
		return false;
	track_journal_add(c->journal, r);
	return true;
}

/* --------------------------------------------------------------------------------------------------------- ending */

/* What is known to be there for long does not fail any more. */
static bool can_fail(const struct track_record *r)
{
	return r->attempt || r->young || !track_knows(r) || r->gone;
}

bool stake_retract(const struct stakes *c, const struct stake_name *name, pid_t pid)
{
	struct track_record *last = NULL;

	for (struct track_record *r = first_of(c, name); r != NULL; r = track_next(r))
		if (r->creator.pid == pid && can_fail(r) && !r->found &&
		    (last == NULL || r->told_ns > last->told_ns))
			last = r;
	if (last == NULL)
		return false;
	c->forget(last, c->user);
	stake_standing(c, name);
	return true;
}

/* What it has made before has gone, but what is known to be there for long: it has removed another before that. */
void stake_removed(const struct stakes *c, const struct stake_name *name, pid_t pid)
{
	struct sight s;

	if (first_of(c, name) == NULL)
		return;
	see(&s, name);
	lose_gone(c, name, &s);
	for (struct track_record *r = first_of(c, name), *next; r != NULL; r = next) {
		next = track_next(r);
		if (r->creator.pid == pid && (r->young || !is_of(r, &s)))
			c->forget(r, c->user);
	}
	settle(c, name, &s);
	look_fini(&s.look);
}

bool stake_may_change(struct track_record *r, uid_t uid)
{
	enum object_state state;

	if (uid == r->creator.uid || uid == 0)
		return true;
	state = object_ask(r);
	return state == OBJECT_ABSENT || state == OBJECT_FOREIGN;
}

/* One that only one process has told of, and that one: it is all that can be meant. */
static bool is_all_of(const struct stakes *c, const struct stake_name *name, pid_t pid)
{
	const struct track_record *r = first_of(c, name);

	return r != NULL && track_next(r) == NULL && r->creator.pid == pid;
}

bool stake_hand_over(const struct stakes *c, const struct stake_name *name, pid_t pid, uid_t uid)
{
	struct sight s = { .look = LOOK_INIT };
	bool may = true;

	if (!is_all_of(c, name, pid))
		see(&s, name);
	for (struct track_record *r = first_of(c, name), *next; r != NULL; r = next) {
		bool is_to_come = !s.stands && !s.unknown && r->creator.pid != pid &&
				  (r->gone || !track_knows(r));

		next = track_next(r);
		if (is_to_come)
			continue;
		if (stake_may_change(r, uid))
			c->forget(r, c->user);
		else
			may = false;
	}
	look_fini(&s.look);
	return may;
}

void stake_learn(const struct stakes *c, struct track_record *r)
{
	if (!track_knows(r) && object_settle(r) && track_knows(r))
		become(c, r, r->identity, false);
}

static bool has_rival(const struct stakes *c, const struct track_record *record)
{
	const struct stake_name name = name_of(record);
	const struct track_record *r = first_of(c, &name);

	for (; r != NULL; r = track_next(r))
		if (r != record && !r->over && !r->gone && r->owner != record->owner &&
		    (!track_knows(r) || r->identity.ino == record->identity.ino))
			return true;
	return false;
}

enum stake_end stake_end(const struct stakes *c, struct track_record *r)
{
	stake_learn(c, r);
	if (r->gone)
		return STAKE_NOTHING;
	if (!track_knows(r))
		return object_ask(r) == OBJECT_UNKNOWN ? STAKE_UNKNOWN : STAKE_NOTHING;
	if (!r->heard) {
		r->heard = true;
		return STAKE_HEAR;
	}
	return has_rival(c, r) ? STAKE_WAIT : STAKE_UNLINK;
}

/* It was said long ago, and nobody has seen its object: what has its name is another's, or there is nothing. */
static bool has_failed(const struct track_record *r)
{
	const struct stake_name name = name_of(r);
	struct sight s;
	bool failed;

	see(&s, &name);
	failed = s.stands ? !object_may_be(r, &s.look) : r->attempt && !s.unknown;
	look_fini(&s.look);
	return failed;
}

bool stake_expire(const struct stakes *c, struct mps_time now)
{
	struct track_record *r;
	bool any = false;

	for (int i = 0; i < EXPIRE_MAX && (r = track_young_next(c->registry, now)) != NULL; i++)
		if (r->gone || (!track_knows(r) && has_failed(r))) {
			c->forget(r, c->user);
			any = true;
		}
	return any;
}
