/*
 * How many descriptors a process has, for tests that look for those that it should have closed.
 */
#ifndef TESTS_COUNT_FDS_H
#define TESTS_COUNT_FDS_H

#include <dirent.h>
#include <stdio.h>
#include <sys/types.h>

static inline unsigned count_fds(pid_t pid)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir != NULL && readdir(dir) != NULL)
		n++;
	if (dir != NULL)
		closedir(dir);
	return n;
}

#endif
