/*
 * A calculator behind a pipe: it is sent sums, sends what they come to, and ends when nobody can send any more.
 *	calculator 1+2 30+4
 */
#include <mpsup.h>
#include <stdio.h>
#include <string.h>

static int calculate(struct mps_args *args)
{
	struct mps_connection *c = mps_args_connection(args, 0);
	const void *sum;
	size_t n;

	while (mps_recv(c, &sum, &n, MPS_FOREVER) == 0) {
		long a = 0, b = 0, result;

		sscanf(sum, "%ld+%ld", &a, &b);
		result = a + b;
		if (mps_send(c, &result, sizeof(result), MPS_FOREVER) < 0)
			return 1;
	}
	return 0; /* -ENODATA: the other end is closed */
}
MPS_TARGET(calculate);

static int ask(struct mps_connection *c, const char *sum)
{
	const void *result;
	size_t n;
	int r = mps_send(c, sum, strlen(sum) + 1, 5 * MPS_SECOND);

	if (r == 0)
		r = mps_recv(c, &result, &n, 5 * MPS_SECOND);
	if (r == 0)
		printf("%s = %ld\n", sum, *(const long *)result);
	return r;
}

static int body(int argc, char **argv)
{
	struct mps_process_options options = MPS_PROCESS_OPTIONS_INIT;
	struct mps_connection *ours, *theirs;
	struct mps_process *p;
	int code = -1;

	if (mps_pipe(true, &ours, &theirs) < 0 || mps_args_new(&options.args) < 0 ||
	    mps_args_add_connection(options.args, theirs) < 0)
		return 1;
	options.target = calculate;
	if (mps_process_start(&options, &p) < 0) {
		fprintf(stderr, "calculator: %s\n", mps_process_failure());
		return 1;
	}
	/* What is theirs is open in the child alone from here on. */
	mps_connection_close(theirs);
	mps_args_free(options.args);
	for (int i = 1; i < argc; i++)
		if (ask(ours, argv[i]) < 0)
			return 1;
	mps_connection_close(ours);
	mps_process_join(p, 5 * MPS_SECOND);
	mps_process_exitcode(p, &code);
	mps_process_free(p);
	printf("it has ended with %d\n", code);
	return code;
}

int main(int argc, char **argv)
{
	return mps_main(argc, argv, body);
}
