/*
 * Tasks out and results in: which worker gets a chunk, how it is written into its lane, how results are read, and who does
 * that while threads wait.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/futex.h"
#include "pool/pool.h"

/* So much work a worker has ahead. */
#define AHEAD (150 * MPS_NS_PER_MS / 1000)
/* What it takes to wake one that sleeps. */
#define WAKING (50 * MPS_NS_PER_MS / 1000)

/* ------------------------------------------------------------------------------------------------- into a lane */

static bool has_room(struct seat *s, size_t n)
{
	size_t ring = s->lane.ring;

	if (s->task_tail + n - s->task_head <= ring)
		return true;
	s->task_head = atomic_load_explicit(&s->lane.s->task_head, memory_order_acquire);
	return s->task_tail + n - s->task_head <= ring;
}

static struct lane_message *message_at(struct seat *s)
{
	return (void *)lane_at(s->lane.tasks, s->lane.ring, s->task_tail);
}

/* The worker sees it. */
static void publish(struct seat *s, size_t n)
{
	struct lane_shared *l = s->lane.s;

	s->task_tail += n;
	atomic_store(&l->task_tail, s->task_tail);
	if (atomic_load(&l->sleeps)) {
		atomic_store(&l->sleeps, 0);
		futex_wake(&l->sleeps, 1);
	}
}

static bool define_targets(struct mps_pool *p, struct seat *s, uint32_t target)
{
	while (s->n_defined <= target) {
		const char *name = p->targets[s->n_defined].name;
		size_t n = (sizeof(struct lane_message) + strlen(name) + 8) & ~(size_t)7;
		struct lane_message *m = message_at(s);

		if (!has_room(s, n))
			return false;
		*m = (struct lane_message){ .kind = LANE_DEFINE,
					    .size = (uint32_t)n,
					    .target = s->n_defined++ };
		strcpy((char *)(m + 1), name);
		publish(s, n);
	}
	return true;
}

/* Where the items of the first task without an outcome begin. */
static const char *first_item(const struct work *w)
{
	const char *at = w->bytes;

	for (uint64_t i = 0, n = (uint64_t)w->done * w->job->arity; i < n; i++)
		at += lane_item_size(*(const uint64_t *)(const void *)at);
	return at;
}

/* 0; -EAGAIN: there is no room; other -errno: it cannot be written at all. */
static int write_work(struct mps_pool *p, struct seat *s, const struct work *w)
{
	const char *from = first_item(w);
	size_t size = w->size - (size_t)(from - w->bytes), n = sizeof(struct lane_message);
	struct lane_message head = { .kind = LANE_RUN,
				     .target = w->job->target,
				     .n = w->n - w->done,
				     .arity = w->job->arity };
	int r;

	if (!define_targets(p, s, w->job->target) || !has_room(s, n))
		return -EAGAIN;
	if (lane_is_long(s->lane.ring, size)) {
		head.kind = LANE_RUN_LONG;
		r = mps_queue_put(s->long_tasks, from, size, 0);
		if (r < 0)
			return r == -ETIMEDOUT ? -EAGAIN : r;
	} else {
		if (!has_room(s, n + size))
			return -EAGAIN;
		memcpy(message_at(s) + 1, from, size);
		n += size;
	}
	head.size = (uint32_t)n;
	*message_at(s) = head;
	publish(s, n);
	return 0;
}

static bool may_have(const struct mps_pool *p, const struct seat *s, const struct work *w)
{
	if (s->state != SEAT_READY || s->n_works >= POOL_WINDOW_MAX)
		return false;
	if (p->max_tasks != 0 && s->n_given >= p->max_tasks)
		return false;
	if (s->n_works == 0)
		return true;
	return s->n_tasks + w->n <= s->window &&
	       (p->max_tasks == 0 || s->n_given + w->n <= p->max_tasks);
}

