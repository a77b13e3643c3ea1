/*
 * What instances have left behind. When the last process of one is gone each object that it has told of is asked for use
 * and unlinked if it is free, before its end is reported, so that the next run finds nothing of it. What somebody still
 * uses is asked again whenever an instance has ended, and at the end of all.
 *
 * A hundred thousand are worked off a part at a time, taking turns with those of other instances.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "keeper/tracker.h"
#include "proc/tree.h"

enum { AT_ONCE = 16 }; /* records of one instance before it is another's turn */

/* ---------------------------------------------------------------------------------------------------- holdings */

struct holding *holding_new(uint32_t slot, const char *name)
{
	struct holding *h = calloc(1, sizeof(*h));

	if (h == NULL || (h->name = strdup(name)) == NULL) {
		free(h);
		return NULL;
	}
	h->slot = slot;
	h->rest = OVER_A;
	for (int i = 0; i < N_LISTS; i++) {
		h->lists[i].owner.name = h->name;
		h->lists[i].holding = h;
	}
	return h;
}

struct holding *holding_of_slot(struct keeper *k, uint32_t index)
{
	struct slot *s = &k->slots[index];

	if (s->holding == NULL) {
		s->holding = holding_new(index, s->name != NULL ? s->name : "");
		if (s->holding != NULL)
			s->holding->cleanup = s->cleanup;
	}
	return s->holding;
}

struct holding *holding_of(const struct track_record *r)
{
	return ((const struct owned *)(const void *)r->owner)->holding;
}

static bool has_over(const struct holding *h)
{
	return h->lists[OVER_A].owner.n + h->lists[OVER_B].owner.n > 0;
}

void holding_drop(struct tracker *t, struct holding *h)
{
	if (h->slot != NO_SLOT || h->clients != NULL || h == t->unclaimed || has_over(h) ||
	    h->lists[LIVE].owner.n > 0)
		return;
	for (struct holding **at = &t->dirty; h->is_dirty && *at != NULL; at = &(*at)->next_dirty)
		if (*at == h) {
			*at = h->next_dirty;
			break;
		}
	if (t->moved.holding == h)
		t->moved = (struct moved){ 0 };
	if (t->homeless.maker.holding == h)
		t->homeless.maker.holding = NULL;
	walk_drop(t, h);
	free(h->folder);
	free(h->name);
	free(h);
}

void holding_changed(struct tracker *t, struct holding *h)
{
	if (h->is_dirty || h->slot == NO_SLOT)
		return;
	h->is_dirty = true;
	h->next_dirty = t->dirty;
	t->dirty = h;
}

struct track_owner *holding_rest(struct tracker *t, struct holding *h)
{
	if (!h->is_kept) {
		h->is_kept = true;
		h->next_kept = t->kept;
		h->at_kept = &t->kept;
		if (h->next_kept != NULL)
			h->next_kept->at_kept = &h->next_kept;
		t->kept = h;
	}
	return &h->lists[h->rest].owner;
}

static void unlink_kept(struct tracker *t, struct holding *h)
{
	if (!h->is_kept || has_over(h))
		return;
	h->is_kept = false;
	if (t->at_pass == h)
		t->at_pass = h->next_kept;
	*h->at_kept = h->next_kept;
	if (h->next_kept != NULL)
		h->next_kept->at_kept = h->at_kept;
}

void leak_take_out(struct tracker *t, struct track_record *r)
{
	track_journal_remove(&t->journal, r);
	track_remove(&t->registry, r);
}

void leak_forget(struct tracker *t, struct track_record *r)
{
	struct holding *h = holding_of(r);

	leak_take_out(t, r);
	holding_changed(t, h);
	unlink_kept(t, h);
	holding_drop(t, h);
}

/* -------------------------------------------------------------------------------------------------- one record */

static void keep(struct tracker *t, struct track_record *r)
{
	struct holding *h = holding_of(r);

	r->over = true;
	track_give(r, holding_rest(t, h));
}

