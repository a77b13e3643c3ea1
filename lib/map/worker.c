/*
 * A worker that lives on: tasks into its standard input, as many at a time as keep it busy for a moment and no more, and
 * answers out of its standard output, one for each, in the order in which they were asked.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "map/internal.h"

/* Seconds of work that it gets at a time, and how long a task may be for the next to wait behind it. */
#define PORTION_S 0.002
/* So often in a row may a worker end before it reads a task. */
enum { UNSTARTED_MAX = 3 };

/* --------------------------------------------------------------------------------------------------- tasks */

uint32_t worker_room(const struct map *m, const struct place *s)
{
	uint64_t room = m->o->chunk, left = UINT64_MAX;

	if (s->state == PLACE_LEFT ||
	    (s->state == PLACE_FREE && (m->starved || !births_are_possible(m))) ||
	    (s->state == PLACE_RUNNING && (s->closing || s->closed || s->kill_at.ns != 0)))
		return 0;
	if (s->state == PLACE_RUNNING && s->n_flight > 0 &&
	    (s->n_flight == FLIGHT_MAX || s->pace == 0 || s->pace > PORTION_S))
		return 0;
	if (m->o->max_tasks > 0)
		left = s->state == PLACE_FREE ? m->o->max_tasks : m->o->max_tasks - s->asked;
	if (room == 0) {
		room = 1;
		if (s->state == PLACE_RUNNING && s->pace > 0 && s->pace < PORTION_S)
			room = (uint64_t)(PORTION_S / s->pace);
		room = room < MAP_BATCH_TASKS ? room : MAP_BATCH_TASKS;
	}
	return (uint32_t)(room < left ? room : left);
}

static void begin_task(const struct map *m, struct place *s, struct mps_time now)
{
	s->since = now;
	s->deadline.ns = s->n_flight > 0 && m->o->timeout.ns != 0 ? now.ns + m->o->timeout.ns : 0;
}

void worker_give(struct map *m, struct place *s, struct batch *b)
{
	s->flight[s->n_flight++] = b;
	s->asked += b->n;
	if (s->n_flight == 1) {
		s->writing = 0;
		s->written = 0;
		s->measured_from = mps_now();
		s->started_wall = mps_wall();
		begin_task(m, s, s->measured_from);
	}
	if (!s->is_full)
		worker_write(m, s);
}

void worker_write(struct map *m, struct place *s)
{
	if (s->is_full) {
		map_unwatch(m, s->in);
		s->is_full = false;
	}
	while (s->in >= 0 && s->writing < s->n_flight) {
		struct batch *b = s->flight[s->writing];
		ssize_t n = write(s->in, b->in.p + s->written, b->in.len - s->written);

		if (n < 0 && errno == EAGAIN) {
			s->is_full = map_watch(m, s->in, EPOLLOUT, WATCH_IN, s->number) == 0;
			return;
		}
		if (n < 0) { /* nobody reads it: it ends, or is ended */
			if (s->kill_at.ns == 0)
				s->kill_at.ns = mps_now().ns + m->o->grace.ns;
			return;
		}
		s->fed += (uint64_t)n;
		s->written += (size_t)n;
		if (s->written == b->in.len) {
			s->writing++;
			s->written = 0;
		}
	}
}

void worker_close_input(struct map *m, struct place *s)
{
	s->closing = true;
	if (s->is_full)
		map_unwatch(m, s->in);
	s->is_full = false;
	fd_close(&s->in);
	if (m->o->timeout.ns != 0)
		s->deadline.ns = mps_now().ns + m->o->timeout.ns;
}

/* ------------------------------------------------------------------------------------------------- answers */

/* All of its tasks are answered. */
static void on_batch(struct map *m, struct place *s, struct batch *b, struct mps_time now)
{
	double pace = (double)(now.ns - s->measured_from.ns) / MPS_NS_PER_S / b->n;

	s->measured_from = now;
	s->pace = s->pace == 0 || pace < s->pace ? pace : (s->pace + pace) / 2;
	if (s->pace <= 0)
		s->pace = 1e-9;
	/* It cannot have known what it answers. */
	s->too_much |= s->writing == 0;
	s->writing -= s->writing > 0;
	batch_done(m, b);
	s->n_flight--;
	memmove(s->flight, s->flight + 1, s->n_flight * sizeof(s->flight[0]));
}

