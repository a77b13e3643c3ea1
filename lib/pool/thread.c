/*
 * A pool's thread: it waits for the ends of workers, time limits and whoever calls it, and starts workers, runs callbacks,
 * and reads results when nobody else does. It is the only one that starts and ends processes once the pool is made.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "ipc/futex.h"
#include "pool/pool.h"

enum { EVENTS = 32, START_TRIES = 10, KILLED_TRIES = 16, SPARE_DEATHS = 64 };

/* A start that has failed for want of something is tried again so much later. */
#define START_PAUSE (100 * MPS_NS_PER_MS)

/* ---------------------------------------------------------------------------------------------------- starting */

int pool_make_seats(struct mps_pool *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct seat *s = p->seats[i];

		if (s == NULL) {
			s = calloc(1, sizeof(*s));
			if (s == NULL)
				return -ENOMEM;
			s->index = i;
			s->pidfd = -1;
			p->seats[i] = s;
			p->n_seats = i + 1 > p->n_seats ? i + 1 : p->n_seats;
		}
		if (s->state == SEAT_EMPTY) {
			s->state = SEAT_WANTED;
			s->failures = 0;
			s->start_at = 0;
		}
	}
	p->n_words = (p->n_seats + 63) / 64;
	return 0;
}

static bool is_over(const struct mps_pool *p)
{
	return p->broken || p->state == POOL_TERMINATED;
}

static void watch(struct mps_pool *p, struct seat *s)
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = s };

	epoll_ctl(p->epoll, EPOLL_CTL_ADD, seat_sentinel(s), &e);
}

static void start_failed(struct mps_pool *p, struct seat *s, int error, const char *what)
{
	char text[400];

	s->state = SEAT_WANTED;
	s->start_at = mps_now().ns + START_PAUSE;
	pool_set_timer(p, s->start_at);
	if (!p->has_thread || ++s->failures > START_TRIES) {
		snprintf(text, sizeof(text), "start of a worker: %.250s: %s", what,
			 strerror(-error));
		pool_break(p, text);
	}
}

static void start_one(struct mps_pool *p, struct seat *s)
{
	struct seat fresh = {
		.index = s->index, .failures = s->failures, .window = 1, .pidfd = -1
	};
	const char *what;
	int r;

	s->state = SEAT_EMPTY;
	pool_unlock(p);
	r = seat_start(p, &fresh, &what);
	pool_lock(p);
	if (r < 0) {
		start_failed(p, s, r, what);
		return;
	}
	*s = fresh;
	s->state = SEAT_STARTS;
	watch(p, s);
	if (is_over(p))
		seat_kill(s);
	collect_seat(p, s); /* what it has said until now nobody has looked at */
	dispatch_pending(p);
}

void pool_start_wanted(struct mps_pool *p)
{
	for (uint32_t i = 0; i < p->n_seats; i++) {
		struct seat *s = p->seats[i];

		if (s->state != SEAT_WANTED)
			continue;
		if (is_over(p) || i >= p->want)
			s->state = SEAT_EMPTY;
		else if (s->start_at <= mps_now().ns)
			start_one(p, s);
		else
			pool_set_timer(p, s->start_at);
	}
}

/* ----------------------------------------------------------------------------------------------------- deaths */

static void describe(char *text, size_t size, const char *what, int code)
{
	if (code == INT_MIN)
		snprintf(text, size, "%s", what);
	else if (code < 0)
		snprintf(text, size, "%s: signal %d (%s)", what, -code, sigdescr_np(-code));
	else
		snprintf(text, size, "%s: exit status %d", what, code);
}

static bool was_killed(int code)
{
	return code == -SIGKILL || code == -SIGTERM;
}

/* It never was ready. Whom somebody has killed there need not be anything wrong with. */
static void birth_failed(struct mps_pool *p, struct seat *s, int code)
{
	uint32_t tries = p->init_retries;
	char text[256];

	if (was_killed(code))
		tries += tries < UINT32_MAX - KILLED_TRIES ? KILLED_TRIES : 0;

	if (atomic_load(&s->lane.s->state) == LANE_HAS_FAILED)
		snprintf(text, sizeof(text), "initializer: it has returned %d", s->lane.s->code);
	else
		describe(text, sizeof(text), "a worker has ended before it was ready", code);
	if (s->failures++ >= tries)
		pool_break(p, text);
}

/* Of one that has ended: the task that it was at has an outcome, or is tried again with those that it had not begun. */
static void settle(struct mps_pool *p, struct seat *s, int code)
{
	struct work *w = s->first, *last = s->last;

	if (w == NULL)
		return;
	s->first = s->last = NULL;
	if (atomic_load(&s->lane.s->claim) > s->n_done) {
		struct mps_result result = { .outcome = s->reason == SEAT_TIMEOUT
								? MPS_POOL_E_TIMEOUT
								: MPS_POOL_E_WORKER_DIED,
					     .code = code,
					     .pid = s->pid,
					     .tries = ++w->tries };

		if (s->reason == SEAT_TIMEOUT || w->tries > p->retries)
			work_outcome(w, &result);
	}
	if (w->done < w->n) {
		dispatch_again(p, w, last);
		return;
	}
	if (w != last)
		dispatch_again(p, w->next, last);
	work_over(w);
}

/* Workers that have nothing to do end by themselves, again and again. Whom somebody has killed is another matter. */
static void count_spare_death(struct mps_pool *p, int code)
{
	int64_t now = mps_now().ns;
	char text[256];

	if (was_killed(code))
		return;
	if (now - p->spare_death_at > MPS_NS_PER_S)
		p->spare_deaths = 0;
	p->spare_death_at = now;
	if (++p->spare_deaths <= SPARE_DEATHS + 8 * p->want)
		return;
	describe(text, sizeof(text), "workers end again and again without a task", code);
	pool_break(p, text);
}

