/*
 * Processes that count in one array, under its lock; one of them is killed while it has the lock, and the others are told.
 *	counters 4 10000
 */
#include <errno.h>
#include <mpsup.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { PROCESSES_MAX = 64 };

/* Two numbers that are always the same for those who have the lock. */
static int count(struct mps_args *args)
{
	struct mps_array *a;
	int64_t n = mps_args_int(args, 1);
	int64_t *numbers;

	if (mps_array_open(mps_args_shm(args, 0), &a) < 0)
		return 1;
	numbers = mps_array_data(a);
	for (int64_t i = 0; i < n; i++) {
		int r = mps_rlock_acquire(mps_array_lock(a), MPS_FOREVER);

		if (r == EOWNERDEAD) /* half changed, perhaps: it is put in order */
			numbers[1] = numbers[0];
		else if (r != 0)
			return 1;
		numbers[0]++;
		if (i == n / 2 && mps_args_int(args, 2) != 0)
			raise(SIGKILL);
		numbers[1]++;
		mps_rlock_release(mps_array_lock(a));
	}
	mps_array_free(a);
	return 0;
}
MPS_TARGET(count);

static struct mps_process *start(struct mps_array *a, int64_t n, bool dies)
{
	struct mps_process_options options = MPS_PROCESS_OPTIONS_INIT;
	struct mps_process *p = NULL;

	if (mps_args_new(&options.args) < 0 ||
	    mps_args_add_shm(options.args, mps_array_shm(a)) < 0 ||
	    mps_args_add_int(options.args, n) < 0 || mps_args_add_int(options.args, dies) < 0)
		return NULL;
	options.target = count;
	if (mps_process_start(&options, &p) < 0)
		fprintf(stderr, "counters: %s\n", mps_process_failure());
	mps_args_free(options.args);
	return p;
}

static int body(int argc, char **argv)
{
	struct mps_process *processes[PROCESSES_MAX];
	int n = argc > 1 ? atoi(argv[1]) : 2, killed = 0;
	int64_t times = argc > 2 ? atoll(argv[2]) : 1000, *numbers;
	struct mps_array *a;

	if (n < 1 || n > PROCESSES_MAX || mps_array_new('q', 2, 0, &a) < 0)
		return 1;
	for (int i = 0; i < n; i++)
		if ((processes[i] = start(a, times, i == 0)) == NULL)
			return 1;
	for (int i = 0; i < n; i++) {
		int code = 0;

		mps_process_join(processes[i], MPS_FOREVER);
		mps_process_exitcode(processes[i], &code);
		killed += code == -SIGKILL;
		mps_process_free(processes[i]);
	}
	numbers = mps_array_data(a);
	if (mps_rlock_acquire(mps_array_lock(a), MPS_FOREVER) == EOWNERDEAD)
		numbers[1] = numbers[0]; /* it was the last one */
	printf("%lld %s, %d killed\n", (long long)numbers[0],
	       numbers[0] == numbers[1] ? "twice" : "and not", killed);
	mps_rlock_release(mps_array_lock(a));
	mps_array_free(a);
	return 0;
}

int main(int argc, char **argv)
{
	return mps_main(argc, argv, body);
}
