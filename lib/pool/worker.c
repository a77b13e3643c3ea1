/*
 * A worker: what runs in its process. It takes messages from its lane, runs their tasks one after the other, and writes each
 * result before it begins the next task; what it is at is written down before it begins.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mtime.h"
#include "ipc/args.h"
#include "ipc/family.h"
#include "ipc/futex.h"
#include "pool/lane.h"

enum { LONG_TASK = 10000, SAMPLE = 16 };

static struct worker {
	struct mps_args task; /* a view of the one that it is at */
	size_t cap;
	struct lane_map lane;
	struct bell *bell;
	int event; /* descriptor */
	struct mps_queue *long_tasks, *long_results;
	uint32_t index, arity;
	bool timed, in_task, stops;
	uint32_t rung; /* the bell's word for which the pool's thread was told */
	_Atomic uint32_t spin;
	mps_target **targets;
	size_t n_targets;
	/* The message that it is at. */
	mps_target *function;
	uint32_t left; /* tasks */
	const char *at;
	uint64_t head, next_head;
	void *long_task;
	uint32_t n_tasks; /* of it */
	/* How long tasks take: each message is timed where they are long, and of short ones a few. */
	int64_t each, begun_at;
	uint32_t n_messages;
	/* Results. */
	uint64_t tail, claim;
	uint64_t room_head; /* results up to here have been read, at least */
	uint32_t n;	    /* of the reply, and LANE_LONG */
	void *long_reply;
	size_t long_n;
} self;
static bool is_worker;
static unsigned depth;

unsigned worker_depth(void)
{
	return depth;
}

/* -------------------------------------------------------------------------------------------------- the bell */