/* False: a folder, of which the turn was too short for all. */
static bool unlink_one(struct tracker *t, struct track_record *r, enum object_state *ret)
{
	struct holding *h = holding_of(r);

	/* Before it has another name for a moment: should we be killed then, the next one looks for it by what it is. */
	track_journal_flush(&t->journal, &t->registry);
	if (r->type == TRACK_FOLDER && h->folder == NULL)
		h->folder = calloc(1, sizeof(*h->folder));
	if (r->type == TRACK_FOLDER && h->folder != NULL)
		return object_unlink_some(r, h->folder, t->turn_until, ret);
	*ret = object_unlink(r);
	return true;
}

/*
 * Asks and unlinks; afterwards it is no more, or in its holding's list of what is to be asked again, or next to be asked.
 * False: the time is up.
 */
static bool end_one(struct keeper *k, struct track_record *r)
{
	struct tracker *t = k->tracker;
	struct holding *h = holding_of(r);
	enum object_state state = OBJECT_ABSENT;

	switch (stake_end(&t->stakes, r)) {
	case STAKE_HEAR: /* it may go by what is said */
		track_hear_all(k);
		return true;
	case STAKE_UNLINK:
		if (!unlink_one(t, r, &state))
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
	switch (state) {
	case OBJECT_FREE:
		h->n_cleaned++;
		leak_tell(k, r);
		leak_forget(t, r);
		break;
	case OBJECT_ABSENT:
	case OBJECT_FOREIGN:
		leak_forget(t, r);
		break;
	case OBJECT_USED:
	case OBJECT_UNKNOWN:
		keep(t, r);
		break;
	}
	return true;
}

/* ------------------------------------------------------------------------------------------- end of an instance */

/* A record of an ended instance, as its program wants it. False: the time is up. */
static bool work_off(struct keeper *k, struct holding *h)
{
	struct track_record *r = h->lists[LIVE].owner.first;

	if (h->cleanup == KEEPER_CLEAN_OFF)
		leak_forget(k->tracker, r);
	else if (h->cleanup == KEEPER_CLEAN_SHUTDOWN || h->leave)
		keep(k->tracker, r);
	else
		return end_one(k, r);
	return true;
}

/* A part of them. True when none is left. */
static bool work_on(struct keeper *k, struct holding *h)
{
	for (int i = 0; i < AT_ONCE; i++) {
		if (h->lists[LIVE].owner.n == 0)
			return true;
		if (!work_off(k, h))
			return false;
	}
	return h->lists[LIVE].owner.n == 0;
}

static void finish(struct keeper *k, struct holding *h)
{
	struct tracker *t = k->tracker;

	h->ending = false;
	t->pass_due = t->kept != NULL;
	slot_report(k, h->slot, REPORT_OBJECTS);
}

bool track_on_end(struct keeper *k, uint32_t index)
{
	struct tracker *t = k->tracker;
	struct holding *h = k->slots[index].holding;

	if (t == NULL)
		return true;
	if (h == NULL && t->unknown == NULL &&
	    !t->caught_up) { /* nobody of it has connected, unless a moment ago */
		track_on_connect(k);
		h = k->slots[index].holding;
	}
	t->pass_due = t->pass_due || t->kept != NULL;
	if (h != NULL && h->ending)
		return false;
	if (h != NULL)
		track_listen(k, h);
	if (!t->caught_up || k->reaped) /* also by what has died while we looked */
		shm_read(k);
	if (k->slots[index].scan && !(t->caught_up && t->no_sysv && !k->reaped))
		sysv_scan(k, index);
	h = k->slots[index].holding;
	if (h == NULL)
		return true;
	h->leave = k->slots[index].leftovers != KEEPER_LEFT_END && stray_any(k, index);
	if (h->has_semaphores && h->lists[LIVE].owner.n > 0)
		object_adopt_temporaries(&t->registry, &h->lists[LIVE].owner);
	h->has_semaphores = false;
	if (work_on(k, h)) {
		finish(k, h);
		return true;
	}
	h->ending = true;
	h->next_ending = NULL;
	if (t->ending != NULL)
		t->last_ending->next_ending = h;
	else
		t->ending = h;
	t->last_ending = h;
	return false;
}

static bool is_time(const struct tracker *t)
{
	return mps_now().ns < t->turn_until.ns;
}

static void rotate(struct tracker *t)
{
	struct holding *h = t->ending;

	if (h->next_ending == NULL)
		return;
	t->ending = h->next_ending;
	h->next_ending = NULL;
	t->last_ending->next_ending = h;
	t->last_ending = h;
}

static void turn_endings(struct keeper *k)
{
	struct tracker *t = k->tracker;

	while (t->ending != NULL) {
		struct holding *h = t->ending;

		if (work_on(k, h)) {
			t->ending = h->next_ending;
			finish(k, h);
			slot_gone(k, h->slot);
		} else {
			rotate(t);
		}
		if (!is_time(t))
			return;
	}
}

/* ----------------------------------------------------------------------------------------- what was in use */

/* The list of those that are to be asked in this pass. */
static struct track_owner *to_ask(struct tracker *t, struct holding *h)
{
	if (h->pass != t->pass) {
		h->pass = t->pass;
		h->rest = h->rest == OVER_A ? OVER_B : OVER_A;
	}
	return &h->lists[h->rest == OVER_A ? OVER_B : OVER_A].owner;
}

static bool begin_pass(struct tracker *t, struct mps_time now)
{
	if (t->pass_on)
		return true;
	if (!t->pass_due || now.ns < t->pass_not_before.ns)
		return false;
	t->pass_due = false;
	t->pass_on = true;
	t->pass++;
	t->pass_took = 0;
	t->at_pass = t->kept;
	return true;
}

/* As sweeps for strays: with many records a pass at each end would cost more than all else. */
static void end_pass(struct tracker *t, struct mps_time now)
{
	t->pass_on = false;
	t->pass_not_before.ns = now.ns + 10 * t->pass_took;
}

static void turn_pass(struct keeper *k)
{
	struct tracker *t = k->tracker;
	struct mps_time began = mps_now();

	if (!begin_pass(t, began))
		return;
	while (t->at_pass != NULL && is_time(t)) {
		struct holding *h = t->at_pass;
		struct track_owner *o = to_ask(t, h);

		if (o->n == 0 || h->cleanup == KEEPER_CLEAN_SHUTDOWN)
			t->at_pass = h->next_kept;
		else if (
			object_has_creator(
				o->first)) /* it was meant to outlive its instance, and may want it again */
			keep(t, o->first);
		else
			end_one(k, o->first);
	}
	t->pass_took += mps_now().ns - began.ns;
	if (t->at_pass == NULL)
		end_pass(t, mps_now());
}

bool leak_turn(struct keeper *k)
{
	turn_endings(k);
	if (k->tracker->ending == NULL)
		turn_pass(k);
	return k->tracker->ending == NULL;
}

/* -------------------------------------------------------------------------------------------------- end of all */

/* Asked for the last time. What stays is named, and stays in the journal. */
static void end_last(struct keeper *k, struct track_record *r)
{
	struct tracker *t = k->tracker;
	struct holding *h = holding_of(r);
	enum object_state state = OBJECT_USED;
	int error;

	stake_learn(&t->stakes, r);
	while (!object_has_creator(r) &&
	       !unlink_one(t, r, &state)) /* there is no turn to be over */
		;
	error = errno;

	if (state == OBJECT_FREE) {
		h->n_cleaned++;
		leak_tell(k, r);
	}
	if (state == OBJECT_USED || state == OBJECT_UNKNOWN) {
		if (state == OBJECT_USED)
			leak_left_add(t, r);
		else
			leak_say_left(k, r, "", error);
		track_give(r, &h->lists[LIVE].owner); /* looked at */
	} else {
		leak_forget(t, r);
	}
}

void leak_end_all(struct keeper *k)
{
	struct tracker *t = k->tracker;
	struct holding *h, *next;

	for (h = t->kept; h != NULL; h = next) {
		uint32_t slot = h->slot;

		next = h->next_kept;
		h->slot = 0; /* it is not dropped while we are at it */
		while (h->lists[OVER_A].owner.n > 0)
			end_last(k, h->lists[OVER_A].owner.first);
		while (h->lists[OVER_B].owner.n > 0)
			end_last(k, h->lists[OVER_B].owner.first);
		h->slot = slot;
	}
	leak_say_news(k);
	leak_left_say(k);
}
