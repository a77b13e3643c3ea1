/*
 * A pool as a whole: how it is made, what may be asked of it, and its end.
 */
#include "pool/pool.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "ipc/args.h"
#include "ipc/family.h"
#include "ipc/futex.h"

static _Thread_local char failure_text[512];

/* The pools of this process, for its end. */
static struct {
	pthread_mutex_t lock;
	struct mps_pool *first;
	uint32_t generation;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ------------------------------------------------------------------------------------------- all of the process */

/* A copy of the process has no thread of them. */
static void on_fork(void)
{
	all.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	all.first = NULL;
	all.generation++;
}

static void terminate(struct mps_pool *p);

/* As exit(3) comes: workers are not to be followed by others. Who calls it may be the thread of one of them. */
static void end_all(void)
{
	const struct mps_time until = { mps_now().ns + 5 * MPS_NS_PER_S };
	struct mps_pool *p;

	pthread_mutex_lock(&all.lock);
	for (p = all.first; p != NULL; p = p->next) {
		pool_lock(p);
		terminate(p);
		pthread_mutex_unlock(&p->lock);
	}
	for (p = all.first; p != NULL; p = p->next)
		while (!pool_is_own_thread(p) && atomic_load(&p->ended) == 0 &&
		       futex_wait(&p->ended, 0, until) == 0)
			;
	pthread_mutex_unlock(&all.lock);
}

static void set_up(void)
{
	pthread_atfork(NULL, NULL, on_fork);
	family_before_end(end_all);
}

static void enlist(struct mps_pool *p)
{
	pthread_mutex_lock(&all.lock);
	p->generation = all.generation;
	p->next = all.first;
	all.first = p;
	pthread_mutex_unlock(&all.lock);
}

static void delist(struct mps_pool *p)
{
	pthread_mutex_lock(&all.lock);
	for (struct mps_pool **at = &all.first; *at != NULL; at = &(*at)->next)
		if (*at == p) {
			*at = p->next;
			break;
		}
	pthread_mutex_unlock(&all.lock);
}

int pool_check(const struct mps_pool *p)
{
	return p->generation == all.generation ? 0 : -ECHILD;
}

bool pool_is_own_thread(const struct mps_pool *p)
{
	return p->has_thread && pthread_equal(p->thread, pthread_self());
}

/* ------------------------------------------------------------------------------------------------- its making */

void pool_destroy(struct mps_pool *p)
{
	template_stop(p);
	for (uint32_t i = 0; i < p->n_seats; i++) {
		seat_clear(p->seats[i]);
		free(p->seats[i]);
	}
	fd_close(&p->event);
	fd_close(&p->timer);
	fd_close(&p->epoll);
	mps_shm_close(p->bell_shm);
	mps_args_free(p->args);
	pthread_mutex_destroy(&p->lock);
	free(p->targets);
	free(p->seats);
	free(p->name);
	free(p);
}

static int add_to_epoll(struct mps_pool *p, int *fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = fd };

	if (*fd < 0 || epoll_ctl(p->epoll, EPOLL_CTL_ADD, *fd, &e) < 0)
		return -errno;
	return 0;
}

static int make_descriptors(struct mps_pool *p)
{
	int r;

	p->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (p->epoll < 0)
		return -errno;
	p->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = add_to_epoll(p, &p->event);
	if (r < 0)
		return r;
	p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return add_to_epoll(p, &p->timer);
}

static size_t ring_size(size_t n)
{
	size_t ring = LANE_RING_MIN, page = (size_t)sysconf(_SC_PAGESIZE);

	while (ring < page || ring < (n != 0 ? n : LANE_RING))
		ring *= 2;
	return ring;
}

static int make(struct mps_pool *p, const struct mps_pool_options *o)
{
	int r;

	p->name = strdup(o->name != NULL ? o->name : "pool");
	p->seats = calloc(MPS_POOL_WORKERS_MAX, sizeof(*p->seats));
	if (p->name == NULL || p->seats == NULL)
		return -ENOMEM;
	r = mps_args_new(&p->args);
	if (r == 0)
		r = args_append(p->args, o->args);
	if (r == 0)
		r = mps_shm_create(NULL, sizeof(struct bell), &p->bell_shm);
	if (r < 0)
		return r;
	p->bell = mps_shm_data(p->bell_shm);
	r = make_descriptors(p);
	return r == 0 ? pool_make_seats(p, p->want) : r;
}

