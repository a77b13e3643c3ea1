/*
 * Starting a worker: its lane, and its process.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "ipc/args.h"
#include "ipc/family.h"
#include "pool/pool.h"

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
static int add_arguments(struct mps_pool *p, struct seat *s, struct mps_args *args)
{
	int r = mps_args_add_shm(args, s->shm);

	r = r < 0 ? r : mps_args_add_shm(args, p->bell_shm);
	r = r < 0 ? r : mps_args_add_fd(args, p->event);
	r = r < 0 ? r : mps_args_add_queue(args, s->long_tasks);
	r = r < 0 ? r : mps_args_add_queue(args, s->long_results);
	r = r < 0 ? r : mps_args_add_int(args, (int64_t)p->ring);
	r = r < 0 ? r : mps_args_add_int(args, s->index);
	r = r < 0 ? r : mps_args_add_int(args, worker_depth() + 1);
	r = r < 0 ? r : mps_args_add_int(args, p->task_timeout > 0);
	r = r < 0 ? r : mps_args_add_text(args, name_of(p->initializer));
	r = r < 0 ? r : mps_args_add_text(args, name_of(p->worker));
	return r < 0 ? r : args_append(args, p->args);
}

static int start_process(struct mps_pool *p, struct seat *s)
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
	snprintf(name, sizeof(name), "%.100s-%u", p->name, s->index + 1);
	r = add_arguments(p, s, o.args);
	if (r == 0)
		r = mps_process_start(&o, &s->process);
	mps_args_free(o.args);
	return r;
}

int seat_start(struct mps_pool *p, struct seat *s, const char **ret_what)
{
	int r = make_lane(p, s);

	*ret_what = "shared memory";
	if (r == 0) {
		r = start_process(p, s);
		*ret_what = mps_process_failure();
	}
	if (r < 0)
		seat_clear(s);
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
}
