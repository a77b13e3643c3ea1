/*
 * One command under a keeper of its own, and what is around it: the folder of its resource tracker, and what ps(1) shows.
 */
#include "mpsup/command.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/xalloc.h"
#include "sup/client.h"
#include "sup/rundir.h"
#include "track/sweep.h"

enum { DIR_TRIES = 100 };

/*
 * The tracker's, locked: so it is told from what is left of one that was killed, and from that of a command in another PID
 * namespace, which may have the same number. First goes what others have left that are no more.
 */
static char *make_dir_in(const char *base, int *ret_lock, struct err *err)
{
	int r = -EWOULDBLOCK;

	track_sweep_all(base, &(struct track_sweep){ 0 });
	for (int i = 0; i < DIR_TRIES && (r == -ENOENT || r == -EWOULDBLOCK); i++) {
		AUTO_FREE char *dir = xasprintf("%s/exec-%d-%d", base, (int)getpid(), i);

		r = rundir_make(dir, geteuid(), getegid(), err);
		if (r < 0)
			continue;
		r = rundir_lock_itself(dir, ret_lock, err);
		if (r == 0)
			return TAKE_PTR(dir);
		if (r != -EWOULDBLOCK)
			rmdir(dir);
	}
	return NULL;
}

char *command_make_dir(const char *verb, int *ret_lock)
{
	AUTO_FREE char *base = client_runtime_base();
	AUTO_FREE char *spare = client_runtime_spare();
	struct err err = ERR_INIT, unused = ERR_INIT;
	char *dir = make_dir_in(base, ret_lock, &err);

	if (dir == NULL)
		dir = make_dir_in(spare, ret_lock, &unused);
	if (dir == NULL)
		fprintf(stderr,
			"mpsup: %s: what the command leaves in shared memory will stay there: "
			"%s\n",
			verb, err.text);
	return dir;
}

int command_run(struct front_options *front, bool tracks)
{
	AUTO_FREE char *dir = NULL;

	front_open_standard();
	front_show(front->verb, front->argv);
	if (tracks)
		dir = command_make_dir(front->verb, &front->dir_lock);
	front->dir = dir;
	return front_run(front);
}
