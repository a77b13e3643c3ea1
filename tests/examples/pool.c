/*
 * A pool: the squares of numbers, a hundred at a time. One of the tasks crashes, and that is its outcome alone.
 *	pool 1000
 */
#include <mpsup.h>
#include <stdio.h>
#include <stdlib.h>

static int square(struct mps_args *task)
{
	long v = *(const long *)mps_args_bytes(task, 0, NULL);

	if (v == 666)
		abort();
	v *= v;
	return mps_args_reply(task, &v, sizeof(v));
}
MPS_TARGET(square);

struct input {
	long next, end;
};

static int next_number(void *user, struct mps_item *item)
{
	struct input *in = user;
	static long v;

	if (in->next == in->end)
		return 0;
	v = in->next++;
	*item = (struct mps_item){ &v, sizeof(v) };
	return 1;
}

static int body(int argc, char **argv)
{
	struct input in = { 0, argc > 1 ? atol(argv[1]) : 1000 };
	struct mps_imap_options options = { .input = next_number, .user = &in, .chunk = 100 };
	struct mps_result result;
	struct mps_pool *pool;
	struct mps_imap *im;
	long done = 0, sum = 0;

	if (mps_pool_new(NULL, &pool) < 0 || mps_pool_imap(pool, square, &options, &im) < 0) {
		fprintf(stderr, "pool: %s\n", mps_pool_failure(NULL));
		return 1;
	}
	while (mps_imap_next(im, &result, MPS_FOREVER) >= 0) {
		if (result.outcome == MPS_POOL_E_WORKER_DIED) {
			printf("task %zu: its worker has died (signal %d)\n", result.index,
			       -result.code);
			continue;
		}
		done++;
		sum += *(long *)result.p;
	}
	printf("%ld done, sum %ld\n", done, sum);
	mps_imap_free(im);
	mps_pool_free(pool);
	return 0;
}

int main(int argc, char **argv)
{
	return mps_main(argc, argv, body);
}
