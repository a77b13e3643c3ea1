/*
 * Who gets what next, and what became of it: the input to places, tasks to the log and the lists.
 */
#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "map/internal.h"

/* ---------------------------------------------------------------------------------------------- hand-out */

/* As it stands in the log. */
static void add_command(struct map *m, struct place *s, struct batch *b, struct buf *to)
{
	const struct template_task task = { .seq = b->seq, .place = s->number };
	struct template_task t = task;

	t.p = batch_task(m, b, b->answered, &t.n);
	t.seq += b->answered;
	if (!m->per_task) {
		buf_add(to, t.p, t.n);
		return;
	}
	template_expand(m->o->argv, &t, &s->command);
	template_add(s->command.argv, to);
}

/* The log lists it. */
static bool was_done(struct map *m, struct place *s, struct batch *b)
{
	const struct joblog_done *done = joblog_find(&m->joblog, b->seq);

	if (done == NULL)
		return false;
	buf_reset(&m->line);
	add_command(m, s, b, &m->line);
	/* The number of the place may be another this time. */
	if (done->hash != joblog_hash(m->line.p, m->line.len) && !m->different_said) {
		m->different_said = true;
		map_say(m,
			"--resume: task %llu is not what %s lists under its number: is this the "
			"same "
			"input and command?",
			(unsigned long long)b->seq, m->o->joblog);
	}
	return done->good || !m->o->resume_failed;
}

static void on_input_error(struct map *m, int error)
{
	unsigned long long seq = (unsigned long long)m->seq + 1;

	m->input.ended = true;
	m->input.from = m->input.to = 0;
	m->input_error = error;
	if (error == -EMSGSIZE)
		map_say(m, "task %llu is longer than %d MB; what follows is not read", seq,
			MAP_TASK_MAX >> 20);
	else if (error == -EBADMSG)
		map_say(m, "the input ends within task %llu", seq);
	else
		map_say(m, "cannot read the input: %s", strerror(-error));
	m->outcome.trouble = true;
}

/* NULL: none is there. */
static struct batch *read_batch(struct map *m, struct place *s, uint32_t want)
{
	struct batch *b = batch_new(m);
	bool resumes = m->o->resume && m->joblog.at < m->joblog.n_done;

	do {
		uint32_t n;
		int r;

		buf_reset(&b->in);
		b->at = b->at_task = 0;
		r = input_take(&m->input, resumes ? 1 : want, MAP_BATCH_BYTES, &b->in, &n);
		if (r < 0)
			on_input_error(m, r);
		if (r < 0 || n == 0) {
			batch_spare(m, b);
			return NULL;
		}
		b->seq = m->seq + 1;
		b->n = n;
		m->seq += n;
	} while (resumes && was_done(m, s, b));
	batch_link(m, b, NULL);
	return b;
}

/* Tasks from..to of b as a batch behind it, to be handed out again. */
static struct batch *split(struct map *m, struct batch *b, uint32_t from, uint32_t to)
{
	struct batch *new = batch_new(m);
	size_t at = batch_offset(m, b, from);

	new->seq = b->seq + from;
	new->n = to - from;
	buf_add(&new->in, b->in.p + at, batch_offset(m, b, to) - at);
	return new;
}

/* What is handed out anew was another's portion: the rest of it is the next one's. */
static void cut(struct map *m, struct batch *b, uint32_t want)
{
	struct batch *rest;

	if (b->n <= want)
		return;
	rest = split(m, b, want, b->n);
	b->in.len = batch_offset(m, b, want);
	b->at = b->at_task = 0;
	b->n = want;
	batch_link(m, rest, b);
	batch_first_again(m, rest);
}

static struct batch *next_batch(struct map *m, struct place *s, uint32_t want)
{
	struct batch *b = batch_take_again(m);

	if (b != NULL && m->o->max_tasks > 0)
		cut(m, b, want);
	if (b != NULL)
		return b;
	if (m->n_batches >= MAP_AHEAD_MAX || drain_waiting(&m->out) >= MAP_OUT_MAX ||
	    input_is_over(&m->input))
		return NULL;
	m->idle_wanted = true;
	return read_batch(m, s, want);
}

/*
 * Out of processes or descriptors: what has ended makes room. Workers that run go on: they may
 * never end otherwise.
 */
static void on_no_start(struct map *m, struct batch *b, int error)
{
	batch_first_again(m, b);
	if (mps_error_passes(-error) && m->n_running > 0) {
		m->starved = true;
		return;
	}
	map_say(m, "cannot start %s: %s", m->o->argv[0], strerror(-error));
	map_give_up(m);
}

/* A command line that no process can have. */
static void on_too_long(struct map *m, struct place *s, struct batch *b)
{
	struct map_failure why = { .why = MAP_FAILED_START, .status = E2BIG };

	s->since = mps_now();
	s->started_wall = mps_wall();
	settle_broken(m, s, b, &why);
}