/* Once for each time that the bell was set. */
static void ring_event(uint32_t word)
{
	const uint64_t one = 1;

	if (self.rung == word)
		return;
	self.rung = word;
	while (write(self.event, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* Results were written: who waits for them is told. */
static void ring(void)
{
	_Atomic uint64_t *dirty = &self.bell->dirty[self.index / 64].bits;
	uint64_t bit = UINT64_C(1) << self.index % 64;
	uint32_t word;

	if ((atomic_load(dirty) & bit) == 0)
		atomic_fetch_or(dirty, bit);
	word = atomic_load(&self.bell->word);
	switch (bell_mode_of(word)) {
	case BELL_FUTEX:
		bell_wake(self.bell);
		break;
	case BELL_EACH:
		ring_event(word);
		break;
	case BELL_AWAKE:
	case BELL_DRY:
	case BELL_MODES:
		break;
	}
}

/* There is no task left: perhaps others wait for that. */
static void ring_dry(void)
{
	uint32_t word = atomic_load(&self.bell->word);

	if (bell_mode_of(word) == BELL_DRY)
		ring_event(word);
}

/* Somebody has to come, whether or not they want to be told. */
static void ring_for_room(void)
{
	const uint64_t one = 1;

	ring();
	if (write(self.event, &one, sizeof(one)) < 0)
		return; /* it is full: they know */
}

/* -------------------------------------------------------------------------------------------------- messages */

static bool has_message(void)
{
	return atomic_load_explicit(&self.lane.s->task_tail, memory_order_acquire) != self.head;
}

static void wait_for_message(void)
{
	struct lane_shared *s = self.lane.s;
	struct spin spin;
	bool there;

	ring_dry();
	while (!has_message()) {
		spin = spin_start(&self.spin);
		while (!(there = has_message()) && spin_again(&spin))
			;
		spin_end(&spin, there);
		if (there)
			return;
		atomic_store(&s->sleeps, 1);
		if (atomic_load(&s->task_tail) == self.head)
			futex_wait(&s->sleeps, 1, (struct mps_time){ INT64_MAX });
		atomic_store(&s->sleeps, 0);
	}
}

static void define(const struct lane_message *m)
{
	if (m->target >= self.n_targets) {
		size_t n = m->target + 8;
		mps_target **bigger = reallocarray(self.targets, n, sizeof(mps_target *));

		if (bigger == NULL)
			_exit(127);
		memset(bigger + self.n_targets, 0, (n - self.n_targets) * sizeof(mps_target *));
		self.targets = bigger;
		self.n_targets = n;
	}
	self.targets[m->target] = target_find((const char *)(m + 1));
}

static int make_room_for(uint32_t arity)
{
	if (arity > self.cap) {
		struct arg *items = reallocarray(self.task.items, arity, sizeof(*items));

		if (items == NULL)
			return -ENOMEM;
		self.task.items = items;
		self.cap = arity;
	}
	for (size_t i = 0; i < arity; i++)
		self.task.items[i] = (struct arg){ .kind = ARG_BYTES, .fd = -1 };
	self.task.n = arity;
	self.arity = arity;
	return 0;
}

static int begin(const struct lane_message *m)
{
	size_t n;
	int r = m->arity != self.arity ? make_room_for(m->arity) : 0;

	self.function = m->target < self.n_targets ? self.targets[m->target] : NULL;
	self.left = self.n_tasks = m->n;
	self.begun_at =
		self.each >= LONG_TASK || self.n_messages++ % SAMPLE == 0 ? mps_now().ns : 0;
	self.at = (const char *)(m + 1);
	if (r == 0 && m->kind == LANE_RUN_LONG) {
		r = mps_queue_get_new(self.long_tasks, &self.long_task, &n, MPS_FOREVER);
		self.at = self.long_task;
	}
	return r;
}

/* A message is over: the ring may have its place again, and results are told of. */
static void end_message(void)
{
	free(self.long_task);
	self.long_task = NULL;
	self.head = self.next_head;
	atomic_store_explicit(&self.lane.s->task_head, self.head, memory_order_release);
}

/* 0: there is a task; -ENODATA */
static int next_message(void)
{
	const struct lane_message *m;
	int r;

	for (;;) {
		if (self.stops)
			return -ENODATA;
		if (!has_message())
			wait_for_message();
		m = (const void *)lane_at(self.lane.tasks, self.lane.ring, self.head);
		self.next_head = self.head + m->size;
		switch ((enum lane_kind)m->kind) {
		case LANE_RUN:
		case LANE_RUN_LONG:
			r = begin(m);
			if (r < 0)
				_exit(127);
			return 0;
		case LANE_DEFINE:
			define(m);
			break;
		case LANE_STOP:
			self.stops = true;
			break;
		}
		end_message();
	}
}

/* ----------------------------------------------------------------------------------------------------- tasks */

/* The arguments of the next one, and it is claimed. */
static void take_task(void)
{
	for (uint32_t i = 0; i < self.arity; i++) {
		uint64_t n = *(const uint64_t *)(const void *)self.at;

		self.task.items[i].p = self.at + 8;
		self.task.items[i].n = n;
		self.at += lane_item_size(n);
	}
	self.left--;
	self.n = 0;
	self.in_task = true;
	if (self.timed)
		atomic_store_explicit(&self.lane.s->claimed_at, mps_now().ns, memory_order_relaxed);
	atomic_store_explicit(&self.lane.s->claim, ++self.claim, memory_order_release);
}

/* Waits until a result of n bytes has room behind those that were not read yet. */
static void await_room(size_t n)
{
	struct lane_shared *s = self.lane.s;
	size_t size = lane_item_size(n);

	while (self.tail + size - self.room_head > self.lane.ring) {
		uint64_t head = atomic_load(&s->result_head);

		if (head != self.room_head) {
			self.room_head = head;
			continue;
		}
		atomic_store(&s->wants_room, 1);
		if (atomic_load(&s->result_head) == head) {
			ring_for_room();
			futex_wait(&s->wants_room, 1, (struct mps_time){ INT64_MAX });
		}
		atomic_store(&s->wants_room, 0);
	}
}

static int reply(struct mps_args *args, const void *p, size_t n)
{
	char *to;

	if (!self.in_task || args != &self.task)
		return -EOPNOTSUPP;
	if (n > INT32_MAX / 2 + 1)
		return -EMSGSIZE;
	free(self.long_reply);
	self.long_reply = NULL;
	if (lane_is_long(self.lane.ring, n)) {
		self.long_reply = malloc(n);
		if (self.long_reply == NULL)
			return -ENOMEM;
		memcpy(self.long_reply, p, n);
		self.long_n = n;
		self.n = LANE_LONG;
		return 0;
	}
	await_room(n);
	to = lane_at(self.lane.results, self.lane.ring, self.tail) + sizeof(struct lane_result);
	if (n > 0)
		memcpy(to, p, n);
	self.n = (uint32_t)n;
	return 0;
}

/* What is too long for the ring is put beside it before the ring tells of it. */
static void put_long(void)
{
	ring();
	mps_queue_put(self.long_results, self.long_reply, self.long_n, MPS_FOREVER);
	free(self.long_reply);
	self.long_reply = NULL;
}

int mps_worker_done(int code)
{
	struct lane_result *result;
	bool is_last = self.left == 0;
	size_t n = self.n & ~LANE_LONG;

	if (!is_worker || !self.in_task)
		return -EINVAL;
	if (self.n & LANE_LONG)
		put_long();
	await_room(n);
	result = (void *)lane_at(self.lane.results, self.lane.ring, self.tail);
	*result = (struct lane_result){ self.n, code };
	self.tail += lane_item_size(n);
	self.in_task = false;
	if (is_last && self.begun_at != 0) {
		self.each = (mps_now().ns - self.begun_at) / self.n_tasks;
		atomic_store_explicit(&self.bell->lanes[self.index].each, self.each,
				      memory_order_relaxed);
	}
	if (!is_last) {
		atomic_store_explicit(&self.bell->lanes[self.index].result_tail, self.tail,
				      memory_order_release);
		return 0;
	}
	atomic_store(&self.bell->lanes[self.index].result_tail, self.tail);
	end_message();
	ring();
	return 0;
}

int mps_worker_next(struct mps_args **ret_task)
{
	int r;

	if (!is_worker)
		return -EINVAL;
	if (self.in_task)
		mps_worker_done(0);
	if (self.left == 0) {
		r = next_message();
		if (r < 0)
			return r;
	}
	take_task();
	*ret_task = &self.task;
	return 0;
}

static int run_tasks(void)
{
	struct mps_args *task;

	while (mps_worker_next(&task) == 0)
		mps_worker_done(self.function != NULL ? self.function(task) : -ENOENT);
	return 0;
}

/* ---------------------------------------------------------------------------------------------------- its life */

static int set_up(struct mps_args *args)
{
	struct mps_shm *lane = mps_args_shm(args, WORKER_LANE),
		       *bell = mps_args_shm(args, WORKER_BELL);

	if (lane == NULL || bell == NULL ||
	    lane_map(lane, (size_t)mps_args_int(args, WORKER_RING), &self.lane) < 0)
		return -EBADMSG;
	self.bell = mps_shm_data(bell);
	self.event = mps_args_fd(args, WORKER_EVENT);
	self.long_tasks = mps_args_queue(args, WORKER_TASKS);
	self.long_results = mps_args_queue(args, WORKER_RESULTS);
	self.index = (uint32_t)mps_args_int(args, WORKER_INDEX);
	self.timed = mps_args_int(args, WORKER_TIMED) != 0;
	self.task.is_read = true;
	self.task.reply = reply;
	depth = (unsigned)mps_args_int(args, WORKER_DEPTH);
	return self.long_tasks != NULL && self.long_results != NULL ? 0 : -EBADMSG;
}

/* The arguments without those that are for us. */
static struct mps_args rest_of(struct mps_args *args)
{
	return (struct mps_args){ .items = args->items + N_WORKER_ARGUMENTS,
				  .n = args->n - N_WORKER_ARGUMENTS,
				  .cap = args->n - N_WORKER_ARGUMENTS,
				  .is_read = true };
}

static void say(enum lane_state state, int code)
{
	self.lane.s->code = code;
	atomic_store(&self.lane.s->state, state);
	ring_for_room();
}

static int initialize(const char *name, struct mps_args *args)
{
	mps_target *function = target_find(name);

	if (name[0] == '\0')
		return 0;
	return function != NULL ? function(args) : -ENOENT;
}

/* ^C is for who has started the pool: it ends us. */
int pool_worker(struct mps_args *args)
{
	struct mps_args rest;
	const char *loop;
	mps_target *own;
	int r;

	signal(SIGINT, SIG_IGN);
	if (mps_args_count(args) < N_WORKER_ARGUMENTS || set_up(args) < 0)
		return 127;
	rest = rest_of(args);
	r = initialize(mps_args_text(args, WORKER_INITIALIZER), &rest);
	if (r != 0) {
		say(LANE_HAS_FAILED, r);
		return 1;
	}
	is_worker = true;
	say(LANE_IS_READY, 0);
	loop = mps_args_text(args, WORKER_LOOP);
	own = target_find(loop);
	if (loop[0] == '\0')
		return run_tasks();
	return own != NULL ? own(&rest) : 127;
}

/* Before any constructor of the program: that may call mps_init(). */
__attribute__((constructor(101))) static void be_known(void)
{
	static struct mps_target_row row = { "mpsup pool worker", pool_worker, NULL };

	mps_target_add(&row);
}
