/*
 * What else is preloaded: an unlink(2) that refuses.
 */
#include <errno.h>
#include <unistd.h>

int unlink(const char *path)
{
	(void)path;
	errno = EPERM;
	return -1;
}
