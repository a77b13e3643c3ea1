/*
 * Writing down what a supervisor that follows us needs, before it is done: records and texts go to the state (state.c),
 * descriptors to the keeper. What becomes of it is takeover_uv.c's.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/xalloc.h"
#include "sup/said.h"
#include "sup/takeover_uv.h"

enum { GARBAGE_MAX = 1 << 20 }; /* bytes of replaced texts */

uint32_t takeover_hash(const char *text)
{
	return text != NULL ? (uint32_t)svc_name_hash(text) | 1 : 0;
}

void takeover_save_whole(struct sup *s)
{
	struct state_whole whole = {
		.started = s->started.ns,
		.started_wall = s->started_wall.ns,
		.phase = s->phase,
		.exit_status = s->exit_status,
		.next_id = (uint32_t)s->n_ids,
		.asked_to_end = s->asked_to_end,
		.kill_all = s->kill_all,
		.reload = s->n_reloads,
		.reloading = s->reload != NULL,
		.reload_again = s->reload_again,
		.reload_over = s->reload_over,
	};

	memcpy(whole.heard, s->heard, sizeof(whole.heard));
	if (s->state.head != NULL)
		state_put_whole(&s->state, &whole);
}

static void add_text(struct sup *s, enum state_kind kind, uint32_t id, const char *text)
{
	if (s->state.head == NULL)
		return;
	if (s->state.garbage > GARBAGE_MAX)
		takeover_write_texts(s, NULL);
	state_add_text(&s->state, kind, id, text, text != NULL ? strlen(text) : 0);
}

void takeover_save(struct unit *u)
{
	struct sup *s = u->sup;
	struct svc_record before, now;
	struct svc_rings rings;

	if (s->state.head == NULL)
		return;
	if (takeover_hash(u->svc.spawn_error) != u->saved_error) {
		u->saved_error = takeover_hash(u->svc.spawn_error);
		add_text(s, STATE_ERROR, u->svc.id, u->svc.spawn_error);
	}
	rings = state_rings(&s->state, u->svc.id);
	state_get(&s->state, u->svc.id, &before);
	svc_save(&u->svc, &before, &now, &rings);
	now.last_status = u->exit_status;
	now.reload = u->reload;
	state_put(&s->state, u->svc.id, &now);
}

void takeover_save_auto(struct unit *u, bool is_err)
{
	add_text(u->sup, is_err ? STATE_AUTO_ERR : STATE_AUTO_OUT, u->svc.id,
		 is_err ? u->auto_err : u->auto_out);
}

static char *said_text(const struct unit *u)
{
	struct buf b = BUF_INIT;

	if (u->said != NULL)
		said_encode(u->said, &b);
	return xbuf_take(&b);
}

void takeover_save_said(struct unit *u)
{
	AUTO_FREE char *text = said_text(u);
	uint32_t hash = text[0] != '\0' ? takeover_hash(text) : 0;

	if (hash == u->saved_said)
		return;
	u->saved_said = hash;
	add_text(u->sup, STATE_SAID, u->svc.id, text);
}

void takeover_save_gone(struct sup *s, uint32_t id, uint32_t gen)
{
	const struct svc_record r = { .gen = gen };

	if (s->state.head != NULL)
		state_put(&s->state, id, &r);
}

static void encode_unit(struct buf *b, const struct unit *u)
{
	AUTO_FREE char *said = said_text(u);
	const struct {
		enum state_kind kind;
		const char *text;
	} rows[] = { { STATE_ERROR, u->svc.spawn_error },
		     { STATE_AUTO_OUT, u->auto_out },
		     { STATE_AUTO_ERR, u->auto_err },
		     { STATE_SAID, said[0] != '\0' ? said : NULL } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].text != NULL)
			state_encode_text(b, rows[i].kind, u->svc.id, rows[i].text,
					  strlen(rows[i].text));
}

int takeover_write_texts(struct sup *s, const struct buf *conf)
{
	AUTO_FREE char *texts = NULL;
	AUTO_BUF all = BUF_INIT;
	const struct buf *next;
	struct takeover_fds l;
	const char *p = conf != NULL ? conf->p : NULL;
	size_t n = conf != NULL ? conf->len : 0;
	int r = conf != NULL ? 0 : state_find_text(&s->state, STATE_CONF, 0, &texts, &p, &n);

	if (r < 0)
		return r;
	state_encode_text(&all, STATE_CONF, 0, p, n);
	if (conf == NULL && (next = reload_record(s)) != NULL)
		state_encode_text(&all, STATE_NEXT, s->n_reloads, next->p, next->len);
	l = takeover_list_fds(s);
	state_encode_text(&all, STATE_FDS, 0, l.names.p, l.names.len);
	takeover_fds_fini(&l);
	for (size_t i = 0; i < s->n_units; i++)
		if (!s->units[i]->removed)
			encode_unit(&all, s->units[i]);
	if (all.failed)
		xalloc_failed();
	return state_replace_texts(&s->state, &all);
}

int takeover_save_next(struct sup *s, const struct buf *conf)
{
	return state_add_text(&s->state, STATE_NEXT, s->n_reloads + 1, conf->p, conf->len);
}

static void send_fds(struct sup *s, const int *fds, size_t n, size_t first)
{
	struct keeper_message m = { .type = KEEPER_KEEP, .first = (uint32_t)first };

	keeper_link_send(s, &m, NULL, fds, n);
}

void takeover_keep(struct sup *s)
{
	struct takeover_fds l;

	if (s->state.head == NULL)
		return;
	l = takeover_list_fds(s);
	state_add_text(&s->state, STATE_FDS, 0, l.names.p, l.names.len);
	for (size_t at = 0, step; at < l.n; at += step) {
		step = l.n - at < KEEPER_FDS_MAX ? l.n - at : KEEPER_FDS_MAX;
		send_fds(s, l.fds + at, step, at + 1);
	}
	takeover_fds_fini(&l);
}

int takeover_open(struct sup *s, struct err *err)
{
	int r = state_create(&s->state, (uint32_t)s->n_ids, err);

	if (r < 0)
		return r;
	r = takeover_write_texts(s, &s->options->heritage->record);
	buf_fini(&s->options->heritage->record);
	if (r < 0)
		return err_set(err, r, "the state: %s", strerror(-r));
	takeover_save_whole(s);
	send_fds(s, &s->state.fd, 1, 0);
	takeover_keep(s);
	return 0;
}
