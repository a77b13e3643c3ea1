/*
 * Starting a worker: its lane, and its process.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fd.h"
#include "ipc/args.h"
#include "ipc/family.h"
#include "ipc/queue.h"
#include "pool/pool.h"
#include "proc/pidfd.h"

#define END_PATIENCE (5 * MPS_NS_PER_S)

static int make_lane(struct mps_pool *p, struct seat *s)
{
	const struct mps_queue_options beside = { .ring_size = LANE_LONG_RING };
	int r = mps_shm_create(NULL, lane_segment_size(p->ring), &s->shm);

	if (r == 0)
		r = lane_map(s->shm, p->ring, &s->lane);
	if (r == 0)
		r = mps_queue_new(&beside, &s->long_tasks);
	if (r == 0)
		r = mps_queue_new(&beside, &s->long_results);
	return r;
}

static const char *name_of(mps_target *function)
{
	return function != NULL ? target_name(function) : "";
}

/* In the order of enum worker_argument. */
static int add_arguments(const struct mps_pool *p, uint32_t index, const struct worker_fds *fds,
			 const struct mps_args *rest, struct mps_args *args)
{
	int r = args_add_fd(args, ARG_SHM, fds->lane);

	r = r < 0 ? r : args_add_fd(args, ARG_SHM, fds->bell);
	r = r < 0 ? r : args_add_fd(args, ARG_FD, fds->event);
	r = r < 0 ? r : args_add_fd(args, ARG_QUEUE, fds->tasks);
	r = r < 0 ? r : args_add_fd(args, ARG_QUEUE, fds->results);
	r = r < 0 ? r : mps_args_add_int(args, (int64_t)p->ring);
	r = r < 0 ? r : mps_args_add_int(args, index);
	r = r < 0 ? r : mps_args_add_int(args, worker_depth() + 1);
	r = r < 0 ? r : mps_args_add_int(args, p->task_timeout > 0);
	r = r < 0 ? r : mps_args_add_text(args, name_of(p->initializer));
	r = r < 0 ? r : mps_args_add_text(args, name_of(p->worker));
	return r < 0 ? r : args_append(args, rest);
}

int seat_start_process(const struct mps_pool *p, uint32_t index, const struct worker_fds *fds,
		       const struct mps_args *rest, struct mps_process **ret)
{
	char name[128];
	struct mps_process_options o = { .name = name,
					 .method = p->method,
					 .target = pool_worker,
					 .daemon = true,
					 .grace = MPS_SECOND };
	int r = mps_args_new(&o.args);

	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "%.100s-%u", p->name, index + 1);
	r = add_arguments(p, index, fds, rest, o.args);
	if (r == 0)
		r = mps_process_start(&o, ret);
	mps_args_free(o.args);
	return r;
}

static int start_process(struct mps_pool *p, struct seat *s)
{
	const struct worker_fds fds = { .lane = mps_shm_fileno(s->shm),
					.bell = mps_shm_fileno(p->bell_shm),
					.event = p->event,
					.tasks = queue_fileno(s->long_tasks),
					.results = queue_fileno(s->long_results) };
	int r;

	if (p->method == MPS_START_FORK)
		return template_fork(p, s, &s->pid, &s->pidfd);
	r = seat_start_process(p, s->index, &fds, p->args, &s->process);
	if (r == 0)
		s->pid = mps_process_pid(s->process);
	return r;
}

int seat_start(struct mps_pool *p, struct seat *s, const char **ret_what)
{
	int r = make_lane(p, s);

	atomic_store(&p->bell->lanes[s->index].result_tail, 0);
	atomic_store(&p->bell->lanes[s->index].each, 0);
	*ret_what = "shared memory";
	if (r == 0) {
		r = start_process(p, s);
		*ret_what = p->method == MPS_START_FORK ? "fork" : mps_process_failure();
	}
	if (r < 0)
		seat_clear(s);
	mps_shm_close(s->shm); /* it is mapped */
	s->shm = NULL;
	return r;
}

void seat_clear(struct seat *s)
{
	lane_unmap(&s->lane);
	mps_queue_free(s->long_tasks);
	mps_queue_free(s->long_results);
	mps_shm_close(s->shm);
	s->long_tasks = s->long_results = NULL;
	s->shm = NULL;
	if (s->process != NULL && mps_process_free(s->process) == 0)
		s->process = NULL;
	fd_close(&s->pidfd);
}

int seat_sentinel(const struct seat *s)
{
	return s->process != NULL ? mps_process_sentinel(s->process) : s->pidfd;
}

void seat_kill(struct seat *s)
{
	if (s->process != NULL)
		mps_process_signal(s->process, SIGKILL);
	else if (s->pidfd >= 0)
		pidfd_signal(s->pidfd, s->pid, SIGKILL);
}

int seat_code(struct mps_pool *p, struct seat *s)
{
	int code = INT_MIN;

	if (s->process == NULL)
		return template_code(p, s->pid);
	mps_process_join(s->process, END_PATIENCE);
	mps_process_exitcode(s->process, &code);
	return code;
}

void seat_end_tree(struct seat *s)
{
	if (s->process != NULL)
		mps_process_kill(s->process, END_PATIENCE);
}
