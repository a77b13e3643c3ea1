/*
 * The list of the services: their order, the names that mean them, their numbers at the keeper, and how many run.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/xalloc.h"
#include "sup/said.h"
#include "sup/sup_uv.h"

/*
 * A number at the keeper that may be used again. Its starts are counted on: what an earlier program with this number has
 * left running, where kill_mode lets it, must not be taken for the next one's.
 */
struct free_id {
	uint32_t id, gen;
};

static void reserve_ids(struct sup *s, size_t n)
{
	size_t cap = n + n / 2 + 16;

	if (n <= s->cap_ids)
		return;
	s->by_id = xrealloc(s->by_id, cap * sizeof(struct unit *));
	memset(s->by_id + s->cap_ids, 0, (cap - s->cap_ids) * sizeof(struct unit *));
	s->cap_ids = cap;
}

static struct free_id take_id(struct sup *s)
{
	if (s->n_free_ids > 0)
		return s->free_ids[--s->n_free_ids];
	reserve_ids(s, s->n_ids + 1);
	return (struct free_id){ .id = (uint32_t)s->n_ids++ };
}

uint32_t units_take_id(struct sup *s, uint32_t *ret_gen)
{
	struct free_id id = take_id(s);

	*ret_gen = id.gen;
	return id.id;
}

static void put_free_id(struct sup *s, uint32_t id, uint32_t gen)
{
	if (s->n_free_ids == s->cap_free_ids) {
		s->cap_free_ids = 2 * s->cap_free_ids + 16;
		s->free_ids = xrealloc(s->free_ids, s->cap_free_ids * sizeof(*s->free_ids));
	}
	s->free_ids[s->n_free_ids++] = (struct free_id){ id, gen };
}

void units_free_id(struct sup *s, uint32_t id, uint32_t gen)
{
	struct keeper_message forget = { .type = KEEPER_FORGET, .instance = id };

	keeper_link_send(s, &forget, NULL, NULL, 0);
	takeover_save_gone(s, id, gen);
	events_forget(s, id);
	put_free_id(s, id, gen);
	s->by_id[id] = NULL;
}

void units_drop_server(struct sup *s, const char *name)
{
	const struct keeper_message drop = { .type = KEEPER_DROP_SERVER, .text = name };

	if (!servers_is_used(s->conf, name))
		keeper_link_send(s, &drop, NULL, NULL, 0);
}

static struct unit *add(struct sup *s, const struct conf_proc *conf, struct free_id id)
{
	struct unit *u = unit_new(s, id.id, conf);

	u->svc.gen = id.gen;
	u->ended = true;
	s->by_id[id.id] = u;
	if (s->n_units == s->cap_units) {
		s->cap_units = 2 * s->cap_units + 16;
		s->units = xrealloc(s->units, s->cap_units * sizeof(struct unit *));
	}
	s->units[s->n_units++] = u;
	return u;
}

struct unit *units_add(struct sup *s, const struct conf_proc *conf)
{
	return add(s, conf, take_id(s));
}

bool units_have_room(const struct sup *s, size_t n)
{
	return s->state.head == NULL || n <= s->n_free_ids + s->state.capacity - s->n_ids;
}

/* ------------------------------------------------------------------------------------------------ arranging */

static bool is_gone(const struct unit *u)
{
	return u->removed && !u->leaving;
}

/* Who waits for a resource is in this list; it is looked through rarely, and units go more rarely still. */
static void leave_busy(struct sup *s)
{
	struct unit *u = s->busy_first;

	s->busy_first = s->busy_last = NULL;
	for (struct unit *next; u != NULL; u = next) {
		next = u->next_busy;
		u->in_busy = false;
		if (!is_gone(u))
			unit_join_busy(u);
	}
}

static size_t rest_of(const struct unit *u)
{
	return (u->out != NULL ? capture_leave(u->out) : 0) +
	       (u->err != NULL ? capture_leave(u->err) : 0);
}

/*
 * A removed one whose log is on a full disk stays until there is room, for its log pipes alone: no name means it, and the
 * keeper knows nothing of it any more. False: nothing waits.
 */