/* -EAGAIN: there is no room for it. */
static int give(struct mps_pool *p, struct seat *s, struct work *w)
{
	int r = write_work(p, s, w);

	if (r == -EAGAIN)
		return r;
	if (r < 0) {
		work_outcome(w, &(struct mps_result){ .outcome = MPS_POOL_E_FAILED, .code = r });
		work_abandon(w, MPS_POOL_E_CANCELLED);
		return 0;
	}
	w->next = NULL;
	if (s->first == NULL)
		s->first = w;
	else
		s->last->next = w;
	s->last = w;
	p->latest = s->index;
	s->n_works++;
	s->n_tasks += w->n - w->done;
	s->n_given += w->n - w->done;
	if (p->task_timeout > 0 && p->timer_at == INT64_MAX)
		pool_set_timer(p, mps_now().ns + p->task_timeout);
	return 0;
}

/* How long it will take for what it has, about. */
static int64_t busy_for(const struct seat *s)
{
	return (int64_t)s->n_tasks * s->each;
}

/*
 * Of those that may have it the one with the least to do; but where as many are busy as there are CPUs, nobody is woken for
 * what one of those comes to in less time than the waking takes. Then *ret_more: so it is with the next one.
 */
static struct seat *choose(struct mps_pool *p, const struct work *w, bool *ret_more)
{
	struct seat *best = NULL, *idle = NULL;
	uint32_t n_busy = 0;

	*ret_more = false;
	for (uint32_t i = 0; i < p->n_seats; i++) {
		struct seat *s = p->seats[i];

		n_busy += s->n_works > 0;
		if (!may_have(p, s, w))
			continue;
		if (s->n_works == 0)
			idle = idle == NULL ? s : idle;
		else if (best == NULL || busy_for(s) < busy_for(best))
			best = s;
		if (idle != NULL && n_busy < p->cpus && i + 1 >= p->cpus)
			return idle;
	}
	if (best != NULL && (idle == NULL || busy_for(best) < WAKING))
		*ret_more = n_busy >= p->cpus;
	return idle != NULL && !*ret_more ? idle : best;
}

/* ------------------------------------------------------------------------------------------------- the queue */

static void enqueue(struct mps_pool *p, struct work *w)
{
	w->next = NULL;
	*p->pending_end = w;
	p->pending_end = &w->next;
}

static void drop_first(struct mps_pool *p)
{
	p->pending = p->pending->next;
	if (p->pending == NULL)
		p->pending_end = &p->pending;
}

static void stop(struct mps_pool *p, struct seat *s)
{
	size_t n = sizeof(struct lane_message);

	if (!has_room(s, n)) {
		p->has_unstopped = true; /* it is looked at again when it has done something */
		return;
	}
	*message_at(s) = (struct lane_message){ .kind = LANE_STOP, .size = (uint32_t)n };
	publish(s, n);
	s->state = SEAT_STOPPING;
}

static void stop_some(struct mps_pool *p)
{
	for (uint32_t i = 0; i < p->n_seats; i++) {
		struct seat *s = p->seats[i];

		if (s != NULL && s->state == SEAT_READY &&
		    (i >= p->want || (p->state == POOL_CLOSED && p->pending == NULL) ||
		     (p->max_tasks != 0 && s->n_given >= p->max_tasks)))
			stop(p, s);
	}
}

/* The first one that waits is nobody's any more. */
static bool drop_cancelled(struct mps_pool *p)
{
	struct work *w = p->pending;

	if (!w->job->cancelled && !p->broken && p->state != POOL_TERMINATED)
		return false;
	drop_first(p);
	work_abandon(w, p->broken ? MPS_POOL_E_BROKEN : MPS_POOL_E_CANCELLED);
	return true;
}