/* False: nothing for it is there. */
static bool fill(struct map *m, struct place *s, uint32_t room)
{
	struct batch *b = next_batch(m, s, room);
	int r = 0;

	if (b == NULL)
		return false;
	if (s->state == PLACE_FREE)
		r = place_start(m, s, b);
	if (r == -E2BIG && m->per_task)
		on_too_long(m, s, b);
	else if (r < 0)
		on_no_start(m, b, r);
	else if (!m->per_task)
		worker_give(m, s, b);
	return true;
}

static void schedule_processes(struct map *m)
{
	while (m->hint < m->n_places && !m->ending && !m->starved && births_are_possible(m)) {
		struct place *s = &m->places[m->hint];

		if (s->state == PLACE_FREE && !fill(m, s, 1))
			return;
		if (s->state != PLACE_FREE)
			m->hint++;
	}
}

/* Round by round, so that the first does not get all. */
static void schedule_workers(struct map *m)
{
	bool any = true;

	while (any && !m->ending) {
		any = false;
		for (unsigned i = 0; i < m->n_places && !m->ending; i++) {
			uint32_t room = worker_room(m, &m->places[i]);

			if (room == 0)
				continue;
			if (!fill(m, &m->places[i], room))
				return;
			any = true;
		}
	}
}

static void close_idle(struct map *m)
{
	bool over = m->again == NULL && input_is_over(&m->input);

	for (unsigned i = 0; i < m->n_places; i++) {
		struct place *s = &m->places[i];

		if (s->state == PLACE_RUNNING && s->n_flight == 0 && !s->closing &&
		    (over || (m->o->max_tasks > 0 && s->asked >= m->o->max_tasks)))
			worker_close_input(m, s);
	}
}

void schedule(struct map *m)
{
	m->idle_wanted = false;
	if (m->per_task)
		schedule_processes(m);
	else
		schedule_workers(m);
	if (!m->per_task && !m->ending)
		close_idle(m);
}

bool schedule_is_over(const struct map *m)
{
	if (m->n_running > 0 || m->n_left > 0)
		return false;
	return m->ending || (m->again == NULL && input_is_over(&m->input));
}

/* ------------------------------------------------------------------------------------------------- outcome */

static void list_failure(struct map *m, struct batch *b, const struct map_failure *why)
{
	struct map_failure *f;
	size_t n, cut;
	unsigned width;
	const char *p;

	m->outcome.failed++;
	if (m->outcome.n_failures == MAP_FAILURES_MAX)
		return;
	if (m->outcome.n_failures % 64 == 0)
		m->outcome.failures =
			xrealloc(m->outcome.failures, (m->outcome.n_failures + 64) * sizeof(*f));
	f = &m->outcome.failures[m->outcome.n_failures++];
	*f = *why;
	f->seq = b->seq + b->answered;
	p = batch_task(m, b, b->answered, &n);
	buf_reset(&m->line);
	utf8_add_clean(&m->line, p, n < sizeof(f->text) * 2 ? n : sizeof(f->text) * 2);
	cut = m->line.len;
	if (cut > sizeof(f->text) - 4) {
		cut = utf8_fit(m->line.p, sizeof(f->text) - 8, sizeof(f->text) - 8, &width);
		memcpy(m->line.p + cut, "...", 4);
		cut += 3;
	}
	memcpy(f->text, m->line.p, cut);
	f->text[cut] = '\0';
}

static void log_task(struct map *m, struct place *s, struct batch *b, const struct verdict *v,
		     uint64_t received)
{
	struct joblog_entry e = {
		.seq = b->seq + b->answered,
		.started = (double)v->wall.ns / MPS_NS_PER_S,
		.seconds = (double)(mps_now().ns - v->since.ns) / MPS_NS_PER_S,
		.received = received,
	};
	const struct map_failure *f = v->failure;

	if (f != NULL && (f->why == MAP_FAILED_SIGNAL || f->why == MAP_FAILED_TIMEOUT))
		e.signal = f->status;
	else if (f != NULL)
		e.status = f->why == MAP_FAILED_EXIT && f->status != 0 ? f->status
			   : f->why == MAP_FAILED_START		       ? 127
								       : 1;
	buf_reset(&m->line);
	add_command(m, s, b, &m->line);
	e.command = m->line.p;
	e.n_command = m->line.len;
	if (!m->per_task)
		e.sent = m->line.len;
	joblog_format(&e, &m->joblog.b);
}

/* In place of what it wrote, which may be too much to be shown: then `truncated` says so. */
static void put_json(struct map *m, struct batch *b, const struct verdict *v)
{
	const char *out = v->answer;
	size_t n = v->n_answer;
	bool cut = false;

	buf_reset(&m->scratch);
	if (out == NULL && m->per_task) {
		cut = batch_take_result(m, b, MAP_TASK_MAX, &m->scratch);
		out = m->scratch.p;
		n = m->scratch.len;
	}
	buf_reset(&m->line);
	json_task(m, b, v, out, n, cut, &m->line);
	batch_add(m, b, m->line.p, m->line.len);
}