static bool is_left_over(struct unit *u)
{
	struct keeper_message none = { .type = KEEPER_KEEP, .instance = u->svc.id };
	struct sup *s = u->sup;
	size_t n = rest_of(u);

	if (n == 0 || u->left_over)
		return n > 0;
	u->left_over = true;
	activity_log(&s->log, SVC_LOG_WARN,
		     "%s is gone, and %zu bytes of its output wait until its log takes them",
		     u->svc.name, n);
	channel_close(u);
	keeper_link_send(s, &none, NULL, NULL, 0);
	none.type = KEEPER_FORGET;
	keeper_link_send(s, &none, NULL, NULL, 0);
	takeover_save_gone(s, u->svc.id, u->svc.gen);
	return true;
}

static void drop_gone(struct sup *s)
{
	size_t n = 0;

	s->n_left_over = 0;
	leave_busy(s);
	control_forget_removed(s);
	for (size_t i = 0; i < s->n_units; i++) {
		struct unit *u = s->units[i];

		if (!is_gone(u) || is_left_over(u)) {
			s->n_left_over += u->left_over;
			s->units[n++] = u;
			continue;
		}
		units_free_id(s, u->svc.id, u->svc.gen);
		unit_close_logs(u);
		unit_close(u);
	}
	s->n_units = n;
}

static void sort(struct sup *s)
{
	AUTO_FREE struct svc **list = xmalloc((s->n_units + 1) * sizeof(*list));
	size_t n = 0;

	for (size_t i = 0; i < s->n_units; i++)
		list[i] = &s->units[i]->svc;
	order_sort(list, s->n_units);
	for (size_t i = 0; i < s->n_units; i++) {
		s->units[i] = list[i]->user;
		if (!s->units[i]->removed)
			list[n++] = list[i];
	}
	order_index_free(s->index);
	s->index = order_index_new(list, n);
}

static void count(struct sup *s)
{
	size_t width = 0;

	s->n_active = s->n_active_foreground = 0;
	s->has_foreground = false;
	for (size_t i = 0; i < s->n_units; i++) {
		const struct unit *u = s->units[i];
		bool daemon = u->svc.conf->daemon;

		if (u->left_over)
			continue;
		s->n_active += !u->ended;
		s->n_active_foreground += !u->ended && !daemon;
		s->has_foreground = s->has_foreground || !daemon;
		if (strlen(u->svc.name) > width)
			width = strlen(u->svc.name);
	}
	if (width == s->name_width)
		return;
	s->name_width = width;
	for (size_t i = 0; i < s->n_units; i++)
		unit_use_conf(s->units[i], s->units[i]->svc.conf);
}

void units_arrange(struct sup *s)
{
	drop_gone(s);
	sort(s);
	count(s);
}

/* The numbers that the supervisor before us had given, and those that it had taken back. */
static void know_ids(struct sup *s)
{
	struct state_whole whole;

	state_get_whole(&s->state, &whole);
	s->n_ids = whole.next_id > 0 ? whole.next_id : 1;
	reserve_ids(s, s->n_ids);
	for (uint32_t id = (uint32_t)s->n_ids; id-- > 1;) {
		struct svc_record r;

		state_get(&s->state, id, &r);
		if (r.name == 0)
			put_free_id(s, id, r.gen);
	}
}

int units_make(struct sup *s, struct err *err)
{
	AUTO_FREE struct by_name *known = NULL;
	size_t n_known = 0;

	s->n_ids = 1; /* 0 is the supervisor's own */
	if (s->state.head != NULL) {
		know_ids(s);
		known = takeover_index(s, &n_known);
	}
	for (size_t i = 0; i < s->conf->n_procs; i++) {
		const struct conf_proc *p = &s->conf->procs[i];
		AUTO_FREE char *name = unit_name(p);
		uint32_t id = known != NULL ? takeover_find(known, n_known, name) : 0;

		if (id == 0 && !units_have_room(s, 1))
			return err_set(err, -EPROTO, "the state is damaged: it has no room for %s",
				       name);
		if (id == 0)
			units_add(s, p);
		else
			takeover_restore(add(s, p, (struct free_id){ .id = id }));
	}
	sort(s);
	count(s);
	return 0;
}

void units_free(struct sup *s)
{
	order_index_free(s->index);
	free(s->units);
	free(s->by_id);
	free(s->free_ids);
}
