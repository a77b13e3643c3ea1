/*
 * What the supervisor has to be told of instances: a queue of those with news, each of which is told as it is when the
 * socket has room, so that nothing waits as a message. What is news is slot.c's; how a message looks message.c's.
 */
#include <stdint.h>

#include "keeper/internal.h"
#include "keeper/tracker.h"

void slot_report(struct keeper *k, uint32_t index, unsigned reports)
{
	struct slot *s = &k->slots[index];

	s->reports |= (uint8_t)reports;
	if (s->queued)
		return;
	s->queued = true;
	s->next_report = NO_SLOT;
	if (k->first_report == NO_SLOT)
		k->first_report = index;
	else
		k->slots[k->last_report].next_report = index;
	k->last_report = index;
}

static void describe(const struct slot *s, uint32_t index, unsigned report,
		     struct keeper_message *m)
{
	*m = (struct keeper_message){ .instance = index, .gen = s->gen, .pid = s->pid };
	switch (report) {
	case REPORT_REFUSED:
		m->type = KEEPER_FAILED;
		m->gen = s->refused_gen;
		m->code = (uint32_t)s->refused_step;
		m->status = (uint32_t)s->refused_error;
		break;
	case REPORT_STARTED:
		m->type = KEEPER_STARTED;
		m->time = s->started;
		if (s->first != 0) /* it has ended since; MAIN follows */
			m->pid = s->first;
		break;
	case REPORT_MAIN:
		m->type = KEEPER_MAIN;
		m->pid = slot_main(s);
		break;
	case REPORT_FAILED:
		m->type = KEEPER_FAILED;
		m->code = (uint32_t)s->fail_step;
		m->status = (uint32_t)s->fail_error;
		m->text = s->fail_text;
		break;
	case REPORT_EXITED:
		m->type = KEEPER_EXITED;
		m->code = (uint32_t)s->exit_code;
		m->status = (uint32_t)s->exit_status;
		m->tree_left = s->tree_left;
		m->time = s->ended_wall;
		break;
	default:
		m->type = KEEPER_GONE;
		break;
	}
}

/* One slot's messages are at most 180 bytes and a text. */
enum { REPORTS_A_DATAGRAM = 128, REPORTS_SIZE = KEEPER_MSG_MAX - SPAWN_TEXT_MAX - 1024 };

static enum keeper_instance instance_state(const struct slot *s)
{
	switch ((enum slot_state)s->state) {
	case SLOT_EXEC:
		return KEEPER_IS_BEGUN;
	case SLOT_ALIVE:
		return KEEPER_IS_ALIVE;
	case SLOT_ENDING: /* EXITED is due when it is known what it has left */
		return s->tree_left ? KEEPER_IS_ENDING : KEEPER_IS_ALIVE;
	case SLOT_IDLE:
		break;
	}
	return s->failed ? KEEPER_IS_FAILED : KEEPER_IS_ENDED;
}

static void describe_instance(const struct slot *s, uint32_t index, struct keeper_message *m)
{
	*m = (struct keeper_message){
		.type = KEEPER_INSTANCE,
		.instance = index,
		.gen = s->gen,
		.pid = slot_main(s),
		.state = instance_state(s),
		.started = s->started,
		.sent = s->sent,
		.code = (uint32_t)(s->failed ? s->fail_step : s->exit_code),
		.status = (uint32_t)(s->failed ? s->fail_error : s->exit_status),
		.time = s->ended_wall,
		.text = s->failed ? s->fail_text : NULL,
	};
}

static void encode_reports(struct keeper *k, uint32_t index)
{
	struct slot *s = &k->slots[index];
	struct keeper_message m;

	if (s->reports & REPORT_INSTANCE) {
		describe_instance(s, index, &m);
		keeper_encode(&m, &k->out);
	}
	if (s->reports & REPORT_OBJECTS)
		track_encode_counts(k, index);
	if (s->reports & REPORT_INSTANCE)
		return; /* what of its end is not in there yet comes by itself */
	for (unsigned bit = REPORT_REFUSED; bit <= REPORT_GONE; bit <<= 1) {
		if (!(s->reports & bit))
			continue;
		describe(s, index, bit, &m);
		keeper_encode(&m, &k->out);
	}
}

/* KEPT goes before the INSTANCE that it belongs to, or before WELCOME, each in a datagram of its own. */
bool slot_send_kept(struct keeper *k, uint32_t index, uint32_t first)
{
	const struct slot *s = &k->slots[index];

	if (k->kept_sent < first)
		k->kept_sent = first;
	while (k->kept_sent < s->n_kept) {
		struct keeper_message m = {
			.type = KEEPER_KEPT,
			.instance = index,
			.first = k->kept_sent,
		};
		uint32_t n = s->n_kept - k->kept_sent;

		n = n < KEEPER_FDS_MAX ? n : KEEPER_FDS_MAX;
		buf_reset(&k->out);
		keeper_encode(&m, &k->out);
		if (!keeper_send(k, s->kept + k->kept_sent, n))
			return false;
		k->kept_sent += n;
	}
	return true;
}

static bool has_kept_to_send(const struct slot *s)
{
	return (s->reports & REPORT_INSTANCE) && s->n_kept > 0;
}

static void count_as_told(struct keeper *k, uint32_t n)
{
	k->kept_sent = 0;
	while (n-- > 0) {
		struct slot *s = &k->slots[k->first_report];

		s->reports = 0;
		s->queued = false;
		k->first_report = s->next_report;
	}
}

static bool may_send(const struct keeper *k)
{
	return !k->sock_full && k->send_again.ns == 0;
}

/* As many as fit go together; they count as told only when the socket has taken them. */
void slot_flush_reports(struct keeper *k)
{
	if (!k->boss.greeted || !may_send(k) || !boss_welcome(k) || !track_send_news(k))
		return;
	while ((k->first_report != NO_SLOT || k->server_news || k->signal_news) && may_send(k)) {
		uint32_t index = k->first_report, n = 0;

		if (index != NO_SLOT && has_kept_to_send(&k->slots[index]) &&
		    !slot_send_kept(k, index, 0))
			return;
		buf_reset(&k->out);
		boss_encode_signals(k);
		server_encode_news(k);
		while (index != NO_SLOT && n < REPORTS_A_DATAGRAM && k->out.len < REPORTS_SIZE &&
		       (n == 0 || !has_kept_to_send(&k->slots[index]))) {
			encode_reports(k, index);
			index = k->slots[index].next_report;
			n++;
		}
		if (!keeper_send(k, NULL, 0))
			return;
		boss_signals_told(k);
		server_news_told(k);
		count_as_told(k, n);
	}
}

/* Those with a process, or those for which something is kept although there never was one. */
static uint32_t report_some(struct keeper *k, bool started)
{
	uint32_t n = 0;

	for (uint32_t i = started ? 0 : 1; i < k->n_slots; i++) {
		const struct slot *s = &k->slots[i];

		if (started ? s->gen == 0 : s->gen != 0 || s->n_kept == 0)
			continue;
		slot_report(k, i, REPORT_INSTANCE | (s->holding != NULL ? REPORT_OBJECTS : 0));
		n++;
	}
	return n;
}

uint32_t slot_report_all(struct keeper *k)
{
	uint32_t n;

	server_tell_all(k);
	k->first_report = NO_SLOT;
	k->kept_sent = 0;
	for (uint32_t i = 0; i < k->n_slots; i++) {
		k->slots[i].reports = 0;
		k->slots[i].queued = false;
	}
	track_tell_all(k);
	/* First what a process may be started with. */
	n = report_some(k, false);
	return n + report_some(k, true);
}
