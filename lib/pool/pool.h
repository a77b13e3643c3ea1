/*
 * A pool, as its own files see it: pool.c (its life), start.c (its workers), thread.c (its thread), dispatch.c (tasks out,
 * results in), job.c (what tasks were handed over together: futures), imap.c, cpus.c.
 *
 * One lock, of this process, is over all of it; nothing that waits is done under it. Who waits for results reads them
 * itself: one of them leads, which is looking at the lanes and sleeping on the bell, the others sleep until they are
 * told; the pool's thread does it when nobody leads and somebody needs it: there are tasks that no worker has yet, or
 * callbacks to be called.
 */
#ifndef POOL_POOL_H
#define POOL_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mtime.h"
#include "mpsup.h"
#include "pool/lane.h"
#include "pool/template.h"

enum { POOL_WINDOW_MAX = 256, POOL_DEPTH_MAX = 8 };
#define NOBODY UINT32_MAX

/* -------------------------------------------------------------------------------------------- tasks */

/* A chunk: what a worker gets at a time. */
struct work {
	struct work *next;   /* of the queue, or of its lane */
	struct work *follow; /* of the same imap */
	struct job *job;
	size_t first;	  /* index of its first task */
	uint32_t n, done; /* tasks; how many have an outcome, the first ones */
	uint32_t tries;	  /* so often the next one was begun in vain */
	uint32_t given;	  /* results that mps_imap_next() has given out */
	size_t size;	  /* of its items, as a message has them */
	char *bytes;	  /* those */
	char *room;	  /* for results; n_room bytes are free */
	size_t n_room;
	struct slab *slabs; /* more of it */
	struct mps_result results[];
};

enum job_kind { JOB_FUTURE, JOB_IMAP };

/* Waiting threads wait for `word` to change. */
struct job {
	struct mps_pool *pool;
	enum job_kind kind;
	uint32_t refs; /* the handle, each work that is not done, a callback that is due */
	_Atomic uint32_t word;
	_Atomic bool is_done; /* a future's */
	struct job *next_waiting;
	uint32_t n_waiting; /* threads */
	uint32_t target, arity;
	bool fail_fast, cancelled, has_callback;
	size_t n_left;	     /* tasks that have no outcome */
	size_t first_failed; /* index; SIZE_MAX = none */
};

struct mps_future {
	struct job job;
	void (*callback)(struct mps_future *f, void *user);
	void *user;
	struct mps_future *next_callback;
	size_t n, chunk;
	struct work **works;
	struct work *only; /* where there is one */
};

/* -------------------------------------------------------------------------------------------- workers */

enum seat_state {
	SEAT_EMPTY,
	SEAT_WANTED, /* to be started */
	SEAT_STARTS,
	SEAT_READY,
	SEAT_STOPPING, /* it was told to end, and gets no more tasks */
};

enum seat_reason { SEAT_DIED, SEAT_TIMEOUT, SEAT_ENDED };

struct seat {
	enum seat_state state;
	enum seat_reason reason; /* why we have killed it */
	uint32_t index;
	uint32_t failures; /* starts in a row that came to nothing */
	int64_t start_at;  /* not before */
	struct lane_map lane;
	struct mps_shm *shm;
	struct mps_queue *long_tasks, *long_results;
	struct mps_process *process; /* NULL: it is the template's child */
	pid_t pid;
	int pidfd; /* then */
	/* What it has. */
	struct work *first, *last;
	uint32_t n_works;
	uint64_t n_tasks;
	uint64_t n_done;	       /* results that were read */
	uint64_t n_given;	       /* tasks that it was ever given */
	uint32_t n_defined;	       /* targets that it knows */
	uint64_t task_tail, task_head; /* head: as seen the last time */
	uint64_t result_head;
	/* How much it gets ahead: as much as takes a while. */
	uint32_t window;
	int64_t each; /* ns for a task, as it has measured */
};

enum pool_state { POOL_OPEN, POOL_CLOSED, POOL_TERMINATED };

struct pool_target {
	mps_target *function;
	const char *name;
};

struct mps_pool {
	pthread_mutex_t lock;
	struct mps_pool *next; /* of this process */
	uint32_t refs;	       /* the handle, the thread, each job */
	uint32_t generation;   /* of the process: another one in a copy */
	char *name;
	struct mps_args *args;
	mps_target *initializer, *worker;
	enum mps_start_method method;
	uint32_t init_retries, max_tasks, retries;
	int64_t task_timeout;
	size_t ring;

	enum pool_state state;
	bool broken;
	char failure[512];
	_Atomic uint32_t want; /* workers */
	uint32_t cpus;
	_Atomic uint32_t ended;
	uint32_t spare_deaths; /* of workers that had nothing to do, lately */
	int64_t spare_death_at;

	struct template template;
	struct mps_shm *bell_shm;
	struct bell *bell;
	uint32_t bell_number;
	enum bell_mode bell_mode;
	_Atomic uint32_t kicks; /* of the one who leads */
	_Atomic uint32_t spin;
	int event, timer, epoll;
	int64_t timer_at; /* INT64_MAX = not set */

	pthread_t thread;
	bool has_thread, frees_itself;
	struct job birth; /* what the one who makes it waits for */
	bool leads;
	pthread_t leader;
	uint32_t watched, latest; /* seats: by the leader, who had a task last; or NOBODY */
	struct job *waiting;

