/*
 * Who has subscribed to what, and the method that does it. A line is made once, when somebody wants it, and goes to all
 * who do; a subscriber that does not take its lines is dropped by connection_uv.c.
 */
#include "sup/events.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/xalloc.h"
#include "sup/method.h"
#include "track/track.h"

struct subscription {
	struct subscription *next;
	struct sup *sup;
	struct client *client;
	unsigned types;
	json_t *targets; /* as they were written; NULL = all */
	uint64_t *units; /* those that they mean, a bit for each number */
	size_t n_words;
};

/* ------------------------------------------------------------------------------------------------- telling */

static bool wants(const struct subscription *sub, enum event_type type, const struct unit *u)
{
	if (!(sub->types & EVENT_BIT(type)))
		return false;
	if (sub->targets == NULL || u == NULL)
		return true;
	return u->svc.id / 64 < sub->n_words &&
	       (sub->units[u->svc.id / 64] & UINT64_C(1) << u->svc.id % 64);
}

/* Counts what has happened. True: it is worth being written down. */
static bool is_heard(struct sup *s, enum event_type type, const struct unit *u)
{
	s->events.seq++;
	for (const struct subscription *sub = s->events.first; sub != NULL; sub = sub->next)
		if (wants(sub, type, u))
			return true;
	return false;
}

/* The line with its end; steals data. */
static char *make_line(enum event_type type, struct event_kept when, json_t *data, size_t *ret_n)
{
	json_t *line =
		json_pack("{s:s, s:I, s:f, s:o}", "event", event_name(type), "seq",
			  (json_int_t)when.seq, "time", method_seconds(when.wall), "data", data);
	/* As in answers: seconds with three decimals. */
	char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(13));

	json_decref(line);
	if (text == NULL)
		xalloc_failed(); /* texts are UTF-8 by then */
	*ret_n = strlen(text) + 1;
	if (*ret_n > CONTROL_LINE_MAX) {
		free(text);
		return make_line(type, when, json_null(), ret_n);
	}
	text[*ret_n - 1] = '\n';
	return text;
}

/* When everything changes at once, each program has room for what it has to say. */
static size_t room_of(const struct sup *s)
{
	return EVENTS_OUT_MAX + s->n_units * EVENTS_OUT_UNIT_MAX;
}

/* Steals data. */
static void tell(struct sup *s, enum event_type type, const struct unit *u, json_t *data)
{
	struct event_kept now = { s->events.seq, mps_wall() };
	AUTO_FREE char *line = NULL;
	size_t n;

	line = make_line(type, now, data, &n);
	for (struct subscription *sub = s->events.first, *next; sub != NULL; sub = next) {
		next = sub->next; /* who is dropped now leaves the list */
		if (wants(sub, type, u))
			client_tell(sub->client, line, n, room_of(s));
	}
}

/* One who came too late to hear it; steals data. */
static void tell_one(struct subscription *sub, enum event_type type, struct event_kept when,
		     json_t *data)
{
	AUTO_FREE char *line = NULL;
	size_t n;

	line = make_line(type, when, data, &n);
	if (wants(sub, type, NULL))
		client_tell(sub->client, line, n, room_of(sub->sup));
}

/* ---------------------------------------------------------------------------------------------- what happens */

static json_t *data_of(const struct unit *u)
{
	return json_pack("{s:o, s:o, s:o}", "name", method_text(u->svc.name), "group",
			 method_text(u->svc.conf->group), "process",
			 method_text(u->svc.conf->name));
}

void events_state(const struct unit *u, enum svc_state from)
{
	json_t *data;

	if (!is_heard(u->sup, EVENT_STATE, u))
		return;
	data = data_of(u);
	json_object_set_new(data, "state", json_string(svc_state_name(u->svc.state)));
	json_object_set_new(data, "from", json_string(svc_state_name(from)));
	json_object_set_new(data, "pid", json_integer(u->svc.pid));
	if (u->svc.passing)
		json_object_set_new(data, "passing", json_true());
	tell(u->sup, EVENT_STATE, u, data);
}

void events_exit(const struct unit *u, pid_t pid, const struct svc_exit *e)
{
	json_t *data;

	if (!is_heard(u->sup, EVENT_EXIT, u))
		return;
	data = data_of(u);
	json_object_set_new(data, "pid", json_integer(pid));
	method_set_exit(data, e->code, e->status);
	json_object_set_new(data, "expected",
			    json_boolean(svc_exit_is_wanted(&u->svc, e, mps_now())));
	tell(u->sup, EVENT_EXIT, u, data);
}

void events_spawn_error(const struct unit *u, const char *message)
{
	json_t *data;

	if (!is_heard(u->sup, EVENT_SPAWN_ERROR, u))
		return;
	data = data_of(u);
	json_object_set_new(data, "message", method_text(message));
	tell(u->sup, EVENT_SPAWN_ERROR, u, data);
}

void events_log_rotated(struct sup *s, const struct unit *u, const char *file)
{
	json_t *data;

	if (!is_heard(s, EVENT_LOG_ROTATED, u))
		return;
	data = u != NULL ? data_of(u) : json_object();
	json_object_set_new(data, "file", method_text(file));
	tell(s, EVENT_LOG_ROTATED, u, data);
}

void events_ipc(struct sup *s, const struct unit *u, const struct keeper_message *m)
{
	json_t *data;

	if (!is_heard(s, EVENT_IPC, u))
		return;
	data = u != NULL ? data_of(u) : json_pack("{s:o}", "name", method_text(m->program));
	json_object_set_new(data, "type", json_string(track_type_word((enum track_type)m->object)));
	json_object_set_new(data, "object", method_text(m->text));
	json_object_set_new(data, "pid", json_integer(m->pid));
	tell(s, EVENT_IPC, u, data);
}

