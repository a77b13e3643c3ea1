/*
 * What takes long to make is made once, in the forkserver; each process begins with it.
 *	preload 3
 */
#include <mpsup.h>
#include <stdio.h>
#include <stdlib.h>

static char *table;

static int make_table(struct mps_args *args)
{
	(void)args;
	table = calloc(1, 1 << 20);
	printf("made\n");
	return table != NULL ? 0 : 1;
}
MPS_TARGET(make_table);

static int use_table(struct mps_args *args)
{
	if (table == NULL)
		return 1;
	printf("%s: %s\n", mps_current_name(), mps_args_text(args, 0));
	return 0;
}
MPS_TARGET(use_table);

static int body(int argc, char **argv)
{
	struct mps_process_options options = MPS_PROCESS_OPTIONS_INIT;
	int n = argc > 1 ? atoi(argv[1]) : 2, bad = 0;

	mps_set_start_method(MPS_START_FORKSERVER, false);
	mps_set_forkserver_preload(make_table);
	if (mps_args_new(&options.args) < 0 || mps_args_add_text(options.args, "it is there") < 0)
		return 1;
	options.target = use_table;
	for (int i = 0; i < n; i++) {
		struct mps_process *p;
		int code = -1;

		if (mps_process_start(&options, &p) < 0) {
			fprintf(stderr, "preload: %s\n", mps_process_failure());
			return 1;
		}
		mps_process_join(p, MPS_FOREVER);
		mps_process_exitcode(p, &code);
		mps_process_free(p);
		bad += code != 0;
	}
	mps_args_free(options.args);
	return bad;
}

int main(int argc, char **argv)
{
	return mps_main(argc, argv, body);
}
