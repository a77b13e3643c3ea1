/*
 * What people are told of objects that were left behind: each that was unlinked, and how many an instance holds. News wait
 * in a queue until the supervisor has heard them: each takes the place of a record, so there are never more than there were
 * records. Where there is no supervisor any more the log is told.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "keeper/tracker.h"

#define COUNTS_NS (50 * MPS_NS_PER_MS)

void leak_tell(struct keeper *k, const struct track_record *r)
{
	struct tracker *t = k->tracker;
	const struct holding *h = holding_of(r);
	size_t n = r->name_length + 1U, n_program = strlen(h->name) + 1;
	struct news *news;

	if (k->options->front != NULL)
		return; /* it tells nobody, and would hear of it for ever */
	news = malloc(sizeof(*news) + n + n_program);
	if (news == NULL)
		return; /* it is counted */
	news->next = NULL;
	news->instance = h->slot != NO_SLOT ? h->slot : 0;
	news->type = r->type;
	news->pid = r->creator.pid;
	memcpy(news->name, r->name, n);
	news->program = memcpy(news->name + n, h->name, n_program);
	if (t->first_news == NULL)
		t->first_news = news;
	else
		t->last_news->next = news;
	t->last_news = news;
	t->n_news++;
	if (t->unsent == NULL)
		t->unsent = news;
}

static struct news *take_news(struct tracker *t)
{
	struct news *news = t->first_news;

	t->first_news = news->next;
	t->n_news--;
	return news;
}

static void encode(struct keeper *k, const struct news *news)
{
	const struct keeper_message m = {
		.type = KEEPER_UNLINKED,
		.instance = news->instance,
		.pid = news->pid,
		.object = news->type,
		.text = news->name,
		.program = news->program,
	};

	keeper_encode(&m, &k->out);
}

/* Words that were dropped: they are nobody's. */
static bool send_dropped(struct keeper *k)
{
	const struct keeper_message m = { .type = KEEPER_OBJECTS, .count = k->tracker->n_dropped };

	buf_reset(&k->out);
	keeper_encode(&m, &k->out);
	if (!keeper_send(k, NULL, 0))
		return false;
	k->tracker->dropped_due = false;
	return true;
}

bool track_send_news(struct keeper *k)
{
	struct tracker *t = k->tracker;

	if (t == NULL || k->finishing)
		return true;
	if (t->dropped_due && !send_dropped(k))
		return false;
	while (t->n_sent < t->n_news) {
		struct news *at = t->unsent;
		size_t n = 0;

		buf_reset(&k->out);
		for (; at != NULL && k->out.len < KEEPER_MSG_MAX / 2; at = at->next, n++)
			encode(k, at);
		if (!keeper_send(k, NULL, 0))
			return false;
		t->unsent = at;
		t->n_sent += n;
	}
	return true;
}

void track_heard(struct keeper *k, uint32_t n)
{
	struct tracker *t = k->tracker;

	for (; t != NULL && n > 0 && t->n_sent > 0; n--, t->n_sent--)
		free(take_news(t));
}

void track_encode_counts(struct keeper *k, uint32_t index)
{
	const struct holding *h = k->slots[index].holding;
	struct keeper_message m = { .type = KEEPER_OBJECTS, .instance = index };

	if (h == NULL)
		return;
	for (int i = 0; i < N_LISTS; i++)
		m.count += h->lists[i].owner.n;
	m.cleaned = h->n_cleaned;
	keeper_encode(&m, &k->out);
}

void track_tell_all(struct keeper *k)
{
	struct tracker *t = k->tracker;

	if (t == NULL)
		return;
	t->dropped_due = t->n_dropped > 0;
	t->unsent = t->first_news; /* who was told of them has not heard them */
	t->n_sent = 0;
}

/* A program may make and unlink a hundred thousand a second: then the counts are told now and then. */
void leak_flush_counts(struct keeper *k, struct mps_time now)
{
	struct tracker *t = k->tracker;

	if ((t->dirty == NULL && !t->dropped_news) || now.ns < t->counts_not_before.ns)
		return;
	t->counts_not_before.ns = now.ns + COUNTS_NS;
	t->dropped_due = t->dropped_due || t->dropped_news;
	t->dropped_news = false;
	while (t->dirty != NULL) {
		struct holding *h = t->dirty;

		t->dirty = h->next_dirty;
		h->is_dirty = false;
		if (h->slot != NO_SLOT)
			slot_report(k, h->slot, REPORT_OBJECTS);
	}
}

static void add_object(struct buf *to, enum track_type type, const char *name)
{
	buf_addf(to, "%s ", track_type_people(type));
	utf8_add_clean(to, name, strlen(name));
}

static void add_whose(struct buf *to, const char *program, pid_t pid)
{
	buf_adds(to, " (");
	if (program[0] != '\0')
		buf_addf(to, "program %s, ", program);
	buf_addf(to, "pid %d)", (int)pid);
}

void leak_say_news(struct keeper *k)
{
	struct tracker *t = k->tracker;

	while (t->first_news != NULL) {
		struct news *news = take_news(t);
		AUTO_BUF text = BUF_INIT;

		buf_adds(&text, "leaked ");
		add_object(&text, (enum track_type)news->type, news->name);
		buf_adds(&text, " unlinked");
		add_whose(&text, news->program, news->pid);
		if (!text.failed)
			boss_say(k, "INFO", text.p);
		free(news);
	}
}

void leak_say_left(struct keeper *k, const struct track_record *r, const char *users, int error)
{
	const char *program = holding_of(r)->name;
	AUTO_BUF text = BUF_INIT;

	/* A process that was dead before its words were read is of no program that we know; of one, under mpsup exec. */
	if (program[0] == '\0' && k->options->front != NULL)
		program = k->options->name;
	add_object(&text, (enum track_type)r->type, r->name);
	add_whose(&text, program, r->creator.pid);
	if (error == 0)
		buf_addf(&text, " is not unlinked: it is in use%s", users);
	else
		buf_addf(&text, " is not unlinked: %s", strerror(error));
	if (!text.failed)
		boss_say(k, "WARN", text.p);
}
