/*
 * A queue of numbers, so many workers that square them, and a queue of results.
 *	workers 4 1000
 */
#include <inttypes.h>
#include <mpsup.h>
#include <stdio.h>
#include <stdlib.h>

enum { WORKERS_MAX = 64 };

static int work(struct mps_args *args)
{
	struct mps_queue *in = mps_args_queue(args, 0), *out = mps_args_queue(args, 1);
	uint64_t x;
	size_t n;

	while (mps_queue_get(in, &x, sizeof(x), &n, MPS_FOREVER) == 0) {
		x *= x;
		if (mps_queue_put(out, &x, sizeof(x), MPS_FOREVER) < 0)
			return 1;
	}
	return 0; /* -EPIPE: closed, and empty */
}
MPS_TARGET(work);

static int fail(const char *what)
{
	fprintf(stderr, "workers: %s\n", what);
	return 1;
}

static int body(int argc, char **argv)
{
	struct mps_process_options options = MPS_PROCESS_OPTIONS_INIT;
	struct mps_queue_options queue = MPS_QUEUE_OPTIONS_INIT;
	struct mps_process *workers[WORKERS_MAX];
	int n = argc > 1 ? atoi(argv[1]) : 2, bad = 0;
	uint64_t items = argc > 2 ? strtoull(argv[2], NULL, 10) : 100, sum = 0, x;
	struct mps_queue *in, *out;
	size_t size;

	if (n < 1 || n > WORKERS_MAX || mps_queue_new(&queue, &in) < 0 ||
	    mps_queue_new(&queue, &out) < 0)
		return fail("no queues");
	if (mps_args_new(&options.args) < 0 || mps_args_add_queue(options.args, in) < 0 ||
	    mps_args_add_queue(options.args, out) < 0)
		return fail("no arguments");
	options.target = work;
	options.daemon = true;
	for (int i = 0; i < n; i++)
		if (mps_process_start(&options, &workers[i]) < 0)
			return fail(mps_process_failure());
	mps_args_free(options.args);
	/* Some ahead, so that no queue is full while the other is: nobody would go on. */
	for (uint64_t i = 1, got = 0; got < items; got++) {
		for (; i <= items && i <= got + 100; i++)
			mps_queue_put(in, &i, sizeof(i), MPS_FOREVER);
		if (mps_queue_get(out, &x, sizeof(x), &size, 10 * MPS_SECOND) < 0)
			return fail("no results");
		sum += x;
	}
	mps_queue_close(in);
	for (int i = 0; i < n; i++) {
		int code = -1;

		mps_process_join(workers[i], 10 * MPS_SECOND);
		mps_process_exitcode(workers[i], &code);
		bad += code != 0;
		mps_process_free(workers[i]);
	}
	mps_queue_free(in);
	mps_queue_free(out);
	printf("%" PRIu64 "\n", sum);
	return bad;
}

int main(int argc, char **argv)
{
	return mps_main(argc, argv, body);
}
