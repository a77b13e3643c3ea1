/*
 * A manager as a child, that worker processes count words for: in a dict, one by one, and how many there were in a counter, which
 * is in shared memory. The workers find both by their names.
 *	manager to be or not to be
 */
#include <mpsup.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One word more. */
static int count(struct mps_object *words, const char *word)
{
	void *args;
	size_t n;
	int r = mps_pack(&args, &n, "[si]", word, (int64_t)1);

	if (r == 0)
		r = mps_object_call(words, "add", args, n, NULL, NULL, 5 * MPS_SECOND);
	free(args);
	return r;
}

static int work(struct mps_args *args)
{
	struct mps_manager *m;
	struct mps_object *words, *total;
	int r = mps_manager_connect(mps_args_text(args, 0), NULL, &m, 5 * MPS_SECOND);

	if (r < 0 || mps_object_attach(m, "dict", "words", &words, 5 * MPS_SECOND) < 0 ||
	    mps_object_attach(m, "counter", "total", &total, 5 * MPS_SECOND) < 0)
		return 1;
	for (size_t i = 1; r >= 0 && i < mps_args_count(args); i++) {
		r = count(words, mps_args_text(args, i));
		if (r >= 0)
			r = mps_object_add(total, 1, NULL);
	}
	mps_object_close(words);
	mps_object_close(total);
	mps_manager_close(m);
	return r < 0;
}
MPS_TARGET(work);

/* A worker that counts every second word, from this one on. */
static int start(struct mps_manager *m, int argc, char **argv, int from, struct mps_process **ret)
{
	struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
	int r = mps_args_new(&o.args);

	if (r == 0)
		r = mps_args_add_text(o.args, mps_manager_address(m));
	for (int i = from; r >= 0 && i < argc; i += 2)
		r = mps_args_add_text(o.args, argv[i]);
	o.target = work;
	if (r >= 0)
		r = mps_process_start(&o, ret);
	mps_args_free(o.args);
	return r;
}

static int show(struct mps_object *words, const char *word)
{
	void *args, *value;
	size_t n;
	int64_t times = 0;
	int r = mps_pack(&args, &n, "[s]", word);

	if (r == 0)
		r = mps_object_call(words, "get", args, n, &value, &n, 5 * MPS_SECOND);
	free(args);
	if (r < 0)
		return r;
	r = mps_unpack(value, n, "i", &times);
	printf("%s %d\n", word, (int)times);
	free(value);
	return r;
}

static int body(int argc, char **argv)
{
	struct mps_manager *m;
	struct mps_object *words, *total;
	struct mps_process *workers[2];
	int64_t all;
	int code;

	if (mps_manager_start(NULL, &m) < 0 ||
	    mps_object_create(m, "dict", "words", 0, NULL, 0, &words, 5 * MPS_SECOND) < 0 ||
	    mps_object_create(m, "counter", "total", 0, NULL, 0, &total, 5 * MPS_SECOND) < 0)
		return 1;
	for (int i = 0; i < 2; i++)
		if (start(m, argc, argv, 1 + i, &workers[i]) < 0)
			return 1;
	for (int i = 0; i < 2; i++) {
		if (mps_process_join(workers[i], 10 * MPS_SECOND) < 0 ||
		    mps_process_exitcode(workers[i], &code) < 0 || code != 0)
			return 1;
		mps_process_free(workers[i]);
	}
	for (int i = 1; i < argc; i++)
		if (show(words, argv[i]) < 0)
			return 1;
	if (mps_object_add(total, 0, &all) < 0)
		return 1;
	printf("%d in all\n", (int)all);
	mps_object_close(words);
	mps_object_close(total);
	mps_manager_close(m);
	return 0;
}

int main(int argc, char **argv)
{
	return mps_main(argc, argv, body);
}