void settle_task(struct map *m, struct place *s, struct batch *b, const struct verdict *v)
{
	if (m->joblog.fd >= 0)
		log_task(m, s, b, v,
			 v->answer != NULL ? v->n_answer
			 : m->per_task	   ? b->out.size
					   : 0);
	if (m->o->json)
		put_json(m, b, v);
	else if (v->answer != NULL)
		batch_add(m, b, v->answer, v->n_answer);
	if (v->failure != NULL)
		list_failure(m, b, v->failure);
	b->answered++;
	m->outcome.done++;
	if (v->failure != NULL && m->o->fail_fast)
		map_end(m, false);
}

void settle_broken(struct map *m, struct place *s, struct batch *b, struct map_failure *why)
{
	const struct verdict v = {
		.failure = why, .pid = s->pid, .since = s->since, .wall = s->started_wall
	};
	uint32_t at = b->answered, n = b->n;
	unsigned tries = at == 0 ? b->tries : 0;
	struct batch *after = b, *again;

	/* The log and the lists go first: the place in a batch only moves on. */
	if (tries >= m->o->retries) {
		settle_task(m, s, b, &v);
		at++;
	} else {
		again = split(m, b, at, at + 1);
		again->tries = tries + 1;
		batch_link(m, again, b);
		batch_again(m, again);
		after = again;
		at++;
		if (m->per_task)
			batch_forget_result(m, b);
		m->retried++;
	}
	if (at < n && !m->ending) {
		again = split(m, b, at, n);
		batch_link(m, again, after);
		batch_again(m, again);
	}
	batch_done(m, b);
}

bool place_failure(const struct place *s, struct map_failure *ret)
{
	*ret = (struct map_failure){ .status = s->end.si_status };
	if (s->failure->step != MPS_STEP_NONE) {
		ret->why = MAP_FAILED_START;
		ret->status = s->failure->error;
	} else if (s->timed_out) {
		ret->why = MAP_FAILED_TIMEOUT;
		ret->status = s->killed ? SIGKILL : SIGTERM;
	} else if (s->too_long) {
		ret->why = MAP_FAILED_LONG;
	} else if (s->closed && s->killed) {
		ret->why = MAP_FAILED_CLOSED;
	} else if (s->end.si_code != CLD_EXITED) {
		ret->why = MAP_FAILED_SIGNAL;
	} else {
		ret->why = MAP_FAILED_EXIT;
		return s->end.si_status != 0;
	}
	return true;
}

/* A text that names no interpreter is the shell's. */
static bool is_for_shell(struct map *m, const struct place *s)
{
	bool is = s->failure->step == MPS_STEP_EXEC && s->failure->error == ENOEXEC && !s->by_shell;

	m->by_shell |= is;
	return is;
}

/* It will not do for any other task either. */
static bool is_hopeless(const struct map *m, const struct place *s)
{
	if (s->failure->step == MPS_STEP_NONE || m->o->path == NULL || s->failure->error == E2BIG)
		return false;
	return !mps_error_passes(s->failure->error);
}

void settle_flight(struct map *m, struct place *s)
{
	for (unsigned i = 0; i < s->n_flight; i++) {
		if (m->ending)
			batch_done(m, s->flight[i]);
		else if (s->flight[i]->answered == 0)
			batch_again(m, s->flight[i]);
		else {
			struct batch *b = s->flight[i], *rest = split(m, b, b->answered, b->n);

			batch_link(m, rest, b);
			batch_again(m, rest);
			batch_done(m, b);
		}
	}
	s->n_flight = 0;
}

bool settle_unstarted(struct map *m, struct place *s)
{
	const char *text = s->failure->text;

	if (s->pid == 0) {
		settle_unborn(m, s);
		return true;
	}
	if (is_for_shell(m, s)) {
		settle_flight(m, s);
		return true;
	}
	if (!is_hopeless(m, s))
		return false;
	if (!m->ending)
		map_say(m, "cannot start %s: %s: %s", m->o->argv[0],
			mps_step_word((enum mps_step)s->failure->step),
			text[0] != '\0' ? text : strerror(s->failure->error));
	m->outcome.start_error = s->failure->error != 0 ? s->failure->error : ENOEXEC;
	map_give_up(m);
	settle_flight(m, s);
	return true;
}

void settle_process(struct map *m, struct place *s)
{
	struct batch *b = s->flight[0];
	struct map_failure why;
	const struct verdict good = { .pid = s->pid, .since = s->since, .wall = s->started_wall };

	if (settle_unstarted(m, s))
		return;
	s->n_flight = 0;
	if (!place_failure(s, &why)) {
		settle_task(m, s, b, &good);
		batch_done(m, b);
	} else if (m->ending) {
		batch_forget_result(m, b);
		batch_done(m, b);
	} else {
		settle_broken(m, s, b, &why);
	}
}
