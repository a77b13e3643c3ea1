/*
 * The list of the services: their order, the names that mean them, their numbers at the keeper, and how many run.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "sup/sup_uv.h"

/*
 * A number at the keeper that may be used again. Its starts are counted on: what an earlier program with this number has
 * left running, where kill_mode lets it, must not be taken for the next one's.
 */
struct free_id {
	uint32_t id, gen;
};

static uint32_t take_id(struct sup *s, uint32_t *ret_gen)
{
	struct free_id f = { .gen = 0 };

	if (s->n_free_ids > 0) {
		f = s->free_ids[--s->n_free_ids];
	} else {
		if (s->n_ids == 0)
			s->n_ids = 1; /* 0 is nobody's */
		f.id = (uint32_t)s->n_ids++;
	}
	if (f.id >= s->cap_ids) {
		size_t cap = 2 * (size_t)f.id + 16;

		s->by_id = xrealloc(s->by_id, cap * sizeof(struct unit *));
		memset(s->by_id + s->cap_ids, 0, (cap - s->cap_ids) * sizeof(struct unit *));
		s->cap_ids = cap;
	}
	*ret_gen = f.gen;
	return f.id;
}

static void give_id(struct sup *s, const struct unit *u)
{
	if (s->n_free_ids == s->cap_free_ids) {
		s->cap_free_ids = 2 * s->cap_free_ids + 16;
		s->free_ids = xrealloc(s->free_ids, s->cap_free_ids * sizeof(*s->free_ids));
	}
	s->free_ids[s->n_free_ids++] = (struct free_id){ u->svc.id, u->svc.gen };
	s->by_id[u->svc.id] = NULL;
}

struct unit *units_add(struct sup *s, const struct conf_proc *conf)
{
	uint32_t gen, id = take_id(s, &gen);
	struct unit *u = unit_new(s, id, conf);

	u->svc.gen = gen;
	u->ended = true;
	s->by_id[id] = u;
	if (s->n_units == s->cap_units) {
		s->cap_units = 2 * s->cap_units + 16;
		s->units = xrealloc(s->units, s->cap_units * sizeof(struct unit *));
	}
	s->units[s->n_units++] = u;
	return u;
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
		if (is_gone(u))
			continue;
		u->next_busy = NULL;
		if (s->busy_last != NULL)
			s->busy_last->next_busy = u;
		else
			s->busy_first = u;
		s->busy_last = u;
	}
}

static void drop_gone(struct sup *s)
{
	size_t n = 0;

	leave_busy(s);
	control_forget_removed(s);
	for (size_t i = 0; i < s->n_units; i++) {
		struct unit *u = s->units[i];

		if (!is_gone(u)) {
			s->units[n++] = u;
			continue;
		}
		give_id(s, u);
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

void units_make(struct sup *s)
{
	for (size_t i = 0; i < s->conf->n_procs; i++)
		units_add(s, &s->conf->procs[i]);
	sort(s);
	count(s);
}

void units_free(struct sup *s)
{
	order_index_free(s->index);
	free(s->units);
	free(s->by_id);
	free(s->free_ids);
}
