/*
 * Backups of a log: FILE.1 is the newest, then FILE.2 and so on, each perhaps with .gz behind it. A kill at any point
 * loses none of them, and what was half done goes on with the next call.
 */
#ifndef SUP_ROTATE_H
#define SUP_ROTATE_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * FILE becomes FILE.1, and those before it one more; only FILE.`backups` goes. backups > 0. 0 or -errno. *ret_gone is -1,
 * or holds what is gone open: closing it gives back its blocks, which takes a while where it is large.
 */
int rotate_shift(const char *path, int backups, int *ret_gone);

/* The newest backup that is not compressed yet, to be compressed in a thread of its own. */
struct rotate_job;
/* NULL when there is none. */
struct rotate_job *rotate_job_new(const char *path, int backups);
/* The long part, for any thread. */
void rotate_job_run(struct rotate_job *job);
/* rotate_job_run() gives up soon; from any thread. */
void rotate_job_cancel(struct rotate_job *job);
/* Puts the result in the place where the backup is now, and frees the job. 0, -ECANCELED or -errno. */
int rotate_job_end(struct rotate_job *job);

#endif