static int end_process(struct mps_pool *p, struct seat *s)
{
	epoll_ctl(p->epoll, EPOLL_CTL_DEL, seat_sentinel(s), NULL);
	return seat_code(p, s);
}

/* What it has started ends with it. */
static void end_tree(struct mps_pool *p, struct seat *s, int code)
{
	pool_unlock(p);
	if (code != 0 || s->reason != SEAT_DIED)
		seat_end_tree(s);
	seat_clear(s);
	pool_lock(p);
}

static void on_end(struct mps_pool *p, struct seat *s)
{
	int code = end_process(p, s);
	bool was_told = s->state == SEAT_STOPPING, was_idle;

	collect_seat(p, s);
	was_idle = s->first == NULL;
	if (s->state == SEAT_STARTS && !is_over(p))
		birth_failed(p, s, code);
	else if (was_idle && !was_told && !is_over(p))
		count_spare_death(p, code);
	settle(p, s, code);
	s->state = SEAT_EMPTY;
	s->pid = 0;
	end_tree(p, s, code);
	if (!is_over(p) && s->index < p->want && (p->state == POOL_OPEN || p->pending != NULL))
		s->state = SEAT_WANTED;
	dispatch_pending(p);
	kick_leader(p);
	bell_wake(p->bell); /* it may have been about to do that */
}

/* ------------------------------------------------------------------------------------------------- time limits */

/* Kills whoever is at a task for too long; when to look again. */
static int64_t check_task(struct mps_pool *p, struct seat *s, int64_t now)
{
	struct lane_shared *l = s->lane.s;
	uint64_t claim = atomic_load(&l->claim);
	int64_t end;

	if (s->first == NULL)
		return INT64_MAX;
	/* The time is written before the number: it is that of this task or of a later one. */
	if (claim <= s->n_done)
		return now + p->task_timeout;
	end = atomic_load(&l->claimed_at) + p->task_timeout;
	if (end > now)
		return end;
	s->reason = SEAT_TIMEOUT;
	seat_kill(s);
	return INT64_MAX;
}

static void check_tasks(struct mps_pool *p)
{
	int64_t now = mps_now().ns, next = INT64_MAX, at;

	if (p->task_timeout <= 0)
		return;
	for (uint32_t i = 0; i < p->n_seats; i++) {
		struct seat *s = p->seats[i];

		if (s->state < SEAT_READY || s->reason != SEAT_DIED)
			continue;
		if (s->first != NULL)
			collect_seat(p, s);
		at = check_task(p, s, now);
		next = at < next ? at : next;
	}
	if (next != INT64_MAX)
		pool_set_timer(p, next);
}

/* -------------------------------------------------------------------------------------------------- its life */

static void kill_all(struct mps_pool *p)
{
	for (uint32_t i = 0; i < p->n_seats; i++) {
		struct seat *s = p->seats[i];

		if (s->state < SEAT_STARTS || s->reason == SEAT_ENDED)
			continue;
		s->reason = SEAT_ENDED;
		seat_kill(s);
	}
}

static void run_callbacks(struct mps_pool *p)
{
	struct mps_future *f;

	while ((f = p->callbacks) != NULL) {
		void (*callback)(struct mps_future *, void *) = f->callback;

		p->callbacks = f->next_callback;
		if (p->callbacks == NULL)
			p->callbacks_end = &p->callbacks;
		if (callback != NULL) {
			pool_unlock(p);
			callback(f, f->user);
			pool_lock(p);
		}
		job_unref(&f->job);
	}
}

static bool has_ended(const struct mps_pool *p)
{
	if (!is_over(p) && (p->state == POOL_OPEN || p->pending != NULL))
		return false;
	for (uint32_t i = 0; i < p->n_seats; i++)
		if (p->seats[i]->state != SEAT_EMPTY)
			return false;
	return p->callbacks == NULL;
}

static void on_event(struct mps_pool *p, const struct epoll_event *e)
{
	uint64_t n;

	if (e->data.ptr == &p->event) {
		if (read(p->event, &n, sizeof(n)) < 0)
			return;
	} else if (e->data.ptr == &p->timer) {
		if (read(p->timer, &n, sizeof(n)) < 0)
			return;
		p->timer_at = INT64_MAX;
	} else {
		on_end(p, e->data.ptr);
	}
}

static void work_on(struct mps_pool *p)
{
	if (is_over(p))
		kill_all(p);
	if (!p->leads)
		collect(p);
	else
		dispatch_pending(p);
	check_tasks(p);
	pool_start_wanted(p);
	run_callbacks(p);
	if (!p->leads)
		arm_bell(p);
}

void *pool_thread(void *user)
{
	struct mps_pool *p = user;
	struct epoll_event events[EVENTS];
	int n;

	pool_lock(p);
	for (;;) {
		work_on(p);
		if (has_ended(p))
			break;
		pool_unlock(p);
		n = epoll_wait(p->epoll, events, EVENTS, -1);
		pool_lock(p);
		for (int i = 0; i < n; i++)
			on_event(p, &events[i]);
	}
	pool_unlock(p);
	template_stop(p);
	pool_lock(p);
	atomic_store(&p->ended, 1);
	futex_wake(&p->ended, UINT32_MAX);
	kick_leader(p);
	if (p->frees_itself)
		pthread_detach(p->thread);
	p->refs--;
	pool_unlock(p);
	return NULL;
}