static int check_options(const struct mps_pool_options *o)
{
	if (o->workers > MPS_POOL_WORKERS_MAX || o->method > MPS_START_FORKSERVER ||
	    (o->ring_size != 0 && (o->ring_size < LANE_RING_MIN || o->ring_size > LANE_RING_MAX)))
		return -EINVAL;
	if ((o->initializer != NULL && target_name(o->initializer) == NULL) ||
	    (o->worker != NULL && target_name(o->worker) == NULL))
		return -ENOENT;
	return worker_depth() >= POOL_DEPTH_MAX ? -ELOOP : 0;
}

static struct mps_pool *pool_of(const struct mps_pool_options *o)
{
	struct mps_pool *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->refs = 1;
	p->epoll = p->event = p->timer = -1;
	p->timer_at = INT64_MAX;
	p->watched = p->latest = NOBODY;
	p->pending_end = &p->pending;
	p->callbacks_end = &p->callbacks;
	p->birth = (struct job){ .pool = p };
	p->initializer = o->initializer;
	p->worker = o->worker;
	p->method = o->method != MPS_START_DEFAULT ? o->method : mps_get_start_method();
	p->init_retries = o->init_retries;
	p->max_tasks = o->max_tasks;
	p->retries = o->retries;
	p->task_timeout = o->task_timeout;
	p->ring = ring_size(o->ring_size);
	p->cpus = cpus_count();
	p->want = o->workers != 0 ? o->workers : p->cpus;
	pthread_mutex_init(&p->lock, NULL);
	return p;
}