void dispatch_pending(struct mps_pool *p)
{
	struct seat *s = NULL;
	bool more = false;

	while (p->pending != NULL) {
		struct work *w = p->pending;

		if (drop_cancelled(p))
			continue;
		if (!more || !may_have(p, s, w) || busy_for(s) > WAKING)
			s = choose(p, w, &more);
		if (s == NULL)
			break;
		drop_first(p);
		if (give(p, s, w) == -EAGAIN) {
			dispatch_again(p, w, w);
			break;
		}
	}
	p->has_unstopped = false;
	if (p->max_tasks != 0 || p->state != POOL_OPEN || p->want < p->n_seats)
		stop_some(p);
}

size_t dispatch_drop(struct mps_pool *p, struct job *j)
{
	struct work *dropped = NULL, **at = &p->pending, *w;
	size_t n = 0;

	while ((w = *at) != NULL) {
		if (w->job != j) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		w->next = dropped;
		dropped = w;
	}
	p->pending_end = at;
	while ((w = dropped) != NULL) {
		dropped = w->next;
		n += w->n - w->done;
		work_abandon(w, MPS_POOL_E_CANCELLED);
	}
	return n;
}

void dispatch_again(struct mps_pool *p, struct work *first, struct work *last)
{
	last->next = p->pending;
	if (p->pending == NULL)
		p->pending_end = &last->next;
	p->pending = first;
}

void dispatch(struct mps_pool *p, struct work *list)
{
	struct work *next;

	for (; list != NULL; list = next) {
		next = list->next;
		enqueue(p, list);
	}
	dispatch_pending(p);
	if (!p->leads)
		arm_bell(p);
}

/* --------------------------------------------------------------------------------------------------- results */

static void take_result(struct seat *s, const struct lane_result *r)
{
	struct work *w = s->first;
	struct mps_result result = { .outcome = r->code != 0 ? MPS_POOL_E_FAILED : 0,
				     .code = r->code,
				     .pid = s->pid,
				     .tries = w->tries + 1,
				     .n = r->n & ~LANE_LONG };

	if (r->n & LANE_LONG) {
		size_t n;

		if (mps_queue_get_new(s->long_results, &result.p, &n, 0) == 0) {
			char *to = work_room(w, n);

			if (to != NULL)
				memcpy(to, result.p, n);
			free(result.p);
			result.p = to;
			result.n = n;
		}
	} else if (result.n > 0) {
		result.p = work_room(w, result.n);
		if (result.p != NULL)
			memcpy(result.p, r + 1, result.n);
	}
	if (result.p == NULL && result.n > 0)
		result = (struct mps_result){ .outcome = MPS_POOL_E_FAILED,
					      .code = -ENOMEM,
					      .pid = s->pid,
					      .tries = w->tries + 1 };
	work_outcome(w, &result);
	s->n_done++;
	s->n_tasks--;
	if (w->done == w->n) {
		s->first = w->next;
		s->n_works--;
		work_over(w);
	}
}

/* How many it may have ahead; not many more at once. */
static void widen(const struct mps_pool *p, struct seat *s, uint64_t n)
{
	int64_t each = atomic_load_explicit(&p->bell->lanes[s->index].each, memory_order_relaxed);
	uint64_t window = (uint64_t)(AHEAD / (each > 0 ? each : 1));

	if (window > 2 * (uint64_t)s->window + n)
		window = 2 * (uint64_t)s->window + n;
	s->window = window < 1 ? 1 : window > 65536 ? 65536 : (uint32_t)window;
	s->each = each;
}

void collect_seat(struct mps_pool *p, struct seat *s)
{
	struct lane_shared *l = s->lane.s;
	uint64_t tail, n = s->n_done;

	if (s->state == SEAT_STARTS && atomic_load(&l->state) == LANE_IS_READY) {
		s->state = SEAT_READY;
		s->failures = 0;
		kick_leader(p);
	}
	tail = atomic_load(&p->bell->lanes[s->index].result_tail);
	while (s->result_head != tail && s->first != NULL) {
		const struct lane_result *r =
			(void *)lane_at(s->lane.results, s->lane.ring, s->result_head);
		size_t size = r->n & ~LANE_LONG;

		if (size > s->lane.ring)
			break; /* it has written there what is none: it is of no use until it dies */
		take_result(s, r);
		s->result_head += lane_item_size(size);
	}
	if (n == s->n_done)
		return;
	p->spare_deaths = 0;
	atomic_store(&l->result_head, s->result_head);
	if (atomic_load(&l->wants_room)) {
		atomic_store(&l->wants_room, 0);
		futex_wake(&l->wants_room, 1);
	}
	widen(p, s, s->n_done - n);
}