static json_t *data_of_takeover(const struct sup *s)
{
	json_t *data = json_pack("{s:i, s:i}", "supervisor_pid", (int)getpid(), "before",
				 (int)s->events.before);

	if (s->events.before_code != 0)
		method_set_exit(data, s->events.before_code, s->events.before_status);
	return data;
}

/* Nobody can have connected yet: it is kept for those who come back. */
void events_takeover(struct sup *s, const struct keeper_message *welcome)
{
	s->events.before = welcome->before;
	s->events.before_code = (int)welcome->code;
	s->events.before_status = (int)welcome->status;
	s->events.takeover = (struct event_kept){ ++s->events.seq, mps_wall() };
}

static json_t *data_of_shutdown(const struct sup *s)
{
	return json_pack("{s:i}", "exit_status", s->exit_status);
}

void events_shutdown(struct sup *s)
{
	bool heard = is_heard(s, EVENT_SHUTDOWN, NULL);

	s->events.shutdown = (struct event_kept){ s->events.seq, mps_wall() };
	if (heard)
		tell(s, EVENT_SHUTDOWN, NULL, data_of_shutdown(s));
}

/* -------------------------------------------------------------------------------------------- subscriptions */

static void add_unit(struct svc *svc, void *user)
{
	struct subscription *sub = user;
	size_t at = svc->id / 64;

	if (at >= sub->n_words) {
		sub->units = xrealloc(sub->units, (at + 1) * sizeof(*sub->units));
		memset(sub->units + sub->n_words, 0, (at + 1 - sub->n_words) * sizeof(*sub->units));
		sub->n_words = at + 1;
	}
	sub->units[at] |= UINT64_C(1) << svc->id % 64;
}

/* Those that a reload has taken out stay: they are yet to stop. */
static void add_units(struct subscription *sub)
{
	json_t *target;
	size_t i;

	json_array_foreach (sub->targets, i, target)
		order_find(sub->sup->index, json_string_value(target), add_unit, sub, NULL);
}

void events_reload(struct sup *s, json_t *data)
{
	for (struct subscription *sub = s->events.first; sub != NULL; sub = sub->next)
		add_units(sub);
	if (is_heard(s, EVENT_RELOAD, NULL))
		tell(s, EVENT_RELOAD, NULL, data);
	else
		json_decref(data);
}

void events_forget(struct sup *s, uint32_t id)
{
	for (struct subscription *sub = s->events.first; sub != NULL; sub = sub->next)
		if (id / 64 < sub->n_words)
			sub->units[id / 64] &= ~(UINT64_C(1) << id % 64);
}

void events_unsubscribe(struct subscription *sub)
{
	struct subscription **at;

	if (sub == NULL)
		return;
	at = &sub->sup->events.first;
	while (*at != sub)
		at = &(*at)->next;
	*at = sub->next;
	json_decref(sub->targets);
	free(sub->units);
	free(sub);
}

/* "types": absent = all. False after an answer was sent. */
static bool find_types(struct request *r, unsigned *ret)
{
	json_t *types = json_object_get(r->params, "types"), *type;
	struct err err = ERR_INIT;
	unsigned bits = 0;
	size_t i;

	json_array_foreach (types, i, type) {
		const char *name = json_string_value(type);
		int found = event_find(name != NULL ? name : "", &err);

		if (found < 0) {
			request_fail(r, FAULT_BAD_ARGUMENTS, "types: %s", err.text);
			return false;
		}
		bits |= EVENT_BIT(found);
	}
	if (types != NULL && !json_is_array(types)) {
		request_fail(r, FAULT_INCORRECT_PARAMETERS, "types: not a list of names");
		return false;
	}
	*ret = types != NULL ? bits : EVENT_ALL;
	return true;
}

static void answer(struct request *r)
{
	json_t *result = json_pack("{s:i, s:I}", "supervisor_pid", (int)getpid(), "seq",
				   (json_int_t)r->sup->events.seq);

	if (r->rows != NULL)
		json_object_set(result, "errors", r->rows);
	request_answer(r, result);
}

/* What a client that has heard another supervisor, or comes when we are going, would miss. */
static void tell_kept(struct request *r, struct subscription *sub)
{
	const struct sup *s = sub->sup;
	json_int_t heard = json_integer_value(json_object_get(r->params, "supervisor_pid"));

	if (s->events.takeover.seq != 0 && heard != 0 && heard != (json_int_t)getpid())
		tell_one(sub, EVENT_TAKEOVER, s->events.takeover, data_of_takeover(s));
	if (s->events.shutdown.seq != 0 && !request_is_lost(r))
		tell_one(sub, EVENT_SHUTDOWN, s->events.shutdown, data_of_shutdown(s));
}

void method_events(struct request *r)
{
	struct subscription *sub;
	unsigned types;

	if (!find_types(r, &types) || !method_find_targets(r)) {
		request_end(r);
		return;
	}
	sub = xcalloc(1, sizeof(*sub));
	*sub = (struct subscription){
		.next = r->sup->events.first, .sup = r->sup, .client = r->client, .types = types
	};
	r->sup->events.first = sub;
	sub->targets = json_incref(json_object_get(r->params, "targets"));
	add_units(sub);
	request_subscribe(r, sub);
	answer(r);
	if (!request_is_lost(r))
		tell_kept(r, sub);
	request_end(r);
}
