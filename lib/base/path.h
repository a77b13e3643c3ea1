/*
 * Opening by name for root, who may write where others may too: there a name leads wherever they like. So each folder of a
 * path is opened by itself, and a link is followed only where nobody but root can have put it. Not as root, these are
 * plain open(2): the kernel lets nobody write what is not theirs.
 */
#ifndef BASE_PATH_H
#define BASE_PATH_H

#include <stdbool.h>
#include <sys/types.h>

struct err;

/*
 * As open(2), CLOEXEC added. In a folder that others may write, root gets besides: -ELOOP for a link, and -EMLINK for what
 * has a second name, as it may be anybody's, or is no regular file, or, in a sticky folder, not root's.
 */
int path_open(const char *path, int flags, mode_t mode);

/*
 * The folder that the last name of a path lies in, to be changed by the *at() calls: an O_PATH descriptor, or -errno as
 * above. *ret_base is within path. ret_shared, if not NULL: others may change what is in it. make: with the folders that
 * are missing, 0755.
 */
int path_open_folder(const char *path, bool make, const char **ret_base, bool *ret_shared);

/*
 * A name for what lies in such a folder, which nobody can lead elsewhere, for calls that have no *at(); on the heap, NULL
 * without memory.
 */
char *path_within(int folder, const char *base);

/* What the errors above mean, else strerror(). */
const char *path_strerror(int error);

/*
 * As root: whether `path`, which has been opened as fd, can be written or exchanged by others. 0, -EPERM with err, which
 * says what they may write, or -errno. What is no file or FIFO, and what is named by /proc/self/fd, is the caller's own.
 */
int path_check(const char *path, int fd, struct err *err);

#endif