/* Of the one that the leader watches the bit stays, so that it needs not set it again. */
static uint64_t dirty_bits(const struct mps_pool *p, uint32_t i)
{
	uint64_t bits = atomic_load(&p->bell->dirty[i].bits);

	return p->watched / 64 == i ? bits & ~(UINT64_C(1) << p->watched % 64) : bits;
}

static bool any_dirty(const struct mps_pool *p)
{
	for (uint32_t i = 0; i < p->n_words; i++)
		if (dirty_bits(p, i) != 0)
			return true;
	return false;
}

static bool collect_at(struct mps_pool *p, uint32_t at)
{
	struct seat *s = at < p->n_seats ? p->seats[at] : NULL;

	if (s == NULL || s->state < SEAT_STARTS || s->lane.s == NULL)
		return false;
	collect_seat(p, s);
	return true;
}

void collect(struct mps_pool *p)
{
	bool any = collect_at(p, p->watched);

	for (uint32_t i = 0; i < p->n_words; i++) {
		uint64_t bits = dirty_bits(p, i);

		if (bits == 0)
			continue;
		atomic_fetch_and(&p->bell->dirty[i].bits, ~bits);
		for (; bits != 0; bits &= bits - 1) {
			collect_at(p, i * 64 + (uint32_t)__builtin_ctzll(bits));
			any = true;
		}
	}
	if (any || p->pending != NULL)
		dispatch_pending(p);
}

/* ------------------------------------------------------------------------------------------------- who leads */

static void set_bell(struct mps_pool *p, enum bell_mode mode)
{
	atomic_store(&p->bell->word, ++p->bell_number * BELL_MODES + mode);
	p->bell_mode = mode;
}

void arm_bell(struct mps_pool *p)
{
	enum bell_mode mode = p->n_callbacks > 0 || p->has_unstopped ? BELL_EACH
			      : p->pending != NULL		     ? BELL_DRY
								     : BELL_AWAKE;

	if (mode == BELL_AWAKE && p->bell_mode == BELL_AWAKE)
		return;
	set_bell(p, mode);
	if (mode != BELL_AWAKE && any_dirty(p))
		pool_call_thread(p);
}

void kick_leader(struct mps_pool *p)
{
	if (!p->leads || pthread_equal(p->leader, pthread_self()))
		return;
	atomic_fetch_add(&p->kicks, 1);
	bell_wake(p->bell);
}

bool try_to_lead(struct mps_pool *p)
{
	if (p->leads)
		return false;
	p->leads = true;
	p->leader = pthread_self();
	if (p->bell_mode != BELL_AWAKE)
		set_bell(p, BELL_AWAKE);
	return true;
}

/* One who waits follows, or workers call the thread. */
static void lead_no_more(struct mps_pool *p)
{
	p->leads = false;
	p->watched = NOBODY;
	if (p->waiting != NULL)
		job_tell(p->waiting);
	else
		arm_bell(p);
}

/*
 * Where the latest task went its result comes from, most likely: there the leader looks itself, and the bell's word, which
 * both would write to, stays as it is. Before it sleeps it is told like of all others.
 */
struct watch {
	const _Atomic uint64_t *tail; /* NULL = nobody */
	uint64_t seen;
};

static struct watch watch_latest(struct mps_pool *p)
{
	struct seat *s = p->latest < p->n_seats ? p->seats[p->latest] : NULL;

