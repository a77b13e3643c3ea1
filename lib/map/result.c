/*
 * Batches in the order of the input, and their results until those are written: in order, or, where that does not matter,
 * as they come. What is held beyond MAP_HELD_MAX goes to the file.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/xalloc.h"
#include "map/internal.h"

/* Buffers of more are not kept for the next. */
enum { KEEP_MAX = 256 << 10 };

struct batch *batch_new(struct map *m)
{
	struct batch *b = m->spare;

	if (b == NULL)
		return xcalloc(1, sizeof(*b));
	m->spare = b->next;
	b->next = NULL;
	return b;
}

void batch_link(struct map *m, struct batch *b, struct batch *before)
{
	struct batch *after = before != NULL ? before->next : NULL;

	if (before == NULL)
		before = m->last;
	b->prev = before;
	b->next = after;
	*(before != NULL ? &before->next : &m->first) = b;
	*(after != NULL ? &after->prev : &m->last) = b;
	m->n_batches++;
}

static void shrink(struct buf *b)
{
	if (b->cap > KEEP_MAX)
		buf_fini(b);
	buf_reset(b);
}

void batch_spare(struct map *m, struct batch *b)
{
	struct buf in, mem;

	shrink(&b->in);
	shrink(&b->out.mem);
	in = b->in;
	mem = b->out.mem;
	*b = (struct batch){ .in = in, .out = { .mem = mem }, .next = m->spare };
	m->spare = b;
}

static void unlink_batch(struct map *m, struct batch *b)
{
	*(b->prev != NULL ? &b->prev->next : &m->first) = b->next;
	*(b->next != NULL ? &b->next->prev : &m->last) = b->prev;
	m->n_batches--;
	batch_forget_result(m, b);
	free(b->out.parts);
	batch_spare(m, b);
}

void batch_again(struct map *m, struct batch *b)
{
	b->next_again = NULL;
	*(m->again != NULL ? &m->last_again->next_again : &m->again) = b;
	m->last_again = b;
}

struct batch *batch_take_again(struct map *m)
{
	struct batch *b = m->again;

	if (b != NULL)
		m->again = b->next_again;
	return b;
}

static size_t length_here(const struct map *m, const struct batch *b)
{
	return item_length(b->in.p + b->at, b->in.len - b->at, m->o->frame, m->delimiter);
}

size_t batch_offset(const struct map *m, struct batch *b, uint32_t i)
{
	for (; b->at_task < i; b->at_task++)
		b->at += length_here(m, b);
	return b->at;
}

const char *batch_task(const struct map *m, struct batch *b, uint32_t i, size_t *ret_n)
{
	batch_offset(m, b, i);
	return item_text(b->in.p + b->at, length_here(m, b), m->o->frame, ret_n);
}

/* ------------------------------------------------------------------------------------------------- results */

static void spill(struct map *m, struct batch *b)
{
	struct result *r = &b->out;
	size_t n = r->mem.len - r->from;
	struct extent e;
	int error = spill_put(&m->spill, r->mem.p + r->from, n, &e);

	if (error < 0) {
		if (!m->spill_said)
			map_say(m, "results that wait for their turn stay in memory: %s",
				strerror(-error));
		m->spill_said = true;
		return;
	}
	if (r->n_parts > r->first &&
	    r->parts[r->n_parts - 1].at + (off_t)r->parts[r->n_parts - 1].n == e.at) {
		r->parts[r->n_parts - 1].n += n;
	} else {
		r->parts = xrealloc(r->parts, (r->n_parts + 1) * sizeof(*r->parts));
		r->parts[r->n_parts++] = e;
	}
	m->held -= n;
	r->from = 0;
	buf_fini(&r->mem);
}

void batch_add(struct map *m, struct batch *b, const void *p, size_t n)
{
	buf_add(&b->out.mem, p, n);
	m->held += n;
	b->out.size += n;
	if (m->held > MAP_HELD_MAX && b->out.mem.len - b->out.from >= MAP_SPILL_MIN)
		spill(m, b);
}

/* Moves at most max bytes; how many. */
static size_t move(struct map *m, struct batch *b, size_t max, struct buf *to)
{
	struct result *r = &b->out;
	size_t moved = 0, n;

	while (r->first < r->n_parts && moved < max) {
		struct extent *e = &r->parts[r->first];
		char *p;
		int error;

		n = e->n < max - moved ? e->n : max - moved;
		p = buf_reserve(to, n);
		error = p != NULL ? spill_take(&m->spill, e, p, n) : -ENOMEM;
		if (error < 0) {
			map_say(m, "a result is lost: %s", strerror(-error));
			m->outcome.trouble = true;
			spill_drop(&m->spill, e);
			n = 0;
		}
		to->len += n;
		moved += n;
		r->first += e->n == 0;
	}
	n = r->mem.len - r->from;
	n = n < max - moved ? n : max - moved;
	if (n > 0)
		buf_add(to, r->mem.p + r->from, n);
	m->held -= n;
	r->from += n;
	if (r->from == r->mem.len) {
		buf_reset(&r->mem);
		r->from = 0;
	}
	return moved + n;
}

static bool is_empty(const struct result *r)
{
	return r->first == r->n_parts && r->from == r->mem.len;
}

bool batch_take_result(struct map *m, struct batch *b, size_t max, struct buf *to)
{
	move(m, b, max, to);
	if (is_empty(&b->out))
		return false;
	batch_forget_result(m, b);
	return true;
}

void batch_forget_result(struct map *m, struct batch *b)
{
	struct result *r = &b->out;

	while (r->first < r->n_parts)
		spill_drop(&m->spill, &r->parts[r->first++]);
	r->first = r->n_parts = 0;
	r->size = 0;
	m->held -= r->mem.len - r->from;
	r->from = 0;
	buf_reset(&r->mem);
}

/* -------------------------------------------------------------------------------------------------- output */

void batch_ready(struct map *m, struct batch *b)
{
	if (!m->o->unordered || b->is_ready)
		return;
	b->is_ready = true;
	b->next_ready = NULL;
	*(m->ready != NULL ? &m->last_ready->next_ready : &m->ready) = b;
	m->last_ready = b;
}

void batch_done(struct map *m, struct batch *b)
{
	b->done = true;
	shrink(&b->in);
	batch_ready(m, b);
}

/* All that it has was moved: it goes, or waits until there is more. False: nothing behind it may be written. */
static bool next_in_line(struct map *m, struct batch *b)
{
	if (m->o->unordered) {
		m->ready = b->next_ready;
		b->is_ready = false;
	}
	if (b->done)
		unlink_batch(m, b);
	else if (!m->o->unordered)
		return false;
	return true;
}

void results_feed(struct map *m)
{
	struct batch *b;

	while ((b = m->o->unordered ? m->ready : m->first) != NULL) {
		size_t waiting = drain_waiting(&m->out);

		/* A process' own result is whole when that is over. */
		if (m->per_task && !b->done)
			return;
		if (m->out.error != 0)
			batch_forget_result(m, b);
		else if (waiting < MAP_OUT_MAX)
			move(m, b, MAP_OUT_MAX - waiting, &m->out.b);
		if (!is_empty(&b->out) || !next_in_line(m, b))
			return;
	}
}

void results_fini(struct map *m)
{
	while (m->first != NULL)
		unlink_batch(m, m->first);
	while (m->spare != NULL) {
		struct batch *b = m->spare;

		m->spare = b->next;
		buf_fini(&b->in);
		buf_fini(&b->out.mem);
		free(b);
	}
	spill_fini(&m->spill);
}