	struct work *pending, **pending_end;
	struct seat **seats; /* MPS_POOL_WORKERS_MAX of them; NULL = none yet */
	uint32_t n_seats;
	_Atomic uint32_t n_words; /* of the bell */
	struct pool_target *targets;
	uint32_t n_targets;
	bool has_unstopped; /* a worker that is to end has no room to be told so */
	size_t n_callbacks; /* callbacks that somebody waits for */
	struct mps_future *callbacks, **callbacks_end;
};

/* ---------------------------------------------------------------------------------------- pool.c */

static inline void pool_lock(struct mps_pool *p)
{
	pthread_mutex_lock(&p->lock);
}
/* Nobody has it any more. */
void pool_destroy(struct mps_pool *p);
static inline void pool_unlock(struct mps_pool *p)
{
	bool is_gone = p->refs == 0;

	pthread_mutex_unlock(&p->lock);
	if (is_gone)
		pool_destroy(p);
}
/* -ECHILD in a copy of the process. */
int pool_check(const struct mps_pool *p);
bool pool_is_own_thread(const struct mps_pool *p);
/* Under the lock: it fails, and all that was handed over with it. */
void pool_break(struct mps_pool *p, const char *text);
/* All that has no outcome gets this one. */
void pool_abandon(struct mps_pool *p, int outcome);
/* The pool's thread has something to do. */
void pool_call_thread(struct mps_pool *p);
/* Not later than that it looks after its time limits. */
void pool_set_timer(struct mps_pool *p, int64_t at);

/* ---------------------------------------------------------------------------------------- start.c */

/* A lane and a process for an empty seat, without the lock. 0, or -errno, when *ret_what tells what has failed. */
int seat_start(struct mps_pool *p, struct seat *seat, const char **ret_what);
/* Its process alone, of which these are the descriptors. */
struct worker_fds {
	int lane, bell, event, tasks, results;
};
int seat_start_process(const struct mps_pool *p, uint32_t index, const struct worker_fds *fds,
		       const struct mps_args *rest, struct mps_process **ret);
/* What that has made, without the lock. */
void seat_clear(struct seat *seat);
/* Readable when it has ended. */
int seat_sentinel(const struct seat *s);
void seat_kill(struct seat *s);
/* Of one that has ended: exit status, -N for signal N, INT_MIN: it cannot be known. */
int seat_code(struct mps_pool *p, struct seat *s);
/* What it has started is killed, without the lock. */
void seat_end_tree(struct seat *s);

/* ---------------------------------------------------------------------------------------- thread.c */

void *pool_thread(void *p);
/* So many seats are wanted; under the lock. -ENOMEM. */
int pool_make_seats(struct mps_pool *p, uint32_t n);
/* Starts who is wanted; the lock is released meanwhile. For the one who makes the pool, and its thread. */
void pool_start_wanted(struct mps_pool *p);

/* ---------------------------------------------------------------------------------------- dispatch.c: under the lock */

/* Tasks for the workers, a list. */
void dispatch(struct mps_pool *p, struct work *list);
/* Those that are waiting to those that have room; asks workers to stop, if it is time. */
void dispatch_pending(struct mps_pool *p);
/* Of those that are waiting this job's are cancelled: how many tasks. */
size_t dispatch_drop(struct mps_pool *p, struct job *j);
/* Before all others. */
void dispatch_again(struct mps_pool *p, struct work *first, struct work *last);
/* Reads all results that are there. */
void collect(struct mps_pool *p);
void collect_seat(struct mps_pool *p, struct seat *seat);
/* Nobody leads now: whom workers have to tell of their results. */
void arm_bell(struct mps_pool *p);
/* Waits until is_ready(job): 0, -ETIMEDOUT, -EDEADLK. Leads if nobody does. */
int wait_for_job(struct job *j, bool (*is_ready)(struct job *), struct mps_time until);
/* From now on this thread leads, if nobody does: what it dispatches rings no bell. */
bool try_to_lead(struct mps_pool *p);
void kick_leader(struct mps_pool *p);

/* ---------------------------------------------------------------------------------------- job.c */

/* Tasks may be handed over: 0, and the job is one of the pool's, or -errno. Under the lock. */
int job_begin(struct mps_pool *p, struct job *j, mps_target *function);
/* Memory for n tasks with items of so many bytes (by lane_item_size()), and for small results. */
struct work *work_new(size_t n, size_t size);
void work_free(struct work *w);
/* Puts an item of a task behind the others. */
char *work_put(char *at, const struct mps_item *item);
/* An outcome for the next task of it; the bytes were put where work_room() says. */
char *work_room(struct work *w, size_t n);
void work_outcome(struct work *w, const struct mps_result *result);
/* The same outcome for all that have none. Then it is not in any list any more, and may be gone. */
void work_abandon(struct work *w, int outcome);
/* All of its tasks have outcomes: its job is told. */
void work_over(struct work *w);
void job_unref(struct job *j);
/* Wakes who waits for it. */
void job_tell(struct job *j);

/* ---------------------------------------------------------------------------------------- imap.c */

void imap_work_over(struct work *w);
void imap_gone(struct job *j);

/* ---------------------------------------------------------------------------------------- cpus.c */

uint32_t cpus_count(void);

#endif