	p->watched = s != NULL && s->n_works > 0 ? s->index : NOBODY;
	if (p->watched == NOBODY)
		return (struct watch){ NULL, 0 };
	return (struct watch){ &p->bell->lanes[s->index].result_tail, s->result_head };
}

static void watch_no_more(struct mps_pool *p)
{
	uint32_t at = p->watched;

	p->watched = NOBODY;
	if (at != NOBODY)
		atomic_fetch_and(&p->bell->dirty[at / 64].bits, ~(UINT64_C(1) << at % 64));
}

static bool has_news(const struct mps_pool *p, const struct watch *w, uint32_t kicks)
{
	return (w->tail != NULL && atomic_load(w->tail) != w->seen) || any_dirty(p) ||
	       atomic_load(&p->kicks) != kicks;
}

/* Without the lock: until there are results, or somebody has kicked us. */
static int sleep_on_bell(struct mps_pool *p, const struct watch *w, uint32_t kicks,
			 struct mps_time until)
{
	struct spin spin = spin_start(&p->spin);
	uint32_t word;
	bool there;
	int r = 0;

	while (!(there = has_news(p, w, kicks)) && spin_again(&spin))
		;
	spin_end(&spin, there);
	if (there)
		return 0;
	watch_no_more(p);
	word = ++p->bell_number * BELL_MODES + BELL_FUTEX;
	atomic_store(&p->bell->word, word);
	if (!has_news(p, w, kicks))
		r = futex_wait(&p->bell->word, word, until);
	atomic_store(&p->bell->word, ++p->bell_number * BELL_MODES + BELL_AWAKE);
	return r;
}

static int lead(struct mps_pool *p, struct job *j, bool (*is_ready)(struct job *),
		struct mps_time until)
{
	struct watch watch;
	int r = 0;

	for (;;) {
		uint32_t kicks = atomic_load(&p->kicks);

		watch_latest(p);
		collect(p);
		if (is_ready(j))
			return 0;
		if (r < 0 || until.ns == 0)
			return -ETIMEDOUT;
		watch = watch_latest(p);
		pool_unlock(p);
		r = sleep_on_bell(p, &watch, kicks, until);
		pool_lock(p);
	}
}

static void wait_in_line(struct mps_pool *p, struct job *j)
{
	if (j->n_waiting++ == 0) {
		j->next_waiting = p->waiting;
		p->waiting = j;
	}
}

static void leave_line(struct mps_pool *p, struct job *j)
{
	if (--j->n_waiting > 0)
		return;
	for (struct job **at = &p->waiting; *at != NULL; at = &(*at)->next_waiting)
		if (*at == j) {
			*at = j->next_waiting;
			break;
		}
}

static int follow(struct mps_pool *p, struct job *j, struct mps_time until)
{
	uint32_t seen = atomic_load(&j->word);
	int r;

	if (until.ns == 0)
		return -ETIMEDOUT;
	wait_in_line(p, j);
	pool_unlock(p);
	r = futex_wait(&j->word, seen, until);
	pool_lock(p);
	leave_line(p, j);
	return r;
}

int wait_for_job(struct job *j, bool (*is_ready)(struct job *), struct mps_time until)
{
	struct mps_pool *p = j->pool;
	int r = 0;

	while (!is_ready(j)) {
		if (until.ns != 0 && pool_is_own_thread(p))
			return -EDEADLK;
		if ((p->leads && pthread_equal(p->leader, pthread_self())) || try_to_lead(p)) {
			r = lead(p, j, is_ready, until);
			break;
		}
		if (r < 0)
			break;
		r = follow(p, j, until);
	}
	if (p->leads && pthread_equal(p->leader, pthread_self()))
		lead_no_more(p);
	else if (!p->leads && p->waiting != NULL)
		job_tell(p->waiting); /* we may have been told to lead */
	return is_ready(j) ? 0 : r;
}