/* The answers at p to tasks of b, where each is looked at by somebody. The bytes that they are. */
static size_t take_each(struct map *m, struct place *s, struct batch *b, const char *p, size_t n)
{
	size_t at = 0, length;

	while (b->answered < b->n && !m->ending &&
	       (length = item_length(p + at, n - at, m->o->frame, m->delimiter)) > 0) {
		struct verdict v = { .pid = s->pid, .since = s->since, .wall = s->started_wall };

		v.answer = p + at;
		v.n_answer = length;
		settle_task(m, s, b, &v);
		at += length;
		begin_task(m, s, mps_now());
		s->started_wall = mps_wall();
	}
	return at;
}

/* The same where it is only counted. */
static size_t take_all(struct map *m, struct batch *b, const char *p, size_t n)
{
	uint32_t before = b->answered;
	size_t at = 0, length;

	while (b->answered < b->n &&
	       (length = item_length(p + at, n - at, m->o->frame, m->delimiter)) > 0) {
		at += length;
		b->answered++;
	}
	m->outcome.done += b->answered - before;
	batch_add(m, b, p, at);
	return at;
}

static void on_too_much(struct map *m, struct place *s)
{
	s->too_much = true;
	map_say(m, "worker %u answered more than it was asked (one %s for each task); it is ended",
		s->number, m->o->frame ? "frame" : "line");
	m->outcome.trouble = true;
	place_end(m, s, false);
}

static bool is_too_long(const struct map *m, const struct place *s)
{
	if (m->o->frame)
		return s->answers.len >= INPUT_HEAD && frame_length(s->answers.p) > MAP_TASK_MAX;
	return s->answers.len > MAP_TASK_MAX;
}

void worker_on_answers(struct map *m, struct place *s)
{
	bool each = m->joblog.fd >= 0 || m->o->json;
	struct mps_time now = mps_now();
	size_t at = 0;

	/* Of a long line only what is new is looked at. */
	if (!m->o->frame &&
	    memchr(s->answers.p + s->looked, m->delimiter, s->answers.len - s->looked) == NULL) {
		s->looked = s->answers.len;
	} else {
		while (s->n_flight > 0 && !s->too_much && !m->ending) {
			struct batch *b = s->flight[0];
			const char *p = s->answers.p + at;
			size_t n = s->answers.len - at, used;

			used = each ? take_each(m, s, b, p, n) : take_all(m, b, p, n);
			at += used;
			if (used == 0)
				break;
			m->unstarted = 0;
			m->answered = true;
			batch_ready(m, b);
			if (b->answered == b->n)
				on_batch(m, s, b, now);
			begin_task(m, s, now);
		}
		buf_drop(&s->answers, at);
		s->looked = 0;
	}
	if (m->ending || s->too_much)
		return;
	if (s->n_flight == 0 && s->answers.len > 0)
		on_too_much(m, s);
	else if (is_too_long(m, s) && !s->too_long) {
		s->too_long = true;
		place_end(m, s, true);
	}
}

/* ----------------------------------------------------------------------------------------------------- end */

static void describe(const struct place *s, char *to, size_t size)
{
	if (s->end.si_code == CLD_EXITED)
		snprintf(to, size, "exited with %d", s->end.si_status);
	else
		snprintf(to, size, "was ended by signal %d", s->end.si_status);
}

/* Nothing of what it was asked has been read. */
static bool has_read_nothing(const struct place *s)
{
	int unread = 0;

	return s->got == 0 && s->in >= 0 && ioctl(s->in, FIONREAD, &unread) == 0 &&
	       (uint64_t)unread == s->fed;
}

static void on_unstarted(struct map *m, struct place *s)
{
	char how[64];

	settle_flight(m, s);
	if (++m->unstarted < UNSTARTED_MAX || m->ending)
		return;
	describe(s, how, sizeof(how));
	map_say(m, "%s %s before it read a task, %u times in a row", m->o->argv[0], how,
		m->unstarted);
	map_give_up(m);
}

void worker_on_over(struct map *m, struct place *s)
{
	struct map_failure why;
	struct batch *b = s->n_flight > 0 ? s->flight[0] : NULL;
	bool failed = place_failure(s, &why);
	char how[64];

	if (b == NULL) {
		describe(s, how, sizeof(how));
		if (failed && s->closing && !s->too_much && !m->ending)
			map_say(m, "worker %u %s behind its last answer", s->number, how);
		return;
	}
	if (s->too_much || m->ending) {
		settle_flight(m, s);
		return;
	}
	if (settle_unstarted(m, s))
		return;
	if (s->failure->step != MPS_STEP_NONE || (!s->timed_out && has_read_nothing(s))) {
		on_unstarted(m, s);
		return;
	}
	s->n_flight--;
	memmove(s->flight, s->flight + 1, s->n_flight * sizeof(s->flight[0]));
	settle_broken(m, s, b, &why);
	settle_flight(m, s);
}