/* All signals are for other threads. */
static int start_thread(struct mps_pool *p)
{
	sigset_t block, before;
	int r;

	sigfillset(&block);
	pthread_sigmask(SIG_SETMASK, &block, &before);
	p->refs++;
	r = pthread_create(&p->thread, NULL, pool_thread, p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		p->refs--;
	p->has_thread = r == 0;
	return -r;
}

/* All are there, or it has failed. */
static bool is_born(struct job *j)
{
	struct mps_pool *p = j->pool;

	if (p->broken || p->state != POOL_OPEN)
		return true;
	for (uint32_t i = 0; i < p->n_seats; i++)
		if (p->seats[i]->state != SEAT_READY)
			return false;
	return true;
}

static int bring_up(struct mps_pool *p)
{
	int r = 0;

	if (p->method == MPS_START_FORK && (r = template_start(p)) < 0) {
		snprintf(failure_text, sizeof(failure_text), "%s", mps_process_failure());
		return r;
	}
	pool_lock(p);
	pool_start_wanted(p);
	if (p->broken)
		r = -ECANCELED;
	if (r == 0)
		r = start_thread(p);
	if (r == 0)
		wait_for_job(&p->birth, is_born, (struct mps_time){ INT64_MAX });
	if (r == 0 && p->broken)
		r = -ECANCELED;
	snprintf(failure_text, sizeof(failure_text), "%s", p->broken ? p->failure : strerror(-r));
	pool_unlock(p);
	return r;
}

/* Without a thread there is nobody else who could end them. */
static void end_workers(struct mps_pool *p)
{
	for (uint32_t i = 0; !p->has_thread && i < p->n_seats; i++)
		seat_end_tree(p->seats[i]);
}

int mps_pool_new(const struct mps_pool_options *options, struct mps_pool **ret)
{
	static const struct mps_pool_options none = MPS_POOL_OPTIONS_INIT;
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const struct mps_pool_options *o = options != NULL ? options : &none;
	struct mps_pool *p;
	int r = check_options(o);

	snprintf(failure_text, sizeof(failure_text), "%s", strerror(-r));
	if (r < 0)
		return r;
	p = pool_of(o);
	if (p == NULL)
		return -ENOMEM;
	pthread_once(&once, set_up);
	r = make(p, o);
	if (r < 0) {
		snprintf(failure_text, sizeof(failure_text), "%s", strerror(-r));
		pool_destroy(p);
		return r;
	}
	enlist(p);
	r = bring_up(p);
	if (r == 0) {
		*ret = p;
		return 0;
	}
	end_workers(p);
	mps_pool_free(p);
	return r;
}

const char *mps_pool_failure(const struct mps_pool *pool)
{
	struct mps_pool *p = (struct mps_pool *)(uintptr_t)pool;
	bool is_broken;

	if (p == NULL)
		return failure_text;
	if (pool_check(p) < 0)
		return "";
	pool_lock(p);
	is_broken = p->broken;
	pool_unlock(p);
	return is_broken ? p->failure : "";
}

/* --------------------------------------------------------------------------------------------- while it lives */

void pool_call_thread(struct mps_pool *p)
{
	const uint64_t one = 1;

	while (write(p->event, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void pool_set_timer(struct mps_pool *p, int64_t at)
{
	struct itimerspec t = { .it_value = { at / MPS_NS_PER_S, at % MPS_NS_PER_S } };

	if (at >= p->timer_at)
		return;
	p->timer_at = at;
	timerfd_settime(p->timer, TFD_TIMER_ABSTIME, &t, NULL);
}

int mps_pool_resize(struct mps_pool *p, uint32_t workers)
{
	int r = pool_check(p);

	if (r < 0)
		return r;
	if (workers == 0 || workers > MPS_POOL_WORKERS_MAX)
		return -EINVAL;
	pool_lock(p);
	if (p->broken)
		r = -ECANCELED;
	else if (p->state != POOL_OPEN)
		r = -EPIPE;
	else
		r = pool_make_seats(p, workers);
	if (r == 0) {
		p->want = workers;
		dispatch_pending(p);
		pool_call_thread(p);
	}
	pool_unlock(p);
	return r;
}

size_t mps_pool_pids(struct mps_pool *p, pid_t *list, size_t n)
{
	size_t alive = 0;

	if (pool_check(p) < 0)
		return 0;
	pool_lock(p);
	for (uint32_t i = 0; i < p->n_seats; i++) {
		if (p->seats[i]->pid == 0)
			continue;
		if (alive < n)
			list[alive] = p->seats[i]->pid;
		alive++;
	}
	pool_unlock(p);
	return alive;
}

/* ----------------------------------------------------------------------------------------------------- its end */

void pool_abandon(struct mps_pool *p, int outcome)
{
	struct work *w, *next;

	for (uint32_t i = 0; i < p->n_seats; i++) {
		struct seat *s = p->seats[i];

		w = s->first;
		s->first = s->last = NULL;
		s->n_works = 0;
		for (; w != NULL; w = next) {
			next = w->next;
			work_abandon(w, outcome);
		}
	}
	w = p->pending;
	p->pending = NULL;
	p->pending_end = &p->pending;
	for (; w != NULL; w = next) {
		next = w->next;
		work_abandon(w, outcome);
	}
}

void pool_break(struct mps_pool *p, const char *text)
{
	if (p->broken || p->state == POOL_TERMINATED)
		return;
	snprintf(p->failure, sizeof(p->failure), "%s", text);
	p->broken = true;
	pool_abandon(p, MPS_POOL_E_BROKEN);
	kick_leader(p);
	pool_call_thread(p);
}

int mps_pool_close(struct mps_pool *p)
{
	int r = pool_check(p);

	if (r < 0)
		return r;
	pool_lock(p);
	if (p->state == POOL_OPEN)
		p->state = POOL_CLOSED;
	dispatch_pending(p);
	pool_call_thread(p);
	pool_unlock(p);
	return 0;
}

/* Under the lock. What its workers have done until now counts. */
static void terminate(struct mps_pool *p)
{
	if (p->state == POOL_TERMINATED)
		return;
	if (!p->leads)
		collect(p);
	p->state = POOL_TERMINATED;
	pool_abandon(p, MPS_POOL_E_CANCELLED);
	kick_leader(p);
	pool_call_thread(p);
}

static int wait_for_end(struct mps_pool *p, int64_t timeout)
{
	struct mps_time until = until_of(timeout);
	int r = 0;

	while (atomic_load(&p->ended) == 0) {
		if (r < 0 || until.ns == 0)
			return -ETIMEDOUT;
		r = futex_wait(&p->ended, 0, until);
	}
	return 0;
}

int mps_pool_terminate(struct mps_pool *p, int64_t timeout)
{
	int r = pool_check(p);

	if (r < 0)
		return r;
	pool_lock(p);
	terminate(p);
	pool_unlock(p);
	return pool_is_own_thread(p) ? 0 : wait_for_end(p, timeout);
}

int mps_pool_join(struct mps_pool *p, int64_t timeout)
{
	bool is_open;
	int r = pool_check(p);

	if (r < 0)
		return r;
	if (pool_is_own_thread(p))
		return -EDEADLK;
	pool_lock(p);
	is_open = p->state == POOL_OPEN && !p->broken;
	pool_unlock(p);
	return is_open ? -EBUSY : wait_for_end(p, timeout);
}

void mps_pool_free(struct mps_pool *p)
{
	if (p == NULL || pool_check(p) < 0)
		return;
	pool_lock(p);
	if (!p->broken || p->state == POOL_OPEN)
		terminate(p);
	p->frees_itself = pool_is_own_thread(p);
	pool_unlock(p);
	if (p->has_thread && !p->frees_itself)
		pthread_join(p->thread, NULL);
	delist(p);
	pool_lock(p);
	p->refs--;
	pool_unlock(p);
}
